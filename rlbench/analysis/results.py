"""From evaluation samples to results: the samples' frame, one matrix of problem scores a cell, the summary, the
sharpening control.

A *cell* is a method on a benchmark under a decoding. Scores, differences and rates are in percent throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from rlbench.analysis.intervals import (
    MARGIN,
    Estimate,
    holm,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    verdict,
)
from rlbench.analysis.metrics import maj_at_k, pass_at_k
from rlbench.recipe import AVERAGE, temperature_of
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
SUMMARY_COLUMNS = (
    "method",
    "benchmark",
    "decoding",
    "n_seeds",
    "n_problems",
    "k",
    "avg_at_k",
    "ci_low",
    "ci_high",
    "pass_at_k",
    "truncation_rate",
    "unparsed_rate",
)
METRIC_COLUMNS = (*SUMMARY_COLUMNS, "maj_at_k", "ungraded_rate", "n_tokens")
RATES = {
    "passed": "pass_at_k",
    "truncated": "truncation_rate",
    "unparsed": "unparsed_rate",
    "majority": "maj_at_k",
    "ungraded": "ungraded_rate",
    "tokens": "n_tokens",
}
"""What a cell holds beside its scores, and the column of a summary that it becomes."""
GREEDY = "greedy"
SIGNIFICANCE = 0.05


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


def read_samples(path: Path) -> pd.DataFrame:
    """Read a run's ``samples.parquet``.

    Raises:
        UserError: there is no such file, or columns are missing from it.
    """
    try:
        samples = pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a run's folder holds its samples.parquet") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None
    missing = [name for name in SAMPLE_COLUMNS if name not in samples.columns]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; the columns are {', '.join(SAMPLE_COLUMNS)}")
    return samples.astype({"seed": "Int64"})


class Results:
    """All cells of one comparison, and the questions a report asks of them.

    Args:
        samples: a frame with ``SAMPLE_COLUMNS``; rows of methods and seeds that are not asked for are left out.
        rows: the table's rows, in its order.
        seeds: the recipe's seeds.
        benchmarks, decodings: their order, and the grid on which failed rows stand empty; without them, benchmarks as
            they appear and decodings from the highest temperature down to greedy.
        clean: sets that stand beside the benchmarks and do not count in ``avg``.
        split: which split is reported; by default "test" where it was evaluated.

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
        self.split = split or ("test" if "test" in splits or not splits else splits[0])
        self.cells = _cells(samples[samples["split"] == self.split])
        self.development = _cells(samples[samples["split"] == "development"]) if self.split != "development" else {}
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
        flagged = [row.method for row in self.rows if row.is_base] or [
            row.method for row in self.rows if row.method == "base"
        ]
        return flagged[0] if flagged else None

    @property
    def primary(self) -> str | None:
        """The decoding of the main table: t1.0 if it was asked for, else the first one."""
        return "t1.0" if "t1.0" in self.decodings else next(iter(self.decodings), None)

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
        return cells if cells and len(cells) == len(names) and _common_seeds(cells) else None

    def estimate(self, method: str, benchmark: str, decoding: str) -> Estimate | None:
        """avg@k with its interval, over the seeds that have every benchmark asked for."""
        cells = self.benchmark_cells(method, benchmark, decoding)
        return mean_interval([cell.of_seeds(_common_seeds(cells)) for cell in cells]) if cells else None

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
        seeds = _common_seeds([*left, *right])
        return (
            paired_difference([a.of_seeds(seeds) for a in left], [b.of_seeds(seeds) for b in right]) if seeds else None
        )


def summarise(
    samples: pd.DataFrame,
    rows: Sequence[RowInfo],
    seeds: Sequence[int],
    *,
    benchmarks: Sequence[str] | None = None,
    decodings: Sequence[str] | None = None,
) -> pd.DataFrame:
    """See ``summary_of``."""
    return summary_of(Results(samples, rows, seeds, benchmarks=benchmarks, decodings=decodings))


def summary_of(results: Results) -> pd.DataFrame:
    """One row a method x benchmark x decoding with ``METRIC_COLUMNS``, in percent to 4 decimals; ``summary.csv`` has
    ``SUMMARY_COLUMNS``.

    Methods stand in the recipe's order, then benchmarks, ``avg`` (their unweighted mean) and clean sets, then
    decodings. A missing result is a row of empty cells. ``avg`` is there only if every benchmark is, over the seeds
    that have them all. ``n_seeds`` counts
    models: it is 1 for one model that serves all seeds. ``n_problems`` of ``avg`` is the sum, ``k`` is empty if
    benchmarks differ in it.
    """
    records = [
        {
            "method": row.method,
            "benchmark": benchmark,
            "decoding": decoding,
            **_numbers(results, row.method, benchmark, decoding),
        }
        for row in results.rows
        for benchmark in (*results.benchmarks, *([AVERAGE] if results.benchmarks else []), *results.clean)
        for decoding in results.decodings_of(row.method)
    ]
    frame = pd.DataFrame(records, columns=list(METRIC_COLUMNS))
    counts = {name: "Int64" for name in ("n_seeds", "n_problems", "k")}
    rates = {name: "float64" for name in METRIC_COLUMNS[6:]}
    return frame.astype({**counts, **rates}).round(4)


def scores_of(results: Results) -> pd.DataFrame:
    """One row a method x seed x benchmark x decoding: avg_at_k and the columns of ``RATES``, in percent; n_tokens in
    tokens.
    """
    records = [
        {
            "method": method,
            "seed": seed,
            "benchmark": benchmark,
            "decoding": decoding,
            "avg_at_k": cell.score[i].mean(),
            **{column: getattr(cell, name)[i].mean() for name, column in RATES.items()},
        }
        for (method, benchmark, decoding), cell in results.cells.items()
        for i, seed in enumerate(cell.seeds)
    ]
    columns = ["method", "seed", "benchmark", "decoding", "avg_at_k", *RATES.values()]
    return pd.DataFrame(records, columns=columns).astype({"seed": "Int64"})


COMPARISON_COLUMNS = (
    "method",
    "reference",
    "decoding",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "detectable",
    "verdict",
    "n_seeds",
    "training_noise",
)


def comparisons(results: Results, reference: str | None = None, margin: float = MARGIN) -> pd.DataFrame:
    """Every row against the base, and against ``reference`` where one is named, by ``avg`` under the main decoding.

    Differences are paired by problem, by seed, and by the random numbers of the samples. ``p_holm`` is corrected by
    Holm's method over all comparisons of the frame. ``detectable`` is the smallest true difference that a comparison
    with this noise would find in four of five cases (``statistics.minimum_detectable_effect``), ``verdict`` is
    ``statistics.verdict``'s with ties within ``margin`` points, and "-" where there is nothing to compare; a reference
    that is no row here is passed over. ``training_noise`` says whether the interval holds that of new seeds.
    """
    there = {row.method for row in results.rows}
    against = [name for name in dict.fromkeys((results.base_name, reference)) if name in there]
    records, estimates = [], []
    for name in against:
        for row in results.rows:
            if row.method not in (name, results.base_name):
                decoding = results.primary or ""
                estimate = results.difference(row.method, decoding, name, decoding)
                estimates.append(estimate)
                records.append({"method": row.method, "reference": name, "decoding": decoding or None})
    adjusted = holm([estimate.p_value if estimate else np.nan for estimate in estimates])
    for record, estimate, p in zip(records, estimates, adjusted, strict=True):
        record["verdict"] = "-"
        if estimate is not None and not np.isnan(estimate.low):
            record |= {
                "difference": estimate.mean,
                "ci_low": estimate.low,
                "ci_high": estimate.high,
                "p_value": estimate.p_value,
                "p_holm": p,
                "detectable": minimum_detectable_effect(estimate),
                "verdict": verdict(estimate, adjusted_p=p, margin=margin),
                "n_seeds": estimate.n_seeds,
                "training_noise": estimate.includes_training_noise,
            }
    return pd.DataFrame(records, columns=list(COMPARISON_COLUMNS)).astype(
        {"n_seeds": "Int64", "training_noise": "boolean"}
    )


def coverage(results: Results) -> pd.DataFrame:
    """pass@k by row for k = 1, 2, 4, ... up to the number of samples: ``method, k, pass_at_k``, the mean over
    benchmarks in percent.

    Under the main decoding. pass@1 is avg@k. What training adds at k = 1 and not at large k was there before, at lower
    odds.
    """
    records = []
    for row in results.rows:
        cells = results.benchmark_cells(row.method, AVERAGE, results.primary or "")
        if not cells:
            continue
        most, seeds = min(cell.k for cell in cells), _common_seeds(cells)
        for k in sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most}):
            shown = [cell.correct[[cell.seeds.index(seed) for seed in seeds]] for cell in cells]
            values = [
                pass_at_k(correct, np.full(correct.shape, cell.k), k).mean()
                for correct, cell in zip(shown, cells, strict=True)
            ]
            records.append({"method": row.method, "k": k, "pass_at_k": 100 * float(np.mean(values))})
    return pd.DataFrame(records, columns=["method", "k", "pass_at_k"])


def contamination(results: Results, probes: pd.DataFrame) -> pd.DataFrame:
    """One row a benchmark: ``benchmark, problems, share, verbatim, low, high, rouge_l, correct, score``, in percent,
    means over bases.

    The interval of ``verbatim`` is Wilson's, a problem counting once, however many bases were probed; ``score`` is the
    base's avg@k under the main decoding.
    """
    records = []
    for benchmark, group in probes.groupby("benchmark", sort=False):
        problems = group["problem_id"].nunique()
        verbatim = float(group["verbatim"].mean())
        low, high = binomtest(round(verbatim * problems), problems).proportion_ci(method="wilson")
        score = (
            results.estimate(results.base_name, str(benchmark), results.primary or "") if results.base_name else None
        )
        records.append(
            {
                "benchmark": benchmark,
                "problems": problems,
                "share": float(group["share"].iloc[0]),
                "verbatim": 100 * verbatim,
                "low": 100 * low,
                "high": 100 * high,
                "rouge_l": 100 * float(group["rouge_l"].mean()),
                "correct": 100 * float((group["verdict"] == "correct").mean()),
                "score": score.mean if score else np.nan,
            }
        )
    columns = ["benchmark", "problems", "share", "verbatim", "low", "high", "rouge_l", "correct", "score"]
    return pd.DataFrame(records, columns=columns)


def sharpening(results: Results) -> pd.DataFrame:
    """The sharpening control: is a row better than what the base already gives at another temperature?

    Training that only concentrates a model on what it already says most often raises its score at temperature 1 and
    adds nothing that sampling could not. So each row's ``avg``, sampled (the main table's decoding) and greedy, is held
    against the base at *its own best* decoding of the grid it was evaluated on, by paired differences. That decoding is
    the best by avg on development sets where the base was evaluated on them, else on the reported problems themselves,
    which favours the base.

    ``verdict``:

    - ``ability``: the row is above the base's best, sampled or greedy (either difference positive, at 5 % after Holm's
      correction for the two looks): the better decoding of the row beats the better decoding of the base;
    - ``sharpening``: not that, but sampled it is above the base under the same decoding (at 5 %), which is not the
    base's best;
    - ``neither``: neither of the two;
    - ``-``: no result, no base, or a base that was evaluated under one decoding only, so that there is no control.

    Each row is judged by itself: there is no correction over rows.
    """
    base = results.base_name
    grid = results.decodings_of(base) if base else ()
    best, chosen_on = _best_decoding(results, base, grid) if base else (None, "")
    controlled = best is not None and len([d for d in grid if results.benchmark_cells(str(base), AVERAGE, d)]) > 1
    return pd.DataFrame([_against(results, row, base, best if controlled else None, chosen_on) for row in results.rows])


def graded_by(
    results: Results, samples: pd.DataFrame, others: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """``avg`` of every row under the main decoding by each grader: ``method, grader, avg, rank``; and how often others
    disagree.

    Args:
        others: by grader, ``verdict`` and ``answer`` of the samples, in their order.

    Returns:
        The frame, the samples' own grader first, and how many samples each other grader gives another verdict.
    """
    own = next(iter(samples["grader"].dropna().unique()), "grader")
    graded = {own: results}
    for name, frame in others.items():
        again = samples.assign(verdict=frame["verdict"].to_numpy(), answer=frame["answer"].to_numpy())
        graded[name] = Results(
            again,
            results.rows,
            results.seeds,
            benchmarks=results.benchmarks,
            decodings=results.decodings,
            clean=results.clean,
        )
    records = []
    for name, found in graded.items():
        scores = {row.method: found.estimate(row.method, AVERAGE, found.primary or "") for row in results.rows}
        known = sorted((estimate.mean for estimate in scores.values() if estimate), reverse=True)
        records += [
            {"method": method, "grader": name, "avg": estimate.mean, "rank": 1 + known.index(estimate.mean)}
            for method, estimate in scores.items()
            if estimate
        ]
    differing = {
        name: int((frame["verdict"].to_numpy() != samples["verdict"].to_numpy()).sum())
        for name, frame in others.items()
    }
    return pd.DataFrame(records, columns=["method", "grader", "avg", "rank"]), differing


def flips(frame: pd.DataFrame, one: str, other: str) -> list[tuple[str, str]]:
    """Pairs of rows of which the first is above the second by grader ``one`` and below it by ``other``."""
    scores = frame.pivot(index="method", columns="grader", values="avg").reindex(frame["method"].unique())
    a, b = scores[one], scores[other]
    return [(x, y) for x in scores.index for y in scores.index if a[x] > a[y] and b[x] < b[y]]


def control_cost(results: Results, samples: pd.DataFrame) -> str:
    """What the sharpening control took, in a sentence: everything that was evaluated but the main table's decoding of
    the split.
    """
    extra = samples[(samples["decoding"] != results.primary) | (samples["split"] != results.split)]
    return (
        f"The control took {len(extra):,} of {len(samples):,} evaluation samples, {int(extra['n_tokens'].sum()):,} of "
        f"{int(samples['n_tokens'].sum()):,} tokens."
    )


def _against(results: Results, row: RowInfo, base: str | None, best: str | None, chosen_on: str) -> dict[str, object]:
    """One row of ``sharpening``."""
    sampled = results.primary or ""
    record: dict[str, object] = {
        "method": row.method,
        "sampled_decoding": sampled or None,
        "base_best_decoding": best,
        "chosen_on": chosen_on or None,
    }
    estimates = {
        "sampled": results.estimate(row.method, AVERAGE, sampled),
        "greedy": results.estimate(row.method, AVERAGE, GREEDY),
        "base_best": results.estimate(str(base), AVERAGE, best) if best else None,
    }
    is_base = row.method == base
    comparable = not is_base and best is not None
    differences = {
        "sampled_minus_best": results.difference(row.method, sampled, str(base), str(best)) if comparable else None,
        "greedy_minus_best": results.difference(row.method, GREEDY, str(base), str(best))
        if comparable and sampled != GREEDY
        else None,
        "sampled_minus_base": results.difference(row.method, sampled, str(base), sampled)
        if base and not is_base
        else None,
    }
    for name, estimate in (*estimates.items(), *differences.items()):
        record |= {
            name: estimate.mean if estimate else np.nan,
            f"{name}_low": estimate.low if estimate else np.nan,
            f"{name}_high": estimate.high if estimate else np.nan,
        }
    at_best = [d for d in (differences["sampled_minus_best"], differences["greedy_minus_best"]) if d]
    record["verdict"] = _verdict(at_best, differences["sampled_minus_base"] if best != sampled else None)
    return record


def _verdict(against_best: Sequence[Estimate], against_base: Estimate | None) -> str:
    if not against_best or all(np.isnan(d.p_value) for d in against_best):
        return "-"
    adjusted = holm([d.p_value for d in against_best])
    if any(d.mean > 0 and p < SIGNIFICANCE for d, p in zip(against_best, adjusted, strict=True)):
        return "ability"
    return "sharpening" if against_base and against_base.mean > 0 and against_base.p_value < SIGNIFICANCE else "neither"


def _best_decoding(results: Results, base: str, grid: Sequence[str]) -> tuple[str | None, str]:
    """The base's best decoding by avg, the hotter of equals, and the problems on which that was found."""
    development = all(results.benchmark_cells(base, AVERAGE, decoding, development=True) for decoding in grid) and bool(
        results.development
    )
    scores = {}
    for decoding in grid:
        cells = results.benchmark_cells(base, AVERAGE, decoding, development=development)
        if cells and results.benchmark_cells(base, AVERAGE, decoding):
            scores[decoding] = np.mean([cell.of_seeds(_common_seeds(cells)).mean() for cell in cells])
    return max(
        scores, key=scores.__getitem__
    ) if scores else None, "development" if development else "the same problems"


def _numbers(results: Results, method: str, benchmark: str, decoding: str) -> dict[str, object]:
    cells, estimate = (
        results.benchmark_cells(method, benchmark, decoding),
        results.estimate(method, benchmark, decoding),
    )
    if not cells or estimate is None:
        return {}
    seeds, samples = _common_seeds(cells), {cell.k for cell in cells}
    shown = [[cell.seeds.index(seed) for seed in seeds] for cell in cells]
    rates = {
        column: float(np.mean([getattr(cell, name)[index].mean() for cell, index in zip(cells, shown, strict=True)]))
        for name, column in RATES.items()
    }
    return {
        "n_seeds": estimate.n_seeds,
        "n_problems": estimate.n_problems,
        "k": samples.pop() if len(samples) == 1 else pd.NA,
        "avg_at_k": estimate.mean,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        **rates,
    }


def _common_seeds(cells: Sequence[Cell]) -> tuple[int | None, ...]:
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
