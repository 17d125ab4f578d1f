"""Model folders: where a model lies, which files belong to it, and the digest of their content.

A *model folder* is either a Hugging Face folder (what training writes) or holds one ``model.json`` that points at a
commit of the hub, whose weights lie in the hub's own cache.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

POINTER = "model.json"


def locate(folder: Path) -> tuple[str, str | None]:
    """Return what ``from_pretrained`` takes for a model folder: (path or hub id, revision)."""
    pointer = folder / POINTER
    if pointer.exists():
        target = json.loads(pointer.read_text())
        return target["source"], target["revision"]
    return str(folder), None


def content_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files (not of what lies in folders below it)."""
    digest = hashlib.sha256()
    for file in model_files(folder):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model; the manifest that the store puts beside one of its own is none of them."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "manifest.json"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
