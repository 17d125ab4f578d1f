"""The stage that takes somebody's model into the store: a local folder's files, or a pointer at a commit of the hub."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlbench.models.admission import Options, admit, inspect, needs_code, refusing
from rlbench.models.folder import content_digest, first_line, locate, model_files, write_pointer
from rlbench.models.tokenizer_admission import admit_tokenizer
from rlbench.models.weights import weight_files, write_stripped
from rlbench.records import UserError

NOT_FETCHED = ["*.pth", "*.gguf", "*.onnx"]
PICKLED = "*.bin"
ADMISSION = 1
"""Raised when admission refuses more: models that were taken in under a lower number are looked at again."""


def link(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: take a local folder's files into the store (as hard links where the file system can), or point at
    a hub commit. Nothing is taken that ``admission`` refuses.

    Args:
        config: ``sha256`` of a local folder's content, or ``source`` and ``revision`` of a hub model; and what the
            recipe says of it, where it does: ``strip_prefix``, ``trust_remote_code`` (see ``admission.Options``).
        inputs: none.
        output: gets the files or the pointer.
        context: its hints are ``path`` of a local folder, ``name``, by which the user knows it, and the recipe's
            ``table``; it is told the number of the admission (``admitted``), and what a reader has to know.

    Raises:
        UserError: the folder's content is not what it was when the run was planned, is refused, or the hub has no such
            model or cannot be reached.
    """
    options = _options(config, context.unhashed)
    if "sha256" in config:
        folder = Path(context.unhashed["path"])
        name = context.unhashed.get("name", str(folder))
        _take(folder, name, options, output)
        if content_digest(folder if options.strip_prefix else output) != config["sha256"]:
            raise UserError(f"model {name!r} was changed since this run was planned; run it again")
        write_pointer(output, trust_remote_code=options.trust_remote_code)
    else:
        name, snapshot = config["source"], _fetch(config["source"], config["revision"])
        pointer = {} if options.strip_prefix else {"source": name, "revision": snapshot.name}
        if options.strip_prefix:
            _take(snapshot, name, options, output)
        write_pointer(output, **pointer, trust_remote_code=options.trust_remote_code)
    for text in admit_linked(output, config, context.unhashed):
        context.note(text)
    context.count(admitted=ADMISSION)


def admit_linked(folder: Path, config: Mapping[str, Any], unhashed: Mapping[str, Any]) -> list[str]:
    """Refuse what ``link`` has put into a folder, by the model's own name; returns what a reader has to know of it.

    Args:
        folder: of the stage's artifact.
        config: that of the stage, as ``unhashed``.

    Raises:
        UserError: it is refused.
    """
    options, (source, revision) = _options(config, unhashed), locate(folder)
    name = unhashed.get("name") or config.get("source") or str(folder)
    files = folder if revision is None else _fetch(source, revision)
    admit(files, name, dataclasses.replace(options, strip_prefix=None))
    with refusing(name, folder):
        try:
            return list(admit_tokenizer(folder, name))
        except UserError as error:
            if "custom code" not in str(error) or options.trust_remote_code:
                raise
            raise UserError(needs_code("of its tokenizer", options)) from error


def _options(config: Mapping[str, Any], unhashed: Mapping[str, Any]) -> Options:
    return Options(config.get("strip_prefix"), config.get("trust_remote_code", False), unhashed.get("table", "model"))


def _take(folder: Path, name: str, options: Options, output: Path) -> None:
    """Put a folder's files into ``output``, its tensors' names without the prefix that the recipe takes away."""
    inspect(folder, name, options)
    files = model_files(folder)
    if options.strip_prefix:
        with refusing(name, folder):
            weights = weight_files(folder)
            write_stripped(weights, options.strip_prefix, output)
        files = [file for file in files if file not in weights.files and file != weights.index]
    _link(files, output)


def _link(files: Iterable[Path], output: Path) -> None:
    for file in files:
        try:
            os.link(file.resolve(), output / file.name)
        except OSError:
            shutil.copyfile(file, output / file.name)


def _fetch(source: str, revision: str | None) -> Path:
    """Fetch a hub model into the hub's cache; returns the commit's folder there. Pickled weights only where there are
    no others.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source, revision=revision, ignore_patterns=[PICKLED, *NOT_FETCHED]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(source, revision=folder.name, ignore_patterns=NOT_FETCHED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UserError(
            f"model {source!r} cannot be fetched from the hub ({reason}); a local folder can be given instead"
        ) from None
    return folder
