"""The evaluation stage: one model on one benchmark under one decoding, graded, one record a sample.

The seed of a sample is a hash of (suite seed, benchmark, problem, sample index, decoding) and never of the method:
common random numbers, so two rows at one seed differ by what was trained and not by what was drawn, and a row that
learned nothing equals its base. (A base that serves all seeds is evaluated once, under the seed 0.)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.records import EvalSample, join_records, write_records

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext


def evaluate(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: write ``samples.parquet``, ``config["samples"]`` EvalSamples a problem, in the problems' order.

    With ``config["shard"]`` only those of a part of the problems. Counts ``tokens`` sampled and ``samples``.
    """
    from rlbench.sampling.rollouts import sample_stage

    seed = ("evaluation", config["seed"], config["benchmark"], config["decoding"])
    problems, rollouts = sample_stage(config, inputs, context, seed)
    gold = {p.id: p.answer for p in problems}
    write_records(
        output / "samples.parquet",
        EvalSample,
        (
            EvalSample(
                split=config["split"],
                benchmark=config["benchmark"],
                problem_id=r.problem_id,
                decoding=config["decoding"],
                sample_index=r.sample_index,
                output=r.text,
                answer=r.answer,
                gold=gold[r.problem_id],
                verdict=r.verdict,
                grader=config["grader"]["name"],
                finish_reason=r.finish_reason,
                n_tokens=len(r.token_ids),
            )
            for r in rollouts
        ),
    )


def merge_samples(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: the evaluation whose shards are ``inputs["shard1"]`` and so on, ``config["shards"]`` of them, as
    if sampled in one.

    Tokens are counted by the shards; this counts ``samples``.
    """
    folders = [inputs[f"shard{number}"] for number in range(1, config["shards"] + 1)]
    count = join_records([folder / "samples.parquet" for folder in folders], output / "samples.parquet", EvalSample)
    context.count(samples=count)
