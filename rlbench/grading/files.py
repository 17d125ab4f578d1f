"""Grading of a file of anybody's outputs: JSON lines ``{id, gold, output}``, of which only a batch is in memory at any
time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlbench.grading.pool import Graded, Grader
from rlbench.records import UserError

_BATCH, _BATCH_CHARACTERS = 512, 4_000_000  # whichever is reached first


def read_cases(path: Path) -> Iterator[tuple[str, str, str]]:
    """The (id, gold, output) of each line; blank lines are skipped.

    Of ids that have passed only a hash is kept, eight bytes each.

    Raises:
        UserError: the file cannot be read, or a line is no object, lacks a field, or repeats an id; names file and
            line.
    """
    seen: set[int] = set()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                case = _case(line, f"{path}, line {number}")
                mark = int.from_bytes(hashlib.blake2b(case[0].encode("utf-8", "surrogatepass"), digest_size=8).digest())
                if mark in seen:
                    raise UserError(f"{path}, line {number}: the id {case[0]!r} was there before; ids must differ")
                seen.add(mark)
                yield case
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


def _case(line: str, where: str) -> tuple[str, str, str]:
    form = 'write {"id": ..., "gold": ..., "output": ...}'
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({getattr(error, 'msg', 'nested too deeply')}); {form}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: not an object; {form}")
    for key in ("id", "gold", "output"):
        if row.get(key) is None:
            raise UserError(f"{where}: no {key!r}; {form}")
    return _string(row, "id", where), _string(row, "gold", where), _string(row, "output", where)


def _string(row: dict[str, Any], key: str, where: str) -> str:
    value = row[key]
    if isinstance(value, int) and not isinstance(value, bool) and key != "output":
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key!r} must be a string, not {json.dumps(value)[:60]}")
    if key != "output" and not value.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return value


def grade_file(path: Path, grader: Grader) -> Iterator[tuple[str, Graded]]:
    """The id and the grade of each line, in the file's order.

    The whole file is checked before anything is graded, where it can be read twice (a pipe cannot).

    Raises:
        UserError: see ``read_cases``.
    """
    if path.is_file():
        for _ in read_cases(path):
            pass
    for batch in _batches(read_cases(path)):
        grades = grader.grade([(gold, output) for _, gold, output in batch])
        for (name, _, _), grade in zip(batch, grades, strict=True):
            yield name, grade


def _batches(cases: Iterator[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    batch: list[tuple[str, str, str]] = []
    characters = 0
    for case in cases:
        batch.append(case)
        characters += len(case[1]) + len(case[2])
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
