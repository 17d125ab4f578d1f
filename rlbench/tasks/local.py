"""Problems from a local JSONL file: one object a line, ``{"id", "problem", "answer"[, "solution"][, "meta"]}``.

Any other key of a line goes into the problem's ``meta``. Whatever is wrong with a file is said in one line that names
the file, the line and what would be right.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

from rlbench.grading.golds import broken_command, gold_of
from rlbench.jsonl import Identities, Row, kind, read_rows
from rlbench.records import Problem, UserError, nearest

READER = 2  # raised whenever the same file would give other problems: it is what a fingerprint knows of this code
_EXAMPLE = '{"id": "1", "problem": "What is 1+1?", "answer": "2"}'
_NEEDED = ("id", "problem", "answer")


def is_file(source: str) -> bool:
    """True where a recipe's source names a file and not a task."""
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

    A number as id or answer is the text that it is written as, and an answer in GSM8K's form is what stands behind its
    ``####``.

    Args:
        path: the file.
        limit: how many problems to return; all for ``None``.
        sha256: the digest that the file had when the run was planned.

    Raises:
        UserError: the file is missing, empty, no JSON lines, has changed since ``sha256`` was taken, or a line of it is
            wrong.
    """
    return [problem for _, problem in load_numbered(path, sha256=sha256)][:limit]


def load_numbered(path: Path, *, sha256: str | None = None) -> list[tuple[int, Problem]]:
    """Every problem of a JSONL file with the number of its line. See ``load``."""
    data = _read(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} has changed since this run was planned; start the run again to use the new content")
    problems, seen = [], Identities()
    for row in read_rows(io.BytesIO(data), str(path), _EXAMPLE):
        problem = _problem(row)
        seen.add(problem.id, row)
        problems.append((row.number, problem))
    return problems


@cache
def count(path: Path, sha256: str) -> int:
    """How many problems the file of that digest has; read once, as each estimate asks. Raises as ``load``."""
    return len(load_numbered(path, sha256=sha256))


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


def _problem(row: Row) -> Problem:
    row.require(_NEEDED, _EXAMPLE)
    solution = None if row.values.get("solution") is None else _prose(row, "solution")
    meta = row.values.get("meta")
    if not isinstance(meta, dict | None):
        raise row.wrong("meta", f"must be an object, not {kind(meta)}")
    others = row.others((*_NEEDED, "solution"))
    given = others.pop("meta", None) or {}
    return Problem(
        row.text("id", numbers=True), _prose(row, "problem"), gold_of(row, "answer"), solution, {**others, **given}
    )


def _prose(row: Row, key: str) -> str:
    """Text that may have lines and tabs, and cannot have what a lost backslash makes of a LaTeX command."""
    text = row.text(key)
    if broken := broken_command(text, "bf") or broken_command(text, "t", at_least=3):
        raise row.wrong(key, broken)
    return text
