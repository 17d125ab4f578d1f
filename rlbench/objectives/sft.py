"""Supervised fine-tuning."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.registry import objective


@objective("sft", rows="sequences", reduction="token-mean")
def sft(batch: TokenBatch) -> Tensor:
    """Negative log-likelihood: -log p.

    Shapes: logp [T] -> loss [T], nats.
    Source: Ouyang et al. 2022, the first of InstructGPT's three steps (arXiv:2203.02155).
    """
    return -batch.logp
