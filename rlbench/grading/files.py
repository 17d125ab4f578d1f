"""Grading of a file of anybody's outputs: JSON lines ``{id, gold, output}``, of which only a batch is in memory at any
time.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from rlbench.grading.golds import broken_command, gold_of
from rlbench.grading.pool import Graded, Grader
from rlbench.jsonl import Identities, Row, read_rows
from rlbench.records import UserError

STANDARD_INPUT = Path("-")
_EXAMPLE = '{"id": "1", "gold": "2", "output": "... \\\\boxed{2}"}'
_LOST_BOX = "\boxed{"  # a backspace, and no box
_BATCH, _BATCH_CHARACTERS = 512, 4_000_000  # whichever is reached first

Case = tuple[str, str, str]  # id, gold, output
Tell = Callable[[str], None]


def _silent(_: str) -> None:
    pass


def read_cases(path: Path, tell: Tell = _silent) -> Iterator[Case]:
    """The (id, gold, output) of each line; ``-`` is standard input, blank lines are skipped, other keys do not matter.

    A number as id or gold is the text that it is written as, and a gold in GSM8K's form is its answer. An output may
    hold anything, half of a surrogate pair too.

    Args:
        path: of the file.
        tell: is called once, with the first output in which the backslash of a box was lost on its way into the file;
            a model may have written even that, so it is no reason to refuse it.

    Raises:
        UserError: the file cannot be read, is empty or no JSON lines, or a line of it lacks a key, has a value there
            that cannot be what was meant, or repeats an id; names file, line and key.
    """
    seen = Identities()
    with _opened(path) as (stream, name):
        for row in read_rows(stream, name, _EXAMPLE):
            case = _case(row)
            seen.add(case[0], row)
            if _LOST_BOX in case[2]:
                tell(f"{row.where}: `output` {broken_command(case[2], 'b')}; such outputs are graded as they stand")
                tell = _silent
            yield case


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise UserError("standard input is closed; give a file")
        yield sys.stdin.buffer, "standard input"
        return
    try:
        with path.open("rb") as file:
            yield file, str(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def _case(row: Row) -> Case:
    row.require(("id", "gold", "output"), _EXAMPLE)
    identity = row.text("id", numbers=True, surrogates=True)
    return identity, gold_of(row, "gold"), row.text("output", empty=True, surrogates=True)


def grade_file(path: Path, grader: Grader, tell: Tell = _silent) -> Iterator[tuple[str, Graded]]:
    """The id and the grade of each line, in the file's order.

    The whole file is checked before anything is graded, where it can be read twice. Standard input and pipes cannot:
    what stands before a bad line is graded, and then it is refused.

    Raises:
        UserError: see ``read_cases``.
    """
    if path.is_file():
        for _ in read_cases(path, tell):
            pass
        tell = _silent
    for batch in _batches(read_cases(path, tell)):
        grades = grader.grade([(gold, output) for _, gold, output in batch])
        for (name, _, _), grade in zip(batch, grades, strict=True):
            yield name, grade


def line_of(identity: str, graded: Graded) -> str:
    r"""A grade as one line: id, verdict and answer with tabs between.

    The id is written as within a JSON string, so that ``json.loads(f'"{field}"')`` gives it back whatever it holds. The
    answer is for reading: runs of space are one, and what cannot be printed is its escape.
    """
    printed = "".join(_escaped(c) for c in json.dumps(identity, ensure_ascii=False)[1:-1])
    answer = "".join(_escaped(c) for c in " ".join((graded.answer or "").split()))
    return f"{printed}\t{graded.verdict}\t{answer}"


def _escaped(character: str) -> str:
    if character == " " or character.isprintable():
        return character
    return json.dumps(character)[1:-1]


def _batches(cases: Iterator[Case]) -> Iterator[list[Case]]:
    batch: list[Case] = []
    characters = 0
    refused: UserError | None = None
    try:
        for case in cases:
            batch.append(case)
            characters += len(case[1]) + len(case[2])
            if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    except UserError as error:
        refused = error
    if batch:
        yield batch
    if refused is not None:
        raise refused
