from __future__ import annotations

import math

import pytest
import torch
from tiny_model import VOCABULARY, sequences, tiny_model
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from rlbench.objectives import advantages, filters, rewards
from rlbench.objectives.batch import Loss, TokenBatch, bounded_ratio, recorded_stops, replayed_stops
from rlbench.objectives.clipped import grpo, ppo
from rlbench.objectives.dft import dft
from rlbench.objectives.dpo import dpo
from rlbench.objectives.iw_sft import iw_sft
from rlbench.objectives.reduction import Totals
from rlbench.objectives.sft import sft
from rlbench.objectives.value import value
from rlbench.recipe import TrainingConfig
from rlbench.records import Rollout, TrainingSequence
from rlbench.training.batching import examples_of
from rlbench.training.policy import Policy, annotate
from rlbench.training.step import BoundObjective, Learner

LENGTHS = (3, 1)


def batch_of(
    lengths: tuple[int, ...] = LENGTHS, reward: list[float] | None = None, group: list[int] | None = None, **fields: Tensor
) -> TokenBatch:
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    position = torch.cat([torch.arange(n) for n in lengths])
    return TokenBatch(
        sequence=sequence, token_id=torch.zeros_like(sequence), position=position, reward=torch.tensor(reward or [0.0] * len(lengths)),
        group=torch.tensor(group or list(range(len(lengths)))), fields=fields,
    )  # fmt: skip


def logs(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def values_of(result: Tensor | Loss) -> list[float]:
    return (result.terms[0].values if isinstance(result, Loss) else result).tolist()


P = (0.5, 0.25, 0.1, 0.8)
Q = (0.25, 0.25, 0.2, 0.4)


def test_sft_has_its_golden_value() -> None:
    assert values_of(sft(batch_of(logp=logs(*P)))) == pytest.approx([0.693147, 1.386294, 2.302585, 0.223144], abs=1e-6)


def test_dft_has_its_golden_value() -> None:
    assert values_of(dft(batch_of(logp=logs(*P)))) == pytest.approx([0.346574, 0.346574, 0.230259, 0.178515], abs=1e-6)


def test_iw_sft_has_its_golden_value() -> None:
    # Weights: the geometric mean of the ratios 2, 1 and 1/2 is 1, and that of 2 is 2.
    found = values_of(iw_sft(batch_of(logp=logs(*P), ref_logp=logs(*Q))))
    assert found == pytest.approx([0.693147, 1.386294, 2.302585, 2 * 0.223144], abs=1e-6)


def test_iw_sft_bounds_its_weight() -> None:
    batch = batch_of((1,), logp=logs(0.9), ref_logp=logs(1e-4))
    assert values_of(iw_sft(batch)) == pytest.approx([16 * -math.log(0.9)])


def test_dpo_has_its_golden_value() -> None:
    # h_chosen = log(2 x 1 x 1/2) = 0, h_rejected = log 2.
    loss = dpo(batch_of(logp=logs(*P), ref_logp=logs(*Q)), beta=0.1)
    assert values_of(loss) == pytest.approx([math.log1p(math.exp(0.1 * math.log(2)))])
    assert loss.stats["accuracy"].tolist() == [0.0]
    assert loss.stats["margin"].tolist() == pytest.approx([-0.1 * math.log(2)])


@pytest.mark.parametrize("objective", [lambda batch: ppo(batch, clip=0.2), lambda batch: grpo(batch, clip_low=0.2, clip_high=0.2)])
def test_the_clipped_surrogate_has_its_golden_value(objective) -> None:
    # Ratios 2, 1, 0.5, 2 with advantages 1, 1, -1, -1: clipped to 1.2, untouched, clipped to 0.8, and the worse of -2 and -1.2.
    batch = batch_of(logp=logs(*P).requires_grad_(), old_logp=logs(*Q), advantage=torch.tensor([1.0, 1.0, -1.0, -1.0]))
    loss = objective(batch)
    assert values_of(loss) == pytest.approx([-1.2, -1.0, 0.8, 2.0])
    loss.terms[0].values.sum().backward()
    assert batch.logp.grad.tolist() == pytest.approx([0.0, -1.0, 0.0, 2.0])
    assert loss.stats["clip_fraction"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert loss.stats["kl"].tolist() == pytest.approx([r - 1 - math.log(r) for r in (2, 1, 0.5, 2)])


def test_grpo_clips_higher_where_it_is_told_to() -> None:
    batch = batch_of((1,), logp=logs(0.5), old_logp=logs(0.25), advantage=torch.tensor([1.0]))
    assert values_of(grpo(batch, clip_high=0.28)) == pytest.approx([-1.28])


def test_the_value_loss_has_its_golden_value() -> None:
    # Values 1, 0.3 and -2 from 0 each, returns 2, 0, 0, clip 0.5: the clipped error is larger, the same, and smaller.
    fields = {"value": torch.tensor([1.0, 0.3, -2.0]), "old_value": torch.zeros(3), "returns": torch.tensor([2.0, 0.0, 0.0])}
    loss = value(batch_of((3,), **fields), clip=0.5)
    assert values_of(loss) == pytest.approx([0.5 * 1.5**2, 0.5 * 0.3**2, 0.5 * 2.0**2])
    assert loss.stats["value_clip_fraction"].tolist() == [1.0, 0.0, 0.0]


def test_dft_gradient_is_p_times_that_of_sft_and_that_of_minus_p() -> None:
    found = []
    for loss in (lambda logp: dft(batch_of(logp=logp)), lambda logp: logp.exp().detach() * -logp, lambda logp: -logp.exp()):
        logp = logs(*P).requires_grad_()
        loss(logp).sum().backward()
        found.append(logp.grad)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_dpo_is_ln_2_at_the_reference() -> None:
    assert values_of(dpo(batch_of(logp=logs(*P), ref_logp=logs(*P)))) == pytest.approx([math.log(2)])


def test_iw_sft_is_sft_at_the_reference() -> None:
    batch = batch_of(logp=logs(*P), ref_logp=logs(*P))
    torch.testing.assert_close(iw_sft(batch), sft(batch))


def test_one_sample_a_prompt_gives_grpo_no_gradient() -> None:
    credit = advantages.group_norm(batch_of(reward=[1.0, 0.0]))
    assert credit.tolist() == [0.0, 0.0]
    batch = batch_of(logp=logs(*P).requires_grad_(), old_logp=logs(*Q), advantage=batch_of().expand(credit))
    grpo(batch).terms[0].values.sum().backward()
    assert batch.logp.grad.tolist() == [0.0] * 4


def test_stopped_gradients_are_held_fixed_for_finite_differences() -> None:
    logp, step = logs(*P).requires_grad_(), 1e-6
    with recorded_stops() as stops:
        dft(batch_of(logp=logp)).sum().backward()
    with replayed_stops(stops):
        up = dft(batch_of(logp=logp.detach() + step)).sum()
    with replayed_stops(stops):
        down = dft(batch_of(logp=logp.detach() - step)).sum()
    assert ((up - down) / (2 * step)).item() == pytest.approx(logp.grad.sum().item(), rel=1e-6)


def test_ratios_stay_finite_however_far_apart_the_policies_are() -> None:
    assert torch.isfinite(bounded_ratio(torch.tensor([1e4, -1e4]))).all()


# Advantages, filters and rewards.


def test_group_norm_has_its_golden_value() -> None:
    batch = batch_of((1,) * 6, reward=[1.0, 0.0, 0.0, 1.0, 1.0, 5.0], group=[7, 7, 7, 7, 3, 9])
    std = math.sqrt(4 * 0.25 / 3)
    expected = [0.5 / (std + 1e-4), -0.5 / (std + 1e-4), -0.5 / (std + 1e-4), 0.5 / (std + 1e-4), 0.0, 0.0]
    assert advantages.group_norm(batch).tolist() == pytest.approx(expected)
    assert advantages.group_norm(batch, normalise=False).tolist() == pytest.approx([0.5, -0.5, -0.5, 0.5, 0.0, 0.0])


def test_leave_one_out_has_its_golden_value() -> None:
    batch = batch_of((1,) * 4, reward=[1.0, 0.0, 0.5, 1.0], group=[0, 0, 0, 1])
    assert advantages.leave_one_out(batch).tolist() == pytest.approx([0.75, -0.75, 0.0, 0.0])


def test_gae_has_its_golden_value() -> None:
    batch = batch_of((3, 1), reward=[1.0, 0.0], old_value=torch.tensor([0.5, 0.2, 0.1, 0.3]))
    credit = advantages.gae(batch, gamma=0.9, lam=0.5, whiten=False)
    d2, d1, d0 = 1.0 - 0.1, 0.9 * 0.1 - 0.2, 0.9 * 0.2 - 0.5
    expected = [d0 + 0.45 * d1 + 0.45**2 * d2, d1 + 0.45 * d2, d2, -0.3]
    assert credit.advantage.tolist() == pytest.approx(expected)
    assert credit.returns.tolist() == pytest.approx([a + v for a, v in zip(expected, [0.5, 0.2, 0.1, 0.3], strict=True)])


def test_undiscounted_gae_is_the_reward_minus_the_value_and_its_returns_the_reward() -> None:
    batch = batch_of((3, 1), reward=[1.0, 0.0], old_value=torch.tensor([0.5, 0.2, 0.1, 0.3]))
    credit = advantages.gae(batch, whiten=False)
    assert credit.advantage.tolist() == pytest.approx([0.5, 0.8, 0.9, -0.3])
    assert credit.returns.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])
    whitened = advantages.gae(batch).advantage
    assert (whitened.mean().item(), whitened.std(correction=0).item()) == pytest.approx((0.0, 1.0), abs=1e-6)


def test_filters_keep_what_they_say() -> None:
    batch = batch_of((1,) * 6, reward=[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], group=[5, 5, 1, 1, 2, 2])
    assert filters.mixed_groups(batch).tolist() == [True, True, False, False, False, False]
    assert filters.positive(batch).tolist() == [True, False, True, True, False, False]


def test_rewards_and_their_controls() -> None:
    def rollout(verdict: str, answer: str | None, sample: int = 0) -> Rollout:
        return Rollout("p", sample, [1], [2], [-1.0], "", answer, verdict, float(verdict == "correct"), "stop")  # type: ignore[arg-type]

    right, wrong, silent = rollout("correct", "1"), rollout("wrong", "2"), rollout("unparsed", None)
    assert [rewards.correct(r) for r in (right, wrong, silent)] == [1, 0, 0]
    assert [rewards.incorrect(r) for r in (right, wrong, silent)] == [0, 1, 0]
    assert [rewards.answered(r) for r in (right, wrong, silent)] == [1, 1, 0]
    draws = [rewards.random(rollout("wrong", "2", i), probability=0.25) for i in range(2000)]
    assert 0.22 < sum(draws) / 2000 < 0.28
    assert draws[0] == rewards.random(rollout("wrong", "2", 0), probability=0.25)


# Against a naive computation with padded batches.


def padded(rows: list[TrainingSequence]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [B, L], attention mask [B, L] and labels [B, L] with -100 at prompts and padding."""
    longest = max(len(r.prompt_ids) + len(r.token_ids) for r in rows)
    shape = (len(rows), longest)
    ids, mask, labels = torch.zeros(shape, dtype=torch.long), torch.zeros(shape), torch.full(shape, -100)
    for i, row in enumerate(rows):
        start, end = len(row.prompt_ids), len(row.prompt_ids) + len(row.token_ids)
        ids[i, :end], mask[i, :end] = torch.tensor([*row.prompt_ids, *row.token_ids]), 1
        labels[i, start:end] = torch.tensor(row.token_ids)
    return ids, mask, labels


def naive_nll(model: torch.nn.Module, rows: list[TrainingSequence]) -> tuple[Tensor, Tensor]:
    """Cross-entropy [B, L-1], 0 where nothing is trained, and the mask of what is."""
    ids, mask, labels = padded(rows)
    logits, labels = model(ids, attention_mask=mask).logits[:, :-1], labels[:, 1:]
    losses = cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1), ignore_index=-100, reduction="none")
    return losses.view(labels.shape), labels != -100


def naive_sft(model: torch.nn.Module, rows: list[TrainingSequence]) -> Tensor:
    losses, trained = naive_nll(model, rows)
    return losses.sum() / trained.sum()


def naive_dft(model: torch.nn.Module, rows: list[TrainingSequence]) -> Tensor:
    losses, trained = naive_nll(model, rows)
    return (losses * (-losses).exp().detach() * trained).sum() / trained.sum()


def naive_dpo(model: torch.nn.Module, rows: list[TrainingSequence]) -> Tensor:
    with torch.no_grad():
        reference = -naive_nll(tiny_model(seed=1), rows)[0].sum(-1)
    policy = -naive_nll(model, rows)[0].sum(-1)
    chosen, rejected = (policy - reference)[0::2], (policy - reference)[1::2]
    return -logsigmoid(0.1 * (chosen - rejected)).mean()


@pytest.mark.parametrize(
    ("name", "function", "rows", "reads", "reduction", "naive"),
    [
        ("sft", sft, "sequences", (), "token-mean", naive_sft),
        ("dft", dft, "sequences", (), "token-mean", naive_dft),
        ("dpo", dpo, "pairs", ("ref_logp",), "pair-mean", naive_dpo),
    ],
)
def test_loss_and_gradients_are_those_of_a_naive_padded_computation(name, function, rows, reads, reduction, naive) -> None:
    data = sequences(8, unit=2 if rows == "pairs" else 1)
    plain, trained = tiny_model(), tiny_model()
    expected = naive(plain, data)
    expected.backward()
    examples = examples_of(data, rows)
    if reads:
        annotate(Policy(tiny_model(seed=1)), examples, {"logp": "ref_logp"}, 1000, torch.device("cpu"))
    bound = BoundObjective(name, function, {}, rows, reads, reduction)
    config = TrainingConfig(learning_rate=0.0, tokens_per_microbatch=60)
    learner = Learner(Policy(trained), bound, config, learning_rate=0.0, steps=1, constant_length=1, device=torch.device("cpu"))
    loss, _ = learner.accumulate(examples, Totals(sum(len(e.token_ids) for e in examples), len(examples)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for (parameter, p), q in zip(trained.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5 * q.grad.abs().max().item(), msg=parameter)
