"""Proximal policy optimisation: the policy's loss. The critic's stands in ``value.py``, the estimator in ``advantages.py``."""

from __future__ import annotations

import torch

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("ppo", rows="sequences", reads=("old_logp",), reduction="token-mean")
def ppo(batch: TokenBatch, *, clip: float = 0.2) -> Loss:
    """Clipped surrogate: -min(r A, clip(r, 1 - clip, 1 + clip) A), r = p / p_old. No entropy bonus, no KL term.

    Logged: ``clip_fraction``, the share of tokens whose gradient the clip cuts off, and ``kl``, the estimate r - 1 - log r of
    KL(p_old, p) in nats (Schulman 2020, "Approximating KL divergence", k3).

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Schulman et al. 2017, eq. 7 (arXiv:1707.06347).
    """
    log_ratio = batch.logp - batch.old_logp
    ratio = bounded_ratio(log_ratio)
    unclipped = ratio * batch.advantage
    clipped = ratio.clamp(1 - clip, 1 + clip) * batch.advantage
    stats = {
        "clip_fraction": (stop_gradient(clipped) < stop_gradient(unclipped)).to(ratio.dtype),
        "kl": stop_gradient(ratio - 1 - log_ratio),
    }
    return Loss([Term(-torch.minimum(unclipped, clipped))], stats)
