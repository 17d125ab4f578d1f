"""Model folders: where a model lies, which files belong to it, and the digest of their content.

A *model folder* is either a Hugging Face folder (what training writes) or holds one ``model.json`` that points at a
commit of the hub, whose weights lie in the hub's own cache. A ``model.json`` may also say that code which comes with
the model may run. Only this package writes that file: one that lies in somebody's folder is none of the model's.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from pathlib import Path
from typing import Any

from rlbench.records import UserError

POINTER = "model.json"
FOREIGN_LENGTH = 250  # characters of what another library says


def locate(folder: Path) -> tuple[str, str | None]:
    """Return what ``from_pretrained`` takes for a model folder: (path or hub id, revision)."""
    target = _pointer(folder)
    return (target["source"], target["revision"]) if "source" in target else (str(folder), None)


def trusts_code(folder: Path) -> bool:
    """Whether code that comes with the model may run: the recipe said so when it was admitted."""
    return _pointer(folder).get("trust_remote_code", False) is True


def write_pointer(folder: Path, *, source: str = "", revision: str = "", trust_remote_code: bool = False) -> None:
    """Write ``model.json`` where there is something to say: a hub's commit to load, or that its code may run."""
    target: dict[str, Any] = {"source": source, "revision": revision} if source else {}
    target |= {"trust_remote_code": True} if trust_remote_code else {}
    if target:
        (folder / POINTER).write_text(json.dumps(target))


def files_of(folder: Path) -> Path:
    """The local folder in which a model's files lie: itself, or the hub's snapshot that it points at."""
    source, revision = locate(folder)
    if source == str(folder):
        return folder
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, revision=revision, local_files_only=True))


def _pointer(folder: Path) -> dict[str, Any]:
    path = folder / POINTER
    return json.loads(path.read_text()) if path.exists() else {}


def content_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files (not of what lies in folders below it)."""
    digest = hashlib.sha256()
    for file in model_files(folder):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model; the manifest that the store puts beside one of its own is none of them, nor a pointer."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name not in ("manifest.json", POINTER)
    )


def read_json(path: Path) -> dict[str, Any]:
    """A model's JSON file as a table.

    Raises:
        UserError: it cannot be read, or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} is no JSON ({first_line(error)})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path.name} is no JSON object")
    return value


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened where it is a paragraph, or its type where it has none."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return textwrap.shorten(line, FOREIGN_LENGTH, placeholder=" ...")
