"""Losses that are functions of the token's own probability: which tokens, sure or unsure, one wants to learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective

SMALLEST_REST = 1e-12
"""Where 1 - p is smaller, it is taken for this: the slope of a power below 1 would be infinite at 0."""


@objective("focal", rows="sequences", reduction="token-mean")
def focal(batch: TokenBatch, *, gamma: float = 2.0) -> Loss:
    """Focal loss: -(1 - p)^gamma log p, the mirror image of DFT: tokens that the model is sure of count for less.

    The gradient goes through the factor too, as in the paper. gamma = 0 is SFT. Logged: ``weight``, (1 - p)^gamma.

    Shapes: logp [T] -> loss [T], nats.
    Source: Lin et al. 2017, eq. 4 (arXiv:1708.02002).

    Raises:
        ValueError: gamma is negative.
    """
    if gamma < 0:
        raise ValueError(f"gamma is at least 0, not {gamma}")
    weight = (-torch.expm1(batch.logp)).clamp(min=SMALLEST_REST) ** gamma
    return Loss([Term(-weight * batch.logp)], {"weight": stop_gradient(weight)})


@objective("prob_power", rows="sequences", reduction="token-mean")
def prob_power(batch: TokenBatch, *, k: float = 10.0) -> Tensor:
    """(1 - p^k) / k, whose gradient with respect to log p is -p^k: k -> 0 is SFT, k = 1 has DFT's gradient.

    The paper's objectives are -log p (k = 0), -p (k = 1) and -p^10 (the default), which trusts the model's own beliefs
    most.

    Shapes: logp [T] -> loss [T].
    Source: Li et al. 2025 (arXiv:2510.00526), with the constant and the scale of the general family in its code.

    Raises:
        ValueError: k is negative.
    """
    if k < 0:
        raise ValueError(f"k is at least 0, not {k}")
    return -torch.expm1(k * batch.logp) / k if k > 0 else -batch.logp


@objective("chord_phi", rows="sequences", reduction="token-mean")
def chord_phi(batch: TokenBatch) -> Loss:
    """CHORD's weight of a demonstration's token: -sg(p (1 - p)) log p, largest where the model is undecided.

    It is the SFT half of CHORD-phi alone: its code trains on 0.1 of it and 0.9 of a GRPO loss on samples of the policy.
    Logged: ``weight``.

    Shapes: logp [T] -> loss [T], nats.
    Source: Zhang et al. 2025 (arXiv:2508.11408).
    """
    weight = stop_gradient(-batch.logp.exp() * torch.expm1(batch.logp))
    return Loss([Term(-weight * batch.logp)], {"weight": weight})
