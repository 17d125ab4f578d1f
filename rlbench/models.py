"""A model on disk: loading, saving, and taking somebody else's into the store.

A *model folder* is either a Hugging Face folder (what training writes) or holds one ``model.json`` that points at a commit of the
hub, whose weights lie in the hub's own cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.records import Problem, UserError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

POINTER = "model.json"


def locate(folder: Path) -> tuple[str, str | None]:
    """Return what ``from_pretrained`` takes for a model folder: (path or hub id, revision)."""
    pointer = folder / POINTER
    if pointer.exists():
        target = json.loads(pointer.read_text())
        return target["source"], target["revision"]
    return str(folder), None


def quiet() -> None:
    """No progress bars of transformers': a run has a progress line of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_model(
    folder: Path, *, dtype: str = "float32", device: str = "cpu", attention: str | None = None
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Raises:
        UserError: nothing that transformers can load is there.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    quiet()
    source, revision = locate(folder)
    options: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=getattr(torch, dtype), **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model {source!r} cannot be loaded: {first_line(error)}") from error
    return model.to(device).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder.

    Raises:
        UserError: the folder holds none, or one without an end-of-text token.
    """
    from transformers import AutoTokenizer

    source, revision = locate(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"model {source!r} has no tokenizer that transformers can load: {first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of model {source!r} names no end-of-text token")
    return tokenizer


def encode_prompts(tokenizer: PreTrainedTokenizerBase, template: str, problems: Iterable[Problem]) -> list[list[int]]:
    """Token ids of each problem's prompt: ``{problem}`` of the template replaced, and nothing added to what stands there."""
    texts = [template.replace("{problem}", problem.problem) for problem in problems]
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def save_model(model: PreTrainedModel, like: Path, output: Path) -> None:
    """Write weights and configuration into ``output``, with the tokenizer files of the model folder ``like``."""
    quiet()
    model.save_pretrained(output, safe_serialization=True)
    source, _ = locate(like)
    local = Path(source)
    if not local.is_dir():
        load_tokenizer(like).save_pretrained(output)
        return
    for file in sorted(local.iterdir()):
        if file.is_file() and (
            "token" in file.name or file.name in {"vocab.json", "merges.txt", "chat_template.jinja"}
        ):
            shutil.copyfile(file, output / file.name)


def generation_config(folder: Path) -> GenerationConfig:
    """The generation configuration of a model folder as its model would have it, without loading the model."""
    from transformers import AutoConfig, GenerationConfig

    source, revision = locate(folder)
    try:
        return GenerationConfig.from_pretrained(source, revision=revision)
    except OSError:  # it has no file of its own
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(source, revision=revision))


def stop_token_ids(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a completion: the tokenizer's end of text, the generation configuration's, and ChatML's end of turn.

    Raises:
        UserError: the generation configuration names an id that the tokenizer does not have.
    """
    configured = generation.eos_token_id if generation is not None else None
    ids = {tokenizer.eos_token_id}
    ids.update(configured if isinstance(configured, list) else [configured] if configured is not None else [])
    if unknown := sorted(number for number in ids if not 0 <= number < len(tokenizer)):
        raise UserError(
            f"the model's generation_config.json ends completions at token {unknown[0]} (`eos_token_id`), which its tokenizer of "
            f"{len(tokenizer)} tokens does not have"
        )
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if isinstance(turn, int) and turn != tokenizer.unk_token_id:
        ids.add(turn)
    return tuple(sorted(ids))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def content_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files (not of what lies in folders below it)."""
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """The files of a model; the manifest that the store puts beside one of its own is none of them."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "manifest.json"
    )


def link(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: take a local folder's files into the store (as hard links where the file system can), or point at a hub commit.

    Raises:
        UserError: the folder's content is not what it was when the run was planned, or the hub has no such model or cannot be reached.
    """
    if "sha256" in config:
        folder = Path(context.hints["path"])
        _check(folder)
        for file in _files(folder):
            try:
                os.link(file.resolve(), output / file.name)
            except OSError:
                shutil.copyfile(file, output / file.name)
        if content_digest(output) != config["sha256"]:
            raise UserError(f"model {str(folder)!r} was changed since this run was planned; run it again")
    else:
        commit = _fetch(config["source"], config["revision"])
        (output / POINTER).write_text(json.dumps({"source": config["source"], "revision": commit}))
        load_tokenizer(output)


def _check(folder: Path) -> None:
    """Refuse a local folder that holds no model: before anything is computed with it, and by its own name."""
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    names = [file.name for file in _files(folder)]
    if not any(name.startswith(("tokenizer", "vocab", "spiece", "merges")) for name in names):
        raise UserError(
            f"model {str(folder)!r} has no tokenizer: the folder holds neither tokenizer.json nor tokenizer_config.json"
        )
    weights = [name for name in names if name.endswith((".safetensors", ".bin"))]
    if not weights:
        raise UserError(f"model {str(folder)!r} has no weights: the folder holds no .safetensors file")
    load_tokenizer(folder)
    try:
        AutoConfig.from_pretrained(folder)
        for name in weights:
            if name.endswith(".safetensors"):
                with safe_open(folder / name, framework="np") as file:
                    file.keys()
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"model {str(folder)!r} cannot be loaded: {first_line(error)}") from error


def _fetch(source: str, revision: str | None) -> str:
    """Fetch a hub model into the hub's cache; returns the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(source, revision=revision, ignore_patterns=["*.bin", "*.pth", "*.gguf", "*.onnx"])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = first_line(error)
        raise UserError(
            f"model {source!r} cannot be fetched from the hub ({reason}); a local folder can be given instead"
        ) from None
    return Path(folder).name
