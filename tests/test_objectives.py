from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
import torch
from goldens import GOLDENS, holds
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import VOCABULARY, sequences, tiny_model
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from rlbench.objectives import advantages, filters, registry, rewards
from rlbench.objectives.asft import asft
from rlbench.objectives.batch import Loss, TokenBatch, bounded_ratio, recorded_stops, replayed_stops, stop_gradient
from rlbench.objectives.clipped import cispo, dapo, dr_grpo, grpo, gspo, ppo, reinforce_pp, rloo
from rlbench.objectives.dft import dft, dft_geo, dft_seq
from rlbench.objectives.eaft import eaft
from rlbench.objectives.iw_sft import iw_sft
from rlbench.objectives.preference import dpo, hinge, ipo, simpo
from rlbench.objectives.probability import chord_phi, focal, prob_power
from rlbench.objectives.proximal import psft, raft_pp
from rlbench.objectives.reduction import Totals, as_loss, reduce_loss
from rlbench.objectives.reinforce import dro, reinforce, topr
from rlbench.objectives.sft import sft
from rlbench.objectives.value import value
from rlbench.recipe import TrainingConfig
from rlbench.records import Rollout, TrainingSequence
from rlbench.training.batching import examples_of
from rlbench.training.policy import Policy, annotate
from rlbench.training.step import BoundObjective, Learner

OBJECTIVES = sorted(registry.describe().objectives)


def batch_of(
    lengths: tuple[int, ...], reward: list[float] | None = None, group: list[int] | None = None, **fields: Tensor
) -> TokenBatch:
    return TokenBatch.from_lengths(lengths, reward=reward, group=group, **fields)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def values_of(result: Tensor | Loss) -> Tensor:
    return as_loss(result).terms[0].values


def total(result: Tensor | Loss) -> Tensor:
    return sum(term.coefficient * term.values.sum() for term in as_loss(result).terms)


def gradient(function: Callable[..., Tensor | Loss], batch: TokenBatch, **hyperparameters: float) -> Tensor:
    """The gradient of the sum of all terms with respect to the log-probabilities [T]."""
    batch.logp = batch.logp.detach().requires_grad_()
    return torch.autograd.grad(total(function(batch, **hyperparameters)), batch.logp)[0]


P = (0.5, 0.25, 0.1, 0.8)
Q = (0.25, 0.25, 0.2, 0.4)
A = torch.tensor([1.0, 1.0, 1.0, -2.0], dtype=torch.float64)  # the same at every token of a sequence


def at(
    lengths: tuple[int, ...] = (3, 1), p: tuple[float, ...] = P, q: tuple[float, ...] = Q, **options: object
) -> TokenBatch:
    """A batch with every field that an objective of the policy reads; old and reference policy are the same."""
    fields = {
        "logp": logs(*p),
        "old_logp": logs(*q),
        "ref_logp": logs(*q),
        "advantage": A,
        "entropy": torch.ones_like(A),
    }
    return batch_of(lengths, **{**fields, **options})  # type: ignore[arg-type]


ON_POLICY = {"q": P}


# Goldens.


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_its_golden_values_and_gradients(name: str) -> None:
    assert holds(name, registry.load("objective", name))


def test_every_golden_is_of_an_objective() -> None:
    assert set(GOLDENS) == set(OBJECTIVES)


def test_a_golden_refuses_what_differs_in_the_slightest_or_raises() -> None:
    assert not holds("dft", lambda batch: batch.logp.exp() * -batch.logp)  # right values, no stop_gradient
    assert not holds("dft", lambda batch: -batch.logp.exp())  # right gradient, other values
    assert not holds("dft", lambda batch: -stop_gradient(batch.logp).exp() * batch.logp * (1 + 1e-7))
    assert not holds("asft", lambda batch, alpha=0.05: Loss([*asft(batch, alpha=alpha).terms[:1]]))
    assert not holds("grpo", dr_grpo)  # another reduction
    assert not holds("sft", lambda batch: batch.no_such_field)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences_with_what_is_stopped_held_fixed(name: str) -> None:
    function, step = registry.load("objective", name), 1e-6
    for case in GOLDENS[name].cases:
        batch = case.batch()
        trained = "value" if "value" in case.fields else "logp"
        leaf = getattr(batch, trained)
        with recorded_stops() as stops:
            expected = torch.autograd.grad(total(function(batch, **case.hyperparameters)), leaf)[0]
        for token in range(len(leaf)):
            around = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved[token] += sign * step
                setattr(batch, trained, moved)
                with replayed_stops(stops):
                    around.append(total(function(batch, **case.hyperparameters)).item())
            assert (around[0] - around[1]) / (2 * step) == pytest.approx(expected[token].item(), rel=1e-5, abs=1e-6)


# What is logged.


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # r = 2, 1, 1/2, 2 and A = 1, 1, 1, -2: only the first is held at its bound.
        (lambda: ppo(at()).stats["clip_fraction"], [1, 0, 0, 0]),
        (lambda: ppo(at()).stats["kl"], [r - 1 - math.log(r) for r in (2, 1, 0.5, 2)]),
        (lambda: grpo(at(q=(0.25, 0.25, 0.2, 0.9)), clip_low=0.1).stats["clip_fraction"], [1, 0, 0, 1]),
        (lambda: gspo(at(), clip_low=0.2, clip_high=0.2).stats["clip_fraction"], [0, 0]),
        (lambda: gspo(at()).stats["kl"], [0, 1 - math.log(2)]),
        (lambda: rloo(at(q=(0.25, 0.25, 0.1, 0.4))).stats["clip_fraction"], [1, 0]),
        (lambda: cispo(at(), weight_max=1.5).stats["clip_fraction"], [1, 0, 0, 1]),
        (lambda: cispo(at()).stats["kl"], [r - 1 - math.log(r) for r in (2, 1, 0.5, 2)]),
        (lambda: psft(at(q=(0.4, 0.25, 0.2, 0.4))).stats["clip_fraction"], [0, 0, 0, 1]),  # r = 1.25 and 2
        (lambda: raft_pp(at(q=(0.4, 0.25, 0.2, 0.4))).stats["clip_fraction"], [1, 0, 0, 1]),
        (lambda: raft_pp(at()).stats["kl"], [r - 1 - math.log(r) for r in (2, 1, 0.5, 2)]),
        (lambda: dro(at()).stats["kl"], [math.log(2) ** 2 / 2, 0, math.log(2) ** 2 / 2, math.log(2) ** 2 / 2]),
        (
            lambda: asft(at()).stats["kl"],
            [
                0.75 * math.log(3) - math.log(2),
                0,
                2.6 * math.log(2) - 1.6 * math.log(3),
                0.6 * math.log(3) - 0.4 * math.log(2),
            ],
        ),
        (lambda: topr(at(reward=[1.0, 0.0], q=(0.5, 0.25, 0.2, 0.9))).stats["weight"], [1, 8 / 9]),
        (lambda: iw_sft(at()).stats["weight"], [1, 1, 1, 2]),
        (lambda: dft(at()).stats["weight"], P),
        (lambda: focal(at(), gamma=1.0).stats["weight"], [0.5, 0.75, 0.9, 0.2]),
        (lambda: chord_phi(at()).stats["weight"], [0.25, 0.1875, 0.09, 0.16]),
        (lambda: eaft(at()).stats["weight"], [1 / 3] * 4),
        (lambda: dpo(at()).stats["accuracy"], [0]),  # log-ratios 0 and log 2
        (lambda: dpo(at()).stats["margin"], [-0.1 * math.log(2)]),
        (lambda: hinge(at(q=(0.25, 0.25, 0.1, 0.8)), beta=0.5).stats["margin"], [0.5 * math.log(2)]),
        (lambda: ipo(at(q=(0.25, 0.25, 0.1, 0.8))).stats["margin"], [math.log(2) / 3]),
        (lambda: simpo(at((2, 2), p=(0.5, 0.5, 0.5, 0.25))).stats["accuracy"], [1]),
        (lambda: simpo(at((2, 2), p=(0.5, 0.5, 0.5, 0.25))).stats["margin"], [math.log(2)]),
        (lambda: value(GOLDENS["value"].cases[0].batch()).stats["value_clip_fraction"], [1, 1, 0, 0, 1, 0]),
    ],
)
def test_statistics_have_their_golden_values(found: Callable[[], Tensor], expected: list[float]) -> None:
    assert found().tolist() == pytest.approx(list(expected), abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_statistics_take_no_gradient(name: str) -> None:
    loss = as_loss(registry.load("objective", name)(GOLDENS[name].cases[0].batch()))
    assert not any(values.requires_grad for values in loss.stats.values())


# Identities.


def test_dft_gradient_is_p_times_that_of_sft_and_that_of_minus_p() -> None:
    found = gradient(dft, at())
    torch.testing.assert_close(found, logs(*P).exp() * gradient(sft, at()))
    torch.testing.assert_close(found, gradient(lambda batch: -batch.logp.exp(), at()))


@pytest.mark.parametrize("objective", [dft_seq, dft_geo])
def test_a_weight_a_sequence_is_dft_for_sequences_of_one_token(objective) -> None:
    torch.testing.assert_close(values_of(objective(at((1, 1, 1, 1)))), values_of(dft(at())))


def test_dft_geo_is_dft_where_all_tokens_of_a_sequence_are_alike() -> None:
    p = (0.3, 0.3, 0.3, 0.8)
    torch.testing.assert_close(values_of(dft_geo(at(p=p))), values_of(dft(at(p=p))))


@pytest.mark.parametrize("objective", [focal, prob_power])
def test_focal_and_prob_power_are_sft_at_0(objective) -> None:
    batch = at()
    parameter = {focal: "gamma", prob_power: "k"}[objective]
    torch.testing.assert_close(values_of(objective(batch, **{parameter: 0.0})), sft(batch))
    torch.testing.assert_close(gradient(objective, batch, **{parameter: 0.0}), gradient(sft, batch))
    with pytest.raises(ValueError, match="at least 0"):
        objective(batch, **{parameter: -1.0})


def test_prob_power_tends_to_sft_and_at_1_has_the_gradient_of_dft() -> None:
    batch = at(**{"logp": torch.tensor([-100.0, -5.0, -0.1, -1e-6])})  # float32, where 1 - p^k would lose every digit
    for k in (1e-4, 1e-7, 1e-12):
        torch.testing.assert_close(prob_power(batch, k=k), sft(batch), rtol=60 * k + 1e-6, atol=0)
        torch.testing.assert_close(gradient(prob_power, batch, k=k), gradient(sft, batch), rtol=110 * k + 1e-6, atol=0)
    assert values_of(prob_power(at(), k=0.005)).tolist() == pytest.approx([(1 - p**0.005) / 0.005 for p in P])
    torch.testing.assert_close(gradient(prob_power, at(), k=1.0), gradient(dft, at()))


def test_iw_sft_is_sft_at_the_reference() -> None:
    torch.testing.assert_close(values_of(iw_sft(at(**ON_POLICY))), sft(at()))
    torch.testing.assert_close(gradient(iw_sft, at(**ON_POLICY)), gradient(sft, at()))


def test_asft_has_no_kl_and_the_gradient_of_dft_at_the_reference() -> None:
    assert asft(at(**ON_POLICY)).terms[1].values.tolist() == pytest.approx([0.0] * 4, abs=1e-15)
    torch.testing.assert_close(gradient(asft, at(**ON_POLICY), alpha=10.0), gradient(dft, at()))


def test_eaft_is_sft_where_the_model_knows_nothing_and_nothing_where_it_is_sure() -> None:
    torch.testing.assert_close(values_of(eaft(at(entropy=torch.full((4,), 3.0)))), sft(at()))
    assert values_of(eaft(at(entropy=torch.zeros(4)))).tolist() == [0.0] * 4
    torch.testing.assert_close(values_of(eaft(at(), alpha=0.0)), sft(at()))


@pytest.mark.parametrize("objective", [psft, raft_pp])
def test_the_proximal_losses_have_the_gradient_of_sft_at_the_old_policy(objective) -> None:
    torch.testing.assert_close(gradient(objective, at(**ON_POLICY)), gradient(sft, at()))


def test_the_proximal_losses_are_ppo_with_the_advantage_1() -> None:
    batch = at(advantage=torch.ones_like(A))
    torch.testing.assert_close(values_of(psft(batch, clip=0.2)), values_of(ppo(batch)))
    torch.testing.assert_close(gradient(psft, batch, clip=0.2), gradient(ppo, batch))


@pytest.mark.parametrize("objective", [ppo, reinforce_pp, grpo, dr_grpo, dapo, cispo, rloo, dro])
def test_at_the_old_policy_the_gradient_is_that_of_reinforce(objective) -> None:
    torch.testing.assert_close(gradient(objective, at(**ON_POLICY)), gradient(reinforce, at()))


def test_at_the_old_policy_the_gradient_of_gspo_is_that_of_reinforce_over_the_length() -> None:
    expected = gradient(reinforce, at()) / torch.tensor([3.0, 3.0, 3.0, 1.0])
    torch.testing.assert_close(gradient(gspo, at(**ON_POLICY)), expected)


@pytest.mark.parametrize("objective", [gspo, rloo])
def test_a_ratio_a_sequence_is_grpo_for_sequences_of_one_token(objective) -> None:
    batch, bounds = at((1, 1, 1, 1)), {"clip_low": 0.1, "clip_high": 0.3}
    torch.testing.assert_close(values_of(objective(batch, **bounds)), values_of(grpo(batch, **bounds)))
    torch.testing.assert_close(gradient(objective, batch, **bounds), gradient(grpo, batch, **bounds))


def test_dapo_differs_from_grpo_only_between_its_bounds_and_dr_grpo_in_no_value() -> None:
    batch = at(q=(0.4, 0.25, 0.2, 0.4))  # r = 1.25 at the first token
    assert (values_of(dapo(batch)) != values_of(grpo(batch))).tolist() == [True, False, False, False]
    torch.testing.assert_close(values_of(dr_grpo(batch)), values_of(grpo(batch)))


def test_topr_is_signed_reinforce_where_no_sample_has_become_less_likely() -> None:
    batch = at(reward=[1.0, 0.0])  # products of the ratios: 1 and 2
    batch.advantage = batch.expand(advantages.signed_reward(batch))
    torch.testing.assert_close(values_of(topr(batch)), reinforce(batch))
    torch.testing.assert_close(gradient(topr, batch), gradient(reinforce, batch))


def test_topr_on_right_samples_alone_is_sft() -> None:
    batch = at(reward=[1.0, 1.0], q=(0.9, 0.9, 0.9, 0.9))
    torch.testing.assert_close(values_of(topr(batch)), sft(batch))


def test_one_sample_a_prompt_gives_grpo_no_gradient() -> None:
    batch = at(reward=[1.0, 0.0], group=[0, 1])
    batch.advantage = batch.expand(advantages.group_norm(batch))
    assert gradient(grpo, batch).tolist() == [0.0] * 4


def test_dpo_is_ln_2_and_hinge_1_at_the_reference() -> None:
    assert values_of(dpo(at(**ON_POLICY))).tolist() == pytest.approx([math.log(2)])
    assert values_of(hinge(at(**ON_POLICY))).tolist() == pytest.approx([1.0])


def test_ipo_is_least_where_the_margin_is_its_target() -> None:
    batch = at((2, 2), p=(0.4, 0.4, 0.2, 0.2), q=(0.2, 0.2, 0.2, 0.2))  # a margin of log 2 a token
    beta = 1 / (2 * math.log(2))
    assert values_of(ipo(batch, beta=beta)).tolist() == pytest.approx([0.0])
    assert gradient(ipo, batch, beta=beta).tolist() == pytest.approx([0.0] * 4)


def test_simpo_is_dpo_without_reference_and_margin_for_sequences_of_one_token() -> None:
    batch = at((1, 1, 1, 1), q=(1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(values_of(simpo(batch, beta=0.1, gamma=0.0)), values_of(dpo(batch, beta=0.1)))


@pytest.mark.parametrize("objective", [dpo, ipo, simpo, hinge])
def test_a_pair_pulls_its_two_sequences_apart(objective) -> None:
    found = gradient(objective, at(**ON_POLICY))
    assert (found[:3] < 0).all() and found[3] > 0  # descent raises what is chosen


# Against plain loops over made-up sequences.


@st.composite
def batches(draw: st.DrawFn) -> TokenBatch:
    lengths = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    numbers = random.Random(draw(st.integers(0, 2**32)))
    size = sum(lengths)

    def some(low: float, high: float) -> Tensor:
        return torch.tensor([numbers.uniform(low, high) for _ in range(size)], dtype=torch.float64)

    reward = [float(numbers.random() < 0.5) for _ in lengths]
    fields = {name: some(-3.0, -0.01) for name in ("logp", "old_logp", "ref_logp")}
    return batch_of(
        lengths, reward, entropy=some(0.0, 5.0), value=some(-2, 2), old_value=some(-2, 2), returns=some(-2, 2), **fields
    )


def by_sequence(batch: TokenBatch, *names: str) -> list[list[tuple[float, ...]]]:
    """The named fields, token by token, of each sequence as plain numbers."""
    columns = [getattr(batch, name).tolist() for name in names]
    places = batch.sequence.tolist()
    return [
        [row for place, row in zip(places, zip(*columns, strict=True), strict=True) if place == s]
        for s in range(batch.n_sequences)
    ]


def agree(found: Tensor | Loss, expected: list[float]) -> None:
    assert values_of(found).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(batch=batches())
def test_iw_sft_agrees_with_a_plain_loop(batch: TokenBatch) -> None:
    expected = []
    for tokens in by_sequence(batch, "logp", "ref_logp"):
        ratio = math.prod(math.exp(p) / math.exp(q) for p, q in tokens) ** (1 / len(tokens))
        expected += [-min(ratio, 2.0) * p for p, _ in tokens]
    agree(iw_sft(batch, weight_max=2.0), expected)


@settings(max_examples=50, deadline=None)
@given(batch=batches())
def test_topr_agrees_with_a_plain_loop(batch: TokenBatch) -> None:
    expected = []
    for tokens, reward in zip(by_sequence(batch, "logp", "old_logp"), batch.reward.tolist(), strict=True):
        ratio = math.prod(math.exp(p) for p, _ in tokens) / math.prod(math.exp(q) for _, q in tokens)
        expected += [-p if reward == 1 else min(max(ratio, math.exp(-20)), 1.0) * p for p, _ in tokens]
    agree(topr(batch), expected)


@settings(max_examples=50, deadline=None)
@given(batch=batches())
def test_psft_agrees_with_a_plain_loop(batch: TokenBatch) -> None:
    ratios = [math.exp(p) / math.exp(q) for tokens in by_sequence(batch, "logp", "old_logp") for p, q in tokens]
    agree(psft(batch), [-min(r, min(max(r, 1 - 0.28), 1 + 0.28)) for r in ratios])


@settings(max_examples=50, deadline=None)
@given(batch=batches())
def test_eaft_agrees_with_a_plain_loop(batch: TokenBatch) -> None:
    pairs = [token for tokens in by_sequence(batch, "logp", "entropy") for token in tokens]
    agree(eaft(batch, alpha=0.5, scale=2.0), [-math.sqrt(min(h / 2, 1.0)) * p for p, h in pairs])


@settings(max_examples=50, deadline=None)
@given(batch=batches())
def test_the_value_loss_agrees_with_a_plain_loop(batch: TokenBatch) -> None:
    expected = []
    for new, old, target in (
        token for tokens in by_sequence(batch, "value", "old_value", "returns") for token in tokens
    ):
        near = min(max(new, old - 0.5), old + 0.5)
        expected.append(max((new - target) ** 2, (near - target) ** 2) / 2)
    agree(value(batch), expected)


def test_asft_kl_is_that_of_the_split_and_at_most_that_of_the_vocabulary() -> None:
    torch.manual_seed(0)
    policy, reference = (torch.randn(200, 7, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    token = torch.randint(7, (200, 1))
    logp, ref_logp = (x.gather(1, token).squeeze(1) for x in (policy, reference))
    found = asft(batch_of((200,), logp=logp, ref_logp=ref_logp)).terms[1].values
    split = [torch.distributions.Bernoulli(probs=x.exp()) for x in (ref_logp, logp)]
    torch.testing.assert_close(found, torch.distributions.kl_divergence(*split))
    assert (found <= (reference.exp() * (reference - policy)).sum(-1) + 1e-12).all()
    assert (found >= -1e-12).all()


def test_asft_kl_gradient_is_what_keeps_the_probability_at_the_reference() -> None:
    # Through a softmax the gradient with respect to the token's own logit is p - p_ref.
    logits = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)[:, 0]
    asft(batch_of((1,), logp=logp, ref_logp=logs(0.3))).terms[1].values.sum().backward()
    assert logits.grad[0, 0].item() == pytest.approx(logp.exp().item() - 0.3)


# Extremes.


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        *((name, {}) for name in OBJECTIVES),
        ("focal", {"gamma": 0.0}),
        ("focal", {"gamma": 0.5}),
        ("prob_power", {"k": 0.0}),
        ("prob_power", {"k": 1e-8}),
        ("prob_power", {"k": 100.0}),
        ("eaft", {"alpha": 0.5}),
        ("eaft", {"alpha": 0.0}),
    ],
)
def test_losses_statistics_and_gradients_are_finite_at_the_extremes_in_float32(
    name: str, hyperparameters: dict[str, float]
) -> None:
    # (log p, log q): both tiny, both certain, ratios of e^200 and e^-200, and one that rounding left just above 0.
    extremes = [
        (-100.0, -100.0),
        (0.0, 0.0),
        (0.0, -200.0),
        (-200.0, 0.0),
        (-1e-8, -100.0),
        (1e-7, -1e-7),
        (-1.0, -1.0),
    ]
    cases = list(itertools.product(extremes, (3.0, -3.0), (0.0, -1e-7, 12.0)))  # 42, with advantages and entropies
    (p, q), advantage, entropy = zip(*(c[0] for c in cases), strict=True), [c[1] for c in cases], [c[2] for c in cases]
    fields = {
        "logp": p,
        "old_logp": q,
        "ref_logp": q,
        "sampler_logp": q,
        "advantage": advantage,
        "entropy": entropy,
        "value": [100 * x for x in advantage],
        "old_value": [-100 * x for x in advantage],
        "returns": advantage,
    }
    for lengths, reward in (((1,) * 42, [0.0, 1.0] * 21), ((30, 6, 5, 1), [1.0, 0.0, 0.0, 1.0])):
        tensors = {field: torch.tensor(numbers, dtype=torch.float32) for field, numbers in fields.items()}
        leaves = [tensors[field].requires_grad_() for field in ("logp", "entropy", "value")]
        batch = batch_of(lengths, reward, **tensors)
        batch.reward = batch.reward.float()
        function = registry.load("objective", name)
        loss = as_loss(function(batch, **hyperparameters))
        reduced = reduce_loss(loss, function.__rlbench__["reduction"], batch, Totals(42, len(lengths), 30))
        found = [g for g in torch.autograd.grad(reduced, leaves, allow_unused=True) if g is not None]
        assert reduced.dtype == torch.float32
        assert found
        assert all(torch.isfinite(x).all() for x in (reduced, *found, *loss.stats.values()))


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


def test_batch_norm_has_its_golden_value() -> None:
    # At four tokens the rewards are 1, 1, 1, 0: mean 3/4, standard deviation sqrt(3)/4.
    batch = batch_of((3, 1), reward=[1.0, 0.0])
    std = math.sqrt(3) / 4
    assert advantages.batch_norm(batch).tolist() == pytest.approx([0.25 / (std + 1e-4)] * 3 + [-0.75 / (std + 1e-4)])


def test_batch_norm_with_a_group_baseline_has_its_golden_value() -> None:
    # Groups (1, 0) and (1, 1): 1/2 at two tokens, -1/2 at one, 0 at two; mean 1/10, second moment 3/20.
    batch = batch_of((2, 1, 1, 1), reward=[1.0, 0.0, 1.0, 1.0], group=[4, 4, 2, 2])
    std = math.sqrt(3 / 20 - 1 / 100)
    expected = [(x - 0.1) / (std + 1e-4) for x in (0.5, 0.5, -0.5, 0.0, 0.0)]
    assert advantages.batch_norm(batch, group_baseline=True).tolist() == pytest.approx(expected)


def test_batch_norm_of_equal_rewards_is_nothing() -> None:
    batch = batch_of((3, 2, 1), reward=[0.1, 0.1, 0.1], group=[0, 0, 0])
    batch.reward = batch.reward.float()
    for group_baseline in (False, True):
        assert advantages.batch_norm(batch, group_baseline=group_baseline).abs().max() < 1e-3


def test_signed_reward_is_1_or_minus_1() -> None:
    assert advantages.signed_reward(batch_of((1, 1), reward=[1.0, 0.0])).tolist() == [1.0, -1.0]


def test_gae_has_its_golden_value() -> None:
    batch = batch_of((3, 1), reward=[1.0, 0.0], old_value=torch.tensor([0.5, 0.2, 0.1, 0.3], dtype=torch.float64))
    credit = advantages.gae(batch, gamma=0.9, lam=0.5, whiten=False)
    d2, d1, d0 = 1.0 - 0.1, 0.9 * 0.1 - 0.2, 0.9 * 0.2 - 0.5
    expected = [d0 + 0.45 * d1 + 0.45**2 * d2, d1 + 0.45 * d2, d2, -0.3]
    assert credit.advantage.tolist() == pytest.approx(expected)
    assert credit.returns.tolist() == pytest.approx(
        [a + v for a, v in zip(expected, [0.5, 0.2, 0.1, 0.3], strict=True)]
    )


@settings(max_examples=50, deadline=None)
@given(batch=batches(), gamma=st.floats(0.5, 1.0), lam=st.floats(0.0, 1.0))
def test_gae_is_the_sum_over_all_later_errors(batch: TokenBatch, gamma: float, lam: float) -> None:
    expected = []
    for tokens, reward in zip(by_sequence(batch, "old_value"), batch.reward.tolist(), strict=True):
        values = [v for (v,) in tokens] + [0.0]
        rewards_at = [0.0] * (len(tokens) - 1) + [reward]
        errors = [rewards_at[t] + gamma * values[t + 1] - values[t] for t in range(len(tokens))]
        expected += [
            sum((gamma * lam) ** (s - t) * errors[s] for s in range(t, len(tokens))) for t in range(len(tokens))
        ]
    credit = advantages.gae(batch, gamma=gamma, lam=lam, whiten=False)
    assert credit.advantage.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(credit.returns, credit.advantage + batch.old_value)


def test_undiscounted_gae_is_the_reward_minus_the_value_and_its_returns_the_reward() -> None:
    batch = batch_of((3, 1), reward=[1.0, 0.0], old_value=torch.tensor([0.5, 0.2, 0.1, 0.3], dtype=torch.float64))
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
    assert [rewards.format_only(r) for r in (right, wrong, silent)] == [1, 1, 0]
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
def test_loss_and_gradients_are_those_of_a_naive_padded_computation(
    name, function, rows, reads, reduction, naive
) -> None:
    data = sequences(8, unit=2 if rows == "pairs" else 1)
    plain, trained = tiny_model(), tiny_model()
    expected = naive(plain, data)
    expected.backward()
    examples = examples_of(data, rows)
    if reads:
        annotate(Policy(tiny_model(seed=1)), examples, {"logp": "ref_logp"}, 1000, torch.device("cpu"))
    bound = BoundObjective(name, function, {}, rows, reads, reduction)
    config = TrainingConfig(learning_rate=0.0, tokens_per_microbatch=60)
    learner = Learner(
        Policy(trained), bound, config, learning_rate=0.0, steps=1, constant_length=1, device=torch.device("cpu")
    )
    loss, _ = learner.accumulate(examples, Totals(sum(len(e.token_ids) for e in examples), len(examples)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for (parameter, p), q in zip(trained.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5 * q.grad.abs().max().item(), msg=parameter)
