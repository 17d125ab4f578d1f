from __future__ import annotations

import pytest
import torch

from rlbench.objectives.batch import Loss, Term, TokenBatch
from rlbench.objectives.reduction import Totals, as_loss, reduce_loss, reduce_values


def batch_of(*lengths: int) -> TokenBatch:
    return TokenBatch.from_lengths(lengths, logp=torch.zeros(sum(lengths)))


TOKENS = torch.tensor([1.0, 2.0, 3.0, 10.0])  # of two sequences: three tokens and one


@pytest.mark.parametrize(
    ("reduction", "values", "expected"),
    [
        ("token-mean", TOKENS, 16 / 4),
        ("sequence-mean", TOKENS, (2 + 10) / 2),
        ("sequence-mean", torch.tensor([5.0, 7.0]), 6.0),
        ("sequence-mean-token-sum", TOKENS, (6 + 10) / 2),
        ("sequence-mean-token-sum", torch.tensor([5.0, 7.0]), 6.0),
        ("constant", TOKENS, 16 / (2 * 8)),
        ("pair-mean", torch.tensor([5.0]), 5.0),
    ],
)
def test_each_reduction_has_its_hand_computed_value(reduction: str, values: torch.Tensor, expected: float) -> None:
    totals = Totals(tokens=4, sequences=2, constant_length=8)
    assert reduce_values(values, reduction, batch_of(3, 1), totals).item() == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["token-mean", "sequence-mean", "sequence-mean-token-sum", "constant"])
def test_parts_of_micro_batches_add_up_to_the_value_of_the_step(reduction: str) -> None:
    totals = Totals(tokens=4, sequences=2, constant_length=8)
    whole = reduce_values(TOKENS, reduction, batch_of(3, 1), totals)
    parts = reduce_values(TOKENS[:3], reduction, batch_of(3), totals) + reduce_values(
        TOKENS[3:], reduction, batch_of(1), totals
    )
    torch.testing.assert_close(parts, whole)


def test_terms_have_coefficients_and_reductions_of_their_own() -> None:
    loss = Loss([Term(TOKENS), Term(torch.tensor([5.0, 7.0]), coefficient=0.5, reduction="sequence-mean")])
    assert reduce_loss(loss, "token-mean", batch_of(3, 1), Totals(4, 2)).item() == pytest.approx(4 + 0.5 * 6)
    assert reduce_loss(as_loss(TOKENS), "token-mean", batch_of(3, 1), Totals(4, 2)).item() == pytest.approx(4)


@pytest.mark.parametrize(
    ("reduction", "values"),
    [("token-mean", torch.zeros(2)), ("pair-mean", torch.zeros(4)), ("token-mean", torch.zeros(()))],
)
def test_values_of_another_shape_than_the_reduction_takes_are_refused(reduction: str, values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=reduction):
        reduce_values(values, reduction, batch_of(3, 1), Totals(4, 2))


def test_sequence_helpers_sum_average_and_expand() -> None:
    batch = batch_of(3, 1)
    assert batch.sequence_sum(TOKENS).tolist() == [6.0, 10.0]
    assert batch.sequence_mean(TOKENS).tolist() == [2.0, 10.0]
    assert batch.expand(torch.tensor([1.0, 2.0])).tolist() == [1.0, 1.0, 1.0, 2.0]
    chosen, rejected = batch.pairs(torch.tensor([1.0, 2.0]))
    assert (chosen.tolist(), rejected.tolist()) == ([1.0], [2.0])


@pytest.mark.parametrize(
    ("field", "hint"),
    [("ref_logp", r"reads=\('ref_logp',\)"), ("advantage", "estimator"), ("logits", "no field 'logits'")],
)
def test_reading_what_is_not_there_says_what_to_declare(field: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=hint):
        getattr(batch_of(2), field)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "it returned NoneType"),
        (Loss([]), "one Term or more"),
        (Loss(Term(torch.zeros(2))), "one Term or more"),
        (Loss([torch.zeros(2)]), "Tensor, not a Term"),
        (Loss([Term([0.0])]), "list, not a Term of a tensor"),
        (Loss([Term(torch.zeros(2), coefficient="a")]), "coefficient of a term is 'a'"),
        (Loss([Term(torch.zeros(2))], [1]), "list, not a dictionary"),
        (Loss([Term(torch.zeros(2))], {"n": 1.0}), "'n' is float"),
    ],
)
def test_what_is_no_loss_is_refused_by_what_is_wrong_with_it(result: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_loss(result)  # type: ignore[arg-type]


def test_an_unknown_reduction_of_a_term_is_refused() -> None:
    with pytest.raises(ValueError, match="'mean' is none of token-mean"):
        reduce_values(torch.zeros(2), "mean", batch_of(2), Totals(2, 1))
