"""What a problem's K graded samples say about a model: avg@k, pass@k, maj@k. Pure numpy; fractions in [0, 1], one
number a problem.

Suffixes: P problems, K samples of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def avg_at_k(correct_PK: ArrayLike) -> Floats:
    """The share of correct samples of each problem: its expected score under one draw. [..., K] -> [...]"""
    correct = np.asarray(correct_PK, dtype=np.float64)
    if correct.ndim == 0 or correct.shape[-1] == 0:
        raise ValueError("avg@k needs at least one sample a problem")
    return correct.mean(axis=-1)


def pass_at_k(n_correct: ArrayLike, n_samples: ArrayLike, k: int) -> Floats:
    """The unbiased estimate of the chance that at least one of k fresh samples is correct: 1 - C(n - c, k) / C(n, k).

    Chen et al. 2021, eq. 1 (arXiv:2107.03374), as a running product of ratios, so that no binomial overflows. With k =
    n it is whether any sample was correct.

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
    """Whether the answer given most often is correct, for each problem. [P, K] -> [P]

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
