"""The contamination probe in numbers: how much of each benchmark the base completes by heart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from rlbench.analysis.results import ScoreTable


def contamination(results: ScoreTable, probes: pd.DataFrame) -> pd.DataFrame:
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
            results.estimate(results.base_name, str(benchmark), results.main_decoding) if results.base_name else None
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
