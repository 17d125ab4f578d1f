"""Filters: which sequences of a step (or, offline, of the whole data) are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.registry import row_filter


@row_filter("mixed_groups")
def mixed_groups(batch: TokenBatch) -> Tensor:
    """Keep groups whose rewards differ: all right or all wrong teaches nothing relative to the group.

    Shapes: reward, group [S] -> [S] bool. Source: Xiong et al. 2025 (arXiv:2504.11343), whose Reinforce-Rej is ``grpo``
    with the advantage ``signed_reward`` and this; with
        ``online.refills`` it is the dynamic sampling of DAPO (arXiv:2503.14476).
    """
    groups, index = torch.unique(batch.group, return_inverse=True)
    low = batch.reward.new_full((len(groups),), torch.inf).scatter_reduce(0, index, batch.reward, "amin")
    high = batch.reward.new_full((len(groups),), -torch.inf).scatter_reduce(0, index, batch.reward, "amax")
    return (high > low)[index]


@row_filter("positive")
def positive(batch: TokenBatch) -> Tensor:
    """Keep sequences with a reward above 0: what rejection sampling (RAFT) trains on.

    Shapes: reward [S] -> [S] bool.
    Source: Dong et al. 2023 (arXiv:2304.06767).
    """
    return batch.reward > 0
