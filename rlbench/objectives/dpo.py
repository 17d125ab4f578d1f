"""Direct preference optimisation."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from rlbench.objectives.batch import Loss, Term, TokenBatch, stop_gradient
from rlbench.objectives.registry import objective


@objective("dpo", rows="pairs", reads=("ref_logp",), reduction="pair-mean")
def dpo(batch: TokenBatch, *, beta: float = 0.1) -> Loss:
    """Direct preference optimisation: -log sigmoid(beta (h_chosen - h_rejected)), h = sum_t (log p - log p_ref) of the sequence.

    At the reference it is ln 2. Logged: ``accuracy``, the share of pairs with h_chosen > h_rejected, and ``margin``, in nats.

    Shapes: logp, ref_logp [T] -> loss [N], nats.
    Source: Rafailov et al. 2023, eq. 7 (arXiv:2305.18290).
    """
    chosen, rejected = batch.pairs(batch.sequence_sum(batch.logp - batch.ref_logp))
    margin = beta * (chosen - rejected)
    fixed = stop_gradient(margin)
    return Loss([Term(-logsigmoid(margin))], stats={"accuracy": (fixed > 0).to(fixed.dtype), "margin": fixed})
