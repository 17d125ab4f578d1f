"""Error bars: what a mean over problems and training seeds would be worth if both were drawn again.

**Estimand.** The score of the *recipe* on the *kind of problem*: training seeds and problems are both taken as samples, crossed
with each other (every seed answers every problem), the K samples of a problem nested in them. An interval that covers new seeds
but the same problems, or the reverse, is narrower and answers a question that nobody asked. Benchmarks are fixed: ``avg`` is a
mean over these benchmarks and no others.

**Model.** Y[s, p] = mu + seed[s] + problem[p] + interaction[s, p], a two-way random-effects layout with one value a cell; the
noise of K samples is part of the interaction. The variance of the mean over S seeds and P problems is estimated from the
mean squares by the method of moments (Cornfield & Tukey 1956; Searle, Casella & McCulloch 1992, ch. 4):

    Var = (MS_seed + MS_problem - MS_interaction) / (S P)

Neither of the first two terms is allowed below the third, which bounds the components from below by 0. Degrees of freedom are
Satterthwaite's (1946). For the unweighted mean over B benchmarks the seed term is the variance of the benchmark-averaged score over
seeds (a seed is shared by all benchmarks, so its effects are correlated and must not be averaged away); the problem and the
interaction terms are sums over benchmarks with weights 1 / B squared.

In simulations with 30 to 500 problems and 16 samples, 95 % intervals held the truth 93 to 96 % of the time with five or eight seeds, 90 to
96 % with three, and 85 to 96 % with two; least where training noise is much larger than problem noise.

With one seed, or one model that serves all seeds, nothing can be said of training noise: the interval covers new problems only and
``Estimate.includes_training_noise`` is False.

**Degenerate data.** When no variance is seen (every problem right, or every problem wrong) the truth is not certain; the interval is
Wilson's (1927) at the observed mean, a problem counting as one observation. With one problem in a benchmark there is no interval.

Suffixes: S seeds, P problems. Scores are in percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
# Below this share of the scale a variance is the rounding of equal numbers.
_ROUNDING = 1e-20


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval. ``low`` and ``high`` are NaN where there is none (``method`` is then "none").

    The three variances are the terms of the variance of the *mean*, in percent squared: ``seed_variance + problem_variance +
    interaction_variance == standard_error ** 2``, each the part that more seeds, more problems, or more of either would reduce.
    ``p_value`` is of a difference against 0, two-sided; NaN for a score.
    """

    mean: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    n_seeds: int
    n_problems: int
    includes_training_noise: bool
    method: Literal["t", "wilson", "none"]
    p_value: float
    seed_variance: float
    problem_variance: float
    interaction_variance: float


def mean_interval(strata: Sequence[ArrayLike], *, level: float = 0.95, bounds: tuple[float, float] = (0.0, 100.0)) -> Estimate:
    """The mean of the benchmarks' means, each counting the same, with its interval.

    Args:
        strata: one matrix [S, P_b] a benchmark, of each seed's mean score on each problem; the same seeds in the same order.
        level: the interval's confidence.
        bounds: the scale's ends; the interval is cut there. A lower end below 0 says that these are differences.

    Raises:
        ValueError: no benchmark, an empty or incomplete matrix, or unequal numbers of seeds.
    """
    matrices = _checked(strata)
    n_seeds, n_problems = matrices[0].shape[0], sum(m.shape[1] for m in matrices)
    mean = float(np.mean([m.mean() for m in matrices]))
    seed, problem, interaction, freedom = _variances(matrices)
    variance = seed + problem + interaction
    signed = bounds[0] < 0
    if math.isnan(variance):
        method, (low, high, p_value) = "none", (math.nan,) * 3
    elif variance <= _ROUNDING * (bounds[1] - bounds[0]) ** 2:
        variance, freedom = 0.0, math.nan
        method, (low, high, p_value) = "wilson", _without_variance(mean, matrices, level, bounds)
    else:
        half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(variance)
        p = float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), freedom)) if signed else math.nan
        method, (low, high, p_value) = "t", (max(bounds[0], mean - half), min(bounds[1], mean + half), p)
    return Estimate(
        mean, low, high, math.sqrt(variance), freedom, n_seeds, n_problems, n_seeds > 1, method, p_value, seed, problem, interaction
    )  # fmt: skip


def paired_difference(a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, level: float = 0.95) -> Estimate:
    """The mean of a - b on the same problems and seeds, with its interval: the difference matrix through ``mean_interval``.

    What the two share (hard problems, a lucky base, common random numbers) cancels, so this is sharper than two intervals side by side.
    A model that serves all seeds comes with one row, [1, P_b], and is compared with each seed of the other.

    Raises:
        ValueError: the benchmarks or problems differ in number, or the seeds do and neither side has one row.
    """
    left, right = _checked(a), _checked(b)
    if len(left) != len(right):
        raise ValueError(f"a has {len(left)} benchmarks and b {len(right)}")
    for x, y in zip(left, right, strict=True):
        if x.shape[1] != y.shape[1] or (x.shape[0] != y.shape[0] and 1 not in (x.shape[0], y.shape[0])):
            raise ValueError(f"a is {x.shape} seeds by problems and b is {y.shape}: they must be on the same")
    return mean_interval([x - y for x, y in zip(left, right, strict=True)], level=level, bounds=(-100.0, 100.0))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjustment: the family's error is held whatever the dependence. NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else []
    return adjusted


def _checked(strata: Sequence[ArrayLike]) -> list[Floats]:
    matrices = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if not matrices:
        raise ValueError("no benchmark to take a mean over")
    if any(m.ndim != 2 or m.size == 0 or not np.isfinite(m).all() for m in matrices):
        raise ValueError("scores must be full matrices [S, P] of finite numbers")
    if len({m.shape[0] for m in matrices}) != 1:
        raise ValueError("all benchmarks must have the same seeds")
    return matrices


def _variances(matrices: list[Floats]) -> tuple[float, float, float, float]:
    """The seed, problem and interaction terms of the mean's variance, and Satterthwaite's degrees of freedom; NaN with a lone problem."""
    if min(m.shape[1] for m in matrices) < 2:
        return (math.nan,) * 4
    n_seeds, weight = matrices[0].shape[0], 1 / len(matrices)
    problem_terms = [weight**2 * m.mean(axis=0).var(ddof=1) / m.shape[1] for m in matrices]
    problem_freedoms = [m.shape[1] - 1 for m in matrices]
    if n_seeds == 1:
        return 0.0, sum(problem_terms), 0.0, _satterthwaite(problem_terms, problem_freedoms, sum(problem_terms))
    seed_term = float(np.mean([m.mean(axis=1) for m in matrices], axis=0).var(ddof=1)) / n_seeds
    noise_terms, noise_freedoms = [], []
    for m in matrices:
        residual = m - m.mean(axis=0) - m.mean(axis=1, keepdims=True) + m.mean()
        noise_freedoms.append((n_seeds - 1) * (m.shape[1] - 1))
        noise_terms.append(weight**2 * float((residual**2).sum()) / noise_freedoms[-1] / m.size)
    noise = sum(noise_terms)
    seed, problem = max(seed_term - noise, 0.0), max(sum(problem_terms) - noise, 0.0)
    terms, freedoms = [seed_term, *problem_terms, *noise_terms], [n_seeds - 1, *problem_freedoms, *noise_freedoms]
    freedom = _satterthwaite(terms, freedoms, seed + problem + noise)
    return seed, problem, noise, freedom


def _satterthwaite(terms: Sequence[float], freedoms: Sequence[int], total: float) -> float:
    """Degrees of freedom of ``total``, a sum of mean squares with either sign: total^2 / sum(term^2 / freedom)."""
    spread = sum(term**2 / freedom for term, freedom in zip(terms, freedoms, strict=True))
    return total**2 / spread if spread > 0 else math.inf


def _without_variance(mean: float, matrices: list[Floats], level: float, bounds: tuple[float, float]) -> tuple[float, float, float]:
    """Wilson's score interval at ``mean`` where no variance was seen, and the p-value that goes with it.

    A problem is one observation, however many samples and seeds answered it; a mean over benchmarks is worth
    1 / sum(w_b^2 / P_b) of them. A score is read as a share of the scale. A difference is read as a constant to which problems unlike
    all those seen could add at most the upper limit of a share of 0, z^2 / (n + z^2).
    """
    n = 1 / sum(1 / len(matrices) ** 2 / m.shape[1] for m in matrices)
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    least, width = bounds[0], bounds[1] - bounds[0]
    if least < 0:
        half = z2 / (n + z2) * width / 2
        seen = min(1.0, abs(mean) / (width / 2))
        p = 0.0 if seen == 1 else float(2 * stats.norm.sf(math.sqrt(n * seen / (1 - seen))))
        return max(bounds[0], mean - half), min(bounds[1], mean + half), p
    share = (mean - least) / width
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return least + width * max(0.0, centre - half), least + width * min(1.0, centre + half), math.nan
