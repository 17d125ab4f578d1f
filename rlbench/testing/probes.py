"""Batches to try a function on: seeded random numbers in the places of everything that a batch can hold."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.source import READABLE
from rlbench.records import StageFailure, UserError
from rlbench.testing.report import Wrong
from rlbench.training.step import BoundComponent, BoundObjective

TRAINED = ("logp", "entropy", "value")
"""The fields through which a gradient reaches a network."""

LENGTHS = (5, 1, 3, 8, 2, 4, 1, 6)
"""T = 30, S = 8, N = 4: no two the same, so that a value of the wrong shape cannot pass for another."""

# Group numbers are neither 0..G-1 nor in order, as those of a micro-batch are not.
_GROUPS = {"sequences": (7, 3, 7, 9, 3, 7, 3, 9), "pairs": (7, 7, 3, 3, 9, 9, 3, 3), "groups": (7, 7, 7, 3, 3, 9, 9, 9)}
_WEIGHTS = (1.0, 0.5, 2.0, 1.5, 1.0, 0.25, 3.0, 0.75)
_REWARDS = {"sequences": (1, 0, 0, 1, 1, 0, 1, 1), "pairs": (1, 0) * 4, "groups": (1, 0, 0, 1, 1, 0, 1, 1)}


@dataclass(frozen=True)
class ProbeBatch:
    """The numbers of a batch of T tokens of S sequences: ``reward``, ``group``, ``weight`` [S]; ``token_id``,
    ``fields`` [T], float64.
    """

    rows: str
    lengths: tuple[int, ...]
    group: tuple[int, ...]
    reward: tuple[float, ...]
    weight: tuple[float, ...]
    token_id: Tensor
    fields: Mapping[str, Tensor]

    @property
    def units(self) -> list[list[int]]:
        """Units, which are never separated: the sequences of each pair or group, or each by itself."""
        if self.rows == "groups":
            return [[s for s, group in enumerate(self.group) if group == unit] for unit in dict.fromkeys(self.group)]
        size = 2 if self.rows == "pairs" else 1
        return [list(range(start, start + size)) for start in range(0, len(self.lengths), size)]

    def tokens(self, sequences: Sequence[int]) -> Tensor:
        """The places of the tokens of some sequences, in the order given."""
        ends = torch.tensor(self.lengths).cumsum(0).tolist()
        return torch.cat([torch.arange(ends[s] - self.lengths[s], ends[s]) for s in sequences])

    def take(self, sequences: Sequence[int]) -> ProbeBatch:
        """Some of the sequences, in the order given."""
        tokens = self.tokens(sequences)
        return dataclasses.replace(
            self,
            lengths=tuple(self.lengths[s] for s in sequences),
            group=tuple(self.group[s] for s in sequences),
            reward=tuple(self.reward[s] for s in sequences),
            weight=tuple(self.weight[s] for s in sequences),
            token_id=self.token_id[tokens],
            fields={name: values[tokens] for name, values in self.fields.items()},
        )

    def replace(self, **fields: Tensor | float) -> ProbeBatch:
        """The same with other values, or one value at every token, in some fields."""
        new = {
            name: torch.full_like(self.fields["logp"], x) if isinstance(x, float) else x for name, x in fields.items()
        }
        return dataclasses.replace(self, fields={**self.fields, **new})

    def batch(
        self,
        dtype: torch.dtype = torch.float64,
        names: Sequence[str] | None = None,
        kind: type[TokenBatch] = TokenBatch,
    ) -> tuple[Any, dict[str, Tensor]]:
        """The batch with all fields or those named, and the leaves that gradients come to, by name."""
        copies = {
            name: values.to(dtype, copy=True) for name, values in self.fields.items() if names is None or name in names
        }
        leaves = {name: copies[name].requires_grad_() for name in TRAINED if name in copies}
        # Clones, because a network's outputs are no leaves either: what is changed in place has to be found, not
        # refused by torch.
        fields = {name: values.clone() if name in leaves else values for name, values in copies.items()}
        lengths = torch.tensor(self.lengths)
        sequence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        batch = kind(
            sequence=sequence,
            token_id=self.token_id.clone(),
            position=torch.cat([torch.arange(n) for n in self.lengths]),
            reward=torch.tensor(self.reward, dtype=dtype),
            group=torch.tensor(self.group),
            weight=torch.tensor(self.weight, dtype=dtype),
            fields=fields,
        )
        return batch, leaves


class Recording(TokenBatch):
    """A batch that notes which fields are read, and where first: ``seen``, ``file:line`` by name."""

    def __init__(self, **arguments: Any) -> None:
        self.seen: dict[str, str] = {}
        super().__init__(**arguments)

    def __getattribute__(self, name: str) -> Any:
        if name in READABLE or name == "logp":
            frame = sys._getframe(1)
            self.seen.setdefault(name, f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return super().__getattribute__(name)


def hold_reads(
    settings: Sequence[BoundObjective | BoundComponent],
    wholes: Sequence[ProbeBatch],
    refusal: Callable[[str], str | None],
    problem: str | None,
) -> str:
    """Hold what a function declares against what it, and whatever it hands the batch to, reads of some batches under
    each setting.

    ``refusal`` says why a field cannot be had; ``problem`` is what the registry found in the source, where it is known.
    """
    declared, complete = set(settings[0].reads), True
    seen: dict[str, str] = {}
    for bound in settings:
        for whole in wholes:
            batch, _ = whole.batch(torch.float32, kind=Recording)
            try:
                bound(batch)
            except (UserError, StageFailure):  # the check of the result says so
                complete = False
            seen = {**batch.seen, **seen}
    for name, where in seen.items():
        if reason := refusal(name):
            raise Wrong(f"it reads {name!r} at {where}, {reason}")
        if name in READABLE and name not in declared:
            raise Wrong(f"it reads {name!r} at {where} and does not declare it: add it to reads in the decorator")
    if problem is not None:
        raise Wrong(problem)
    unread = sorted(declared - seen.keys())
    mentioned = {
        name for name in unread if name in settings[0].function.__code__.co_names
    }  # under other hyper-parameters it may be read
    if set(unread) - mentioned and complete:
        name = next(name for name in unread if name not in mentioned)
        raise Wrong(f"reads declares {name!r}, which is never read and may cost a forward pass: take it out of reads")
    found = f"what is declared is what is read: {', '.join(sorted(declared)) or 'nothing but what is always there'}"
    return found + (f"; not under these hyper-parameters: {', '.join(sorted(mentioned))}" if mentioned else "")


def probe(rows: str, seed: int, spread: float) -> ProbeBatch:
    """A random batch; ``spread`` is the standard deviation, in nats, of the older policies' log-probabilities from the
    policy's.
    """
    random = torch.Generator().manual_seed(seed)
    tokens = sum(LENGTHS)

    def normal(scale: float = 1.0) -> Tensor:
        return scale * torch.randn(tokens, generator=random, dtype=torch.float64)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(tokens, generator=random, dtype=torch.float64)

    logp, value = uniform(-3.0, -0.05), normal()
    older = {name: (logp + normal(spread)).clamp(max=-0.01) for name in ("ref_logp", "old_logp", "sampler_logp")}
    fields = {
        "logp": logp,
        **older,
        "advantage": normal(),
        "entropy": uniform(0.1, 4.0),
        "value": value,
        "old_value": value + normal(0.5),
        "returns": normal(),
    }
    token_id = torch.randint(100, (tokens,), generator=random)
    return ProbeBatch(rows, LENGTHS, _GROUPS[rows], tuple(map(float, _REWARDS[rows])), _WEIGHTS, token_id, fields)


def probes(rows: str) -> list[ProbeBatch]:
    """Random batches with older policies near the policy, less near, and far from it."""
    return [probe(rows, seed, spread) for seed, spread in enumerate((0.1, 0.5, 2.0))]


def smallest(whole: ProbeBatch, reward: float | None = None) -> ProbeBatch:
    """The first unit alone, cut to one token a sequence, and for a group to one sequence; with one reward if it is
    given.
    """
    sequences = whole.units[0][:1] if whole.rows == "groups" else whole.units[0]
    unit = whole.take(sequences)
    first = torch.tensor(unit.lengths).cumsum(0) - torch.tensor(unit.lengths)
    fields = {name: values[first] for name, values in unit.fields.items()}
    rewards = unit.reward if reward is None else (reward,) * len(unit.lengths)
    return dataclasses.replace(
        unit, lengths=(1,) * len(unit.lengths), reward=rewards, token_id=unit.token_id[first], fields=fields
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For tensors this small a second thread costs more than it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let ``torch.zeros`` and its like be of ``dtype``, so that functions written for float32 run on float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def snapshot(batch: TokenBatch) -> dict[str, Tensor]:
    """Copies of all tensors of a batch."""
    return {name: values.detach().clone() for name, values in vars(batch).items()}


def changed(batch: TokenBatch, before: Mapping[str, Tensor]) -> list[str]:
    """The fields of a batch that are no longer as its ``snapshot`` was, by name."""
    now = vars(batch)

    def same(name: str) -> bool:
        return name in now and name in before and isinstance(now[name], Tensor) and torch.equal(now[name], before[name])

    return sorted(name for name in now.keys() | before.keys() if not same(name))
