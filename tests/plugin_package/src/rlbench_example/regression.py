"""Advantage-weighted regression."""

from __future__ import annotations

from rlbench import Loss, Term, TokenBatch, bounded_ratio, objective, stop_gradient


@objective("awr", rows="sequences", reduction="token-mean")
def awr(batch: TokenBatch, *, beta: float = 0.5, weight_max: float = 20.0) -> Loss:
    """-sg(w) log p, w = min(exp(A / beta), weight_max): likelihood, the more of it the better a sample was. Logged:
    ``weight``.

    Shapes: logp, advantage [T] -> loss [T], nats.
    Source: Peng et al. 2019 (arXiv:1910.00177).
    """
    weight = stop_gradient(bounded_ratio(batch.advantage / beta).clamp(max=weight_max))
    return Loss([Term(-weight * batch.logp)], {"weight": weight})
