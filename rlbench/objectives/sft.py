"""Supervised fine-tuning."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.registry import objective


@objective("sft", rows="sequences", reduction="token-mean")
def sft(batch: TokenBatch) -> Tensor:
    """Negative log-likelihood: -log p.

    Shapes: logp [T] -> loss [T], nats.
    """
    return -batch.logp
