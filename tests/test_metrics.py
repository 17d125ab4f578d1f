"""avg@k, pass@k and maj@k against values worked out by hand and by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.analysis.metrics import avg_at_k, maj_at_k, pass_at_k


def test_avg_is_the_share_of_correct_samples_of_each_problem():
    assert avg_at_k([[1, 0, 0, 1], [0, 0, 0, 0]]).tolist() == [0.5, 0.0]


def test_avg_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        avg_at_k(np.zeros((3, 0)))


def test_pass_at_k_equals_the_published_formula_by_hand():
    # 1 - C(3, 2) / C(5, 2) = 1 - 3 / 10
    assert pass_at_k(2, 5, 2) == pytest.approx(0.7)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_mean_over_all_subsets_of_k_samples(correct, data):
    k = data.draw(st.integers(1, len(correct)))
    subsets = [any(subset) for subset in itertools.combinations(correct, k)]
    assert pass_at_k(sum(correct), len(correct), k) == pytest.approx(np.mean(subsets))


@given(st.integers(1, 300), st.data())
def test_pass_at_k_of_all_samples_is_whether_any_was_correct(n, data):
    c = data.draw(st.integers(0, n))
    assert pass_at_k(c, n, n) == float(c > 0)


def test_pass_at_1_is_avg():
    correct = np.array([[1, 0, 0], [1, 1, 0]])
    np.testing.assert_allclose(pass_at_k(correct.sum(1), 3, 1), avg_at_k(correct))


@pytest.mark.parametrize(("c", "n", "k"), [(1, 2, 3), (1, 2, 0), (3, 2, 1), (-1, 2, 1)])
def test_pass_at_k_refuses_what_cannot_be(c, n, k):
    with pytest.raises(ValueError):
        pass_at_k(c, n, k)


def test_the_majority_decides_even_where_it_is_wrong():
    answers = [["3", "3", "4"], ["5", "6", "6"]]
    assert maj_at_k(answers, [[1, 1, 0], [1, 0, 0]]).tolist() == [1.0, 0.0]


def test_a_tie_scores_its_share_of_correct_answers():
    assert maj_at_k([["3", "4", "5", "5", "3", "4"]], [[1, 0, 0, 0, 1, 0]]) == pytest.approx(1 / 3)


def test_unread_answers_never_vote():
    assert maj_at_k([[None, None, "7"], [None, None, None]], [[0, 0, 1], [0, 0, 0]]).tolist() == [1.0, 0.0]


def test_the_majority_of_one_sample_is_that_sample():
    assert maj_at_k([["1"], ["2"]], [[1], [0]]).tolist() == [1.0, 0.0]


def test_answers_and_verdicts_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="same"):
        maj_at_k([["1", "2"]], [[1, 0, 0]])
