"""The sharpening control: is a row better than what the base already gives at another temperature?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlbench.analysis.intervals import Estimate, holm
from rlbench.analysis.results import RowInfo, ScoreTable, common_seeds, scores_of_seeds
from rlbench.recipe import AVERAGE, DEVELOPMENT, GREEDY

SIGNIFICANCE = 0.05


def sharpening(results: ScoreTable) -> pd.DataFrame:
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


def control_cost(results: ScoreTable, samples: pd.DataFrame) -> str:
    """The cost of the sharpening control in a sentence: everything that was evaluated but the main table's decoding of
    the split.
    """
    extra = samples[(samples["decoding"] != results.main_decoding) | (samples["split"] != results.split)]
    return (
        f"The control took {len(extra):,} of {len(samples):,} evaluation samples, {int(extra['n_tokens'].sum()):,} of "
        f"{int(samples['n_tokens'].sum()):,} tokens."
    )


def _against(
    results: ScoreTable, row: RowInfo, base: str | None, best: str | None, chosen_on: str
) -> dict[str, object]:
    """One row of ``sharpening``."""
    sampled = results.main_decoding
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


def _best_decoding(results: ScoreTable, base: str, grid: Sequence[str]) -> tuple[str | None, str]:
    """The base's best decoding by avg, the hotter of equals, and the problems on which that was found."""
    development = all(results.benchmark_cells(base, AVERAGE, decoding, development=True) for decoding in grid) and bool(
        results.development
    )
    scores = {}
    for decoding in grid:
        cells = results.benchmark_cells(base, AVERAGE, decoding, development=development)
        if cells and results.benchmark_cells(base, AVERAGE, decoding):
            scores[decoding] = np.mean([scores.mean() for scores in scores_of_seeds(cells, common_seeds(cells))])
    return max(scores, key=scores.__getitem__) if scores else None, DEVELOPMENT if development else "the same problems"
