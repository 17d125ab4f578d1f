"""Methods that TRL's trainers can train: asked while a run is planned, so without torch and without trl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REDUCTIONS: dict[str, dict[str, str]] = {
    "sft": {"token-mean": "nll"},
    "dft": {"token-mean": "dft"},
    "dpo": {"pair-mean": "sigmoid"},
    "grpo": {"sequence-mean": "grpo", "token-mean": "dapo", "constant": "dr_grpo"},
}
"""For each objective that ``backend = "trl"`` trains, its reductions that TRL has too and the ``loss_type`` that TRL
calls them by.
"""

ADVANTAGE_EPS = 1e-4  # written into TRL's trainer, where nothing sets it


def refuse(config: Mapping[str, Any], data: str) -> str | None:
    """Why TRL cannot train a method as it is described, in one line; None where it can.

    Args:
        config: the configuration of the method's training stage, with every default filled in: ``objective`` {name,
            hyperparameters, reduction}, ``advantage`` and ``filters`` {name, hyperparameters}, ``critic``,
            ``training``, and ``online``, None or absent where the method trains on data that was there before.
        data: what the method trains on: ``demonstrations``, ``rollouts.correct``, ``online``, ...
    """
    name = config["objective"]["name"]
    if name == "ppo":
        return "the released TRL has no PPO: it was removed after 1.12"
    if name not in REDUCTIONS:
        return f"backend trl trains {', '.join(REDUCTIONS)}, not {name}"
    if (name == "grpo") != (data == "online"):
        does = "samples for itself, so its data is online" if name == "grpo" else "does not sample"
        return f"TRL's {name} {does}, not {data}"
    reduction, known = config["objective"]["reduction"], REDUCTIONS[name]
    if reduction not in known:
        return f"TRL reduces {name} by {' or '.join(known)}, not by {reduction}"
    if config.get("filters"):
        return f"TRL's trainers have no filters, here {config['filters'][0]['name']!r}"
    if config.get("critic"):
        return "TRL's trainers have no critic"
    if config.get("checkpoints", 1) > 1:
        return "TRL's trainers keep the last checkpoint alone here, so evaluation.checkpoints is 1"
    if config["training"].get("refresh_interval") is not None:
        return "TRL's trainers have no training.refresh_interval"
    return _refuse_online(config) if name == "grpo" else None


def _refuse_online(config: Mapping[str, Any]) -> str | None:
    online, advantage = config["online"], config.get("advantage")
    if advantage is None or advantage["name"] != "group_norm":
        return f"TRL's grpo computes the advantage group_norm, not {advantage['name'] if advantage else 'none'}"
    if (eps := advantage["hyperparameters"].get("eps", ADVANTAGE_EPS)) != ADVANTAGE_EPS:
        return f"TRL's group_norm has eps = {ADVANTAGE_EPS:g}, not {eps:g}"
    if online.get("sync_interval", 1) != 1:
        return f"TRL samples from the policy as it is: online.sync_interval is 1, not {online['sync_interval']}"
    if online.get("importance_cap") is not None:
        return "TRL samples from the module that it trains, so there is no online.importance_cap"
    if online.get("refills", 0):
        return f"TRL draws a step's prompts once: online.refills is 0, not {online['refills']}"
    if online["samples_per_prompt"] < 2:
        return "TRL's grpo needs online.samples_per_prompt of at least 2"
    samples = online["prompts_per_step"] * online["samples_per_prompt"]
    if samples % online.get("mini_batches", 1):
        divisor = f"online.mini_batches = {online['mini_batches']}"
        return f"TRL cuts a step into equal parts, and {samples} samples do not divide by {divisor}"
    return None


def differences(config: Mapping[str, Any], data: str) -> tuple[str, ...]:
    """The ways in which TRL differs from the engine in a row that ``refuse`` lets through, one line each, for the
    report's deviations.
    """
    training, online = config["training"], config.get("online") or {}
    notes = ["trained by TRL's trainer, the order of the data that of its sampler"]
    if training.get("warmup"):
        notes.append("training.warmup: TRL is one step behind, so its first step has learning rate 0")
    if data != "online":
        if config.get("advantage"):
            notes.append("advantage: ignored")
        if config["objective"]["name"] == "dpo":
            notes.append(
                "training.batch_size: what is left of an epoch is a mean of means over micro-batches that may be of "
                "unequal size"
            )
        return tuple(notes)
    notes.append("completions are drawn by transformers' generate, all of a step at once; sampling.batch_rows: ignored")
    notes.append("training.max_length: bounds prompts, not their completions")
    if config["reward"]["name"] not in ("correct", "incorrect", "format_only", "random"):
        notes.append("a reward sees rollouts without sampler_logp")
    if online.get("mini_batches", 1) > 1 and config["objective"]["reduction"] == "token-mean":
        notes.append(
            "reduction: the denominator is the step's mean number of tokens a mini-batch, not the mini-batch's own"
        )
    return tuple(notes)
