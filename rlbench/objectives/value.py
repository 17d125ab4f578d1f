"""The critic's loss."""

from __future__ import annotations

import torch

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("value", rows="sequences", reads=("value", "old_value", "returns"), reduction="token-mean")
def value(batch: TokenBatch, *, clip: float = 0.5) -> Loss:
    """Clipped squared error: 1/2 max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2), R the returns.

    Logged: ``value_clip_fraction``, the share of tokens whose gradient the clip cuts off.

    Shapes: value, old_value, returns [T] -> loss [T].
    Source: the code of Ziegler et al. 2019 (arXiv:1909.08593), whose clip is 0.2; 0.5 is verl's default.
    """
    near = batch.old_value + (batch.value - batch.old_value).clamp(-clip, clip)
    plain, clipped = (batch.value - batch.returns).square(), (near - batch.returns).square()
    cut = (stop_gradient(clipped) > stop_gradient(plain)).to(plain.dtype)
    return Loss([Term(0.5 * torch.maximum(plain, clipped))], stats={"value_clip_fraction": cut})
