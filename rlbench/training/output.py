"""Outputs of training: the log of its steps, the checkpoints on the way, and the trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rlbench import models
from rlbench.evaluation.selection import STEPS, checkpoint_folder, checkpoint_steps
from rlbench.training.policy import Policy, snapshot


def write_log(output: Path, log: Sequence[Mapping[str, Any]]) -> None:
    """Write ``training.jsonl`` and, of its lines, ``training.json``."""
    lines = "".join(json.dumps(line) + "\n" for line in log)
    (output / "training.jsonl").write_text(lines, encoding="utf-8")
    losses = [line["loss"] for line in log if line["loss"] is not None]
    sums = {
        "steps": len(losses),
        "sequences": int(sum(line["sequences"] for line in log)),
        "tokens": int(sum(line["tokens"] for line in log)),
        "first_loss": losses[0] if losses else None,
        "final_loss": losses[-1] if losses else None,
    }
    (output / "training.json").write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


class Checkpoints:
    """The models that a run keeps beside its last, see ``rlbench.evaluation.selection``; by default none. ``steps`` is
    how many the run has.
    """

    def __init__(self, policy: Policy, config: Mapping[str, Any], like: Path, output: Path, steps: int) -> None:
        self.policy, self.dtype, self.like, self.output = policy, config["dtype"], like, output
        count = config.get("checkpoints", 1)
        self.steps = checkpoint_steps(steps, count)
        if count > 1:
            (output / STEPS).write_text(json.dumps(self.steps) + "\n")

    def after(self, step: int) -> None:
        """``step`` is done, counted from 1."""
        if step in self.steps[:-1] and step != self.steps[-1]:
            folder = checkpoint_folder(self.output, step)
            folder.mkdir(parents=True)
            save_policy(snapshot(self.policy), self.dtype, self.like, folder)


def save_policy(policy: Policy, dtype: str, like: Path, output: Path) -> None:
    """Write the trained model in the precision that it will be evaluated in, with plain attention
    in its configuration.
    """
    model = policy.module.to(getattr(torch, dtype)).cpu().eval()
    model.set_attn_implementation("sdpa")
    models.save_model(model, like, output)
