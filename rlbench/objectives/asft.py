"""Anchored supervised fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective

SMALLEST_REST = 2.0**-23
"""Where 1 - p is smaller, it is taken for this, at which float32 ends, so that its logarithm and slope stay finite."""


@objective("asft", rows="sequences", reads=("ref_logp",), reduction="token-mean")
def asft(batch: TokenBatch, *, alpha: float = 0.05) -> Loss:
    """DFT with an anchor: -sg(p) log p + alpha KL(p_ref, p).

    The paper's code takes the KL over the whole vocabulary at every token. A batch knows only the trained token's
    probability, so here it is the KL of the split "this token or any other": p_ref log(p_ref / p) + (1 - p_ref) log((1
    - p_ref) / (1 - p)). That is a lower bound of the KL over the vocabulary, exact for what it is, at least 0, and 0
    where p = p_ref; and unlike the estimators k1 and k3 it does not take the token for a sample of either model, which
    a demonstration's is not. Its gradient with respect to log p is (p - p_ref) / (1 - p). Logged: ``kl``, in nats.

    Shapes: logp, ref_logp [T] -> two terms [T], nats.
    Source: Zhu et al. 2025 (arXiv:2509.23753); direction of the KL as in github.com/zhuchichi56/ASFT, and alpha as in
        the example of its first README (its scripts default to 0.1).
    """
    kl = _split_kl(batch.ref_logp, batch.logp)
    anchored = -stop_gradient(batch.logp.exp()) * batch.logp
    return Loss([Term(anchored), Term(kl, coefficient=alpha)], {"kl": stop_gradient(kl)})


def _split_kl(of: Tensor, to: Tensor) -> Tensor:
    """KL(of, to) of "this token or any other" from the token's log-probabilities [T] -> [T], nats."""
    rest_of, rest_to = ((-torch.expm1(logp)).clamp(min=SMALLEST_REST) for logp in (of, to))
    return of.exp() * (of - to) + rest_of * (rest_of.log() - rest_to.log())
