"""Entropy-adaptive fine-tuning."""

from __future__ import annotations

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("eaft", rows="sequences", reads=("entropy",), reduction="token-mean")
def eaft(batch: TokenBatch, *, alpha: float = 1.0, scale: float = 3.0) -> Loss:
    """-sg(w) log p, w = min(H / scale, 1)^alpha, H the entropy of the next-token distribution: what the model is sure
    of is left alone.

    The authors take the entropy of the 20 most probable tokens, which is at most ln 20 = 2.996 nats, and divide it by
    3; here it is that of the whole vocabulary, so the weight is capped at 1. The entropy has no gradient. Logged:
    ``weight``.

    Shapes: logp, entropy [T] -> loss [T], nats.
    Source: Diao et al. 2026 (arXiv:2601.02151), as in LLaMA-Factory's ``eaft_loss_func``.
    """
    weight = (stop_gradient(batch.entropy) / scale).clamp(0, 1) ** alpha  # an entropy of 0 may come as -1e-8
    return Loss([Term(-weight * batch.logp)], {"weight": weight})
