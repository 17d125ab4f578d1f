"""Losses of pairs: what is chosen is to become more probable than what is rejected."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("dpo", rows="pairs", reads=("ref_logp",), reduction="pair-mean")
def dpo(batch: TokenBatch, *, beta: float = 0.1) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta (h_chosen - h_rejected)), h = sum_t (log p - log p_ref) of the
    sequence.

    At the reference it is ln 2. Logged: ``accuracy``, the share of pairs with h_chosen > h_rejected, and ``margin``,
    beta (h_chosen - h_rejected) in nats.

    Shapes: logp, ref_logp [T] -> loss [N], nats.
    Source: Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).
    """
    chosen, rejected = batch.pairs(batch.sequence_sum(batch.logp - batch.ref_logp))
    margin = beta * (chosen - rejected)
    return _loss(-logsigmoid(margin), margin)


@objective("hinge", rows="pairs", reads=("ref_logp",), reduction="pair-mean")
def hinge(batch: TokenBatch, *, beta: float = 0.1) -> Loss:
    """SLiC's hinge on DPO's margin: max(0, 1 - beta (h_chosen - h_rejected)), h as in ``dpo``.

    SLiC has no reference; measured against one, as here, the loss is that of RSO (arXiv:2309.06657) and of TRL, whose
    default beta is. Logged: ``accuracy`` and ``margin``, as in ``dpo``.

    Shapes: logp, ref_logp [T] -> loss [N].
    Source: Zhao et al. 2023 (arXiv:2305.10425).
    """
    chosen, rejected = batch.pairs(batch.sequence_sum(batch.logp - batch.ref_logp))
    margin = beta * (chosen - rejected)
    return _loss(relu(1 - margin), margin)


@objective("ipo", rows="pairs", reads=("ref_logp",), reduction="pair-mean")
def ipo(batch: TokenBatch, *, beta: float = 0.1) -> Loss:
    """Identity preference optimisation: (m_chosen - m_rejected - 1 / (2 beta))^2, m = mean_t (log p - log p_ref) of the
    sequence.

    The paper writes the sum over the tokens; the mean is what its authors used, as TRL found out from them. Logged:
    ``accuracy`` and ``margin``, m_chosen - m_rejected in nats a token.

    Shapes: logp, ref_logp [T] -> loss [N].
    Source: Azar et al. 2023, eq. 17 (arXiv:2310.12036); beta is its tau, with TRL's default.
    """
    chosen, rejected = batch.pairs(batch.sequence_mean(batch.logp - batch.ref_logp))
    margin = chosen - rejected
    return _loss((margin - 1 / (2 * beta)).square(), margin)


@objective("simpo", rows="pairs", reduction="pair-mean")
def simpo(batch: TokenBatch, *, beta: float = 2.0, gamma: float = 1.0) -> Loss:
    """Preference without a reference: -log sigmoid(beta (a_chosen - a_rejected) - gamma), a = mean_t log p of the
    sequence.

    beta = 2 and gamma / beta = 0.5 are the authors' for an 8B base model; TRL writes gamma for the same margin. Logged:
    ``accuracy``, the share of pairs with a_chosen > a_rejected, and ``margin``, beta (a_chosen - a_rejected).

    Shapes: logp [T] -> loss [N], nats.
    Source: Meng et al. 2024, eq. 6 (arXiv:2405.14734).
    """
    chosen, rejected = batch.pairs(batch.sequence_mean(batch.logp))
    margin = beta * (chosen - rejected)
    return _loss(-logsigmoid(margin - gamma), margin)


def _loss(values: Tensor, margin: Tensor) -> Loss:
    fixed = stop_gradient(margin)
    return Loss([Term(values)], {"accuracy": (fixed > 0).to(fixed.dtype), "margin": fixed})
