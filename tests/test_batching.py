from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import sequences

from rlbench.records import StageFailure, TrainingSequence
from rlbench.training.batching import examples_of, micro_batches, pack, shuffled, step_batches, store, units_of


def test_packing_puts_sequences_end_to_end_with_positions_that_restart() -> None:
    rows = [TrainingSequence(0, "a", [1, 2], [3, 4, 5], [], 1.0), TrainingSequence(1, "b", [6], [7], [], 0.0)]
    packed = pack(examples_of(rows, "sequences"))
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 6]]  # the last token of a completion predicts nothing
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 0]]
    assert packed.source.tolist() == [1, 2, 3, 4]
    assert packed.token_id.tolist() == [3, 4, 5, 7]
    assert packed.sequence.tolist() == [0, 0, 0, 1]
    assert packed.position.tolist() == [0, 1, 2, 0]
    assert (packed.reward.tolist(), packed.group.tolist()) == ([1.0, 0.0], [0, 1])
    assert (packed.layout.slot.tolist(), packed.layout.sequences, packed.layout.longest) == ([0, 1, 2, 3, 4], 2, 4)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 12), unit=st.integers(1, 3), budget=st.integers(1, 120), seed=st.integers(0, 5))
def test_micro_batches_hold_every_unit_once_and_whole_within_the_budget(
    count: int, unit: int, budget: int, seed: int
) -> None:
    examples = examples_of(sequences(count * unit, unit=unit, seed=seed), "sequences")
    batches = list(micro_batches(examples, budget))
    assert sorted(id(e) for batch in batches for e in batch) == sorted(id(e) for e in examples)
    for batch in batches:
        units = units_of(batch)
        assert all(len(members) == unit for members in units)
        assert [
            e for members in units for e in members
        ] == batch  # the members of a unit are neighbours, in their order
        assert len(units) == 1 or sum(e.length for e in batch) <= budget


def test_groups_are_units_where_the_rows_are_groups() -> None:
    assert [len(unit) for unit in units_of(examples_of(sequences(6, group=3), "groups"))] == [3, 3]


def test_stored_values_come_back_with_their_sequences_in_any_packing() -> None:
    examples = examples_of(sequences(5), "sequences")
    values = torch.arange(sum(len(e.token_ids) for e in examples), dtype=torch.float32)
    store(examples, "old_logp", values)
    again = pack(examples[::-1]).fields["old_logp"]
    torch.testing.assert_close(again, torch.cat([e.fields["old_logp"] for e in examples[::-1]]))
    assert pack(examples).fields["old_logp"].tolist() == values.tolist()


def test_an_epoch_takes_every_unit_once_and_keeps_the_small_last_batch() -> None:
    batches = step_batches(10, 4, 2, seed=3)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = np.concatenate(batches[:3]), np.concatenate(batches[3:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()
    assert len(step_batches(10, 4, 2, seed=3, max_steps=5)) == 5


def test_orders_depend_on_their_parts_alone() -> None:
    assert shuffled(50, "epoch", 1, 0).tolist() == shuffled(50, "epoch", 1, 0).tolist()
    assert shuffled(50, "epoch", 1, 0).tolist() != shuffled(50, "epoch", 2, 0).tolist()


def test_rows_that_cannot_be_trained_on_are_refused() -> None:
    with pytest.raises(StageFailure, match="empty prompt"):
        examples_of([TrainingSequence(0, "a", [], [1], [], 0.0)], "sequences")
    with pytest.raises(StageFailure, match="empty completion"):
        examples_of([TrainingSequence(0, "a", [1], [], [], 0.0)], "sequences")
    with pytest.raises(StageFailure, match=r"rollouts\.pairs"):
        examples_of(sequences(3), "pairs")


def test_a_field_that_is_read_and_not_there_is_refused_by_name() -> None:
    with pytest.raises(StageFailure, match="'sampler_logp' is read"):
        pack(examples_of(sequences(2), "sequences")).token_batch(("sampler_logp",), {})
