"""An objective's input, a flat batch of trained tokens, and its output, an unreduced loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlbench.objectives.source import READABLE

LOG_RATIO_BOUND = 20.0
"""exp(20) is 5e8: far beyond any ratio that still means something, and far below what float32 overflows at."""

_recorded: list[Tensor] | None = None
_replayed: Iterator[Tensor] | None = None


@dataclass(frozen=True)
class Term:
    """One term of a loss: unreduced values [T], [S] or [N], its coefficient, its reduction (None:
    the objective's own).
    """

    values: Tensor
    coefficient: float = 1.0
    reduction: str | None = None


@dataclass(frozen=True)
class Loss:
    """Several terms, and statistics to log: unreduced values [T], [S] or [N] under a name, averaged over the step."""

    terms: Sequence[Term]
    stats: Mapping[str, Tensor] = field(default_factory=dict)


class TokenBatch:
    """T trained tokens of S sequences (of N = S/2 pairs), in order of sequence and place; log-probabilities in nats,
    float32.

    Attributes:
        logp: [T] of the trained token under the policy, differentiable.
        token_id: [T] the trained token.
        sequence: [T] its sequence, 0..S-1, sorted.
        position: [T] its place in the completion, from 0.
        advantage: [T] from the method's advantage estimator, detached.
        reward: [S] of the sequence.
        group: [S] the prompt that the sequence answers, as a number.
        weight: [S] of the sequence; 1 in all data that there is so far.
        ref_logp: [T] under the initial model; detached, like the next two. All three only if declared in ``reads``.
        old_logp: [T] under the policy whose samples a ratio is taken against. Online it is the one that drew them,
            computed by the trainer. Offline it is the initial model, which drew the bank; with
            ``training.refresh_interval`` the policy as it was at the last refresh.
        sampler_logp: [T] as the sampler itself gave it when it drew the token.
        old_value, returns: [T] the critic's value before this step's updates and its target; detached. Only if
            declared.
        entropy, value: [T] of the policy's next-token distribution, and the critic's value of the state in which the
            token was chosen; differentiable. Only if declared.

    Reading a field that is not there raises AttributeError, which says what to declare.
    """

    sequence: Tensor
    token_id: Tensor
    position: Tensor
    reward: Tensor
    group: Tensor
    weight: Tensor
    logp: Tensor
    advantage: Tensor
    ref_logp: Tensor
    old_logp: Tensor
    sampler_logp: Tensor
    old_value: Tensor
    returns: Tensor
    entropy: Tensor
    value: Tensor

    def __init__(
        self,
        *,
        sequence: Tensor,
        token_id: Tensor,
        position: Tensor,
        reward: Tensor,
        group: Tensor,
        weight: Tensor | None = None,
        fields: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Build a batch; ``fields`` are those of the tokens that not every batch has: logp, advantage and what is in
        ``reads``.
        """
        self.sequence, self.token_id, self.position = sequence, token_id, position
        self.reward, self.group = reward, group
        self.weight = torch.ones_like(reward) if weight is None else weight
        self.lengths = torch.bincount(sequence, minlength=len(reward))
        for name, values in (fields or {}).items():
            if values.shape != sequence.shape:
                raise ValueError(
                    f"{name} has shape {tuple(values.shape)}; a batch of {len(sequence)} tokens needs [{len(sequence)}]"
                )
            setattr(self, name, values)

    @classmethod
    def from_lengths(
        cls,
        lengths: Sequence[int],
        *,
        reward: Sequence[float] | Tensor | None = None,
        group: Sequence[int] | Tensor | None = None,
        **fields: Tensor,
    ) -> TokenBatch:
        """A batch of sequences of these ``lengths``, for tests: token ids 0, 1, ..., ``fields`` [T] as the engine gives
        them.

        By default rewards are 0 and every sequence answers a prompt of its own. Rewards have the fields' dtype.
        """
        counts = torch.tensor(list(lengths))
        sequence = torch.repeat_interleave(torch.arange(len(counts)), counts)
        tokens = torch.arange(len(sequence))
        dtype = next((values.dtype for values in fields.values() if values.is_floating_point()), torch.float32)
        return cls(
            sequence=sequence,
            token_id=tokens,
            position=tokens - (counts.cumsum(0) - counts)[sequence],
            reward=torch.zeros(len(counts), dtype=dtype) if reward is None else torch.as_tensor(reward, dtype=dtype),
            group=torch.arange(len(counts)) if group is None else torch.as_tensor(group),
            fields=fields,
        )

    def __getattr__(self, name: str) -> Tensor:
        # Called only for what __init__ did not set.
        if name in READABLE:
            raise AttributeError(f"the batch holds no {name!r}: declare it in the decorator, reads=({name!r},)")
        if name == "advantage":
            raise AttributeError(
                "the batch holds no 'advantage': the method has to name an estimator, such as advantage = "
                '"group_norm"'
            )
        if name == "logp":
            raise AttributeError("the batch holds no 'logp': only the policy's objective is given log-probabilities")
        raise AttributeError(f"a TokenBatch has no field {name!r}")

    @property
    def n_tokens(self) -> int:
        """T."""
        return len(self.sequence)

    @property
    def n_sequences(self) -> int:
        """S."""
        return len(self.reward)

    def sequence_sum(self, x: Tensor) -> Tensor:
        """[T] -> [S]: the sum over each sequence's tokens."""
        return torch.segment_reduce(x, "sum", lengths=self.lengths, unsafe=True)

    def sequence_mean(self, x: Tensor) -> Tensor:
        """[T] -> [S]: the mean over each sequence's tokens."""
        return self.sequence_sum(x) / self.lengths.clamp(min=1)

    def expand(self, x: Tensor) -> Tensor:
        """[S] -> [T]: each sequence's value at each of its tokens."""
        return x[self.sequence]

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[S] -> (chosen [N], rejected [N]); with ``rows="pairs"`` the chosen sequence of a pair stands before the
        rejected one.
        """
        if len(x) != self.n_sequences or len(x) % 2:
            raise ValueError(
                f"pairs takes one value for each of an even number of sequences, not {tuple(x.shape)} for "
                f"{self.n_sequences}"
            )
        return x[0::2], x[1::2]


def stop_gradient(x: Tensor) -> Tensor:
    """``x`` held fixed: no gradient flows through it.

    Objectives use this and not ``detach``, so that a check by finite differences can hold the same values fixed: what
    is passed here under ``recorded_stops`` is given back, in the same order, under ``replayed_stops``.
    """
    if _replayed is not None:
        return next(_replayed).clone()  # it may be changed in place, and is given again
    if _recorded is not None:
        _recorded.append(x.detach().clone())
    return x.detach()


@contextlib.contextmanager
def recorded_stops() -> Iterator[list[Tensor]]:
    """Record every value that ``stop_gradient`` is given."""
    global _recorded
    _recorded = []
    try:
        yield _recorded
    finally:
        _recorded = None


@contextlib.contextmanager
def replayed_stops(values: list[Tensor]) -> Iterator[None]:
    """Let ``stop_gradient`` return recorded values, whatever it is given now."""
    global _replayed
    _replayed = iter(values)
    try:
        yield
    finally:
        _replayed = None


def bounded_ratio(log_ratio: Tensor) -> Tensor:
    """exp of a log-ratio clamped to +-``LOG_RATIO_BOUND`` nats: the one place where log-ratios are exponentiated.

    Beyond the bound no gradient flows through it.
    """
    return log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
