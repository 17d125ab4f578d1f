"""Error bars: intervals and p-values of means over problems and training seeds, were both drawn again.

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


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its interval. Everything that needs a variance is NaN where there is none (``method`` is then
    "none").

    ``estimand`` says what a repetition would draw anew. The three variances are the terms of the variance of the
    *mean*, in percent squared: ``seed_variance + problem_variance + interaction_variance == standard_error ** 2``, each
    the part that more seeds, more problems, or more of either would reduce. ``degrees_of_freedom`` are those of the t
    that has the reference distribution's critical value at the interval's level. ``p_value`` is of a difference against
    0, two-sided; NaN for a score.
    """

    mean: float
    n_seeds: int
    n_problems: int
    includes_training_noise: bool
    method: Literal["t", "wilson", "none"]
    estimand: Estimand = "seeds and problems"
    low: float = math.nan
    high: float = math.nan
    standard_error: float = math.nan
    degrees_of_freedom: float = math.nan
    p_value: float = math.nan
    seed_variance: float = math.nan
    problem_variance: float = math.nan
    interaction_variance: float = math.nan


class MeanSquares(NamedTuple):
    """Mean squares of two-way layouts, on the scale of the mean's variance; any number of layouts of one shape at once.

    ``means_B``, ``problem_B``, ``noise_B`` and ``problem_freedom_B``, the degrees of freedom of ``problem_B``, are
    [..., B], ``seed`` is [...] and ``noise_freedom_B`` [B]. With one seed ``seed`` and ``noise_B`` are 0.
    """

    means_B: Floats
    seed: Floats
    problem_B: Floats
    noise_B: Floats
    n_seeds: int
    problem_freedom_B: Floats
    noise_freedom_B: Floats

    @property
    def mean(self) -> Floats:
        """The unweighted mean over benchmarks. [...]"""
        return self.means_B.mean(axis=-1)


def mean_squares(benchmark_cells: Sequence[Floats]) -> MeanSquares:
    """The mean squares of ``benchmark_cells``: one array [..., S, P_b] per benchmark, each of two problems or more."""
    n_seeds, weight = benchmark_cells[0].shape[-2], 1 / len(benchmark_cells)
    sizes_B = np.array([cell_SP.shape[-1] for cell_SP in benchmark_cells], dtype=np.float64)
    # Marginal means, which keep both axes so that they can be taken from the cells: [..., S, 1] and [..., 1, P_b].
    by_seed = [cell_SP.mean(axis=-1, keepdims=True) for cell_SP in benchmark_cells]
    by_problem = [cell_SP.mean(axis=-2, keepdims=True) for cell_SP in benchmark_cells]
    means_B = np.stack([mean_S.mean(axis=(-2, -1)) for mean_S in by_seed], axis=-1)
    # B: the variance of problems' means over P_b, weighted as a mean over benchmarks is.
    variances = [mean_P[..., 0, :].var(axis=-1, ddof=1) / mean_P.shape[-1] for mean_P in by_problem]
    problem_B = np.stack([weight**2 * variance for variance in variances], axis=-1)
    problem_freedom_B = np.stack([_freedom_of_variance(mean_P[..., 0, :]) for mean_P in by_problem], axis=-1)
    noise_freedom_B = (n_seeds - 1) * (sizes_B - 1)
    if n_seeds == 1:
        seed, noise_B = np.zeros(means_B.shape[:-1]), np.zeros_like(problem_B)
        return MeanSquares(means_B, seed, problem_B, noise_B, 1, problem_freedom_B, noise_freedom_B)
    # A: a seed's scores are averaged over benchmarks before their variance is taken, as it is the same seed in all.
    seed = np.mean(by_seed, axis=0)[..., 0].var(axis=-1, ddof=1) / n_seeds
    # E: what is left of a cell without its seed's and its problem's mean; the grand mean was taken off twice.
    squares = [
        ((cell_SP - mean_S - mean_P + mean_S.mean(axis=-2, keepdims=True)) ** 2).sum(axis=(-2, -1))
        for cell_SP, mean_S, mean_P in zip(benchmark_cells, by_seed, by_problem, strict=True)
    ]
    noise_B = weight**2 * np.stack(squares, axis=-1) / noise_freedom_B / (n_seeds * sizes_B)
    return MeanSquares(means_B, seed, problem_B, noise_B, n_seeds, problem_freedom_B, noise_freedom_B)


def _freedom_of_variance(values_P: Floats) -> Floats:
    """Degrees of freedom of the sample variance over the last axis: twice its square over its own variance, and at most
    P - 1. [..., P] -> [...]
    """
    count = values_P.shape[-1]
    squares_P = (values_P - values_P.mean(axis=-1, keepdims=True)) ** 2
    # Excess kurtosis, the fourth moment over the squared second less a normal's 3; where nothing varies it is 0.
    excess = _ratio((squares_P**2).mean(axis=-1), squares_P.mean(axis=-1) ** 2, 3.0) - 3
    # Var(s^2) = sigma^4 (2 / (P - 1) + excess / P). Lighter tails than a normal's give no more than P - 1.
    return 2 / (2 / (count - 1) + np.maximum(excess, 0.0) / count)


def components(squares: MeanSquares, estimand: Estimand = "seeds and problems") -> tuple[Floats, Floats, Floats]:
    """The seed, problem and interaction terms of the mean's variance, each [...]; none is below 0, and their sum is
    below E / 4 nowhere.
    """
    a, b, e = squares.seed, squares.problem_B.sum(axis=-1), squares.noise_B.sum(axis=-1)
    seed = np.maximum(a - e, 0.0) if estimand != "problems" else np.zeros_like(a)
    problem = np.maximum(b - e, 0.0) if estimand != "seeds" else np.zeros_like(b)
    total = {"seeds and problems": a + np.maximum(b - e, 0.0), "problems": b, "seeds": a}[estimand]
    # The interaction is what the two leave of the total, so that the three always add up to it.
    return seed, problem, np.maximum(total, e / 4) - seed - problem


def tail(
    squares: MeanSquares,
    value: ArrayLike,
    *,
    estimand: Estimand = "seeds and problems",
    bounds: tuple[float, float] | None = None,
) -> Floats:
    """The two-sided p-value of ``value``, [...]: how often chance moves the mean further from it than it is.

    With ``bounds`` the variance over problems is scaled to ``value`` (see "Scale"), and without it is taken as it is.
    The interval of level L is the set of values whose tail is at least 1 - L.
    """
    shift = np.asarray(value, dtype=np.float64) - squares.mean
    scale_B = np.ones_like(squares.problem_B) if bounds is None else _scales(squares, shift, bounds)
    b, e = (squares.problem_B * scale_B).sum(axis=-1), (squares.noise_B * scale_B).sum(axis=-1)
    floor = squares.noise_B.sum(axis=-1) / 4
    # Satterthwaite: a sum of mean squares has (sum)^2 / sum(square / its own freedom) degrees of freedom.
    b_spread = ((squares.problem_B * scale_B) ** 2 / squares.problem_freedom_B).sum(axis=-1)
    b_freedom = _ratio(b**2, b_spread)
    if estimand == "problems" or squares.n_seeds == 1:
        return _t_tail(shift, np.maximum(b, floor), b_freedom)
    if estimand == "seeds":
        return _t_tail(shift, np.maximum(squares.seed, floor), np.full_like(b, squares.n_seeds - 1))
    # Given W = nodes * (S - 1), the Behrens-Fisher sum is one t of variance A / nodes + (B - E); the last axis is W's.
    nodes_W, weights_W = _chi_square(squares.n_seeds - 1)
    variance_W = np.maximum(squares.seed[..., None] / nodes_W + np.maximum(b - e, 0.0)[..., None], floor[..., None])
    spread = b_spread + ((squares.noise_B * scale_B) ** 2 / squares.noise_freedom_B).sum(axis=-1)
    freedom_W = np.maximum(_ratio(variance_W**2, spread[..., None]), b_freedom[..., None])
    return _t_tail(shift[..., None], variance_W, freedom_W) @ weights_W


def _scales(squares: MeanSquares, shift: Floats, bounds: tuple[float, float]) -> Floats:
    """The factors by which the benchmarks' variances would differ had the mean moved by ``shift``: mu (1 - mu) there
    over that here, [..., B].
    """
    least, width = bounds[0], bounds[1] - bounds[0]
    here_B = np.clip((squares.means_B - least) / width, 0.0, 1.0)
    # The mean of the benchmarks' shifts is ``shift``, and each has a share of it like that of its variance.
    shares_B = _ratio(squares.problem_B, squares.problem_B.sum(axis=-1, keepdims=True), 0.0) * squares.means_B.shape[-1]
    there_B = np.clip(here_B + shift[..., None] * shares_B / width, 0.0, 1.0)
    return _ratio(there_B * (1 - there_B), here_B * (1 - here_B), 1.0)


def _ratio(above: Floats, below: Floats, otherwise: float = math.inf) -> Floats:
    """``above / below``, and ``otherwise`` where that has no value."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0)


def _t_tail(shift: Floats, variance: Floats, freedom: Floats) -> Floats:
    """The two-sided tail of a t of this variance beyond ``shift``; 1 at no shift, whatever the variance."""
    size = _ratio(np.abs(shift), np.sqrt(variance))
    size = np.where(np.broadcast_to(shift, size.shape) == 0, 0.0, size)
    # stdtr has no value at infinitely many degrees of freedom; at a million it is the normal's.
    return 2 * special.stdtr(np.minimum(freedom, 1e6), -size)


@functools.cache
def _chi_square(freedom: int) -> tuple[Floats, Floats]:
    """Nodes and weights of a mean over chi-square / freedom: Gauss-Legendre in its distribution function."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # From [-1, 1] to probabilities in [0, 1], and by the quantile function to values of the chi-square.
    return stats.chi2.ppf((nodes + 1) / 2, freedom) / freedom, weights / 2


def mean_interval(
    benchmark_cells: Sequence[ArrayLike],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = SCORE,
    estimand: Estimand = "seeds and problems",
) -> Estimate:
    """The mean of the benchmarks' means, each counting the same, with its interval.

    Args:
        benchmark_cells: one matrix [S, P_b] per benchmark, of each seed's mean score on each problem; the same seeds
            in the same order.
        level: the interval's confidence.
        bounds: the scale's ends; the interval is cut there. A lower end below 0 says that these are differences.
        estimand: what a repetition would draw anew. With one seed "seeds and problems" becomes "problems".

    Raises:
        ValueError: no benchmark, an empty or incomplete matrix, unequal numbers of seeds, or an unknown estimand.
    """
    matrices = _checked(benchmark_cells)
    if estimand not in ("seeds and problems", "problems", "seeds"):
        raise ValueError(f'estimand is "seeds and problems", "problems" or "seeds", not {estimand!r}')
    n_seeds, n_problems = matrices[0].shape[0], sum(cell_SP.shape[1] for cell_SP in matrices)
    if n_seeds == 1 and estimand == "seeds and problems":
        estimand = "problems"
    if min(cell_SP.shape[1] for cell_SP in matrices) < 2 or (n_seeds == 1 and estimand == "seeds"):
        return Estimate(
            mean=float(np.mean([cell_SP.mean() for cell_SP in matrices])),
            n_seeds=n_seeds,
            n_problems=n_problems,
            includes_training_noise=False,
            method="none",
            estimand=estimand,
        )
    squares = mean_squares(matrices)
    if sum(components(squares, estimand)) <= _ROUNDING * (bounds[1] - bounds[0]) ** 2:
        low, high, p_value = _without_variance(matrices, level, bounds, estimand)
        return Estimate(
            mean=float(squares.mean),
            low=low,
            high=high,
            standard_error=0.0,
            n_seeds=n_seeds,
            n_problems=n_problems,
            includes_training_noise=estimand != "problems",
            method="wilson",
            p_value=p_value,
            seed_variance=0.0,
            problem_variance=0.0,
            interaction_variance=0.0,
            estimand=estimand,
        )
    return _estimate(squares, n_problems, level, bounds, estimand)


def _estimate(
    squares: MeanSquares, n_problems: int, level: float, bounds: tuple[float, float], estimand: Estimand
) -> Estimate:
    """The interval by inversion of ``tail``, which falls to either side of the mean."""
    mean, signed = float(squares.mean), bounds[0] < 0
    seed, problem, interaction = (float(part) for part in components(squares, estimand))
    error = math.sqrt(seed + problem + interaction)

    def reach(towards: float, scale: tuple[float, float] | None) -> float:
        def excess(value: float) -> float:
            return float(tail(squares, value, estimand=estimand, bounds=scale)) - (1 - level)

        if towards == mean or excess(towards) >= 0:
            return towards
        return float(optimize.brentq(excess, mean, towards, xtol=1e-10 * error, rtol=1e-14))

    furthest = mean + error * float(stats.t.ppf((1 + level) / 2, 1)) * 1e3
    critical = (reach(furthest, None) - mean) / error
    if signed:
        low, high = max(bounds[0], mean - critical * error), min(bounds[1], mean + critical * error)
        p_value = float(tail(squares, 0.0, estimand=estimand))
    else:
        low, high, p_value = reach(bounds[0], bounds), reach(bounds[1], bounds), math.nan
    return Estimate(
        mean=mean,
        low=low,
        high=high,
        standard_error=error,
        degrees_of_freedom=_freedom_of(critical, level),
        n_seeds=squares.n_seeds,
        n_problems=n_problems,
        includes_training_noise=estimand != "problems",
        method="t",
        p_value=p_value,
        seed_variance=seed,
        problem_variance=problem,
        interaction_variance=interaction,
        estimand=estimand,
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
    # The smallest of m p-values is multiplied by m, the next by m - 1, and none may fall below one before it.
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
    sizes_B = np.atleast_1d(np.asarray(n_problems, dtype=np.float64))
    if n_seeds < 1 or samples < 1 or sizes_B.size == 0 or sizes_B.min() < 2:
        raise ValueError("a plan needs a seed, a sample and two problems in every benchmark")
    weight = 1 / len(sizes_B)
    # The variance of one cell of the difference: both sides' answers are sampled, each with K draws.
    cell = interaction_sd**2 + 2 * 100**2 * solve_rate * (1 - solve_rate) / samples
    # Expected mean squares: each holds its own component and the noise below it.
    noise_B = weight**2 * cell / (n_seeds * sizes_B)
    problem_B = weight**2 * problem_sd**2 / sizes_B + noise_B
    seed = np.asarray(seed_sd**2 / n_seeds + noise_B.sum())
    alone = n_seeds == 1
    squares = MeanSquares(
        means_B=np.zeros_like(sizes_B),
        seed=np.zeros_like(seed) if alone else seed,
        problem_B=problem_B,
        noise_B=np.zeros_like(noise_B) if alone else noise_B,
        n_seeds=n_seeds,
        problem_freedom_B=sizes_B - 1,
        noise_freedom_B=(n_seeds - 1) * (sizes_B - 1),
    )
    expected = _estimate(squares, int(sizes_B.sum()), level, DIFFERENCE, "problems" if alone else "seeds and problems")
    return minimum_detectable_effect(expected, power=power, level=level)


def verdict(estimate: Estimate, *, adjusted_p: float, margin: float = MARGIN, level: float = 0.95) -> Verdict:
    """The outcome of a comparison, asked in this order:

    - "better", "worse": ``adjusted_p`` (Holm's, over the table's comparisons) is below 1 - ``level``; the sign is the
      mean's. However small: a difference within the margin can be significant.
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
        # The one-sided quantile: both one-sided tests pass where this interval, of level 2 level - 1, lies within.
        quantile = stats.norm.ppf(level) if math.isinf(freedom) else stats.t.ppf(level, freedom)
        half = float(quantile) * estimate.standard_error
        low, high = estimate.mean - half, estimate.mean + half
    return "tied" if -margin <= low and high <= margin else "underpowered"


def _checked(benchmark_cells: Sequence[ArrayLike]) -> list[Floats]:
    """The cells as matrices [S, P_b]. Raises ValueError where they are not full, finite and of the same seeds."""
    matrices = [np.asarray(cell, dtype=np.float64) for cell in benchmark_cells]
    if not matrices:
        raise ValueError("no benchmark to take a mean over")
    if any(cell_SP.ndim != 2 or cell_SP.size == 0 or not np.isfinite(cell_SP).all() for cell_SP in matrices):
        raise ValueError("scores must be full matrices [S, P] of finite numbers")
    if len({cell_SP.shape[0] for cell_SP in matrices}) != 1:
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
    mean = float(np.mean([cell_SP.mean() for cell_SP in matrices]))
    if estimand == "seeds":
        n = float(matrices[0].shape[0])
    else:
        n = len(matrices) ** 2 / sum(1 / cell_SP.shape[1] for cell_SP in matrices)
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    least, width = bounds[0], bounds[1] - bounds[0]
    if least < 0:
        # A constant difference, held against n problems on which it might have been 0: a share's score test.
        half = z2 / (n + z2) * width / 2
        seen = min(1.0, abs(mean) / (width / 2))
        p = 0.0 if seen == 1 else float(2 * stats.norm.sf(math.sqrt(n * seen / (1 - seen))))
        return max(bounds[0], mean - half), min(bounds[1], mean + half), p
    # Wilson's interval of a share: centre and half width solve (share - p)^2 = z^2 p (1 - p) / n for p.
    share = (mean - least) / width
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return least + width * max(0.0, centre - half), least + width * min(1.0, centre + half), math.nan
