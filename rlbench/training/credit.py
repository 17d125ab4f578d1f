"""Credit: filters leave rows out, advantage estimators give every token of the others its advantage.

Shared by offline and online training and by the conformance kit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlbench.objectives import registry
from rlbench.objectives.advantages import Credit
from rlbench.objectives.batch import TokenBatch
from rlbench.records import StageFailure
from rlbench.training.batching import Example, pack, store
from rlbench.training.step import BoundComponent


def prepare_rows(examples: list[Example], config: Mapping[str, Any], plugins: Sequence[Any] = ()) -> list[Example]:
    """Apply the filters to whole units, in their order, and give every token its advantage.

    A unit is kept where all of its sequences are. Estimators and filters see the whole data as one batch.

    Raises:
        StageFailure: nothing is left, or the estimator reads what there is not, such as a critic's values.
    """
    examples = filtered(examples, config, plugins)
    if not examples:
        raise StageFailure("the filters left no row to train on")
    if config.get("advantage") is not None:
        credit(BoundComponent.load("advantage", config["advantage"], plugins), examples)
    return examples


def filtered(examples: list[Example], config: Mapping[str, Any], plugins: Sequence[Any]) -> list[Example]:
    """The examples whose whole unit passes every filter."""
    for component in config.get("filters") or ():
        if not examples:
            return examples
        row_filter = BoundComponent.load("filter", component, plugins)
        mask = choice(row_filter, whole_batch(examples, row_filter.reads))
        dropped = {example.unit for example, kept in zip(examples, mask.tolist(), strict=True) if not kept}
        examples = [example for example in examples if example.unit not in dropped]
    return examples


def choice(row_filter: BoundComponent, batch: TokenBatch) -> Tensor:
    """The mask [S] of bool of the sequences that a filter keeps.

    Raises:
        UserError: the filter raised.
        StageFailure: it returned something else.
    """
    mask, sequences = row_filter(batch), batch.n_sequences
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (sequences,):
        found = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise StageFailure(
            f"{registry.name_and_place(row_filter.function)} has to return a bool for each of {sequences} sequences, "
            f"not {found}"
        )
    return mask


def whole_batch(examples: Sequence[Example], reads: Sequence[str]) -> TokenBatch:
    """All examples as one ``TokenBatch`` on the CPU with the fields in ``reads``, without
    log-probabilities to train.
    """
    return pack(examples).token_batch(reads, {})


def credit(estimator: BoundComponent, examples: Sequence[Example]) -> Tensor | None:
    """Run an estimator over all examples; store ``advantage``, and ``returns`` where it makes some, with each; return
    the returns [T].

    Raises: as ``estimate``.
    """
    batch = whole_batch(examples, estimator.reads)
    found = {
        name: batch.expand(x) if len(x) == batch.n_sequences else x for name, x in estimate(estimator, batch).items()
    }
    for name, values in found.items():
        store(examples, name, values)
    return found.get("returns")


def estimate(estimator: BoundComponent, batch: TokenBatch) -> dict[str, Tensor]:
    """An estimator's ``advantage``, and its ``returns`` where it makes some, each [S] or [T].

    Raises:
        UserError: the estimator raised.
        StageFailure: what it returned is not finite, or of another shape.
    """
    result = estimator(batch)
    made = (
        {"advantage": result.advantage, "returns": result.returns}
        if isinstance(result, Credit)
        else {"advantage": result}
    )
    where, tokens, sequences = registry.name_and_place(estimator.function), batch.n_tokens, batch.n_sequences
    for name, values in made.items():
        if not isinstance(values, Tensor) or values.dim() != 1 or len(values) not in (sequences, tokens):
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise StageFailure(
                f"{where}: its {name} is {found}, and has to be [T] or [S], here with T={tokens}, S={sequences}"
            )
        if not torch.isfinite(values).all():
            raise StageFailure(f"{where}: its {name} is not finite")
    return made
