"""Advantage estimators: credit for the tokens of one online step, or of the whole data offline, from rewards and
values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.registry import advantage


@dataclass(frozen=True)
class Credit:
    """An estimate [T] together with the critic's target [T]."""

    advantage: Tensor
    returns: Tensor


@advantage("group_norm")
def group_norm(batch: TokenBatch, *, normalise: bool = True, eps: float = 1e-4) -> Tensor:
    """(R - mean of the group) / (std of the group + eps), the same at every token of a sequence.

    The standard deviation divides by K - 1 for K samples, as in TRL (the paper does not say); a group of one has
    advantage 0. ``normalise = false`` leaves out the division (Dr. GRPO, arXiv:2503.20783).

    Shapes: reward, group [S] -> advantage [S].
    Source: DeepSeekMath, Shao et al. 2024, section 4.1.2 (arXiv:2402.03300).
    """
    centred, index, count = _centred(batch)
    if not normalise:
        return centred
    std = (_group_sum(centred.square(), index, len(count)) / (count - 1).clamp(min=1)).sqrt()
    return centred / (std[index] + eps)


@advantage("leave_one_out")
def leave_one_out(batch: TokenBatch) -> Tensor:
    """R minus the mean reward of the group's other samples; a group of one has advantage 0.

    Shapes: reward, group [S] -> advantage [S].
    Source: RLOO, Ahmadian et al. 2024 (arXiv:2402.14740).
    """
    centred, index, count = _centred(batch)
    return centred * (count / (count - 1).clamp(min=1))[index]


@advantage("gae", reads=("old_value",))
def gae(batch: TokenBatch, *, gamma: float = 1.0, lam: float = 1.0, whiten: bool = True, eps: float = 1e-8) -> Credit:
    """Generalised advantage estimation: A_t = sum_l (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t.

    The sequence's reward stands at its last token and the value after it is 0, also where the length limit ended it.
    Returns are A + V. ``whiten`` then gives A mean 0 and standard deviation 1 over all tokens of the batch.

    Shapes: reward [S], old_value [T] -> advantage and returns [T].
    Source: Schulman et al. 2016, eq. 16 (arXiv:1506.02438).
    """
    longest = int(batch.lengths.max())
    value = batch.old_value.new_zeros(batch.n_sequences, longest + 1)
    value[batch.sequence, batch.position] = batch.old_value
    reward = batch.old_value.new_zeros(batch.n_sequences, longest)
    reward[torch.arange(batch.n_sequences, device=reward.device), batch.lengths - 1] = batch.reward
    delta = reward + gamma * value[:, 1:] - value[:, :-1]  # beyond a sequence's end all three are 0
    estimate = torch.zeros_like(delta)
    later = delta.new_zeros(batch.n_sequences)
    for t in range(longest - 1, -1, -1):
        later = delta[:, t] + gamma * lam * later
        estimate[:, t] = later
    raw = estimate[batch.sequence, batch.position]
    returns = raw + batch.old_value
    return Credit(_whitened(raw, eps) if whiten else raw, returns)


@advantage("batch_norm")
def batch_norm(batch: TokenBatch, *, group_baseline: bool = False, eps: float = 1e-4) -> Tensor:
    """REINFORCE++: the reward at every token, made mean 0 and standard deviation 1 over all tokens of the step.

    A long sequence counts with each of its tokens in both. ``group_baseline`` first subtracts the mean reward of the
    group (the paper's variant for several samples a prompt). The KL penalty that the paper puts into the reward is left
    out, as in every objective here: with rewards that are verified its coefficient is usually 0, and it would need a
    reference in every step. ``eps`` keeps equal rewards at 0, as verl's 1e-8 on the variance does.

    Shapes: reward, group [S] -> advantage [T].
    Source: Hu et al. 2025 (arXiv:2501.03262).
    """
    reward = _centred(batch)[0] if group_baseline else batch.reward
    return _whitened(batch.expand(reward), eps)


@advantage("signed_reward")
def signed_reward(batch: TokenBatch) -> Tensor:
    """2 R - 1: a reward of 1 or 0 as 1 or -1, with no baseline.

    Reinforce and Reinforce-Rej in the sense of its source are ``grpo``'s clipped ratio with this advantage; the latter
    also has the filter ``mixed_groups``.

    Shapes: reward [S] -> advantage [S].
    Source: Xiong et al. 2025, eq. 5 (arXiv:2504.11343).
    """
    return 2 * batch.reward - 1


def _whitened(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean()) / (x.std(correction=0) + eps)


def _centred(batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards minus their group's mean [S], each sequence's group as 0..G-1 [S], and the size of each group [G]."""
    index, count = _groups(batch.group)
    return batch.reward - (_group_sum(batch.reward, index, len(count)) / count)[index], index, count


def _groups(group: Tensor) -> tuple[Tensor, Tensor]:
    """Each sequence's group as 0..G-1 [S], and the size of each group [G]."""
    _, index, count = torch.unique(group, return_inverse=True, return_counts=True)
    return index, count


def _group_sum(x: Tensor, index: Tensor, groups: int) -> Tensor:
    return x.new_zeros(groups).index_add(0, index, x)
