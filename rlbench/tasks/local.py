"""Problems from a local JSONL file: one object a line, ``{"id", "problem", "answer"[, "solution"][, "meta"]}``.

Any other key of a line goes into the problem's ``meta``. Whatever is wrong with a file is said in one line that names
the file, the line and what would be right.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

from rlbench.records import Problem, UserError, nearest

_EXAMPLE = '{"id": "1", "problem": "What is 1+1?", "answer": "2"}'


def is_file(source: str) -> bool:
    """Whether a recipe's source names a file and not a task."""
    return source.endswith((".jsonl", ".json"))


def digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hex.

    Raises:
        UserError: it cannot be read.
    """
    return hashlib.sha256(_read(path)).hexdigest()


def load(path: Path, *, limit: int | None = None, sha256: str | None = None) -> list[Problem]:
    """The first ``limit`` problems of a JSONL file; blank lines are skipped, and every line is checked whatever the
    limit.

    Args:
        path: the file.
        limit: how many problems to return; all for ``None``.
        sha256: the digest that the file had when the run was planned.

    Raises:
        UserError: the file is missing, empty, not UTF-8, has changed since ``sha256`` was taken, or a line of it is
            wrong.
    """
    data = _read(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} has changed since this run was planned; start the run again to use the new content")
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    # Split at b"\n" and nothing else: str.splitlines would cut at U+2028, which is legal inside a JSON string.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        problem = _problem(line, f"{path}, line {number}")
        if problem.id in seen:
            raise UserError(
                f"{path}, line {number}: id {problem.id!r} is already that of line {seen[problem.id]}; ids must be "
                "unique"
            )
        seen[problem.id] = number
        problems.append(problem)
    if not problems:
        raise UserError(f"{path} is empty; a line looks like {_EXAMPLE}")
    return problems[:limit]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        others = [str(folder / p.name) for p in sorted(folder.iterdir()) if is_file(p.name)] if folder.is_dir() else []
        hint = nearest(str(path), others) if folder.is_dir() else f": there is no folder {str(folder)!r}"
        raise UserError(f"file {str(path)!r} does not exist{hint}") from None
    except OSError as error:
        raise UserError(f"file {str(path)!r} cannot be read: {error.strerror or error}") from None


def _problem(line: bytes, where: str) -> Problem:
    row = _row(line, where)
    for key in ("id", "problem", "answer"):
        if row.get(key) is None:
            near = difflib.get_close_matches(
                key, [k for k in row if k not in ("id", "problem", "answer")], n=1, cutoff=0.5
            )
            hint = f"; is it the key {near[0]!r}?" if near else ""
            raise UserError(f"{where}: `{key}` is missing{hint}")
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise UserError(f"{where}: `meta` must be an object, not {_kind(meta)}")
    others = {key: value for key, value in row.items() if key not in ("id", "problem", "answer", "solution", "meta")}
    solution = None if row.get("solution") is None else _text(row, "solution", where)
    identity, answer = _text(row, "id", where, numbers=True), _text(row, "answer", where, numbers=True)
    return Problem(identity, _text(row, "problem", where), answer, solution, {**others, **meta})


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: not JSON: {error.msg} at column {error.colno}; a line looks like {_EXAMPLE}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be an object, not {_kind(row)}; a line looks like {_EXAMPLE}")
    return row


def _text(row: dict[str, Any], key: str, where: str, *, numbers: bool = False) -> str:
    value = row[key]
    if numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: `{key}` must be text{' or a number' if numbers else ''}, not {_kind(value)}")
    if not value.strip():
        raise UserError(f"{where}: `{key}` is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{where}: `{key}` holds half of a surrogate pair, which is no text") from None
    return value


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
