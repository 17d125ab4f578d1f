"""Policy gradients without a clip: plain, tapered off the policy, and with a quadratic leash."""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("reinforce", rows="sequences", reduction="sequence-mean-token-sum")
def reinforce(batch: TokenBatch) -> Tensor:
    """-A log p: the gradient of the whole sample's log-probability, times its advantage.

    It has no ratio, so it is for samples of the policy itself: on a bank nothing bounds how far a negative advantage
    pushes. With ``reduction = "sequence-mean"`` a sample's length does not weigh.

    Shapes: logp, advantage [T] -> loss [T], nats.
    Source: Williams 1992; for language models Ahmadian et al. 2024 (arXiv:2402.14740).
    """
    return -batch.advantage * batch.logp


@objective("topr", rows="sequences", reads=("old_logp",), reduction="sequence-mean-token-sum")
def topr(batch: TokenBatch) -> Loss:
    """Tapered off-policy REINFORCE: -log p(y) where the reward is positive, sg(min(p(y) / p_old(y), 1)) log p(y) where
    it is not.

    p(y) is the probability of the whole sample, so a wrong answer stops being pushed down once it has become
    improbable, and a right one is learned however improbable it is. Only the reward's sign counts: what is not above 0
    is a reward of -1. The loss stands at the tokens, and the reduction adds them up, as in the paper's formula;
    ``reduction = "sequence-mean"`` divides by the sample's length. Logged: ``weight``, 1 or the tapered ratio.

    Shapes: logp, old_logp [T], reward [S] -> loss [T], nats.
    Source: Le Roux et al. 2025 (arXiv:2503.14286).
    """
    tapered = bounded_ratio(batch.sequence_sum(batch.logp - batch.old_logp)).clamp(max=1)
    right = batch.reward > 0
    weight = stop_gradient(torch.where(right, torch.ones_like(tapered), tapered))
    signed = torch.where(right, weight, -weight)
    return Loss([Term(-batch.expand(signed) * batch.logp)], {"weight": weight})


@objective("dro", rows="sequences", reads=("old_logp",), reduction="token-mean")
def dro(batch: TokenBatch, *, beta: float = 0.05) -> Loss:
    """-(A log p - beta/2 (log p - log p_old)^2): REINFORCE on samples of another policy, held near it by a square.

    The paper squares the log-ratio of the whole sample and learns a value of the prompt; this is the form of verl and
    Tinker, with both at every token and any advantage, such as ``group_norm``. The paper and verl leave beta to the
    user; 0.05 is the one in Tinker's documentation. Logged: ``kl``, the estimate 1/2 (log p - log p_old)^2 in nats
    (Schulman 2020, k2).

    Shapes: logp, old_logp, advantage [T] -> loss [T], nats.
    Source: Richemond et al. 2024 (arXiv:2405.19107).
    """
    square = 0.5 * (batch.logp - batch.old_logp).square()
    return Loss([Term(beta * square - batch.advantage * batch.logp)], {"kl": stop_gradient(square)})
