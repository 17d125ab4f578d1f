"""The rollout bank: completions of the base model, sampled once, graded once, never changed; and the one way in which
anything samples.

``sample`` serves the bank, the online methods and the evaluation alike, and ``sample_stage`` what the two stages that
only sample share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import encode_prompts
from rlbench.records import Problem, Rollout, UserError, join_records, read_problems, write_records
from rlbench.sampling.engine import Engine, Progress, Request, SamplingParams, request_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlbench.grading.pool import Grader
    from rlbench.graph.stage import StageContext


def sample(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    grader: Grader,
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    samples_per_prompt: int,
    seed_parts: tuple[str | int, ...],
    progress: Progress | None = None,
) -> list[Rollout]:
    """Draw and grade ``samples_per_prompt`` completions of each prompt; they stand in the order of the prompts.

    The seed of a sample is ``request_seed(*seed_parts, problem.id, sample_index)``, so it does not depend on the other
    problems. ``prompts`` are token ids; the reward is 1 for a correct answer, else 0.

    Raises:
        UserError: a prompt is empty or leaves no room in the model's context.
        StageFailure: the model's logits are not finite.
    """
    for problem, prompt in zip(problems, prompts, strict=True):
        if not 0 < len(prompt) < engine.context:
            reason = (
                "is empty"
                if not prompt
                else f"has {len(prompt)} tokens, which leaves no room in the context of {engine.context}"
            )
            raise UserError(f"problem {problem.id!r}: its prompt {reason}")
    asked = [
        (problem, prompt, index)
        for problem, prompt in zip(problems, prompts, strict=True)
        for index in range(samples_per_prompt)
    ]
    requests = [
        Request(tuple(prompt), request_seed(*seed_parts, problem.id, index)) for problem, prompt, index in asked
    ]
    if not requests:
        return []
    completions = engine.generate(requests, params, progress)
    texts = tokenizer.batch_decode([completion.token_ids for completion in completions], skip_special_tokens=True)
    graded = grader.grade([(problem.answer, text) for (problem, _, _), text in zip(asked, texts, strict=True)])
    return [
        Rollout(
            problem_id=problem.id,
            sample_index=index,
            prompt_ids=list(prompt),
            token_ids=completion.token_ids,
            sampler_logp=completion.logps,
            text=text,
            answer=grade.answer,
            verdict=grade.verdict,
            reward=1.0 if grade.verdict == "correct" else 0.0,
            finish_reason=completion.finish_reason,
        )
        for (problem, prompt, index), completion, text, grade in zip(asked, completions, texts, graded, strict=True)
    ]


def progress_of(context: StageContext) -> Progress:
    """Tells a stage's context how far sampling is and how many tokens a second it makes from now on."""
    start = time.monotonic()

    def progress(done: int, total: int, tokens: int) -> None:
        context.progress(done, total, f"{tokens / max(time.monotonic() - start, 1e-3):,.0f} tokens/s")

    return progress


def sample_stage(
    config: Mapping[str, Any], inputs: Mapping[str, Path], context: StageContext, seed_parts: tuple[str | int, ...]
) -> tuple[list[Problem], list[Rollout]]:
    """The samples of a stage: ``config["samples"]`` graded completions of ``inputs["model"]`` for each of
    ``inputs["problems"]``.

    With ``config["shard"]`` only for its part of the problems, see ``records.read_problems``: no more than that is ever
    in memory. Counts ``tokens`` sampled and ``samples``.
    """
    from rlbench.grading.pool import shared_grader
    from rlbench.sampling.engines import kept_engine

    engine, tokenizer, stop_ids = kept_engine(config, inputs["model"], context)
    problems = read_problems(inputs["problems"] / "problems.jsonl", config.get("shard", (0, 1)))
    prompts = encode_prompts(tokenizer, config["template"], problems, context.note)
    params = SamplingParams(config["temperature"], config["max_new_tokens"], stop_ids)
    grader = shared_grader(config["grader"]["name"])
    rollouts = sample(
        engine, tokenizer, grader, problems, prompts, params, config["samples"], seed_parts, progress_of(context)
    )
    context.count(tokens=sum(len(rollout.token_ids) for rollout in rollouts), samples=len(rollouts))
    return problems, rollouts


def rollouts_stage(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: sample and grade the bank of ``inputs["model"]`` on ``inputs["problems"]``, or a shard of it.

    Writes ``rollouts.parquet`` and ``bank.json`` (counts and shares of the bank as sampled). With
    ``config["drop_truncated"]`` completions that the length limit cut off are left out and counted. Counts ``tokens``
    sampled, ``samples`` and ``correct``.
    """
    _, rollouts = sample_stage(config, inputs, context, ("rollouts", config["seed"]))
    kept = [rollout for rollout in rollouts if not (config["drop_truncated"] and rollout.finish_reason == "length")]
    write_records(output / "rollouts.parquet", Rollout, kept)
    summary = {**bank_summary(rollouts), "dropped": len(rollouts) - len(kept)}
    (output / "bank.json").write_text(json.dumps(summary, indent=1) + "\n")
    context.count(correct=summary["correct"])


def merge_rollouts(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: the bank whose shards are ``inputs["shard1"]`` and so on, ``config["shards"]`` of them, as if
    sampled in one.

    Tokens are counted by the shards; this counts ``samples`` and ``correct``.
    """
    folders = [inputs[f"shard{number}"] for number in range(1, config["shards"] + 1)]
    join_records([folder / "rollouts.parquet" for folder in folders], output / "rollouts.parquet", Rollout)
    summaries = [json.loads((folder / "bank.json").read_text()) for folder in folders]
    summary = {key: sum(part[key] for part in summaries) for key in summaries[0] if not key.endswith("_rate")}
    solved = sum(
        round((part["solved_rate"] or 0.0) * part["prompts"]) for part in summaries
    )  # exact: a rate of whole numbers
    rates = {"correct_rate": summary["correct"] / summary["samples"], "solved_rate": solved / summary["prompts"]}
    summary = {key: rates.get(key, summary.get(key)) for key in summaries[0]}
    (output / "bank.json").write_text(json.dumps(summary, indent=1) + "\n")
    context.count(samples=summary["samples"], correct=summary["correct"])


def bank_summary(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Counts of a bank, the share of correct samples, and the share of prompts with at least one; None in a shard
    without a problem.
    """
    prompts = {rollout.problem_id for rollout in rollouts}
    solved = {rollout.problem_id for rollout in rollouts if rollout.verdict == "correct"}
    correct = sum(rollout.verdict == "correct" for rollout in rollouts)
    return {
        "prompts": len(prompts),
        "samples": len(rollouts),
        "correct": correct,
        "correct_rate": correct / len(rollouts) if rollouts else None,
        "solved_rate": len(solved) / len(prompts) if prompts else None,
        "tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "truncated": sum(rollout.finish_reason == "length" for rollout in rollouts),
        "unparsed": sum(rollout.verdict == "unparsed" for rollout in rollouts),
        "ungraded": sum(rollout.verdict in ("timeout", "error") for rollout in rollouts),
    }
