"""The clipped surrogate and its family: PPO's and GRPO's loss for the policy.

PPO's critic has a loss of its own (``value.py``), and what makes the advantages stands in ``advantages.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
    return _surrogate(batch.logp, batch.old_logp, batch.advantage, clip, clip)


@objective("grpo", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def grpo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Loss:
    """Clipped surrogate with an asymmetric range: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = p / p_old.

    It has no KL term (the paper's coefficient 0). Sequence-mean is the paper's reduction; a method may set ``reduction =
    "token-mean"`` (DAPO, arXiv:2503.14476) or ``"constant"`` (Dr. GRPO, arXiv:2503.20783). Logged: ``clip_fraction`` and ``kl``,
    as in ``ppo``. Its advantages are those of the estimator ``group_norm``.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Shao et al. 2024, eq. 3 (arXiv:2402.03300).
    """
    return _surrogate(batch.logp, batch.old_logp, batch.advantage, clip_low, clip_high)


def _surrogate(logp: Tensor, old_logp: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Loss:
    log_ratio = logp - old_logp
    ratio = bounded_ratio(log_ratio)
    unclipped = ratio * advantage
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    stats = {
        "clip_fraction": (stop_gradient(clipped) < stop_gradient(unclipped)).to(ratio.dtype),
        "kl": stop_gradient(ratio - 1 - log_ratio),
    }
    return Loss([Term(-torch.minimum(unclipped, clipped))], stats)
