"""Stage functions: the stable id under which each is fingerprinted, where its code lies, and the version of its output.

An id is hashed and never changes, so code may move without any artifact losing its name. A new kind of stage gets a
line here.
"""

from __future__ import annotations

from typing import NamedTuple


class StageCode(NamedTuple):
    """Where a stage function lies (``package.module:function``), and an integer raised when its output changes."""

    path: str
    version: int


LINK = "rlbench.models:link"  # what admits somebody's model; it runs before everything else

# A golden digest in the tests says when the output of a function has changed for the same configuration.
FUNCTIONS = {
    "rlbench.tasks.base:problems_stage": StageCode("rlbench.tasks.base:problems_stage", 1),
    "rlbench.training.pretraining:pretrain": StageCode("rlbench.training.pretraining:pretrain", 1),
    LINK: StageCode("rlbench.models.link:link", 2),
    "rlbench.sampling.rollouts:rollouts_stage": StageCode("rlbench.sampling.rollouts:rollouts_stage", 1),
    "rlbench.sampling.rollouts:merge_rollouts": StageCode("rlbench.sampling.rollouts:merge_rollouts", 1),
    "rlbench.views:build": StageCode("rlbench.views:build", 2),
    "rlbench.training.offline:train": StageCode("rlbench.training.offline:train", 2),
    "rlbench.training.online:train": StageCode("rlbench.training.online:train", 2),
    "rlbench.training.trl_backend:train": StageCode("rlbench.training.trl_backend:train", 1),
    "rlbench.evaluation:evaluate": StageCode("rlbench.evaluation.stage:evaluate", 1),
    "rlbench.evaluation:merge_samples": StageCode("rlbench.evaluation.stage:merge_samples", 1),
    "rlbench.contamination:probe": StageCode("rlbench.evaluation.contamination:probe", 1),
    "rlbench.selection:checkpoint": StageCode("rlbench.evaluation.selection:checkpoint", 1),
    "rlbench.selection:select": StageCode("rlbench.evaluation.selection:select", 1),
}
