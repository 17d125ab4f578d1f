"""Summary frames: every cell as a row of numbers, over all seeds and for each by itself, and pass@k over k."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rlbench.analysis import metrics
from rlbench.analysis.results import ScoreTable, common_seeds
from rlbench.recipe import AVERAGE

KEYS = ("method", "benchmark", "decoding")
COUNTS = ("n_seeds", "n_problems", "k")
SCORE = ("avg_at_k", "ci_low", "ci_high")


def summary_columns() -> list[str]:
    """The columns of ``summary.csv``, on which scripts rely."""
    return [*KEYS, *COUNTS, *SCORE, *(metric.column for metric in metrics.METRICS if metric.in_summary)]


def metric_columns() -> list[str]:
    """The columns of ``metrics.csv``: those of ``summary.csv``, and every other metric."""
    return [*summary_columns(), *(metric.column for metric in metrics.METRICS if not metric.in_summary)]


def summary_of(results: ScoreTable) -> pd.DataFrame:
    """One row a method x benchmark x decoding with ``metric_columns()``, in percent to 4 decimals; ``summary.csv`` has
    ``summary_columns()``.

    Methods stand in the recipe's order, then benchmarks, ``avg`` (their unweighted mean) and clean sets, then
    decodings. A missing result is a row of empty cells. ``avg`` is there only if every benchmark is, over the seeds
    that have them all. ``n_seeds`` counts models: it is 1 for one model that serves all seeds. ``n_problems`` of
    ``avg`` is the sum, ``k`` is empty if benchmarks differ in it.
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
    columns = metric_columns()
    numbers = [name for name in columns if name not in (*KEYS, *COUNTS)]
    frame = pd.DataFrame(records, columns=columns)
    return frame.astype({**dict.fromkeys(COUNTS, "Int64"), **dict.fromkeys(numbers, "float64")}).round(4)


def scores_of(results: ScoreTable) -> pd.DataFrame:
    """One row a method x seed x benchmark x decoding: avg_at_k and every metric, shares in percent."""
    records = [
        {
            "method": method,
            "seed": seed,
            "benchmark": benchmark,
            "decoding": decoding,
            "avg_at_k": cell.score_SP[i].mean(),
            **{column: values[i].mean() for column, values in cell.metrics.items()},
        }
        for (method, benchmark, decoding), cell in results.cells.items()
        for i, seed in enumerate(cell.seeds)
    ]
    columns = ["method", "seed", "benchmark", "decoding", "avg_at_k", *(metric.column for metric in metrics.METRICS)]
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
            shown = [cell.correct_SP[cell.rows_of(seeds)] for cell in cells]
            values = [
                metrics.pass_at_k(correct, np.full(correct.shape, cell.k), k).mean()
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
    rates = {
        metric.column: float(np.mean([cell.metrics[metric.column][cell.rows_of(seeds)].mean() for cell in cells]))
        for metric in metrics.METRICS
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
