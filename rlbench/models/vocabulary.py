"""The vocabulary of a model folder, read from its files alone: which tokens it has, and which file says so.

Needs neither transformers nor tokenizers, so planning can ask it. A further file in which tokenizers keep tokens gets a
branch in ``read_vocabulary``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TOKENIZER_JSON = "tokenizer.json"


def find_file(source: str, revision: str | None, name: str) -> Path | None:
    """A file of a local folder, or of a hub model in the hub's cache; None where it is not there. Asks no network."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(source, name, revision=revision)
    except (ImportError, ValueError):  # ValueError: no name that a hub model can have
        return None
    return Path(found) if isinstance(found, str) else None


def read_json(source: str, revision: str | None, name: str) -> dict[str, Any]:
    """A JSON file as a table; empty where there is none, or it is not one."""
    path = find_file(source, revision, name)
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_vocabulary(source: str, revision: str | None = None) -> dict[str, int]:
    """Every token with its id, added ones included, as the files declare them; empty where no file can be read so."""
    data = read_json(source, revision, TOKENIZER_JSON)
    vocabulary = dict(_tokens_of(data.get("model", {}).get("vocab"))) if data else _plain_files(source, revision)
    vocabulary |= {token["content"]: token["id"] for token in data.get("added_tokens", ())}
    if not vocabulary:
        return {}
    vocabulary |= read_json(source, revision, "added_tokens.json")
    declared = read_json(source, revision, "tokenizer_config.json").get("added_tokens_decoder", {})
    return vocabulary | {token["content"]: int(number) for number, token in declared.items()}


def has_tokenizer_files(source: str, revision: str | None = None) -> bool:
    """Whether a model's tokenizer lies on this machine."""
    return any(find_file(source, revision, name) for name in (TOKENIZER_JSON, "tokenizer_config.json"))


def chat_template_of(source: str, revision: str | None = None) -> str | None:
    """The default chat template of a model folder as its files hold it; None where they hold none."""
    if path := find_file(source, revision, "chat_template.jinja"):
        return path.read_text(encoding="utf-8")
    found = read_json(source, revision, "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, as {name, template}
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _tokens_of(vocab: Any) -> Iterator[tuple[str, int]]:
    """(token, id) of the model part of a tokenizer.json: a table, or a list by id of tokens with their scores."""
    if isinstance(vocab, Mapping):
        yield from vocab.items()
    elif isinstance(vocab, list):
        yield from ((entry[0], number) for number, entry in enumerate(vocab))


def _plain_files(source: str, revision: str | None) -> dict[str, int]:
    """The vocabulary of a folder without tokenizer.json: a table in vocab.json, or a line a token in vocab.txt."""
    if table := read_json(source, revision, "vocab.json"):
        return table
    if path := find_file(source, revision, "vocab.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        return {line.strip(): number for number, line in enumerate(lines)}
    return {}
