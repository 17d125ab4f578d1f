r"""Whether an answer equals the gold: by arithmetic where both are plain numbers, by math-verify otherwise.

Conventions of this grader, whose name in the tables is ``math-verify``:

- An output's answer is its last box (``rlbench.boxed``); text outside boxes is never read, so an output without one is
  ``unparsed``, and so is one whose box holds more than ``MAX_ANSWER`` characters (or the gold's length, if that is more): no
  answer is that long, and parsers of LaTeX need more than linear time.
- The gold is read from inside a box of its own, exactly as the answer is. A bare LaTeX gold is often not found by math-verify's
  extraction, and then differs from its own copy.
- math-verify's tolerance holds: values that agree when rounded to 6 decimals are equal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from rlbench.boxed import last_boxed
from rlbench.records import Verdict

NAME = "math-verify"
MAX_ANSWER = 2000

_PLAIN = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(\.[0-9]+)?")
# Nearer than this, relative to the gold, math-verify's rounding is left to decide.
_CLOSE = Decimal("1e-4")


def extract_answer(output: str, longest: int = MAX_ANSWER) -> str | None:
    r"""The content of the output's last box, or None where it has none, or one of more than ``longest`` characters."""
    answer = last_boxed(output)
    return None if answer is None or len(answer) > longest else answer


def grade_plain(gold: str, answer: str) -> Verdict | None:
    """The verdict where both are plain integers or decimals (``-1,234.50``, ``$7$``); None where math-verify has to decide.

    Commas count only as consistent thousands separators: ``1,22`` and ``1,2345`` are not plain.
    """
    if (left := _number(gold)) is None or (right := _number(answer)) is None:
        return None
    if left == right:
        return "correct"
    if isinstance(left, int) and isinstance(right, int):
        return "wrong"
    return None if abs(Decimal(left) - Decimal(right)) <= _CLOSE * max(1, abs(Decimal(left))) else "wrong"


@lru_cache(maxsize=65536)
def _number(text: str) -> int | Decimal | None:
    text = text.strip().strip("$").strip()
    match = _PLAIN.fullmatch(text)
    if match is None or len(text) > 300:
        return None
    text = text.replace(",", "")
    return int(text) if match.group(1) is None else Decimal(text)


def grade_parsed(gold: str, answer: str) -> Verdict:
    r"""The verdict of math-verify on an answer; unbounded in time and memory, so to be called where it can be killed.

    ``unparsed`` where the gold is an expression and the answer cannot be read as one.

    Raises:
        MemoryError: the limit of the process was reached.
    """
    from math_verify import verify

    left, right = _parse(gold), _parse(answer)
    if any(verify(g, a, timeout_seconds=None) for g in left for a in right):
        return "correct"
    return "unparsed" if not _expressions(right) and _expressions(left) else "wrong"


@lru_cache(maxsize=256)
def _parse(text: str) -> tuple[Any, ...]:
    r"""What math-verify reads in ``\boxed{text}``: expressions, then the text itself as it normalises it."""
    return tuple(_parser()(f"\\boxed{{{text}}}"))


def _expressions(parsed: tuple[Any, ...]) -> bool:
    return any(not isinstance(part, str) for part in parsed)


@lru_cache(maxsize=1)
def _parser() -> Callable[[str], list[Any]]:
    from math_verify import parse

    # It warns once a process that its time-outs are off. They are signals, which fail in threads and do not stop a power tower.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return lambda text: parse(text, parsing_timeout=None)
