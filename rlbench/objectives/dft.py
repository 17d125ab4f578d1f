"""Dynamic fine-tuning."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("dft", rows="sequences", reduction="token-mean")
def dft(batch: TokenBatch) -> Tensor:
    """Dynamic fine-tuning: -sg(p) log p, whose gradient is that of -p.

    Shapes: logp [T] -> loss [T], nats.
    Source: Wu et al. 2025, eq. 9 (arXiv:2508.05629).
    """
    return -stop_gradient(batch.logp.exp()) * batch.logp
