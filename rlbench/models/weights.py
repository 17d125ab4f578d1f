"""Weight files of a model folder: which files transformers would read, and what tensors their headers describe.

Safetensors are read without torch and without their values, so that a plan can refuse what is broken. Pickled files
(``.bin``) have no header: torch opens them, with nothing but tensors allowed in them, where they are asked for.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlbench.models.folder import first_line, model_files, read_json
from rlbench.records import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
"""Bytes an element, by the names that safetensors has for data types."""
LARGEST_HEADER = 100_000_000  # bytes; safetensors reads no longer one
SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
LARGE_FILE_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Stored:
    """One tensor as its file describes it: data type (``F32``, ``BF16``, see ``BYTES``), shape, and the file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


@dataclass(frozen=True)
class WeightFiles:
    """The files that a model's weights are taken from, in order, and the index that names them, where there is one."""

    files: tuple[Path, ...]
    index: Path | None = None


def refuse_pointers(folder: Path) -> None:
    """Raise UserError where a file is a pointer that git's large-file storage leaves in the place of the file."""
    for file in model_files(folder):
        if file.stat().st_size < 1024 and file.read_bytes().startswith(LARGE_FILE_POINTER):
            raise UserError(f"{file.name} is a git-lfs pointer, not the file itself; run `git lfs pull` in that folder")


def weight_files(folder: Path) -> WeightFiles:
    """The files that transformers takes the weights from: one, or the shards of an index.

    Raises:
        UserError: there are none, a shard is missing, or two sets of weights lie beside each other.
    """
    named = read_json(folder / "config.json").get("transformers_weights")
    names = [named] if isinstance(named, str) else [SAFETENSORS, SAFETENSORS + INDEX, PICKLED, PICKLED + INDEX]
    chosen = next((name for name in names if (folder / name).is_file()), None)
    if chosen is None:
        raise UserError(f"no weights: {_without_weights(folder, named)}")
    index = folder / (chosen if chosen.endswith(INDEX) else chosen + INDEX)
    found = WeightFiles(tuple(shards_of(index)), index) if index.is_file() else WeightFiles((folder / chosen,))
    if not chosen.endswith(INDEX) and found.files != (folder / chosen,):
        raise UserError(f"two sets of weights: {chosen} and the shards of {index.name}; remove one")
    left = [
        file.name
        for file in model_files(folder)
        if SHARD.fullmatch(file.name) and file.suffix == found.files[0].suffix and file not in found.files
    ]
    if left:
        raise UserError(f"{left[0]} is a shard that does not belong to {chosen}; remove it, or save the model anew")
    return found


def shards_of(index: Path) -> list[Path]:
    """The shards of an index, in order. UserError: it is none, or names a shard that is not there."""
    weights = read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not weights or not all(isinstance(name, str) for name in weights.values()):
        raise UserError(f"{index.name} has no `weight_map` of tensors to shards")
    names = sorted(set(weights.values()))
    if outside := next((name for name in names if Path(name).name != name), None):
        raise UserError(f"{index.name} names a shard outside of the folder: {outside!r}")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(names)} shards of {index.name} are missing, such as {missing[0]}")
    return [index.parent / name for name in names]


def _without_weights(folder: Path, named: object) -> str:
    """What is there in place of weights, and what would be right."""
    names = [file.name for file in model_files(folder)]
    if isinstance(named, str):
        return f"config.json names {named!r} (`transformers_weights`), which is not there"
    if any(name.endswith(".gguf") for name in names):
        return "the folder holds a GGUF file, which is quantised for other programs; give the model it was made from"
    if any(SHARD.fullmatch(name) for name in names):
        return f"the folder holds shards, and the index that names them ({SAFETENSORS}{INDEX}) is missing"
    others = [
        name
        for name in names
        if name.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".npz"))
    ]
    found = f", only {others[0]}" if others else ""
    return f"the folder holds no {SAFETENSORS}{found}; write one with save_pretrained"


def safetensors_header(file: Path) -> dict[str, Stored]:
    """The tensors that a safetensors file describes, by name; their values are not read.

    Raises:
        UserError: it is no such file, or is cut off.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise UserError(f"{file.name} ({size:,} bytes) is no safetensors file, or is cut off in its header")
        try:
            header = json.loads(stream.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            found = {name: Stored(str(e["dtype"]), tuple(map(int, e["shape"])), file) for name, e in entries.items()}
            spans = {name: (int(e["data_offsets"][0]), int(e["data_offsets"][1])) for name, e in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise UserError(f"{file.name} is no safetensors file: its header cannot be read") from None
    end = 8 + length + max((last for _, last in spans.values()), default=0)
    if size != end:
        what = "is cut off: it has" if size < end else "is longer than its header says:"
        raise UserError(f"{file.name} {what} {size:,} of {end:,} bytes; fetch or save it again")
    for name, (first, last) in spans.items():
        stored = found[name]
        if stored.dtype in BYTES and last - first != BYTES[stored.dtype] * math.prod(stored.shape):
            raise UserError(
                f"{file.name}: {name} has {last - first:,} bytes, which {stored.shape} of {stored.dtype} is not"
            )
    return found


def pickled_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file by name, mapped from disk where its form allows it. No code of the file runs.

    Raises:
        UserError: it holds anything but tensors by name, or cannot be read.
    """
    import pickle
    import zipfile

    import torch

    try:
        with file.open("rb") as stream:
            mappable = zipfile.is_zipfile(stream)
        values = torch.load(file, map_location="cpu", weights_only=True, mmap=True if mappable else None)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        reason = "it is cut off, or holds more than tensors"
        raise UserError(f"{file.name} cannot be read: {reason}; save the model as safetensors") from None
    if not isinstance(values, Mapping) or not values or not all(isinstance(v, torch.Tensor) for v in values.values()):
        held = (
            next((key for key, v in values.items() if isinstance(v, Mapping)), None)
            if isinstance(values, Mapping)
            else None
        )
        where = f"; there is a table under {held!r}" if held is not None else ""
        raise UserError(f"{file.name} holds no tensors by name{where}; write the model with save_pretrained")
    return dict(values)


def stored_tensors(weights: WeightFiles) -> dict[str, Stored]:
    """Every tensor of a model's weight files, by name.

    Raises:
        UserError: a file cannot be read, two shards hold a tensor of one name, or the shards are not what their index
            says.
    """
    found: dict[str, Stored] = {}
    for file in weights.files:
        for name, stored in _header(file).items():
            if name in found:
                raise UserError(f"{name} stands in two shards, {found[name].file.name} and {file.name}")
            found[name] = stored
    if not found:
        raise UserError(f"no weights: {weights.files[0].name} holds no tensor")
    if weights.index is not None:
        _compare(weights.index, found)
    return found


def _compare(index: Path, found: Mapping[str, Stored]) -> None:
    """Raise UserError where an index names what is not stored, or not there, or what is stored is not in it."""
    shards = read_json(index)["weight_map"]
    for name, shard in shards.items():
        if name not in found:
            raise UserError(f"{index.name} names {name}, which no shard holds")
        if found[name].file.name != shard:
            raise UserError(f"{index.name} says that {name} stands in {shard}; it stands in {found[name].file.name}")
    if more := next((name for name in found if name not in shards), None):
        raise UserError(f"{found[more].file.name} holds {more}, which {index.name} does not name")


def _header(file: Path) -> dict[str, Stored]:
    if file.suffix == ".safetensors":
        return safetensors_header(file)
    tensors = pickled_tensors(file)
    if empty := next((name for name, tensor in tensors.items() if tensor.is_meta), None):
        raise UserError(f"{file.name}: {empty} was saved without values (from the meta device); save the loaded model")
    names = {dtype: name for name, dtype in torch_dtypes().items()}
    return {
        name: Stored(names.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), file)
        for name, tensor in tensors.items()
    }


def torch_dtypes() -> dict[str, torch.dtype]:
    """torch's data types by the names of safetensors."""
    import torch

    bytes_1 = (torch.bool, torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2)
    bytes_2 = (torch.uint16, torch.int16, torch.float16, torch.bfloat16)
    bytes_4_and_8 = (torch.uint32, torch.int32, torch.float32, torch.uint64, torch.int64, torch.float64)
    return dict(zip(BYTES, (*bytes_1, *bytes_2, *bytes_4_and_8), strict=True))


def values_of(files: Iterable[Path], names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the files, or those of ``names``, one after the other and mapped from disk, with its name."""
    from safetensors import SafetensorError, safe_open

    wanted = None if names is None else set(names)
    for file in files:
        if file.suffix != ".safetensors":
            yield from ((name, t) for name, t in pickled_tensors(file).items() if wanted is None or name in wanted)
            continue
        try:
            opened = safe_open(file, framework="pt")
        except SafetensorError as error:
            raise UserError(f"{file.name} cannot be read: {first_line(error)}; fetch or save it again") from None
        with opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                if wanted is None or name in wanted:
                    yield name, opened.get_tensor(name)


def write_stripped(weights: WeightFiles, prefix: str, output: Path) -> None:
    """Write weight files and their index into ``output`` under their names, the tensors' names without a prefix.

    Values are copied as they are.
    """
    for file in weights.files:
        if file.suffix == ".safetensors":
            _strip_safetensors(file, prefix, output / file.name)
        else:
            import torch

            torch.save({name.removeprefix(prefix): t for name, t in pickled_tensors(file).items()}, output / file.name)
    if weights.index is not None:
        table = read_json(weights.index)
        table["weight_map"] = {name.removeprefix(prefix): shard for name, shard in table["weight_map"].items()}
        (output / weights.index.name).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _strip_safetensors(file: Path, prefix: str, output: Path) -> None:
    with file.open("rb") as stream, output.open("wb") as out:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        text = json.dumps({name.removeprefix(prefix): entry for name, entry in header.items()}).encode()
        text += b" " * (-len(text) % 8)  # values begin at a multiple of eight bytes
        out.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(stream, out, 1 << 22)
