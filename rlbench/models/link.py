"""Admission of somebody's model into the store: a local folder's files, or a pointer at a commit of the hub."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlbench.models.folder import POINTER, content_digest, first_line, model_files
from rlbench.models.tokenizer_admission import admit_tokenizer
from rlbench.records import UserError


def link(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: take a local folder's files into the store (as hard links where the file system can), or point at
    a hub commit.

    Raises:
        UserError: the folder's content is not what it was when the run was planned, or the hub has no such model or
            cannot be reached.
    """
    if "sha256" in config:
        folder = Path(context.unhashed["path"])
        _check(folder, context)
        for file in model_files(folder):
            try:
                os.link(file.resolve(), output / file.name)
            except OSError:
                shutil.copyfile(file, output / file.name)
        if content_digest(output) != config["sha256"]:
            raise UserError(f"model {str(folder)!r} was changed since this run was planned; run it again")
    else:
        commit = _fetch(config["source"], config["revision"])
        (output / POINTER).write_text(json.dumps({"source": config["source"], "revision": commit}))
        _note(context, admit_tokenizer(output, config["source"]))


def _note(context: Any, notes: list[str]) -> None:
    for text in notes:
        context.note(text)


def _check(folder: Path, context: Any) -> None:
    """Refuse a local folder that holds no model: before anything is computed with it, and by its own name."""
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    names = [file.name for file in model_files(folder)]
    if not any(name.startswith(("tokenizer", "vocab", "spiece", "merges")) for name in names):
        raise UserError(
            f"model {str(folder)!r} has no tokenizer: the folder holds neither tokenizer.json nor tokenizer_config.json"
        )
    weights = [name for name in names if name.endswith((".safetensors", ".bin"))]
    if not weights:
        raise UserError(f"model {str(folder)!r} has no weights: the folder holds no .safetensors file")
    _note(context, admit_tokenizer(folder, str(folder)))
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
