"""Importance-weighted supervised fine-tuning."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("iw_sft", rows="sequences", reads=("ref_logp",), reduction="token-mean")
def iw_sft(batch: TokenBatch, *, weight_max: float = 16.0) -> Tensor:
    """Importance-weighted SFT: -sg(w) log p with one weight a sequence, w = clamp(exp(mean_t(log p - log p_ref)), 0, weight_max).

    At the reference w = 1 and the loss is that of SFT.

    Shapes: logp, ref_logp [T] -> loss [T], nats.
    Source: Qin and Springenberg 2025 (arXiv:2507.12856), with the length-normalised ratio and the clamp of its public code.
    """
    weight = bounded_ratio(batch.sequence_mean(batch.logp - batch.ref_logp)).clamp(max=weight_max)
    return -batch.expand(stop_gradient(weight)) * batch.logp
