r"""Kinds of answers, drawn in both directions by ``grading_kinds.py``: what is one is correct, what is not is not, by
both graders.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from grading_kinds import KINDS, Pair, pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlbench.grading import qwen
from rlbench.grading.compare import grade_fast
from rlbench.grading.extract import read_answer
from rlbench.grading.pool import Grader
from rlbench.grading.symbolic import grade_slow

# Kinds in which the rules of Qwen2.5-Math's evaluation say otherwise: it compares members in order, whatever their
# brackets and
# units, knows no clock and no base, and takes x/100, 100x and what is within 1e-4 for x.
BY_ITS_OWN_RULES = {
    "unions_of_intervals",
    "finite_sets",
    "names_of_sets",
    "numerals",
    "quantities",
    "tuples_and_lists",
    "infinities",
    "ratios_times_and_bases",
    "words_and_choices",
    "by_cases",
}


def check(pair: Pair, name: str) -> None:
    """Grade a pair by both paths of both graders."""
    if name == "final_answers":
        pair = replace(pair, answer=read_answer(pair.answer, pair.gold, "final") or "")
    slow = grade_slow(pair.gold, pair.answer)
    assert (slow == "correct") is pair.same, f"{slow}: {pair}"
    assert grade_fast(pair.gold, pair.answer) in (None, slow), pair
    lenient = qwen.slow(pair.gold, pair.answer)
    assert name in BY_ITS_OWN_RULES or (lenient == "correct") is pair.same, f"qwen {lenient}: {pair}"
    assert qwen.fast(pair.gold, pair.answer) in (None, lenient), pair


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_pairs_of_a_kind_are_told_apart(name: str, data: st.DataObject) -> None:
    check(data.draw(pairs(name)), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_so_are_many_of_them(name: str, data: st.DataObject) -> None:
    check(data.draw(pairs(name)), name)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_right_and_wrong_pairs(name: str) -> None:
    """A kind that drew only one of them would hold half of nothing."""
    from random import Random

    truths = [KINDS[name](Random(seed)).same for seed in range(60)]
    assert 10 <= sum(truths) <= 50


@pytest.mark.parametrize("reading", ["box", "final"])
@pytest.mark.parametrize(
    "gold", [r"\boxed{1,2} and \boxed{3}", r"Since \boxed{2} is prime, the answer is \boxed{(1, 2)}."]
)
def test_an_output_that_is_the_gold_is_correct_where_the_gold_has_a_box(gold: str, reading: str) -> None:
    with Grader(reading=reading) as grader:  # type: ignore[arg-type]
        assert grader.grade([(gold, gold + "<|im_end|>")])[0].verdict == "correct"


@pytest.mark.parametrize("grader", ["rlbench", "qwen"])
@pytest.mark.parametrize(
    "gold", [r"\text{all primes } p \equiv 1 \pmod 4", "x, where x is odd. And y, where y is even.", "?", "odd $n$"]
)
def test_reading_final_answers_an_output_that_is_the_gold_is_correct(gold: str, grader: str) -> None:
    with Grader(grader, reading="final") as pool:
        graded = pool.grade([(gold, f" {gold}\n</s>"), (gold, "something else 17")])
    assert [grade.verdict == "correct" for grade in graded] == [True, False]


@pytest.mark.parametrize(
    "answer", [r"\mathbb{R}", r"\mathbb{Z}", "A", "x", r"\emptyset", r"\{\}", r"x \in \mathbb{R}", "i", r"\infty"]
)
@pytest.mark.parametrize(
    "gold", ["5", "x + 1", r"\mathbb{R}", "(1, 2)", r"\{1\}", "C", r"\frac{x}{2}", r"\infty", "x > 2"]
)
def test_what_can_be_read_is_no_error(gold: str, answer: str) -> None:
    """Sets, letters and infinities are no numbers, which no comparison of numbers may stumble on."""
    for slow in (grade_slow, qwen.slow):
        assert slow(gold, answer) in ("correct", "wrong")
        assert (slow(gold, answer) == "correct") is (gold == answer.replace(r"x \in ", ""))
