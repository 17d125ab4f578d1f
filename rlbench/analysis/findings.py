"""Findings: every statement that a report makes of one comparison, computed once, before anything is drawn.

A new kind of statement is a module beside this one, a field here, and a table in ``reporting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from rlbench.analysis.comparisons import comparisons, graded_by
from rlbench.analysis.contamination import contamination
from rlbench.analysis.intervals import MARGIN
from rlbench.analysis.results import ScoreTable
from rlbench.analysis.sharpening import control_cost, sharpening
from rlbench.analysis.summary import coverage, scores_of, summary_of


@dataclass(frozen=True)
class Findings:
    """The frames behind a report.

    Attributes:
        results: the cells, and what every frame's rows, benchmarks and main decoding are.
        summary, scores, coverage: see ``summary.summary_of``, ``scores_of`` and ``coverage``.
        control, control_cost: see ``sharpening``; no cost where nothing was evaluated.
        compared, margin: see ``comparisons.comparisons``; differences within ``margin`` points are ties.
        contamination: see ``contamination.contamination``; None where nothing was probed.
        graded, differing: see ``comparisons.graded_by``; None and empty where one grader graded.
        n_samples: evaluation samples of all rows, splits and decodings.
    """

    results: ScoreTable
    summary: pd.DataFrame
    scores: pd.DataFrame
    coverage: pd.DataFrame
    control: pd.DataFrame
    control_cost: str | None
    compared: pd.DataFrame
    margin: float
    n_samples: int
    contamination: pd.DataFrame | None = None
    graded: pd.DataFrame | None = None
    differing: Mapping[str, int] = field(default_factory=dict)


def analyse(
    results: ScoreTable,
    samples: pd.DataFrame,
    *,
    reference: str | None = None,
    margin: float = MARGIN,
    probes: pd.DataFrame | None = None,
    regraded: Mapping[str, pd.DataFrame] | None = None,
) -> Findings:
    """All findings of one comparison.

    Args:
        results: the cells of ``samples``.
        samples: the run's evaluation samples, with ``results.SAMPLE_COLUMNS``.
        reference, margin: see ``comparisons.comparisons``.
        probes: contamination probes of the base, fields of ``records.Probe`` with their ``seed``.
        regraded: by grader, verdicts and answers of the same samples, see ``comparisons.graded_by``.
    """
    graded, differing = graded_by(results, samples, regraded) if regraded else (None, {})
    return Findings(
        results=results,
        summary=summary_of(results),
        scores=scores_of(results),
        coverage=coverage(results),
        control=sharpening(results),
        control_cost=control_cost(results, samples) if len(samples) else None,
        compared=comparisons(results, reference, margin),
        margin=margin,
        n_samples=len(samples),
        contamination=contamination(results, probes) if probes is not None else None,
        graded=graded,
        differing=differing,
    )
