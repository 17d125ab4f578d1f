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

from rlbench.analysis.intervals import Estimate, mean_interval, paired_difference
from rlbench.analysis.metrics import maj_at_k, pass_at_k
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
    """What a report says of a row beside its scores. Every number is a mean over the seeds that finished; None is
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

    ``score`` is avg@k, ``passed`` pass@k, ``majority`` maj@k, the others the shares of samples that were cut off by the
    length limit, could not be parsed, and could not be graded (time-outs and crashes of the grader), in percent;
    ``tokens`` the mean length. ``correct`` counts correct samples.
    """

    seeds: tuple[int | None, ...]
    problems: tuple[str, ...]
    k: int
    score: NDArray[np.float64]
    passed: NDArray[np.float64]
    majority: NDArray[np.float64]
    truncated: NDArray[np.float64]
    unparsed: NDArray[np.float64]
    ungraded: NDArray[np.float64]
    tokens: NDArray[np.float64]
    correct: NDArray[np.float64]

    def of_seeds(self, seeds: Sequence[int | None]) -> NDArray[np.float64]:
        """The scores of these seeds, in their order; a model that serves all seeds gives its one row."""
        return self.score if self.seeds == (None,) else self.score[[self.seeds.index(seed) for seed in seeds]]


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
        cells = self.development if development else self.cells
        every = tuple(dict.fromkeys(name for _, name, _ in cells)) if development else self.benchmarks
        names = every if benchmark == AVERAGE else (benchmark,)
        found = [cells.get((method, name, decoding)) for name in names]
        cells = [cell for cell in found if cell is not None]
        return cells if cells and len(cells) == len(names) and common_seeds(cells) else None

    def estimate(self, method: str, benchmark: str, decoding: str) -> Estimate | None:
        """avg@k with its interval, over the seeds that have every benchmark asked for."""
        cells = self.benchmark_cells(method, benchmark, decoding)
        return mean_interval([cell.of_seeds(common_seeds(cells)) for cell in cells]) if cells else None

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
        return (
            paired_difference([a.of_seeds(seeds) for a in left], [b.of_seeds(seeds) for b in right]) if seeds else None
        )


def common_seeds(cells: Sequence[Cell]) -> tuple[int | None, ...]:
    """Seeds that all cells have; a cell of one model for all seeds has any."""
    own = [cell.seeds for cell in cells if cell.seeds != (None,)]
    return tuple(seed for seed in own[0] if all(seed in seeds for seeds in own)) if own else (None,)


def _cells(samples: pd.DataFrame) -> dict[tuple[str, str, str], Cell]:
    """Every cell of the samples, keyed (method, benchmark, decoding), in order of appearance."""
    graded = pd.DataFrame(
        {
            **{
                name: samples[name]
                for name in ("method", "benchmark", "decoding", "seed", "problem_id", "sample_index", "answer")
            },
            "correct": (samples["verdict"] == "correct").astype(float),
            "truncated": (samples["finish_reason"] == "length").astype(float),
            "unparsed": (samples["verdict"] == "unparsed").astype(float),
            "tokens": samples["n_tokens"].astype(float),
            "ungraded": samples["verdict"].isin(["timeout", "error"]).astype(float),
        }
    )
    for method, missing in graded["seed"].isna().groupby(graded["method"]):
        if missing.nunique() > 1:
            raise UserError(f"samples of method {method!r}: some have a seed and some have none")
    groups = graded.groupby(["method", "benchmark", "decoding"], sort=False, observed=True)
    return {
        (str(m), str(b), str(d)): _cell(group, f"method {m!r}, benchmark {b!r}, decoding {d!r}")
        for (m, b, d), group in groups
    }


def _cell(group: pd.DataFrame, where: str) -> Cell:
    if group.duplicated(["seed", "problem_id", "sample_index"]).any():
        raise UserError(f"samples of {where}: a sample of a problem stands there twice")
    problems = group.groupby(["seed", "problem_id"], sort=False, dropna=False, observed=True)
    means = problems[["correct", "truncated", "unparsed", "ungraded", "tokens"]].mean()
    counts, n_correct = problems.size(), problems["correct"].sum()
    seeds = sorted(group["seed"].dropna().unique().tolist()) or [None]
    # Sorted, so that the matrices of two methods are aligned however their samples lie in the file.
    ids = sorted(group["problem_id"].unique().tolist())
    if len(means) != len(seeds) * len(ids) or counts.nunique() != 1:
        raise UserError(f"samples of {where}: not every seed has every problem with the same number of samples")
    order = pd.MultiIndex.from_product([[pd.NA if s is None else s for s in seeds], ids])
    k, shape = int(counts.iloc[0]), (len(seeds), len(ids))

    def matrix(values: pd.Series) -> NDArray[np.float64]:
        aligned = values if seeds == [None] else values.reindex(order)
        return (
            (aligned.droplevel(0).reindex(ids) if seeds == [None] else aligned)
            .to_numpy(dtype=np.float64)
            .reshape(shape)
        )

    correct = matrix(n_correct)
    return Cell(
        tuple(seeds),
        tuple(ids),
        k,
        score=100 * matrix(means["correct"]),
        passed=100 * pass_at_k(correct, np.full(shape, k), k),
        majority=100 * matrix(_majorities(group, problems)),
        correct=correct,
        tokens=matrix(means["tokens"]),
        **{name: 100 * matrix(means[name]) for name in ("truncated", "unparsed", "ungraded")},
    )


def _majorities(group: pd.DataFrame, problems: Any) -> pd.Series:
    """maj@k of every seed and problem."""
    index = problems.size().index
    given: list[tuple[list[str | None], list[float]]] = [([], []) for _ in range(len(index))]
    for place, answer, correct in zip(problems.ngroup(), group["answer"], group["correct"], strict=True):
        given[place][0].append(None if pd.isna(answer) else str(answer))
        given[place][1].append(correct)
    return pd.Series([maj_at_k([answers], [correct])[0] for answers, correct in given], index=index)
