"""The one reduction: from unreduced losses of micro-batches to the loss of an optimiser step.

The denominator is that of the whole step, over all micro-batches and ranks, so a micro-batch contributes ``sum /
denominator`` and the sum of contributions, and with it the gradient, does not depend on how the step was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch
from rlbench.objectives.source import REDUCTIONS


@dataclass(frozen=True)
class Totals:
    """Sizes of a whole optimiser step.

    ``constant_length`` is the longest completion that the method allows, in tokens; offline, where nothing else bounds
    one, the longest sequence, prompt included.
    """

    tokens: int
    sequences: int
    constant_length: int = 1

    def over_ranks(self, device: torch.device) -> Totals:
        """The totals over all ranks, where there are several."""
        if not (dist.is_available() and dist.is_initialized()):
            return self
        counts = torch.tensor([self.tokens, self.sequences], device=device)
        dist.all_reduce(counts)
        tokens, sequences = counts.tolist()
        return Totals(tokens, sequences, self.constant_length)


def as_loss(result: Tensor | Loss) -> Loss:
    """An objective's result as a ``Loss``.

    Raises:
        ValueError: it is neither a loss nor a tensor, or a part of the loss is not what it has to be.
    """
    if not isinstance(result, Tensor | Loss):
        raise ValueError(f"it returned {type(result).__name__}, not a tensor or a Loss")
    loss = result if isinstance(result, Loss) else Loss([Term(result)])
    if not isinstance(loss.terms, Sequence) or not loss.terms:
        raise ValueError("the Loss that it returned has to have a list of one Term or more")
    if not isinstance(loss.stats, Mapping):
        raise ValueError(
            f"the statistics of its Loss are {type(loss.stats).__name__}, not a dictionary of tensors by name"
        )
    for term in loss.terms:
        if not isinstance(term, Term) or not isinstance(term.values, Tensor):
            found = type(term.values if isinstance(term, Term) else term).__name__
            raise ValueError(f"a term of the Loss that it returned is {found}, not a Term of a tensor")
        if not isinstance(term.coefficient, int | float):
            raise ValueError(f"the coefficient of a term is {term.coefficient!r}, not a number")
    for name, values in loss.stats.items():
        if not isinstance(values, Tensor):
            raise ValueError(f"its statistic {name!r} is {type(values).__name__}, not a tensor of unreduced values")
    return loss


def reduce_loss(loss: Loss, reduction: str, batch: TokenBatch, totals: Totals) -> Tensor:
    """This micro-batch's part of the step's loss, a scalar: the sum of its terms, each reduced and times its
    coefficient.
    """
    parts = [
        term.coefficient * reduce_values(term.values, term.reduction or reduction, batch, totals) for term in loss.terms
    ]
    return torch.stack(parts).sum() if len(parts) > 1 else parts[0]


def reduce_values(values: Tensor, reduction: str, batch: TokenBatch, totals: Totals) -> Tensor:
    """This micro-batch's part of one reduced term, a scalar.

    - ``token-mean`` of [T]: over the step's trained tokens.
    - ``sequence-mean`` of [T] or [S]: over the step's sequences, of each one's mean over its tokens.
    - ``sequence-mean-token-sum`` of [T] or [S]: over the step's sequences, of each one's sum over its tokens.
    - ``pair-mean`` of [N]: over the step's pairs.
    - ``constant`` of [T] or [S]: the sum over the step's sequences x the longest completion allowed (Dr. GRPO,
    arXiv:2503.20783).

    Raises:
        ValueError: there is no such reduction, or the values' shape is not one that it takes.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r} is none of {', '.join(REDUCTIONS)}")
    tokens, sequences = batch.n_tokens, batch.n_sequences
    allowed = {"token-mean": (tokens,), "pair-mean": (sequences // 2,)}.get(reduction, (tokens, sequences))
    if values.dim() != 1 or len(values) not in allowed:
        raise ValueError(
            f"reduction {reduction!r} takes values of {' or '.join(f'[{n}]' for n in allowed)}, "
            f"here with T={tokens}, S={sequences}; it returned {tuple(values.shape)}"
        )
    if reduction == "token-mean":
        return values.sum() / totals.tokens
    if reduction == "pair-mean":
        return values.sum() / (totals.sequences // 2)
    if reduction == "constant":
        return values.sum() / (totals.sequences * totals.constant_length)
    if reduction == "sequence-mean" and len(values) == tokens:
        values = batch.sequence_mean(values)
    return values.sum() / totals.sequences
