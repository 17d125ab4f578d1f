"""The evaluation stage: one model on one benchmark under one decoding, graded, one record a sample.

The seed of a sample is a hash of (suite seed, benchmark, problem, sample index, decoding) and never of the method: common random
numbers, so two rows at one seed differ by what was trained and not by what was drawn, and a row that learned nothing equals its
base. (A base that serves all seeds is evaluated once, under the seed 0.)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import encode_prompts
from rlbench.records import EvalSample, read_problems, write_records
from rlbench.sampling.engine import SamplingParams

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext


@lru_cache(maxsize=1)
def _grader() -> Any:
    from rlbench.grading.pool import Grader

    return Grader()


def evaluate(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: write ``samples.parquet``, ``config["samples"]`` EvalSamples a problem, in the problems' order.

    Counts ``tokens`` sampled and ``samples``.
    """
    from rlbench.sampling.engines import kept_engine
    from rlbench.sampling.rollouts import sample

    engine, tokenizer, stop_ids = kept_engine(config, inputs["model"], context)
    problems = read_problems(inputs["problems"] / "problems.jsonl")
    prompts = encode_prompts(tokenizer, config["template"], problems)
    params = SamplingParams(config["temperature"], config["max_new_tokens"], stop_ids)
    seed = ("evaluation", config["seed"], config["benchmark"], config["decoding"])
    rollouts = sample(engine, tokenizer, _grader(), problems, prompts, params, config["samples"], seed, context.progress)
    gold = {p.id: p.answer for p in problems}
    write_records(
        output / "samples.parquet",
        EvalSample,
        (
            EvalSample(
                split=config["split"], benchmark=config["benchmark"], problem_id=r.problem_id, decoding=config["decoding"],
                sample_index=r.sample_index, output=r.text, answer=r.answer, gold=gold[r.problem_id], verdict=r.verdict,
                grader=_grader().name, finish_reason=r.finish_reason, n_tokens=len(r.token_ids),
            )
            for r in rollouts
        ),
    )  # fmt: skip
    context.count(tokens=sum(len(r.token_ids) for r in rollouts), samples=len(rollouts))
