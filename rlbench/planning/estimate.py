"""Costs of a plan before anything runs: generations, sampled tokens and trained tokens, from counts and stated
assumptions.
"""

from __future__ import annotations

from typing import Any

from rlbench.graph.stage import Stage
from rlbench.planning.rows import Plan
from rlbench.tasks.base import expected_rows

# What is not known before sampling is assumed, and the plan says so.
LENGTH_SHARE = 0.25  # of the longest completion allowed: the mean completion, and the mean worked solution
CORRECT_SHARE = 0.35  # of the bank's samples: what the paper's counts give (140,000 of 400,000)
PAIRED_SHARE = 0.6  # of the prompts: those with a correct and a wrong sample

ASSUMPTIONS = (
    f"assumed: completions and solutions of {LENGTH_SHARE:.0%} of the longest allowed, {CORRECT_SHARE:.0%} of the "
    "bank's samples correct, "
    f"pairs for {PAIRED_SHARE:.0%} of its prompts"
)


def estimate(stage: Stage) -> dict[str, Any]:
    """``{generations, sampled_tokens, trained_tokens}`` of one stage; a number that cannot be known is None, one that
    is none is 0.
    """
    config = stage.config
    counts: dict[str, Any] = {"generations": 0, "sampled_tokens": 0, "trained_tokens": 0}
    if stage.kind in ("rollouts", "evaluate") and stage.parts == [stage]:
        index, shards = config.get("shard", (0, 1))
        problems = _problems(stage)
        own = None if problems is None else problems * (index + 1) // shards - problems * index // shards
        generations = _times(own, config["samples"])
        counts |= {
            "generations": generations,
            "sampled_tokens": _times(generations, LENGTH_SHARE * config["max_new_tokens"]),
        }
    elif stage.kind == "probe":
        problems = _problems(stage)
        counts |= {"generations": problems, "sampled_tokens": _times(problems, LENGTH_SHARE * config["max_new_tokens"])}
    elif stage.kind == "train" and config["online"]:
        online = config["online"]
        generations = online["steps"] * online["prompts_per_step"] * online["samples_per_prompt"]
        tokens = _times(generations, LENGTH_SHARE * online["max_new_tokens"])
        counts |= {
            "generations": generations,
            "sampled_tokens": tokens,
            "trained_tokens": _times(tokens, online["epochs"]),
        }
    elif stage.kind == "train":
        counts["trained_tokens"] = _times(_view_tokens(stage.inputs["sequences"]), config["training"]["epochs"])
    elif stage.kind == "base":
        counts["trained_tokens"] = config["tokens"]
    return counts


def totals(plan: Plan, cached: set[str]) -> dict[str, Any]:
    """Sums over the stages that are not ``cached``; None where a part is unknown."""
    parts = [estimate(stage) for stage in plan.stages if stage.fingerprint not in cached]
    return {
        key: None if any(p[key] is None for p in parts) else sum(p[key] for p in parts)
        for key in ("generations", "sampled_tokens", "trained_tokens")
    }


def detectable_effect(plan: Plan) -> float | None:
    """The smallest true difference in avg, in points, that a comparison of two rows of the plan would find in four of
    five cases.

    From the numbers of seeds, problems and samples, and from variances that are assumed, see
    ``statistics.expected_effect``; None where a benchmark's size is not known beforehand.
    """
    from rlbench.analysis.intervals import expected_effect

    evaluations = plan.rows[0].evaluations
    sizes = [
        _problems(next(s for (name, _), s in evaluations.items() if name == b.label))
        for b in plan.recipe.evaluation.benchmarks
    ]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or min(known) < 2:
        return None
    return expected_effect(len(plan.recipe.seeds), known, samples=plan.recipe.evaluation.samples)


def _problems(stage: Stage) -> int | None:
    problems = stage.inputs["problems"]
    return expected_rows(problems.config["source"], problems.unhashed)


def _view_tokens(view: Stage) -> int | None:
    if view.config["view"] == "demonstrations":
        return _times(_problems(view), LENGTH_SHARE * view.config["max_length"])
    bank = view.inputs["rollouts"]
    samples = _times(_problems(bank), bank.config["samples"])
    length = LENGTH_SHARE * bank.config["max_new_tokens"]
    if view.config["view"] == "rollouts.correct":
        return _times(samples, CORRECT_SHARE * length)
    if view.config["view"] == "rollouts.pairs":
        return _times(_problems(bank), PAIRED_SHARE * 2 * length)
    return _times(samples, length)


def _times(count: float | None, factor: float) -> int | None:
    return None if count is None else round(count * factor)
