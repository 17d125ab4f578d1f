"""The rollout bank: completions of the base model, sampled once, graded once, never changed; and the one way in which anything samples.

``sample`` serves the bank, the online methods and the evaluation alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import encode_prompts
from rlbench.records import Problem, Rollout, UserError, read_problems, write_records
from rlbench.sampling.engine import Engine, Progress, Request, SamplingParams, request_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlbench.grading.pool import Grader
    from rlbench.graph.stage import StageContext


def sample(
    engine: Engine, tokenizer: PreTrainedTokenizerBase, grader: Grader, problems: Sequence[Problem], prompts: Sequence[Sequence[int]],
    params: SamplingParams, samples_per_prompt: int, seed_parts: tuple[str | int, ...], progress: Progress | None = None,
) -> list[Rollout]:  # fmt: skip
    """Draw and grade ``samples_per_prompt`` completions of each prompt; they stand in the order of the prompts.

    The seed of a sample is ``request_seed(*seed_parts, problem.id, sample_index)``, so it does not depend on the other problems.
    ``prompts`` are token ids; the reward is 1 for a correct answer, else 0.

    Raises:
        UserError: a prompt is empty or leaves no room in the model's context.
        StageFailure: the model's logits are not finite.
    """
    for problem, prompt in zip(problems, prompts, strict=True):
        if not 0 < len(prompt) < engine.context:
            reason = "is empty" if not prompt else f"has {len(prompt)} tokens, which leaves no room in the context of {engine.context}"
            raise UserError(f"problem {problem.id!r}: its prompt {reason}")
    asked = [(problem, prompt, index) for problem, prompt in zip(problems, prompts, strict=True) for index in range(samples_per_prompt)]
    requests = [Request(tuple(prompt), request_seed(*seed_parts, problem.id, index)) for problem, prompt, index in asked]
    completions = engine.generate(requests, params, progress)
    texts = tokenizer.batch_decode([completion.token_ids for completion in completions], skip_special_tokens=True)
    graded = grader.grade([(problem.answer, text) for (problem, _, _), text in zip(asked, texts, strict=True)])
    return [
        Rollout(
            problem_id=problem.id, sample_index=index, prompt_ids=list(prompt), token_ids=completion.token_ids,
            sampler_logp=completion.logps, text=text, answer=grade.answer, verdict=grade.verdict,
            reward=1.0 if grade.verdict == "correct" else 0.0, finish_reason=completion.finish_reason,
        )
        for (problem, prompt, index), completion, text, grade in zip(asked, completions, texts, graded, strict=True)
    ]  # fmt: skip


def rollouts_stage(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: sample and grade the bank of ``inputs["model"]`` on ``inputs["problems"]``.

    Writes ``rollouts.parquet`` and ``bank.json`` (counts and shares of the bank as sampled). With ``config["drop_truncated"]``
    completions that the length limit cut off are left out and counted. Counts ``tokens`` sampled and ``samples``.
    """
    from rlbench.grading.pool import Grader
    from rlbench.sampling.engines import kept_engine

    engine, tokenizer, stop_ids = kept_engine(config, inputs["model"], context)
    problems = read_problems(inputs["problems"] / "problems.jsonl")
    prompts = encode_prompts(tokenizer, config["template"], problems)
    params = SamplingParams(config["temperature"], config["max_new_tokens"], stop_ids)
    with Grader() as grader:
        seed = ("rollouts", config["seed"])
        rollouts = sample(engine, tokenizer, grader, problems, prompts, params, config["samples"], seed, context.progress)
    kept = [rollout for rollout in rollouts if not (config["drop_truncated"] and rollout.finish_reason == "length")]
    write_records(output / "rollouts.parquet", Rollout, kept)
    summary = {**bank_summary(rollouts), "dropped": len(rollouts) - len(kept)}
    (output / "bank.json").write_text(json.dumps(summary, indent=1) + "\n")
    context.count(tokens=summary["tokens"], samples=len(rollouts), correct=summary["correct"])


def bank_summary(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Counts of a bank, the share of correct samples, and the share of prompts with at least one."""
    prompts = {rollout.problem_id for rollout in rollouts}
    solved = {rollout.problem_id for rollout in rollouts if rollout.verdict == "correct"}
    correct = sum(rollout.verdict == "correct" for rollout in rollouts)
    return {
        "prompts": len(prompts),
        "samples": len(rollouts),
        "correct": correct,
        "correct_rate": correct / len(rollouts),
        "solved_rate": len(solved) / len(prompts),
        "tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "truncated": sum(rollout.finish_reason == "length" for rollout in rollouts),
        "unparsed": sum(rollout.verdict == "unparsed" for rollout in rollouts),
        "ungraded": sum(rollout.verdict in ("timeout", "error") for rollout in rollouts),
    }
