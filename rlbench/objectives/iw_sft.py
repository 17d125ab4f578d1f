"""Importance-weighted supervised fine-tuning."""

from __future__ import annotations

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("iw_sft", rows="sequences", reads=("ref_logp",), reduction="token-mean")
def iw_sft(batch: TokenBatch, *, weight_max: float = 16.0) -> Loss:
    """Importance-weighted SFT: -sg(w) log p with one weight a sequence, w = clamp(exp(mean_t(log p - log p_ref)), 0,
    weight_max).

    At the reference w = 1 and the loss is that of SFT. The mean over tokens, the bound of 16 and the temperature of 1
    on the log-ratio are those of the authors' code (github.com/emmyqin/iw_sft). Logged: ``weight``.

    Shapes: logp, ref_logp [T] -> loss [T], nats.
    Source: Qin and Springenberg 2025 (arXiv:2507.12856).
    """
    ratio = bounded_ratio(batch.sequence_mean(batch.logp - batch.ref_logp))
    weight = batch.expand(stop_gradient(ratio.clamp(max=weight_max)))
    return Loss([Term(-weight * batch.logp)], {"weight": weight})
