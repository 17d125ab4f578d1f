"""Coverage of the intervals, and false "better" of equals: simulated, on data like a benchmark's.

Every process draws problems' solve rates from Beta distributions with most of their mass at the ends, moves them on the
logit scale by a seed's effect, by one of method and problem, and by one of seed and problem, and draws K answers to
each. Truths come by quadrature. A process is drawn once at the largest grid point, and its smaller cells are the first
seeds and problems of the same draws: cells of one process are dependent, each by itself is a fair sample. A new way in
which data come about is one more ``Process``.

The figures are those of ``rlbench.analysis.intervals.tail``, whose inversion the interval is; where a draw has no
variance, of ``mean_interval``.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from rlbench.analysis.intervals import DIFFERENCE, SCORE, Floats, components, holm, mean_interval, mean_squares, tail
from rlbench.records import UserError

LEVEL = 0.95
SAMPLES = 16
_CHUNK = 100
# Standard deviations in logits of what moves one problem under one seed, and of what a method does to a problem under
# all seeds.
INTERACTION, HETEROGENEITY = 0.5, 0.5
# The seed effect that both sides of a comparison share (a base of their own a seed), in points.
SHARED_SEED_SD = 2.0
Shape = tuple[float, float]
MIDDLING, HARD, OLYMPIAD, EASY = (0.6, 0.4), (0.3, 1.2), (0.25, 2.25), (1.5, 0.4)


@dataclass(frozen=True)
class Process:
    """A process that makes data.

    ``benchmarks`` are the Beta distributions of solve rates, each with a cell's number of problems. ``seed_sd`` is the
    standard deviation over seeds of a benchmark's mean score, or of the difference of two, in points and to first
    order. ``rows`` are the methods compared with a common one, 0 for a score; ``effect`` is theirs, in logits. With
    ``common_numbers`` the answers of both sides are drawn from the same uniform numbers. ``same`` says that nothing but
    sampling and seeds tells the two sides apart.
    """

    name: str
    benchmarks: tuple[Shape, ...]
    seed_sd: float
    rows: int = 0
    effect: float = 0.0
    common_numbers: bool = False
    same: bool = False

    @property
    def own_seed_sd(self) -> float:
        """The seed effect of one method alone: a difference of two that are independent has twice the variance."""
        return self.seed_sd / math.sqrt(2) if self.rows else self.seed_sd

    @property
    def own_spread(self) -> float:
        """Standard deviation in logits of what moves one method on one problem alone."""
        return 0.0 if self.same else INTERACTION if not self.rows else INTERACTION / math.sqrt(2)

    @property
    def own_heterogeneity(self) -> float:
        """Standard deviation in logits of what a method does to a problem under all seeds."""
        return HETEROGENEITY / math.sqrt(2) if self.rows and not self.same else 0.0


_AVERAGE = (OLYMPIAD, HARD, EASY)
PROCESSES = (
    *(Process(f"score, middling, seed sd {sd:g}", (MIDDLING,), sd) for sd in (0, 0.5, 1, 2, 4)),
    *(Process(f"score, hard, seed sd {sd:g}", (HARD,), sd) for sd in (0, 1, 4)),
    *(Process(f"score, olympiad, seed sd {sd:g}", (OLYMPIAD,), sd) for sd in (0, 1, 2)),
    *(Process(f"score, average of 3, seed sd {sd:g}", _AVERAGE, sd) for sd in (0, 1, 4)),
    *(
        Process(f"equals, middling, seed sd {sd:g}", (MIDDLING,), sd, 1, common_numbers=True)
        for sd in (0, 0.5, 1, 2, 4)
    ),
    Process("equals, middling, nothing but sampling", (MIDDLING,), 0, 1, same=True),
    Process("equals, olympiad, seed sd 1", (OLYMPIAD,), 1, 1, common_numbers=True),
    *(Process(f"equals, average of 3, seed sd {sd:g}", _AVERAGE, sd, 1, common_numbers=True) for sd in (1, 4)),
    Process("better by half a logit, middling, seed sd 1", (MIDDLING,), 1, 1, 0.5, True),
    Process("better by half a logit, hard, seed sd 1", (HARD,), 1, 1, 0.5, True),
    *(Process(f"8 equals of a base, Holm, seed sd {sd:g}", (MIDDLING,), sd, 8) for sd in (0, 1, 4)),
)


def bench_statistics(
    seeds: Sequence[int] = (2, 3, 5, 10),
    problems: Sequence[int] = (30, 100, 300, 700),
    *,
    repeats: int = 2000,
    processes: Iterable[Process] = PROCESSES,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Coverage of the 95 % interval for new seeds and new problems, and false "better", on a grid.

    Args:
        seeds: numbers of training seeds, 2 or more each.
        problems: numbers of problems in a benchmark, 2 or more each.
        repeats: data sets a process; one with eight comparisons has a quarter as many, as it takes four times the time.
        processes: see ``Process``.
        say: told what is being simulated.

    Returns: One table a cell, shares and not percent: ``seeds``, ``problems``, ``coverage`` (the lowest of any
        process), ``coverage_highest``, ``false_positive`` (the highest of any process whose sides are equal; of eight
        comparisons, that any says "better" after Holm's correction), ``coverage_error`` and ``false_positive_error``
        (Monte-Carlo standard errors of these figures, were they 0.95 and 0.05; the worst of this many lies some two of
        them out by chance alone) and ``by_process`` (``process``, ``repeats``, and ``coverage`` or ``false_positive``
        or both). None where no process has such a figure.

    Raises:
        UserError: a number is too small.
    """
    if not seeds or not problems or repeats < 4 or min(seeds) < 2 or min(problems) < 2:
        raise UserError("bench statistics needs 2 seeds, 2 problems and 4 repeats or more")
    grid = [(s, p) for s in seeds for p in problems]
    found: dict[tuple[int, int], list[dict[str, Any]]] = {cell: [] for cell in grid}
    chosen = list(processes)
    for number, process in enumerate(chosen, 1):
        say(f"{number} of {len(chosen)}: {process.name}")
        for cell, figures in _simulate(process, grid, repeats if process.rows <= 1 else repeats // 4).items():
            found[cell].append(figures)
    return [_cell(s, p, found[s, p]) for s, p in grid]


def _cell(n_seeds: int, n_problems: int, by_process: list[dict[str, Any]]) -> dict[str, Any]:
    coverage, coverage_error = _worst(by_process, "coverage", min, LEVEL)
    positive, positive_error = _worst(by_process, "false_positive", max, LEVEL)
    return {
        "seeds": n_seeds,
        "problems": n_problems,
        "coverage": coverage,
        "coverage_highest": _worst(by_process, "coverage", max, LEVEL)[0],
        "false_positive": positive,
        "coverage_error": coverage_error,
        "false_positive_error": positive_error,
        "by_process": by_process,
    }


def _worst(
    by_process: Sequence[dict[str, Any]], key: str, pick: Callable[..., dict[str, Any]], nominal: float
) -> tuple[float | None, float | None]:
    """The worst figure of that name, and its Monte-Carlo standard error were it nominal."""
    rows = [row for row in by_process if key in row]
    if not rows:
        return None, None
    row = pick(rows, key=lambda row: row[key])
    return row[key], math.sqrt(nominal * (1 - nominal) / row["repeats"])


def _simulate(process: Process, grid: Sequence[tuple[int, int]], repeats: int) -> dict[tuple[int, int], dict[str, Any]]:
    rng = np.random.default_rng(zlib.crc32(process.name.encode()))
    truth = _truth(process)
    held, said = {cell: 0 for cell in grid}, {cell: 0 for cell in grid}
    largest = max(s for s, _ in grid), max(p for _, p in grid)
    for start in range(0, repeats, _CHUNK):
        drawn = _draw(rng, process, min(_CHUNK, repeats - start), *largest)
        for cell in grid:
            hits, positives = _judge(process, [[m[:, : cell[0], : cell[1]] for m in row] for row in drawn], truth)
            held[cell] += hits
            said[cell] += positives
    figures: dict[tuple[int, int], dict[str, Any]] = {}
    for cell in grid:
        figures[cell] = {"process": process.name, "repeats": repeats}
        if process.rows <= 1:
            figures[cell]["coverage"] = held[cell] / repeats
        if process.rows and not process.effect:
            figures[cell]["false_positive"] = said[cell] / repeats
    return figures


def _judge(process: Process, rows: Sequence[Sequence[Floats]], truth: float) -> tuple[int, int]:
    """Two counts of repeats: those whose interval holds the truth, and those in which some row is called better.

    ``rows`` has for each comparison one array [repeats, S, P_b] per benchmark.
    """
    bounds = DIFFERENCE if process.rows else SCORE
    p_values, signs, hits = [], [], 0
    for benchmark_cells in rows:
        p = _tail(benchmark_cells, truth, bounds)
        hits += int((p >= 1 - LEVEL).sum())
        p_values.append(p if truth == 0 or not process.rows else _tail(benchmark_cells, 0.0, bounds))
        signs.append(np.mean([m.mean(axis=(-2, -1)) for m in benchmark_cells], axis=0) > 0)
    adjusted = np.array([holm(row) for row in np.transpose(p_values)]) if len(rows) > 1 else np.transpose(p_values)
    return hits, int(((adjusted < 1 - LEVEL) & np.transpose(signs)).any(axis=1).sum())


def _tail(benchmark_cells: Sequence[Floats], value: float, bounds: tuple[float, float]) -> Floats:
    of = mean_squares(benchmark_cells)
    p = tail(of, value, bounds=bounds if bounds == SCORE else None)
    for index in np.flatnonzero(sum(components(of)) < 1e-12):
        estimate = mean_interval([m[index] for m in benchmark_cells], level=LEVEL, bounds=bounds)
        # No variance, no tail: what counts is on which side of 1 - LEVEL it falls.
        p[index] = 1.0 if estimate.low <= value <= estimate.high else 0.0
    return p


def _draw(
    rng: np.random.Generator, process: Process, repeats: int, n_seeds: int, n_problems: int
) -> list[list[Floats]]:
    """Data sets: for each comparison, or the one score, an array [repeats, S, P_b] per benchmark, in percent."""
    methods = range(process.rows + 1)
    shared, own = (
        rng.standard_normal((repeats, n_seeds, 1)),
        [rng.standard_normal((repeats, n_seeds, 1)) for _ in methods],
    )
    rows: list[list[Floats]] = [[] for _ in range(max(process.rows, 1))]
    for shape in process.benchmarks:
        slope = _slope(shape)
        problem = _logits(rng.beta(*shape, (repeats, 1, n_problems)))
        if process.rows:
            problem = problem + SHARED_SEED_SD / slope * shared
        chances = []
        for method in methods:
            moved = problem + process.own_seed_sd / slope * own[method] + process.effect * (method > 0)
            if process.own_heterogeneity:
                moved = moved + process.own_heterogeneity * rng.standard_normal((repeats, 1, n_problems))
            chances.append(
                special.expit(moved + process.own_spread * rng.standard_normal((repeats, n_seeds, n_problems)))
            )
        for row, values in zip(rows, _answers(rng, process, chances), strict=True):
            row.append(values)
    return rows


def _answers(rng: np.random.Generator, process: Process, chances: list[Floats]) -> list[Floats]:
    if not process.common_numbers:
        scores = [_percent(rng.binomial(SAMPLES, p)) for p in chances]
        return [score - scores[0] for score in scores[1:]] or scores
    # Of K shared uniform numbers some lie below both chances and count on both sides; of the rest some lie below the
    # larger.
    base, other = chances
    low, high = np.minimum(base, other), np.maximum(base, other)
    both = rng.binomial(SAMPLES, low)
    more = rng.binomial(SAMPLES - both, np.clip((high - low) / np.maximum(1 - low, 1e-12), 0.0, 1.0))
    return [_percent(more) * np.sign(other - base)]


def _percent(right: NDArray[np.int64]) -> Floats:
    """Numbers of right samples of K, in percent."""
    return np.asarray(100 / SAMPLES * right, dtype=np.float64)


def _logits(rates: Floats) -> Floats:
    return special.logit(np.clip(rates, 1e-12, 1 - 1e-12))


@functools.cache
def _rates(shape: Shape) -> Floats:
    """A fine grid of equally likely solve rates, in logits."""
    return _logits(stats.beta.ppf((np.arange(4000) + 0.5) / 4000, *shape))


@functools.cache
def _slope(shape: Shape) -> float:
    """Points by which the mean score moves for one logit on every problem."""
    rates = special.expit(_rates(shape))
    return float(100 * (rates * (1 - rates)).mean())


def _truth(process: Process) -> float:
    """The mean score, or the mean difference of a row, over all seeds and problems."""
    if process.rows and not process.effect:
        return 0.0
    x, w = np.polynomial.hermite_e.hermegauss(60)
    differences = []
    for shape in process.benchmarks:
        shared = SHARED_SEED_SD if process.rows else 0.0
        sd = math.hypot(
            process.own_seed_sd / _slope(shape), shared / _slope(shape), process.own_spread, process.own_heterogeneity
        )
        here, there = (
            100 * special.expit(_rates(shape)[:, None] + shift + sd * x).mean(axis=0) @ w / w.sum()
            for shift in (0.0, process.effect)
        )
        differences.append(there - here if process.rows else here)
    return float(np.mean(differences))
