"""Group-relative policy optimisation: the policy's loss. Its advantages are those of the estimator ``group_norm``."""

from __future__ import annotations

import torch

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("grpo", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def grpo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Loss:
    """Clipped surrogate with an asymmetric range: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = p / p_old.

    It has no KL term (the paper's coefficient 0). Sequence-mean is the paper's reduction; a method may set ``reduction =
    "token-mean"`` (DAPO, arXiv:2503.14476) or ``"constant"`` (Dr. GRPO, arXiv:2503.20783). Logged: ``clip_fraction`` and ``kl``,
    as in ``ppo``.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Shao et al. 2024, eq. 3 (arXiv:2402.03300).
    """
    log_ratio = batch.logp - batch.old_logp
    ratio = bounded_ratio(log_ratio)
    unclipped = ratio * batch.advantage
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * batch.advantage
    stats = {
        "clip_fraction": (stop_gradient(clipped) < stop_gradient(unclipped)).to(ratio.dtype),
        "kl": stop_gradient(ratio - 1 - log_ratio),
    }
    return Loss([Term(-torch.minimum(unclipped, clipped))], stats)
