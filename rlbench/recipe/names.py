"""The names that a recipe, its plan, its samples and its report have in common: rows, splits, decodings, the mean.

A literal such as "base" or "greedy" stands here once. Which of several decodings is the main one is said here too, for
whoever has to choose by it (checkpoints, before the test sets are read) and whoever reports it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

BASE = "base"  # the row of the untrained model, and as a ``checkpoint`` that model once more
MINIATURE = "miniature"  # the model that a stage of the graph trains, one a seed
AVERAGE = "avg"  # the mean over benchmarks, as a benchmark's name in tables
TEST: Final = "test"  # the split that is reported
DEVELOPMENT: Final = "development"  # the split that choices are made on
GREEDY = "greedy"  # the decoding without sampling; all others are "t" and a temperature
MAIN_TEMPERATURE = 1.0


def temperature_of(decoding: str) -> float:
    """The temperature of a decoding's name: 0 for ``greedy``, 0.7 for ``t0.7``.

    Raises:
        ValueError: the name is neither.
    """
    if decoding == GREEDY:
        return 0.0
    try:
        if re.fullmatch(r"t\d*\.?\d+", decoding) and float(decoding[1:]) > 0:
            return float(decoding[1:])
    except ValueError:
        pass
    raise ValueError(f"decoding {decoding!r} is neither 'greedy' nor 't' and a temperature above 0, such as 't1.0'")


def main_decoding(decodings: Sequence[str]) -> str:
    """The decoding of the main table, under which checkpoints are chosen and rows compared: that at temperature 1
    where there is one, as training samples at it, and else the first that is named. Empty where there is none at all.
    """
    return next((name for name in decodings if temperature_of(name) == MAIN_TEMPERATURE), next(iter(decodings), ""))
