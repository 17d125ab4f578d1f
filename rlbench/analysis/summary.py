"""Summary frames: every cell as a row of numbers, over all seeds and for each by itself, and pass@k over k."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rlbench.analysis.metrics import pass_at_k
from rlbench.analysis.results import ScoreTable, common_seeds
from rlbench.recipe import AVERAGE

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


def summary_of(results: ScoreTable) -> pd.DataFrame:
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


def scores_of(results: ScoreTable) -> pd.DataFrame:
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


def coverage(results: ScoreTable) -> pd.DataFrame:
    """pass@k by row for k = 1, 2, 4, ... up to the number of samples: ``method, k, pass_at_k``, the mean over
    benchmarks in percent.

    Under the main decoding. pass@1 is avg@k. What training adds at k = 1 and not at large k was there before, at lower
    odds.
    """
    records = []
    for row in results.rows:
        cells = results.benchmark_cells(row.method, AVERAGE, results.main_decoding)
        if not cells:
            continue
        most, seeds = min(cell.k for cell in cells), common_seeds(cells)
        for k in sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most}):
            shown = [cell.correct[[cell.seeds.index(seed) for seed in seeds]] for cell in cells]
            values = [
                pass_at_k(correct, np.full(correct.shape, cell.k), k).mean()
                for correct, cell in zip(shown, cells, strict=True)
            ]
            records.append({"method": row.method, "k": k, "pass_at_k": 100 * float(np.mean(values))})
    return pd.DataFrame(records, columns=["method", "k", "pass_at_k"])


def _numbers(results: ScoreTable, method: str, benchmark: str, decoding: str) -> dict[str, object]:
    cells, estimate = (
        results.benchmark_cells(method, benchmark, decoding),
        results.estimate(method, benchmark, decoding),
    )
    if not cells or estimate is None:
        return {}
    seeds, samples = common_seeds(cells), {cell.k for cell in cells}
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
