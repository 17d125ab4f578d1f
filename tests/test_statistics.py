"""Intervals against values worked out by hand, their symmetries, and how often they hold the truth in small simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from rlbench.statistics import holm, mean_interval, paired_difference

# Two seeds by three problems. Row means 20, 30; column means 5, 25, 45; residuals are (+5, -5, 0) and its negative.
HAND = np.array([[5.0, 15.0, 40.0], [5.0, 35.0, 50.0]])


def matrices():
    shape = st.tuples(st.integers(2, 4), st.integers(2, 6))
    return shape.flatmap(lambda s: arrays(np.float64, s, elements=st.integers(0, 16).map(lambda c: 100 * c / 16)))


def test_the_variance_of_the_mean_is_the_two_way_layout_by_hand():
    estimate = mean_interval([HAND])
    # MS_seed = 3 * 50 = 150, MS_problem = 2 * 400 = 800, MS_interaction = 100 / 2 = 50; Var = (150 + 800 - 50) / 6.
    assert estimate.mean == pytest.approx(25)
    assert estimate.standard_error**2 == pytest.approx(150)
    assert (estimate.seed_variance, estimate.problem_variance, estimate.interaction_variance) == pytest.approx((100 / 6, 125, 50 / 6))
    # Satterthwaite: 900^2 / (150^2 / 1 + 800^2 / 2 + 50^2 / 2), the common factor of 6 cancelling.
    freedom = 900**2 / (150**2 + 800**2 / 2 + 50**2 / 2)
    assert estimate.degrees_of_freedom == pytest.approx(freedom)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(150)
    assert (estimate.low, estimate.high) == pytest.approx((max(0, 25 - half), min(100, 25 + half)))
    assert estimate.includes_training_noise and estimate.method == "t"


def test_with_one_seed_it_is_the_t_interval_over_problems_and_says_so():
    row = np.array([[10.0, 40.0, 30.0, 20.0]])
    estimate = mean_interval([row])
    low, high = stats.t.interval(0.95, 3, loc=row.mean(), scale=stats.sem(row[0]))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert not estimate.includes_training_noise


def test_the_average_takes_the_seed_effect_on_the_averaged_score():
    # Seeds move both benchmarks by the same 20 points: averaging over benchmarks must not halve that variance.
    spread = np.array([[-10.0], [10.0]])
    problems = np.array([[49.0, 51.0, 50.0]])
    one, two = mean_interval([problems + spread]), mean_interval([problems + spread, problems + spread])
    assert two.seed_variance == pytest.approx(one.seed_variance, rel=1e-6)
    assert two.problem_variance == pytest.approx(one.problem_variance / 2)


def test_the_average_is_unweighted_whatever_the_number_of_problems():
    assert mean_interval([np.full((2, 10), 40.0), np.array([[0.0, 20.0], [0.0, 20.0]])]).mean == pytest.approx(25)


@given(matrices(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_seeds_and_problems_does_not_matter(scores, random):
    rows, columns = list(range(scores.shape[0])), list(range(scores.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    a, b = mean_interval([scores]), mean_interval([scores[np.ix_(rows, columns)]])
    np.testing.assert_allclose([a.mean, a.low, a.high], [b.mean, b.low, b.high], atol=1e-6)


@given(matrices())
@settings(max_examples=50, deadline=None)
def test_an_interval_lies_on_the_scale_and_around_its_mean(scores):
    estimate = mean_interval([scores])
    assert 0 <= estimate.low <= estimate.mean + 1e-9 and estimate.mean - 1e-9 <= estimate.high <= 100
    assert min(estimate.seed_variance, estimate.problem_variance, estimate.interaction_variance) >= 0


def test_all_wrong_is_not_certainly_zero():
    estimate = mean_interval([np.zeros((3, 30))])
    z2 = stats.norm.ppf(0.975) ** 2
    assert estimate.method == "wilson" and estimate.low == 0
    assert estimate.high == pytest.approx(100 * z2 / (30 + z2))
    perfect = mean_interval([np.full((3, 30), 100.0)])
    assert (perfect.low, perfect.high) == pytest.approx((100 - estimate.high, 100))


def test_one_problem_gives_no_interval():
    estimate = mean_interval([np.array([[10.0], [20.0]])])
    assert estimate.mean == 15 and math.isnan(estimate.low) and math.isnan(estimate.high) and estimate.method == "none"


@pytest.mark.parametrize("strata", [[], [np.zeros((0, 3))], [np.full((2, 2), np.nan)], [np.zeros((2, 3)), np.zeros((3, 3))], [np.zeros(3)]])
def test_incomplete_matrices_are_refused(strata):
    with pytest.raises(ValueError):
        mean_interval(strata)


def test_a_difference_is_minus_the_reverse_difference():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 100, (3, 20)), rng.uniform(0, 100, (3, 20))
    forth, back = paired_difference([a], [b]), paired_difference([b], [a])
    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert forth.p_value == pytest.approx(back.p_value)


def test_what_two_models_share_cancels_in_their_difference():
    rng = np.random.default_rng(0)
    shared = rng.uniform(20, 60, (3, 50))
    difference = paired_difference([shared + 5 + rng.normal(0, 1, shared.shape)], [shared])
    assert difference.low > 4 and difference.high < 6 and difference.p_value < 1e-4


def test_one_model_that_serves_all_seeds_is_compared_with_each():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 100, (3, 20)), rng.uniform(0, 100, (1, 20))
    assert paired_difference([a], [b]) == paired_difference([a], [np.repeat(b, 3, axis=0)])


def test_two_models_with_the_same_scores_differ_by_nothing_significant():
    same = np.random.default_rng(0).uniform(0, 100, (3, 40))
    difference = paired_difference([same], [same])
    assert difference.mean == 0 and difference.low < 0 < difference.high and difference.p_value == 1


def test_a_constant_difference_is_significant_with_enough_problems_only():
    few, many = (paired_difference([np.full((1, n), 100.0)], [np.zeros((1, n))]) for n in (2, 100))
    assert few.low < 100 and many.p_value < 0.001 and many.low > few.low


def test_differences_need_the_same_problems_and_seeds():
    scores = np.zeros((3, 4))
    for a, b in (([scores], [np.zeros((3, 5))]), ([scores], [np.zeros((2, 4))]), ([scores, scores], [scores])):
        with pytest.raises(ValueError):
            paired_difference(a, b)


def test_the_p_value_and_the_interval_agree_on_significance():
    rng = np.random.default_rng(3)
    for shift in np.linspace(-3, 3, 13):
        difference = paired_difference([50 + shift + rng.normal(0, 8, (3, 40))], [np.full((1, 40), 50.0)])
        assert (difference.p_value < 0.05) == (not difference.low <= 0 <= difference.high)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.02]), [0.9, 0.04])
    np.testing.assert_allclose(holm([0.03, np.nan]), [0.03, np.nan])
    assert holm([]).size == 0


def coverage(n_seeds: int, n_problems: int, n_benchmarks: int, seed_effect: float, *, repeats: int = 300) -> float:
    """How often the interval holds the true mean when seeds and problems are drawn afresh; effects in logits, 16 samples a problem."""
    rng = np.random.default_rng(0)

    def chance(seed, problem, both):
        return 1 / (1 + np.exp(0.3 - seed_effect * seed - 1.5 * problem - 0.5 * both))

    truth = 100 * chance(*rng.standard_normal((3, 1_000_000))).mean()
    hits = 0
    for _ in range(repeats):
        seed = rng.standard_normal((n_seeds, 1))
        shape = (n_benchmarks, n_seeds, n_problems)
        p = chance(seed, rng.standard_normal((n_benchmarks, 1, n_problems)), rng.standard_normal(shape))
        estimate = mean_interval(list(100 * rng.binomial(16, p) / 16))
        hits += estimate.low <= truth <= estimate.high
    return hits / repeats


@pytest.mark.parametrize(("n_seeds", "n_problems", "n_benchmarks", "seed_effect"), [
    (3, 30, 1, 0.1), (3, 100, 5, 0.1), (5, 100, 1, 0.3), (5, 30, 5, 0.0), (8, 100, 1, 1.0),
])  # fmt: skip
def test_intervals_hold_the_truth_about_as_often_as_they_say(n_seeds, n_problems, n_benchmarks, seed_effect):
    # The standard error of a coverage of 95 % over 300 repeats is 1.3 points.
    assert 0.91 <= coverage(n_seeds, n_problems, n_benchmarks, seed_effect) <= 0.99


def test_an_interval_over_problems_alone_would_be_far_too_narrow():
    """Guards the simulation itself: without the seed term it must be able to fail."""
    rng = np.random.default_rng(0)
    hits = [abs(mean_interval([row]).mean - 50) <= (e := mean_interval([row])).high - e.mean
            for row in (50 + 10 * rng.standard_normal((200, 1, 1)) + rng.normal(0, 10, (200, 1, 100)))]  # fmt: skip
    assert np.mean(hits) < 0.5
