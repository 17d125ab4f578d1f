"""Comparisons of rows: against the base and a reference, by difference with its verdict; and by rank under graders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rlbench.analysis.intervals import MARGIN, Estimate, holm, minimum_detectable_effect, verdict
from rlbench.analysis.results import ScoreTable
from rlbench.recipe import AVERAGE

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


def comparisons(results: ScoreTable, reference: str | None = None, margin: float = MARGIN) -> pd.DataFrame:
    """Every row against the base, and against ``reference`` where one is named, by ``avg`` under the main decoding.

    Differences are paired by problem, by seed, and by the random numbers of the samples. ``p_holm`` is corrected by
    Holm's method over all comparisons of the frame. ``detectable`` is the smallest true difference that a comparison
    with this noise would find in four of five cases (``intervals.minimum_detectable_effect``), ``verdict`` is
    ``intervals.verdict``'s with ties within ``margin`` points, and "-" where there is nothing to compare; a reference
    that is no row here is passed over. ``training_noise`` says whether the interval holds that of new seeds.
    """
    there = {row.method for row in results.rows}
    against = [name for name in dict.fromkeys((results.base_name, reference)) if name in there]
    records: list[dict[str, Any]] = []
    estimates: list[Estimate | None] = []
    for name in against:
        for row in results.rows:
            if row.method not in (name, results.base_name):
                decoding = results.main_decoding
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


def graded_by(
    results: ScoreTable, samples: pd.DataFrame, others: Mapping[str, pd.DataFrame]
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
        graded[name] = ScoreTable(
            again,
            results.rows,
            results.seeds,
            benchmarks=results.benchmarks,
            decodings=results.decodings,
            clean=results.clean,
        )
    records = []
    for name, found in graded.items():
        scores = {row.method: found.estimate(row.method, AVERAGE, found.main_decoding) for row in results.rows}
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
