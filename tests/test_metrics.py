"""avg@k, pass@k, maj@k and the list of metrics against values worked out by hand and by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.analysis.metrics import METRICS, GradedSamples, avg_at_k, maj_at_k, pass_at_k


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


VERDICTS = ["correct", "wrong", "unparsed", "timeout", "error"]


def graded(verdicts, answers, reasons, n_tokens) -> GradedSamples:
    texts = [np.array(values, dtype=object) for values in (verdicts, answers, reasons)]
    return GradedSamples(*texts, np.array(n_tokens, dtype=np.float64))


def test_every_metric_by_hand() -> None:
    # One seed, two problems, four samples of each.
    samples = graded(
        [[["correct", "wrong", "wrong", "unparsed"], ["timeout", "error", "wrong", "wrong"]]],
        [[["1", "2", "2", None], ["3", "3", "4", None]]],
        [[["stop", "length", "stop", "length"], ["stop"] * 4]],
        [[[1, 2, 3, 6], [4, 4, 4, 8]]],
    )
    found = {metric.column: metric.of(samples).tolist() for metric in METRICS}
    assert found == {
        "pass_at_k": [[1, 0]],
        "maj_at_k": [[0, 0]],
        "truncation_rate": [[0.5, 0]],
        "unparsed_rate": [[0.25, 0]],
        "ungraded_rate": [[0, 0.5]],
        "n_tokens": [[3, 5]],
    }


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_a_metric_has_a_number_for_each_seed_and_problem_and_a_share_lies_between_0_and_1(data, s, p, k):
    def cube(values):
        flat = data.draw(st.lists(values, min_size=s * p * k, max_size=s * p * k))
        cells = np.empty(s * p * k, dtype=object)
        cells[:] = flat
        return cells.reshape(s, p, k)

    answers = cube(st.none() | st.sampled_from("12"))
    reasons = cube(st.sampled_from(["stop", "length"]))
    tokens = cube(st.integers(1, 9)).astype(np.float64)
    samples = GradedSamples(cube(st.sampled_from(VERDICTS)), answers, reasons, tokens)
    permuted = GradedSamples(*(cube_SPK[..., ::-1] for cube_SPK in (samples.verdict, answers, reasons, tokens)))
    for metric in METRICS:
        found = metric.of(samples)
        assert found.shape == (s, p)
        assert not metric.percent or ((found >= 0) & (found <= 1)).all()
        # The order of a problem's samples tells nothing.
        np.testing.assert_allclose(metric.of(permuted), found)


def test_columns_and_notes_of_metrics_are_distinct() -> None:
    for name in ("column", "heading", "note"):
        values = [getattr(metric, name) for metric in METRICS]
        assert len(set(values)) == len(values)
