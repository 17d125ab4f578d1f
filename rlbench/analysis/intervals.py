"""Error bars: what a mean over problems and training seeds would be worth if they were drawn again.

**Estimand.** Training seeds and problems are both taken as samples, crossed with each other (every seed answers every
problem), the K samples of a problem nested in them. ``estimand`` says which of them a repetition would draw anew:

- "seeds and problems", the default: the score of the *recipe* on the *kind of problem*;
- "problems": the score of these very models on the kind of problem;
- "seeds": the score of the recipe on these very problems.

The last two are narrower and answer narrower questions. Benchmarks are fixed: ``avg`` is a mean over these benchmarks
and no others.

**Model.** Y[s, p] = mu + seed[s] + problem[p] + interaction[s, p], a two-way random-effects layout with one value a
cell; the noise of K samples is part of the interaction. With A, B and E the mean squares of seeds, problems and
interaction over S P, each thus on the scale of the mean's variance (Cornfield & Tukey 1956; Searle, Casella & McCulloch
1992, ch. 4):

    seeds and problems: Var = A + (B - E)        problems: Var = B        seeds: Var = A

For the unweighted mean over benchmarks A is the variance of the benchmark-averaged score over seeds (a seed is shared
by all benchmarks, so its effects are correlated and must not be averaged away); B and E are sums over benchmarks, each
over their number squared.

**Reference distribution.** A and B - E are two independent variances, and A has S - 1 degrees of freedom: with two or
three seeds Satterthwaite's (1946) single t takes an A that is small by chance at its word and is too narrow. The
deviation is instead referred to the sum that Behrens (1929) and Fisher (1935) gave for two means of unequal variance,
here

    T = sqrt(A) t[S - 1] + sqrt(B - E) t'

which, for normal effects, is exact where A is all of the variance or none of it, and errs to the wide side between
(Robinson 1976). Given the chi-square W of A the sum is one t of variance v = A (S - 1) / W + (B - E), with
Satterthwaite's degrees of freedom for that (and no fewer than those of B), so its tail is a mean over W, by
Gauss-Legendre quadrature. v is never taken below E / 4: two seeds that agree to the last sample are luck, as the
samples within them show.

B has P - 1 degrees of freedom, or fewer where problems are further from normal than their number makes good: the
variance of a sample variance is sigma^4 (2 / (P - 1) + excess / P), and a benchmark on which a few problems give all
the score has a large excess kurtosis.

**Scale.** A problem's score varies by mu (1 - mu) at a given intraclass correlation, so a score's interval holds those
mu that a test at mu with B - E scaled to mu does not reject: Wilson's (1927) interval, with the effective number of
problems that the variance shows. It leans away from the nearer end of the scale, as a skew sample of 30 hard problems
demands. Over benchmarks the deviation is shared out as their variances are. Differences are symmetric.

``rlbench bench statistics`` simulates coverage and false positives; docs/decisions/one-interval.md has its table.

With one seed, or one model that serves all seeds, nothing can be said of training noise: the interval is for new
problems only, ``Estimate.estimand`` is "problems" and ``Estimate.includes_training_noise`` False.

**Degenerate data.** When no variance is seen (every problem right, or every problem wrong) the truth is not certain;
the interval is Wilson's at the observed mean, a problem counting as one observation (a seed, where seeds are what is
drawn). With one problem in a benchmark there is no interval, nor for new seeds with one seed.

Suffixes: B benchmarks, S seeds, P problems. Scores are in percent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]
Estimand = Literal["seeds and problems", "problems", "seeds"]
Verdict = Literal["better", "worse", "tied", "underpowered"]

# A difference below this many points changes nobody's choice of objective.
MARGIN = 1.0
# Variance components of a paired difference between two objectives on one benchmark, as standard deviations in points:
# what a plan is judged by before anything has run. Medians by the method of moments over the 4,515 pairs of rows and
# benchmarks of the miniature's recipes/objective_zoo.toml (two seeds, 100 problems in each of five sets, 16 samples at
# temperature 1), rounded. Of the pairs' seed components the middle half lies between 0 and 6.6: a plan's figure is an
# order of magnitude, and other models differ.
SEED_SD, PROBLEM_SD, INTERACTION_SD = 2.5, 5.0, 11.0

SCORE, DIFFERENCE = (0.0, 100.0), (-100.0, 100.0)
# Below this share of the scale a variance is the rounding of equal numbers.
_ROUNDING = 1e-20
_NODES = 64


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval. ``low`` and ``high`` are NaN where there is none (``method`` is then "none").

    ``estimand`` says what a repetition would draw anew. The three variances are the terms of the variance of the
    *mean*, in percent
    squared: ``seed_variance + problem_variance + interaction_variance == standard_error ** 2``, each the part that more
    seeds, more problems, or more of either would reduce. ``degrees_of_freedom`` are those of the t that has the
    reference distribution's critical value at the interval's level. ``p_value`` is of a difference against 0,
    two-sided; NaN for a score.
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
    estimand: Estimand = "seeds and problems"


class MeanSquares(NamedTuple):
    """Mean squares of two-way layouts, on the scale of the mean's variance; any number of layouts of one shape at once.

    ``means``, ``problem``, ``noise`` and ``problem_freedom``, the degrees of freedom of ``problem``, are [..., B],
    ``seed`` is [...] and ``noise_freedom`` [B]. With one seed ``seed`` and ``noise`` are 0.
    """

    means: Floats
    seed: Floats
    problem: Floats
    noise: Floats
    n_seeds: int
    problem_freedom: Floats
    noise_freedom: Floats

    @property
    def mean(self) -> Floats:
        return self.means.mean(axis=-1)


def mean_squares(benchmark_cells: Sequence[Floats]) -> MeanSquares:
    """The mean squares of ``benchmark_cells``, one array [..., S, P_b] a benchmark, at least two problems in each."""
    n_seeds, weight = benchmark_cells[0].shape[-2], 1 / len(benchmark_cells)
    sizes = np.array([m.shape[-1] for m in benchmark_cells], dtype=np.float64)
    by_seed = [m.mean(axis=-1, keepdims=True) for m in benchmark_cells]
    by_problem = [m.mean(axis=-2, keepdims=True) for m in benchmark_cells]
    means = np.stack([m.mean(axis=(-2, -1)) for m in by_seed], axis=-1)
    problem = np.stack([weight**2 * m[..., 0, :].var(axis=-1, ddof=1) / m.shape[-1] for m in by_problem], axis=-1)
    problem_freedom = np.stack([_freedom_of_variance(m[..., 0, :]) for m in by_problem], axis=-1)
    noise_freedom = (n_seeds - 1) * (sizes - 1)
    if n_seeds == 1:
        return MeanSquares(
            means, np.zeros(means.shape[:-1]), problem, np.zeros_like(problem), 1, problem_freedom, noise_freedom
        )
    seed = np.mean(by_seed, axis=0)[..., 0].var(axis=-1, ddof=1) / n_seeds
    squares = [
        ((m - s - p + s.mean(axis=-2, keepdims=True)) ** 2).sum(axis=(-2, -1))
        for m, s, p in zip(benchmark_cells, by_seed, by_problem, strict=True)
    ]
    noise = weight**2 * np.stack(squares, axis=-1) / noise_freedom / (n_seeds * sizes)
    return MeanSquares(means, seed, problem, noise, n_seeds, problem_freedom, noise_freedom)


def _freedom_of_variance(values: Floats) -> Floats:
    """Of the sample variance over the last axis: twice its square over its own variance, and at most P - 1."""
    count = values.shape[-1]
    squares = (values - values.mean(axis=-1, keepdims=True)) ** 2
    excess = _ratio((squares**2).mean(axis=-1), squares.mean(axis=-1) ** 2, 3.0) - 3
    return 2 / (2 / (count - 1) + np.maximum(excess, 0.0) / count)


def components(of: MeanSquares, estimand: Estimand = "seeds and problems") -> tuple[Floats, Floats, Floats]:
    """The seed, problem and interaction terms of the mean's variance, each [...]; none is below 0, and their sum is
    below E / 4 nowhere.
    """
    a, b, e = of.seed, of.problem.sum(axis=-1), of.noise.sum(axis=-1)
    seed = np.maximum(a - e, 0.0) if estimand != "problems" else np.zeros_like(a)
    problem = np.maximum(b - e, 0.0) if estimand != "seeds" else np.zeros_like(b)
    total = {"seeds and problems": a + np.maximum(b - e, 0.0), "problems": b, "seeds": a}[estimand]
    return seed, problem, np.maximum(total, e / 4) - seed - problem


def tail(
    of: MeanSquares,
    value: ArrayLike,
    *,
    estimand: Estimand = "seeds and problems",
    bounds: tuple[float, float] | None = None,
) -> Floats:
    """How often chance moves the mean further from ``value`` than it is: the two-sided p-value of ``value``, [...].

    With ``bounds`` the variance over problems is scaled to ``value`` (see "Scale"), and without it is taken as it is.
    The interval of level L is the set of values whose tail is at least 1 - L.
    """
    shift = np.asarray(value, dtype=np.float64) - of.mean
    scale = np.ones_like(of.problem) if bounds is None else _scales(of, shift, bounds)
    b, e = (of.problem * scale).sum(axis=-1), (of.noise * scale).sum(axis=-1)
    floor = of.noise.sum(axis=-1) / 4
    b_spread = ((of.problem * scale) ** 2 / of.problem_freedom).sum(axis=-1)
    b_freedom = _ratio(b**2, b_spread)
    if estimand == "problems" or of.n_seeds == 1:
        return _t_tail(shift, np.maximum(b, floor), b_freedom)
    if estimand == "seeds":
        return _t_tail(shift, np.maximum(of.seed, floor), np.full_like(b, of.n_seeds - 1))
    shares, weights = _chi_square(of.n_seeds - 1)
    variance = np.maximum(of.seed[..., None] / shares + np.maximum(b - e, 0.0)[..., None], floor[..., None])
    spread = b_spread + ((of.noise * scale) ** 2 / of.noise_freedom).sum(axis=-1)
    freedom = np.maximum(_ratio(variance**2, spread[..., None]), b_freedom[..., None])
    return _t_tail(shift[..., None], variance, freedom) @ weights


def _scales(of: MeanSquares, shift: Floats, bounds: tuple[float, float]) -> Floats:
    """By what the benchmarks' variances would differ had the mean moved by ``shift``: mu (1 - mu) there over that here,
    [..., B].
    """
    least, width = bounds[0], bounds[1] - bounds[0]
    here = np.clip((of.means - least) / width, 0.0, 1.0)
    shares = _ratio(of.problem, of.problem.sum(axis=-1, keepdims=True), 0.0) * of.means.shape[-1]
    there = np.clip(here + shift[..., None] * shares / width, 0.0, 1.0)
    return _ratio(there * (1 - there), here * (1 - here), 1.0)


def _ratio(above: Floats, below: Floats, otherwise: float = math.inf) -> Floats:
    """``above / below``, and ``otherwise`` where that has no value."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0)


def _t_tail(shift: Floats, variance: Floats, freedom: Floats) -> Floats:
    size = _ratio(np.abs(shift), np.sqrt(variance))
    size = np.where(np.broadcast_to(shift, size.shape) == 0, 0.0, size)
    # stdtr has no value at infinitely many degrees of freedom; at a million it is the normal's.
    return 2 * special.stdtr(np.minimum(freedom, 1e6), -size)


@functools.cache
def _chi_square(freedom: int) -> tuple[Floats, Floats]:
    """Nodes and weights of a mean over chi-square / freedom: Gauss-Legendre in its distribution function."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    return stats.chi2.ppf((x + 1) / 2, freedom) / freedom, w / 2


def mean_interval(
    benchmark_cells: Sequence[ArrayLike],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = SCORE,
    estimand: Estimand = "seeds and problems",
) -> Estimate:
    """The mean of the benchmarks' means, each counting the same, with its interval.

    Args:
        benchmark_cells: one matrix [S, P_b] a benchmark, of each seed's mean score on each problem; the same seeds in
            the same order.
        level: the interval's confidence.
        bounds: the scale's ends; the interval is cut there. A lower end below 0 says that these are differences.
        estimand: what a repetition would draw anew. With one seed "seeds and problems" becomes "problems".

    Raises:
        ValueError: no benchmark, an empty or incomplete matrix, unequal numbers of seeds, or an unknown estimand.
    """
    matrices = _checked(benchmark_cells)
    if estimand not in ("seeds and problems", "problems", "seeds"):
        raise ValueError(f'estimand is "seeds and problems", "problems" or "seeds", not {estimand!r}')
    n_seeds, n_problems = matrices[0].shape[0], sum(m.shape[1] for m in matrices)
    if n_seeds == 1 and estimand == "seeds and problems":
        estimand = "problems"
    if min(m.shape[1] for m in matrices) < 2 or (n_seeds == 1 and estimand == "seeds"):
        mean, nan = float(np.mean([m.mean() for m in matrices])), math.nan
        return Estimate(mean, nan, nan, nan, nan, n_seeds, n_problems, False, "none", nan, nan, nan, nan, estimand)
    of = mean_squares(matrices)
    if sum(components(of, estimand)) <= _ROUNDING * (bounds[1] - bounds[0]) ** 2:
        low, high, p_value = _without_variance(matrices, level, bounds, estimand)
        zero = 0.0, math.nan
        return Estimate(
            float(of.mean),
            low,
            high,
            *zero,
            n_seeds,
            n_problems,
            estimand != "problems",
            "wilson",
            p_value,
            0.0,
            0.0,
            0.0,
            estimand,
        )
    return _estimate(of, n_problems, level, bounds, estimand)


def _estimate(
    of: MeanSquares, n_problems: int, level: float, bounds: tuple[float, float], estimand: Estimand
) -> Estimate:
    """The interval by inversion of ``tail``, which falls to either side of the mean."""
    mean, signed = float(of.mean), bounds[0] < 0
    seed, problem, interaction = (float(part) for part in components(of, estimand))
    error = math.sqrt(seed + problem + interaction)

    def reach(towards: float, scale: tuple[float, float] | None) -> float:
        def excess(value: float) -> float:
            return float(tail(of, value, estimand=estimand, bounds=scale)) - (1 - level)

        if towards == mean or excess(towards) >= 0:
            return towards
        return float(optimize.brentq(excess, mean, towards, xtol=1e-10 * error, rtol=1e-14))

    furthest = mean + error * float(stats.t.ppf((1 + level) / 2, 1)) * 1e3
    critical = (reach(furthest, None) - mean) / error
    if signed:
        low, high = max(bounds[0], mean - critical * error), min(bounds[1], mean + critical * error)
        p_value = float(tail(of, 0.0, estimand=estimand))
    else:
        low, high, p_value = reach(bounds[0], bounds), reach(bounds[1], bounds), math.nan
    return Estimate(
        mean,
        low,
        high,
        error,
        _freedom_of(critical, level),
        of.n_seeds,
        n_problems,
        estimand != "problems",
        "t",
        p_value,
        seed,
        problem,
        interaction,
        estimand,
    )


def _freedom_of(critical: float, level: float) -> float:
    """Degrees of freedom of the t whose two-sided critical value at ``level`` this is; infinite where the normal's is
    not below.
    """
    if critical <= float(stats.norm.ppf((1 + level) / 2)) * (1 + 1e-6):
        return math.inf
    return math.exp(optimize.brentq(lambda log: float(stats.t.sf(critical, math.exp(log))) - (1 - level) / 2, -2, 15))


def paired_difference(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, level: float = 0.95, estimand: Estimand = "seeds and problems"
) -> Estimate:
    """The mean of a - b on the same problems and seeds, with its interval: the difference matrix through
    ``mean_interval``.

    What the two share (hard problems, a lucky base, common random numbers) cancels, so this is sharper than two
    intervals side by side. A model that serves all seeds comes with one row, [1, P_b], and is compared with each seed
    of the other.

    Raises:
        ValueError: the benchmarks or problems differ in number, or the seeds do and neither side has one row.
    """
    left, right = _checked(a), _checked(b)
    if len(left) != len(right):
        raise ValueError(f"a has {len(left)} benchmarks and b {len(right)}")
    for x, y in zip(left, right, strict=True):
        if x.shape[1] != y.shape[1] or (x.shape[0] != y.shape[0] and 1 not in (x.shape[0], y.shape[0])):
            raise ValueError(f"a is {x.shape} seeds by problems and b is {y.shape}: they must be on the same")
    return mean_interval(
        [x - y for x, y in zip(left, right, strict=True)], level=level, bounds=DIFFERENCE, estimand=estimand
    )


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjustment: the family's error is held whatever the dependence. NaN stays NaN and is not
    counted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else []
    return adjusted


def minimum_detectable_effect(estimate: Estimate, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference, in points, that a comparison with this standard error finds with ``power``, tested two-sided
    at 1 - ``level``.

    (t[(1 + level) / 2] + t[power]) standard errors at the estimate's degrees of freedom (Bloom 1995): a difference of
    this size or more is significant in so large a share of repetitions. One comparison, before Holm's correction: pass
    a higher ``level`` for a table of many. NaN where no variance was estimated.
    """
    freedom = estimate.degrees_of_freedom
    quantiles = (
        stats.norm.ppf([(1 + level) / 2, power])
        if math.isinf(freedom)
        else stats.t.ppf([(1 + level) / 2, power], freedom)
    )
    return float(quantiles.sum()) * estimate.standard_error


def expected_effect(
    n_seeds: int,
    n_problems: int | Sequence[int],
    *,
    samples: int = 16,
    solve_rate: float = 0.5,
    seed_sd: float = SEED_SD,
    problem_sd: float = PROBLEM_SD,
    interaction_sd: float = INTERACTION_SD,
    power: float = 0.8,
    level: float = 0.95,
) -> float:
    """The minimum detectable effect of a plan, in points, before anything has run: that of a comparison whose mean
    squares are as expected.

    Args:
        n_seeds: training seeds of both methods. With one the figure has no training noise in it, and is for these two
            models.
        n_problems: problems of the benchmark, or of each benchmark of an average.
        samples: K, answers to a problem by either method.
        solve_rate: share of problems that are solved; the sampling variance of a difference in one cell is at most
            2 * 100^2 * solve_rate * (1 - solve_rate) / K, which is what is assumed.
        seed_sd: standard deviation over seeds of the true difference in the mean score.
        problem_sd: that over problems of the difference, averaged over seeds.
        interaction_sd: that of what is neither, but is not sampling.
        power, level: as of ``minimum_detectable_effect``.

    Raises:
        ValueError: no seed, fewer than two problems, or no sample.
    """
    sizes = np.atleast_1d(np.asarray(n_problems, dtype=np.float64))
    if n_seeds < 1 or samples < 1 or sizes.size == 0 or sizes.min() < 2:
        raise ValueError("a plan needs a seed, a sample and two problems in every benchmark")
    weight = 1 / len(sizes)
    cell = interaction_sd**2 + 2 * 100**2 * solve_rate * (1 - solve_rate) / samples
    noise = weight**2 * cell / (n_seeds * sizes)
    problem, seed = weight**2 * problem_sd**2 / sizes + noise, np.asarray(seed_sd**2 / n_seeds + noise.sum())
    alone = n_seeds == 1
    of = MeanSquares(
        np.zeros_like(sizes),
        0 * seed if alone else seed,
        problem,
        0 * noise if alone else noise,
        n_seeds,
        sizes - 1,
        (n_seeds - 1) * (sizes - 1),
    )
    expected = _estimate(of, int(sizes.sum()), level, DIFFERENCE, "problems" if alone else "seeds and problems")
    return minimum_detectable_effect(expected, power=power, level=level)


def verdict(estimate: Estimate, *, adjusted_p: float, margin: float = MARGIN, level: float = 0.95) -> Verdict:
    """What a comparison has shown, in the order in which it is asked.

    - "better", "worse": ``adjusted_p`` (Holm's, over the table's comparisons) is below 1 - ``level``; the sign is the
    mean's. However
      small: a difference within the margin can be significant.
    - "tied": two one-sided tests (Schuirmann 1987) at 1 - ``level`` put the difference within -``margin`` and
      ``margin`` points, which is to say that the interval of level 2 ``level`` - 1 (90 %) lies within them. Not
      corrected for the number of rows. Where no variance was seen it is the estimate's own interval that must.
    - "underpowered": neither. These data cannot tell, which is not to say that there is no difference.

    Raises:
        ValueError: ``adjusted_p`` is NaN (there is no comparison to judge), or ``margin`` is negative.
    """
    if math.isnan(adjusted_p) or margin < 0:
        raise ValueError("a verdict needs a p-value, and a margin of at least 0")
    if adjusted_p < 1 - level:
        return "better" if estimate.mean > 0 else "worse"
    low, high, freedom = estimate.low, estimate.high, estimate.degrees_of_freedom
    if estimate.standard_error > 0:
        half = (
            float(stats.norm.ppf(level) if math.isinf(freedom) else stats.t.ppf(level, freedom))
            * estimate.standard_error
        )
        low, high = estimate.mean - half, estimate.mean + half
    return "tied" if -margin <= low and high <= margin else "underpowered"


def _checked(benchmark_cells: Sequence[ArrayLike]) -> list[Floats]:
    matrices = [np.asarray(cell, dtype=np.float64) for cell in benchmark_cells]
    if not matrices:
        raise ValueError("no benchmark to take a mean over")
    if any(m.ndim != 2 or m.size == 0 or not np.isfinite(m).all() for m in matrices):
        raise ValueError("scores must be full matrices [S, P] of finite numbers")
    if len({m.shape[0] for m in matrices}) != 1:
        raise ValueError("all benchmarks must have the same seeds")
    return matrices


def _without_variance(
    matrices: Sequence[Floats], level: float, bounds: tuple[float, float], estimand: Estimand
) -> tuple[float, float, float]:
    """Wilson's score interval at the mean where no variance was seen, and the p-value that goes with it.

    A problem is one observation, however many samples and seeds answered it; a mean over benchmarks is worth 1 /
    sum(w_b^2 / P_b) of them; over these very problems a seed is one. A score is read as a share of the scale. A
    difference is read as a constant to which what was not seen could add at most the upper limit of a share of 0, z^2 /
    (n + z^2).
    """
    mean = float(np.mean([m.mean() for m in matrices]))
    n = (
        float(matrices[0].shape[0])
        if estimand == "seeds"
        else len(matrices) ** 2 / sum(1 / m.shape[1] for m in matrices)
    )
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
