"""What a sample is worth: a reward, the samples that are worth a step, and how they stand to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench import TokenBatch, advantage, reward, row_filter
from rlbench.records import Rollout


@reward("brief")
def brief(rollout: Rollout, *, price: float = 0.005, least: float = 0.2) -> float:
    """1 less ``price`` for each token, but not below ``least``, where the answer is correct; else 0."""
    return max(least, 1.0 - price * len(rollout.token_ids)) if rollout.verdict == "correct" else 0.0


@row_filter("not_mastered")
def not_mastered(batch: TokenBatch, *, at_most: float = 0.9) -> Tensor:
    """Keep groups in which at most this share of the samples has a reward above 0: the others have been learned.

    Shapes: reward, group [S] -> [S] bool.
    """
    _, index, count = torch.unique(batch.group, return_inverse=True, return_counts=True)
    solved = torch.zeros(len(count)).index_add(0, index, (batch.reward > 0).float())
    return (solved <= at_most * count)[index]


@advantage("ranks")
def ranks(batch: TokenBatch) -> Tensor:
    """(samples of the group that are worse - samples that are better) / (K - 1) for K samples: from -1 to 1, and 0 for
    a group of one.

    Only the order of the rewards counts, so that no single one can weigh more than another.

    Shapes: reward, group [S] -> advantage [S].
    """
    together = batch.group[:, None] == batch.group[None, :]
    above = (batch.reward[:, None] - batch.reward[None, :]).sign() * together
    return above.sum(1) / (together.sum(1) - 1).clamp(min=1)
