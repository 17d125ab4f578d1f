"""Dynamic fine-tuning, and what becomes of it with one weight a sequence."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("dft", rows="sequences", reduction="token-mean")
def dft(batch: TokenBatch) -> Loss:
    """Dynamic fine-tuning: -sg(p) log p, whose gradient is that of -p.

    Logged: ``weight``, the mean probability of the trained tokens.

    Shapes: logp [T] -> loss [T], nats.
    Source: Wu et al. 2025, eq. 9 (arXiv:2508.05629).
    """
    return _weighted(batch.logp.exp(), batch.logp)


@objective("dft_seq", rows="sequences", reduction="token-mean")
def dft_seq(batch: TokenBatch) -> Loss:
    """DFT before it goes to tokens: -sg(p(y)) log p, p(y) the product of p over the sequence.

    The weight of a completion of more than a few tokens is practically 0, which is why the paper gives every token its
    own. Logged: ``weight``.

    Shapes: logp [T] -> loss [T], nats.
    Source: Wu et al. 2025, eq. 8 (arXiv:2508.05629).
    """
    return _weighted(batch.expand(batch.sequence_sum(batch.logp).exp()), batch.logp)


@objective("dft_geo", rows="sequences", reduction="token-mean")
def dft_geo(batch: TokenBatch) -> Loss:
    """DFT with one weight a sequence that does not shrink with its length: -sg(g) log p, g the geometric mean of p over
    the sequence.

    It stands between ``dft_seq`` and ``dft``. Logged: ``weight``.

    Shapes: logp [T] -> loss [T], nats.
    Source: an ablation of Wu et al. 2025 (arXiv:2508.05629).
    """
    return _weighted(batch.expand(batch.sequence_mean(batch.logp).exp()), batch.logp)


def _weighted(weight: Tensor, logp: Tensor) -> Loss:
    weight = stop_gradient(weight)
    return Loss([Term(-weight * logp)], {"weight": weight})
