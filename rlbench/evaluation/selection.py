"""Which of a run's checkpoints is evaluated: the best on development problems, before any test problem is read.

The stages of a row with ``evaluation.checkpoints`` above 1: its training keeps that many models, each is evaluated on
``evaluation.development``, ``select`` takes one, and only that one ever meets the test benchmarks.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.records import EvalSample, read_records

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext

CHECKPOINTS = "checkpoints"
STEPS = "checkpoints.json"
SELECTION = "selection.json"


def checkpoint_steps(steps: int, count: int) -> list[int]:
    """After which of ``steps`` a model is kept: ``count`` times at like distances, the last time at the end; steps
    count from 1.
    """
    return [math.ceil(steps * number / count) for number in range(1, count + 1)]


def checkpoint_folder(output: Path, step: int) -> Path:
    """Where a training stage keeps the model of a step before its last, whose model is the stage's own."""
    return output / CHECKPOINTS / f"step{step}"


def checkpoint(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: the model of one checkpoint of ``inputs["trained"]``, the ``config["number"]``-th from 1. Counts
    ``step``.
    """
    steps = json.loads((inputs["trained"] / STEPS).read_text())
    step = steps[config["number"] - 1]
    _link(inputs["trained"] if step == steps[-1] else checkpoint_folder(inputs["trained"], step), output)
    context.count(step=step)


def select(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: the model of the best checkpoint, and in ``selection.json`` how good all were.

    Inputs are ``checkpoint1`` and so on, and the evaluations of each, ``evaluation1_1`` (checkpoint 1 on the first of
    ``config["benchmarks"]``). The best has the highest mean over benchmarks of the share of correct samples, the
    earlier of equals.
    """
    scores = {}
    for number in range(1, config["checkpoints"] + 1):
        means = [_correct(inputs[f"evaluation{number}_{place}"]) for place in range(1, len(config["benchmarks"]) + 1)]
        scores[number] = sum(means) / len(means)
    best = max(scores, key=scores.__getitem__)
    _link(inputs[f"checkpoint{best}"], output)
    table = {
        "chosen": best,
        "decoding": config["decoding"],
        "benchmarks": config["benchmarks"],
        "scores": [round(100 * score, 4) for score in scores.values()],
    }
    (output / SELECTION).write_text(json.dumps(table, indent=1) + "\n")
    context.count(chosen=best)


def _correct(evaluation: Path) -> float:
    samples = read_records(evaluation / "samples.parquet", EvalSample)
    return sum(sample.verdict == "correct" for sample in samples) / len(samples)


def _link(model: Path, output: Path) -> None:
    """The files of a model folder without a copy of their bytes where the file system allows it; nothing of its
    training log.
    """
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name not in ("manifest.json", "training.json", "training.jsonl", STEPS, SELECTION):
            try:
                os.link(path, output / path.name)
            except OSError:
                shutil.copyfile(path, output / path.name)
