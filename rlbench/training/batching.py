"""From training sequences to micro-batches: packed end to end without padding, pairs and groups never separated.

What the model reads of a sequence is its prompt and its completion but for the last token, which predicts nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rlbench.objectives.batch import TokenBatch
from rlbench.records import StageFailure, TrainingSequence


@dataclass(eq=False, slots=True)
class Example:
    """One sequence as the engine holds it, on the CPU.

    ``fields`` holds float32 values [L] of its L trained tokens under the names of ``TokenBatch``: old_logp, advantage,
    ...
    """

    input_ids: np.ndarray
    token_ids: np.ndarray
    unit: int
    group: int
    reward: float
    fields: dict[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens that the model reads."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where P packed tokens of S sequences lie in S x ``longest`` slots: ``slot`` [P]. Attention pads by it, and only
    attention.
    """

    slot: Tensor
    sequences: int
    longest: int


@dataclass(frozen=True, slots=True)
class Packed:
    """One micro-batch of P tokens read and T trained; ``source`` [T] is the place in the row from which each trained
    token is predicted.
    """

    input_ids: Tensor  # [1, P]
    position_ids: Tensor  # [1, P], from 0 in every sequence
    layout: PackedLayout
    source: Tensor
    token_id: Tensor
    sequence: Tensor
    position: Tensor
    reward: Tensor  # [S]
    group: Tensor  # [S]
    fields: dict[str, Tensor]

    def token_batch(self, reads: Sequence[str], outputs: dict[str, Tensor]) -> TokenBatch:
        """The batch that an objective sees: the fields that it declared, the advantage where there is one, and the
        network's outputs.

        Raises:
            StageFailure: a declared field is neither stored nor an output.
        """
        fields = dict(outputs)
        for name in (*reads, "advantage"):
            if name in self.fields:
                fields[name] = self.fields[name]
            elif name != "advantage" and name not in outputs:
                raise StageFailure(f"{name!r} is read and this method's data does not have it")
        return TokenBatch(
            sequence=self.sequence,
            token_id=self.token_id,
            position=self.position,
            reward=self.reward,
            group=self.group,
            fields=fields,
        )


def examples_of(sequences: Sequence[TrainingSequence], rows: str) -> list[Example]:
    """Training sequences as examples, units and groups numbered in order of appearance; a non-empty ``sampler_logp`` is
    kept.

    Raises: StageFailure: a prompt or a completion is empty, or ``rows`` is ``pairs`` and a unit is not two neighbouring
        sequences.
    """
    groups: dict[str, int] = {}
    units: dict[int, int] = {}
    examples = []
    for row in sequences:
        if not row.prompt_ids or not row.token_ids:
            raise StageFailure(
                f"a sequence of group {row.group!r} has an empty {'completion' if row.prompt_ids else 'prompt'}"
            )
        group = groups.setdefault(row.group, len(groups))
        unit = group if rows == "groups" else units.setdefault(row.unit, len(units))
        ids = np.array([*row.prompt_ids, *row.token_ids], dtype=np.int64)
        fields = {"sampler_logp": torch.tensor(row.sampler_logp, dtype=torch.float32)} if row.sampler_logp else {}
        examples.append(Example(ids[:-1], ids[len(row.prompt_ids) :], unit, group, row.reward, fields))
    if rows == "pairs":
        for pair in units_of(examples):
            if len(pair) != 2:
                raise StageFailure(
                    f"a pair has {len(pair)} sequences; an objective of pairs takes the data rollouts.pairs"
                )
    return examples


def units_of(examples: Sequence[Example]) -> list[list[Example]]:
    """Units, which are never separated: examples by unit, in order of first appearance."""
    units: dict[int, list[Example]] = {}
    for example in examples:
        units.setdefault(example.unit, []).append(example)
    return list(units.values())


def shuffled(count: int, *parts: str | int) -> np.ndarray:
    """A permutation of 0..count-1 that depends on ``parts`` alone."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little"))).permutation(count)


def step_batches(units: int, batch_size: int, epochs: int, seed: int, max_steps: int | None = None) -> list[np.ndarray]:
    """The units of each optimiser step: every epoch in an order of its own, its last batch as small as what is left.

    The order depends on the seed and the number of units, never on the method.
    """
    batches = []
    for epoch in range(epochs):
        order = shuffled(units, "epoch", seed, epoch)
        batches += [order[start : start + batch_size] for start in range(0, units, batch_size)]
    return batches[:max_steps]


def micro_batches(examples: Sequence[Example], token_budget: int) -> Iterator[list[Example]]:
    """Cut a step into micro-batches of at most ``token_budget`` tokens read, units whole and longest first.

    Neighbours of like length leave attention little to pad. A unit beyond the budget is a micro-batch of its own.
    """
    units = sorted(units_of(examples), key=lambda unit: -max(example.length for example in unit))
    current: list[Example] = []
    tokens = 0
    for unit in units:
        size = sum(example.length for example in unit)
        if current and tokens + size > token_budget:
            yield current
            current, tokens = [], 0
        current += unit
        tokens += size
    if current:
        yield current


def pack(examples: Sequence[Example], device: torch.device | str = "cpu") -> Packed:
    """Put examples end to end, in the order given."""
    lengths = np.array([example.length for example in examples])
    trained = np.array([len(example.token_ids) for example in examples])
    row, position = _within(lengths)
    sequence, place = _within(trained)
    source = (np.cumsum(lengths) - trained)[sequence] + place
    names = set.intersection(*(set(example.fields) for example in examples))
    longest = int(lengths.max())

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Packed(
        input_ids=on_device(np.concatenate([example.input_ids for example in examples]))[None],
        position_ids=on_device(position)[None],
        layout=PackedLayout(on_device(row * longest + position), len(examples), longest),
        source=on_device(source),
        token_id=on_device(np.concatenate([example.token_ids for example in examples])),
        sequence=on_device(sequence),
        position=on_device(place),
        reward=on_device(np.array([example.reward for example in examples], dtype=np.float32)),
        group=on_device(np.array([example.group for example in examples])),
        fields={name: torch.cat([example.fields[name] for example in examples]).to(device) for name in sorted(names)},
    )


def store(examples: Sequence[Example], name: str, values: Tensor) -> None:
    """Give each example its part of ``values`` [T], in the order in which they were packed, as a field."""
    lengths = [len(example.token_ids) for example in examples]
    for example, part in zip(examples, values.detach().float().cpu().split(lengths), strict=True):
        example.fields[name] = part


def _within(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For sequences end to end: the number of each element's sequence, and the element's place in it."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return row, np.arange(int(lengths.sum())) - starts[row]


def token_count(examples: Sequence[Example]) -> int:
    """Trained tokens."""
    return sum(len(example.token_ids) for example in examples)


def flatten_units(units: Sequence[list[Example]], indices: Sequence[int] | np.ndarray) -> list[Example]:
    """The examples of some units."""
    return list(itertools.chain.from_iterable(units[int(index)] for index in indices))
