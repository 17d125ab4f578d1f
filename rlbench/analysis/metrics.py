"""Metrics: numbers that a problem's K graded samples give, and the list of those that stand beside a score.

``METRICS`` is the one place to extend: an entry has a column in ``metrics.csv`` and in the frames, a column in the main
tables of report, page and terminal, and its words in the note below them. Pure numpy.

Suffixes: S seeds, P problems, K samples of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
UNGRADED = ("timeout", "error")
"""Verdicts of samples on which the grader hit its limits or failed; they count as not correct."""


@dataclass(frozen=True)
class GradedSamples:
    """The samples of one cell, arrays [S, P, K]: text where the name says so, ``answer`` None where none was read."""

    verdict: NDArray[np.object_]
    answer: NDArray[np.object_]
    finish_reason: NDArray[np.object_]
    n_tokens: Floats

    @property
    def correct(self) -> Floats:
        """1 where the verdict is correct, else 0. [S, P, K]"""
        return (self.verdict == "correct").astype(np.float64)


@dataclass(frozen=True)
class Metric:
    """A number beside the score, a mean over problems, seeds and benchmarks as the score is.

    Attributes:
        column: its name in ``metrics.csv`` and in the frames.
        heading: the same in the main table; "{k}" becomes the number of samples.
        note: its words in the note below that table.
        of: from a cell's samples to one number for each seed and problem, [S, P]; a share of 1 where ``percent`` is
            set.
        percent: shown times 100, and said to be in percent; otherwise ``note`` names the unit.
        in_summary: whether ``summary.csv`` has it too, whose columns are a stable interface.
    """

    column: str
    heading: str
    note: str
    of: Callable[[GradedSamples], Floats]
    percent: bool = True
    in_summary: bool = False


def avg_at_k(correct_PK: ArrayLike) -> Floats:
    """The share of correct samples of each problem: its expected score under one draw. [..., K] -> [...]"""
    correct = np.asarray(correct_PK, dtype=np.float64)
    if correct.ndim == 0 or correct.shape[-1] == 0:
        raise ValueError("avg@k needs at least one sample a problem")
    return correct.mean(axis=-1)


def pass_at_k(n_correct: ArrayLike, n_samples: ArrayLike, k: int) -> Floats:
    """The unbiased estimate of the chance that at least one of k fresh samples is correct: 1 - C(n - c, k) / C(n, k).

    Chen et al. 2021, eq. 1 (arXiv:2107.03374), as a running product of ratios, so that no binomial overflows. With k =
    n it is 1 where any sample was correct, else 0.

    Args:
        n_correct: c, correct samples of each problem.
        n_samples: n, all samples of each problem, broadcast against ``n_correct``.
        k: samples allowed, 1 <= k <= n.
    """
    c, n = np.broadcast_arrays(np.asarray(n_correct, dtype=np.int64), np.asarray(n_samples, dtype=np.int64))
    if k < 1 or (n < k).any():
        raise ValueError(f"pass@{k} needs k of at least 1 and at least k samples a problem")
    if (c < 0).any() or (c > n).any():
        raise ValueError("more correct samples than samples, or fewer than none")
    drawn = np.arange(k)
    ratios = np.clip((n - c)[..., None] - drawn, 0, None) / (n[..., None] - drawn)
    return 1.0 - ratios.prod(axis=-1)


def maj_at_k(answers_PK: Sequence[Sequence[str | None]], correct_PK: ArrayLike) -> Floats:
    """1 where the answer given most often is correct, else 0. [P, K] -> [P]

    Answers are the same when their text is the same. ``None`` (nothing could be read) never votes; a problem without a
    vote scores 0. Where several answers lead, the score is the share of them that is correct: the mean over random
    tie-breaks.
    """
    correct = np.asarray(correct_PK, dtype=np.float64)
    if correct.ndim != 2 or correct.shape != (len(answers_PK), len(answers_PK[0]) if answers_PK else 0):
        raise ValueError(
            f"answers and verdicts must be the same [P, K], not {len(answers_PK)} problems and {correct.shape}"
        )
    return np.array(
        [_majority(answers, row) for answers, row in zip(answers_PK, correct, strict=True)], dtype=np.float64
    )


def _majority(answers: Sequence[str | None], correct: Floats) -> float:
    votes: dict[str, list[float]] = {}
    for answer, verdict in zip(answers, correct, strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(float(verdict))
    if not votes:
        return 0.0
    most = max(map(len, votes.values()))
    # One text has one verdict unless a grader timed out on one of its copies; the mean then says how often it passed.
    return float(np.mean([np.mean(given) for given in votes.values() if len(given) == most]))


def _share(matches: Callable[[GradedSamples], NDArray[np.bool_]]) -> Callable[[GradedSamples], Floats]:
    """The share of a problem's samples for which ``matches`` holds. [S, P, K] -> [S, P]"""
    return lambda samples: matches(samples).mean(axis=-1)


def _pass(samples: GradedSamples) -> Floats:
    n_correct, k = samples.correct.sum(axis=-1), samples.verdict.shape[-1]
    return pass_at_k(n_correct, np.full(n_correct.shape, k), k)


def _majorities(samples: GradedSamples) -> Floats:
    n_seeds, n_problems, k = samples.answer.shape
    flat = maj_at_k(samples.answer.reshape(-1, k).tolist(), samples.correct.reshape(-1, k))
    return flat.reshape(n_seeds, n_problems)


LENGTH = Metric(
    column="n_tokens",
    heading="length",
    note="length in tokens",
    of=lambda samples: samples.n_tokens.mean(axis=-1),
    percent=False,
)
METRICS: tuple[Metric, ...] = (
    Metric(
        column="pass_at_k",
        heading="pass@{k}",
        note="pass: any of the samples correct",
        of=_pass,
        in_summary=True,
    ),
    Metric(
        column="maj_at_k",
        heading="maj@{k}",
        note="maj: the answer given most often",
        of=_majorities,
    ),
    Metric(
        column="truncation_rate",
        heading="cut off",
        note="cut off: outputs that hit the token limit",
        of=_share(lambda samples: samples.finish_reason == "length"),
        in_summary=True,
    ),
    Metric(
        column="unparsed_rate",
        heading="unparsed",
        note="unparsed: without an answer that can be read",
        of=_share(lambda samples: samples.verdict == "unparsed"),
        in_summary=True,
    ),
    Metric(
        column="ungraded_rate",
        heading="ungraded",
        note="ungraded: the grader hit its limits or failed, counted as not correct",
        of=_share(lambda samples: np.isin(samples.verdict, UNGRADED)),
    ),
    LENGTH,
)
"""In the order of the main table's columns; where there is no room the last is left out first."""
