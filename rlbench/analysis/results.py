"""The samples of one comparison as cells, and the numbers that are read off them: scores, differences, intervals.

A *cell* is a method on a benchmark under a decoding, and holds a matrix over seeds and problems. Scores, differences
and rates are in percent throughout. A new table of statements about the cells is a module beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlbench.analysis import metrics
from rlbench.analysis.intervals import Estimate, Floats, mean_interval, paired_difference
from rlbench.recipe import AVERAGE, BASE, DEVELOPMENT, TEST, main_decoding, temperature_of
from rlbench.records import UserError

SAMPLE_COLUMNS = (
    "method",
    "seed",
    "split",
    "benchmark",
    "problem_id",
    "decoding",
    "sample_index",
    "output",
    "answer",
    "gold",
    "verdict",
    "grader",
    "finish_reason",
    "n_tokens",
)


@dataclass(frozen=True)
class RowInfo:
    """A row beside its scores: label, costs, failures. Every number is a mean over the seeds that finished; None is
    unknown.

    Attributes:
        method: the row's key in the recipe.
        label: how it is called in tables.
        objective, data: as the recipe names them; both None for a row that was not trained here.
        is_base: the untrained model that all others start from; without such a row the one called "base" is it.
        reason: why the row has no result at all.
        reasons_by_seed: why single seeds have none; None stands for a model that serves all seeds.
        train_tokens, train_seconds: tokens trained on (all epochs) and seconds of the training stage, sampling included
            when online.
        sampled_tokens: tokens that the row sampled for itself (an online method's rollouts).
        bank_tokens: tokens of the shared rollout bank that the row trains on; sampled once, charged to each of its
            users.
        learning_rate: the peak rate of the policy.
        selection: by seed, which checkpoint was chosen and the development scores of all, as ``selection.json`` has it.
    """

    method: str
    label: str
    objective: str | None = None
    data: str | None = None
    is_base: bool = False
    reason: str | None = None
    reasons_by_seed: Mapping[int | None, str] = field(default_factory=dict)
    train_tokens: float | None = None
    train_seconds: float | None = None
    sampled_tokens: float | None = None
    bank_tokens: float | None = None
    learning_rate: float | None = None
    selection: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)


def base_of(rows: Sequence[RowInfo]) -> str | None:
    """The row that all others started from: the one that says so, else the one called "base"; None without either."""
    flagged = [row.method for row in rows if row.is_base] or [row.method for row in rows if row.method == BASE]
    return flagged[0] if flagged else None


@dataclass(frozen=True)
class Cell:
    """One method on one benchmark under one decoding: matrices [S, P] over seeds and problems, of the K samples of
    each.

    ``score_SP`` is avg@k in percent, ``correct_SP`` counts correct samples, and ``metrics`` has by its column each of
    ``metrics.METRICS``, in percent but for those that are no share.
    """

    seeds: tuple[int | None, ...]
    problems: tuple[str, ...]
    k: int
    score_SP: Floats
    correct_SP: Floats
    metrics: Mapping[str, Floats]

    def rows_of(self, seeds: Sequence[int | None]) -> list[int]:
        """The matrices' rows of these seeds, in their order; a model that serves all seeds has one row for each."""
        return [0] if self.seeds == (None,) else [self.seeds.index(seed) for seed in seeds]


class ScoreTable:
    """All cells of one comparison, and the questions a report asks of them.

    Args:
        samples: a frame with ``SAMPLE_COLUMNS``; rows of methods and seeds that are not asked for are left out.
        rows: the table's rows, in its order.
        seeds: the recipe's seeds.
        benchmarks, decodings: their order, and the grid on which failed rows stand empty; without them, benchmarks as
            they appear and decodings from the highest temperature down to greedy.
        clean: sets that stand beside the benchmarks and do not count in ``avg``.
        split: which split is reported; by default the test split where it was evaluated.

    Raises:
        UserError: the samples contradict themselves (a problem evaluated twice, or not with the same number of samples
            everywhere).
    """

    def __init__(
        self,
        samples: pd.DataFrame,
        rows: Sequence[RowInfo],
        seeds: Sequence[int],
        *,
        benchmarks: Sequence[str] | None = None,
        decodings: Sequence[str] | None = None,
        split: str | None = None,
        clean: Sequence[str] = (),
    ) -> None:
        known = samples["method"].isin([row.method for row in rows]) & (
            samples["seed"].isna() | samples["seed"].isin(list(seeds))
        )
        samples = samples[known.astype(bool)]
        splits = list(samples["split"].unique())
        self.rows, self.seeds = tuple(rows), tuple(seeds)
        self.split = split or (TEST if TEST in splits or not splits else splits[0])
        self.cells = _cells(samples[samples["split"] == self.split])
        self.development = _cells(samples[samples["split"] == DEVELOPMENT]) if self.split != DEVELOPMENT else {}
        self.clean = tuple(clean)
        self.benchmarks = tuple(
            benchmarks or dict.fromkeys(name for _, name, _ in self.cells if name not in self.clean)
        )
        # What every row is measured under; the base may have more, which count only where nothing else was evaluated.
        evaluated = {d for method, _, d in self.cells if method != self.base_name} or {d for _, _, d in self.cells}
        self.decodings = tuple(decodings or sorted(evaluated, key=temperature_of, reverse=True))

    @property
    def base_name(self) -> str | None:
        """The base's row, or None where the table has none."""
        return base_of(self.rows)

    @property
    def main_decoding(self) -> str:
        """The decoding of the main table, ``recipe.main_decoding`` of the grid; empty where nothing was evaluated."""
        return main_decoding(self.decodings)

    def decodings_of(self, method: str) -> tuple[str, ...]:
        """The common grid of decodings and what the method was evaluated under besides, hottest first."""
        return tuple(
            sorted({*self.decodings, *(d for m, _, d in self.cells if m == method)}, key=temperature_of, reverse=True)
        )

    def benchmark_cells(
        self, method: str, benchmark: str, decoding: str, *, development: bool = False
    ) -> list[Cell] | None:
        """The cells behind a number: one, or all benchmarks' for ``avg``; None if any is missing."""
        known = self.development if development else self.cells
        every = tuple(dict.fromkeys(name for _, name, _ in known)) if development else self.benchmarks
        names = every if benchmark == AVERAGE else (benchmark,)
        cells = [known[method, name, decoding] for name in names if (method, name, decoding) in known]
        return cells if cells and len(cells) == len(names) and common_seeds(cells) else None

    def estimate(self, method: str, benchmark: str, decoding: str) -> Estimate | None:
        """avg@k with its interval, over the seeds that have every benchmark asked for."""
        cells = self.benchmark_cells(method, benchmark, decoding)
        return mean_interval(scores_of_seeds(cells, common_seeds(cells))) if cells else None

    def difference(
        self, method: str, decoding: str, other: str, other_decoding: str, benchmark: str = AVERAGE
    ) -> Estimate | None:
        """``method`` minus ``other`` on their common seeds and problems; None where either is missing or no seed is
        shared.
        """
        left, right = (
            self.benchmark_cells(method, benchmark, decoding),
            self.benchmark_cells(other, benchmark, other_decoding),
        )
        if not left or not right or any(a.problems != b.problems for a, b in zip(left, right, strict=True)):
            return None
        seeds = common_seeds([*left, *right])
        return paired_difference(scores_of_seeds(left, seeds), scores_of_seeds(right, seeds)) if seeds else None


def common_seeds(cells: Sequence[Cell]) -> tuple[int | None, ...]:
    """Seeds that all cells have; a cell of one model for all seeds has any."""
    own = [cell.seeds for cell in cells if cell.seeds != (None,)]
    return tuple(seed for seed in own[0] if all(seed in seeds for seeds in own)) if own else (None,)


def scores_of_seeds(cells: Sequence[Cell], seeds: Sequence[int | None]) -> list[Floats]:
    """The scores of these seeds, a matrix [S, P_b] per cell; a model that serves all seeds gives its one row."""
    return [cell.score_SP[cell.rows_of(seeds)] for cell in cells]


def _cells(samples: pd.DataFrame) -> dict[tuple[str, str, str], Cell]:
    """Every cell of the samples, keyed (method, benchmark, decoding), in order of appearance."""
    for method, missing in samples["seed"].isna().groupby(samples["method"]):
        if missing.nunique() > 1:
            raise UserError(f"samples of method {method!r}: some have a seed and some have none")
    groups = samples.groupby(["method", "benchmark", "decoding"], sort=False, observed=True)
    return {
        (str(m), str(b), str(d)): _cell(group, f"method {m!r}, benchmark {b!r}, decoding {d!r}")
        for (m, b, d), group in groups
    }


def _cell(group: pd.DataFrame, where: str) -> Cell:
    if group.duplicated(["seed", "problem_id", "sample_index"]).any():
        raise UserError(f"samples of {where}: a sample of a problem stands there twice")
    counts = group.groupby(["seed", "problem_id"], sort=False, dropna=False, observed=True).size()
    seeds = sorted(group["seed"].dropna().unique().tolist()) or [None]
    problems = sorted(group["problem_id"].unique().tolist())
    if len(counts) != len(seeds) * len(problems) or counts.nunique() != 1:
        raise UserError(f"samples of {where}: not every seed has every problem with the same number of samples")
    # Sorted, so that the matrices of two methods are aligned however their samples lie in the file.
    ordered = group.sort_values(["seed", "problem_id", "sample_index"], kind="stable")
    shape_SPK = (len(seeds), len(problems), int(counts.iloc[0]))

    def texts(column: str) -> NDArray[np.object_]:
        values = ordered[column].astype(object)
        return values.where(values.notna(), None).to_numpy().reshape(shape_SPK)

    n_tokens = ordered["n_tokens"].to_numpy(dtype=np.float64).reshape(shape_SPK)
    graded = metrics.GradedSamples(texts("verdict"), texts("answer"), texts("finish_reason"), n_tokens)
    return Cell(
        seeds=tuple(seeds),
        problems=tuple(problems),
        k=shape_SPK[-1],
        score_SP=100 * metrics.avg_at_k(graded.correct),
        correct_SP=graded.correct.sum(axis=-1),
        metrics={m.column: (100 if m.percent else 1) * m.of(graded) for m in metrics.METRICS},
    )
