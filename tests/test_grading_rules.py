r"""The conventions of the grader ``rlbench``, one table each, by the slow path and, where it decides, the fast one.

Every row stands for a rule in docs/grading.md; rows that must not agree are there as much as those that must.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from grading_examples import DIFFERENT as OTHERS
from grading_examples import SAME as ALIKE
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rlbench.grading import numbers
from rlbench.grading.compare import compact, grade_fast
from rlbench.grading.extract import read_answer, read_gold
from rlbench.grading.normalise import normalise
from rlbench.grading.symbolic import grade_slow


def verdict(gold: str, answer: str) -> str:
    """The slow path's verdict, which the fast one may leave open and never contradict."""
    slow = grade_slow(gold, answer)
    assert grade_fast(gold, answer) in (None, slow)
    return slow


def table(text: str) -> list[tuple[str, str]]:
    return [tuple(part.strip() for part in line.split(" ~ ")) for line in text.strip().splitlines()]  # type: ignore[misc]


SAME = {
    "numbers": r"""
        7 ~ 07
        1234 ~ 1,234
        1234567.5 ~ 1,234,567.50
        12345678 ~ 12\,345\,678
        10000 ~ 10{,}000
        11111111100 ~ 11,\! 111,\! 111,\! 100
        1000 ~ 1 000
        1000.99 ~ 1000,99
        0.5 ~ .5
        5 ~ 5.
        -3 ~ −3
        1/2 ~ \frac12
        \dfrac{3}{4} ~ 0.75
        -\frac{1}{2} ~ \frac{-1}{2}
        \frac{1}{3} ~ 0.\overline{3}
        \frac{1}{3} ~ 0.33333
        2\pi ~ 6.2831853
        3^{2025} ~ 3^{2025}
        2^{10} ~ 1024
        6 ~ 2(3)
        6 ~ (2)(3)
        120 ~ 5!
        8 ~ 2**3
        6 ~ 2*3
        16 ~ **16**""",
    "scientific notation": r"""
        4.5e33 ~ 4.5 \times 10^{33}
        1e-8 ~ 10^{-8}
        6.5e-2 ~ 0.065
        3e8 ~ 3\cdot10^8
        3e8 ~ 300,000,000
        2.5E6 ~ 2.5 x 10^6""",
    "mixed numbers": r"""
        1\frac12 ~ 1.5
        12\frac{3}{5} ~ \frac{63}{5}
        1 1/2 ~ \frac32
        -1\frac12 ~ -1.5""",
    "percentages": r"""
        28\% ~ 28
        0.335 ~ 33.5\%
        33.5\% ~ 0.335
        28\% ~ 28 percent
        \frac12 ~ 50\%
        28\% ~ 28 \text{ percent}""",
    "units, money and degrees": r"""
        74^\circ ~ 74
        74 ~ 74°
        90^\circ ~ 90 \text{ degrees}
        125 ~ 125 miles
        5.4 \text{ cents} ~ 5.4
        10\text{ units} ~ 10
        100\text{ square units} ~ 100 \text{ cm}^2
        12 \text{ cm} ~ 12 \mathrm{~cm}
        \$15,000 ~ 15000
        10 ~ \$10
        \frac{1}{3} ~ \frac13 \text{meters}""",
    "names of values": r"""
        5 ~ x = 5
        x = 5 ~ 5
        f(x) = 2x + 3 ~ 2x+3
        (p,q)=(3,2) ~ (3,2)
        x=11 ~ x=5+6=11
        11 ~ x \approx 11
        |AB|=1 ~ 1
        7 ~ \sqrt{49} = 7
        y_{1} = 2 ~ y_1 = 2""",
    "intervals and inequalities": r"""
        [0,1] ~ 0 \le x \le 1
        (-\infty, 3) ~ x < 3
        x \geq 2 ~ [2, \infty)
        x \in [-2,7] ~ [-2,7]
        2 > x ~ x < 2
        (1, \infty) ~ (1, +\infty)
        x < 1 ~ -x > -1
        (-\infty,-8)\cup(8,\infty) ~ (8,\infty) \cup (-\infty,-8)""",
    "tuples, sets, several answers": r"""
        (1,2) ~ \left( 1, 2 \right)
        (1,2) ~ 1,2
        (14/3, 4/6) ~ (14/3, 2/3)
        \{1,2,3\} ~ \{3,2,1\}
        \{1,2,3\} ~ 3, 1, 2
        1,2,3 ~ 1, 3 \text{ and } 2
        -2,1 ~ 1 \text{ or } -2
        1 \pm \sqrt{19} ~ 1-\sqrt{19}, 1+\sqrt{19}
        \{5\} ~ 5
        \langle 1, 2 \rangle ~ (1,2)
        p=5,q=2;p=7,q=2 ~ (5,2),(7,2)
        a_3 = 2, a_{37} = 19 ~ a_{37} = 19, a_3 = 2""",
    "matrices and ratios": r"""
        \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ~ \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}
        \begin{pmatrix} 1/2 \\ 3 \end{pmatrix} ~ \left(\begin{array}{c} 0.5 \\ 3 \end{array}\right)
        7:32 ~ 7 : 32
        1:2 ~ 3:6
        7/32 ~ 7:32""",
    "words and bases": r"""
        \text{Evelyn} ~ Evelyn
        \text{(B)} ~ B
        \text{even} ~ \text{Even}
        4210_{7} ~ 4210_7
        4210_7 ~ 4210
        4210 ~ 4210_{10}""",
    "expressions": r"""
        x+1 ~ 1 + x
        (x+1)^2 ~ x^2+2x+1
        2\sqrt{2} ~ \sqrt{8}
        \frac{8-7x}{6} ~ \frac43 - \frac{7x}{6}
        0 ~ x^2 - x^2
        \sec x ~ \frac{1}{\cos x}
        2 \sin b \cos a ~ 2\cos(a)\sin(b)
        -1+\sqrt{3} ~ -1 + sqrt(3)
        2^6 3^5 ~ 2^6 * 3^5
        1+\sqrt{3} i ~ 1 + i\sqrt{3}
        2i ~ (1+i)^2
        \sqrt{x^2} ~ |x|
        2x+4y-3=0 ~ y=-\frac{1}{2}x+\frac{3}{4}
        x^2/4 + y^2/3 = 1 ~ x^2/16 + y^2/12 = 1/4
        e^{-t} ~ \frac{1}{e^t}
        \emptyset ~ \varnothing""",
}
DIFFERENT = {
    "numbers": r"""
        7 ~ 8
        100000000000 ~ 99999999999
        10000 ~ 9999.857142857143
        12345678 ~ 12345678.5
        1.273 ~ 1.274
        1.273 ~ -1.273
        7.25e-11 ~ 3e-12
        1e-8 ~ 0
        \frac13 ~ 0.33
        \frac{50}{3} ~ 16.67
        1.6 ~ 1.60001
        12 ~ 1,2345
        4.5e33 ~ 4.5
        2^{2025} ~ 3^{2025}
        2 ~ \frac{1+\sqrt5}{2}
        \sqrt{2} ~ 1.414
        5 ~ 2(3)""",
    "mixed numbers": r"""
        1\frac{1}{10} ~ 1\frac19
        \frac{2}{3} ~ 2\frac13""",
    "percentages": r"""
        25\% ~ 6.5
        28 ~ 0.28
        28\% ~ 2800
        0.5 ~ 5\%""",
    "units": r"""
        5 \text{ cm} ~ 5 \text{ m}
        5 \text{ cm} ~ 5 \text{ cm}^2
        5 ~ 5 \text{ million}
        2RC ~ 2
        3ab ~ 3""",
    "names of values": r"""
        x = 2 ~ y = 2
        2x + z = 1 ~ 1
        a^2 + b = 0 ~ 0
        \sin(x)=\frac{42}{59} ~ \cos(x)=\frac{42}{59}
        n=2, 3, 4 ~ n=1, 2, 3""",
    "intervals and inequalities": r"""
        (0,9) ~ [0,9)
        [0,5] ~ (0,5)
        x \geq 5 ~ x \leq 5
        x < 3 ~ x \leq 3
        x < 1 ~ x > -1
        x < 3 ~ y < 3
        [0,1] ~ 0 < x < 1
        5 ~ x > 5""",
    "tuples, sets, several answers": r"""
        (1,2) ~ (2,1)
        (3,1) ~ 1,3
        (1,2) ~ \{1,2\}
        12 ~ [1,2]
        1,2 ~ 1,2,3
        1,2,3 ~ 1,2
        \pm 2021 ~ 2021
        (1,2,3) ~ (1,2,4)
        2 ~ [0]""",
    "matrices, ratios, bases": r"""
        \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ~ \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}
        \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ~ \begin{pmatrix} 1 & 2 & 3 & 4 \end{pmatrix}
        2:15 ~ 4:30
        1:2 ~ 2:1
        1112112_3 ~ 1112122_3
        11_2 ~ 11_3
        11 ~ 11_2""",
    "expressions": r"""
        \pi(R^2 - r^2) ~ 0
        E ~ e
        x+1 ~ x-1
        x^2+2x+1 ~ y^2+2y+1
        (a+5)(b+2) ~ (+5)(b+2)
        5x - 7y + 11z + 4 = 0 ~ x + y - z + 2 = 0
        \sqrt{x^2} ~ x
        y' + y = 0 ~ 2y = 0
        \frac{1}{2x} ~ \frac{x}{2}
        d ~ \text{E}
        \text{east} ~ \text{west}
        \text{east} ~ 5""",
}
UNREAD = [
    ("42", ""),
    ("42", "because geometry proves it"),
    ("42", "hello"),
    ("5", r"\text{no such number}"),
    ("5", "()"),
    ("5", r"\frac{1}{"),
    ("5", "?"),
    ("5", r"5 \text{ or more}"),
    ("5", "[]"),
    ("1,2", "foo, because it is"),
    ("x+1", r"\foo{x}"),
    ("5", "٧ apples"),
    ("5", r"9^{9^{9}}"),
]


@pytest.mark.parametrize(("gold", "answer"), [pair for rows in SAME.values() for pair in table(rows)])
def test_what_says_the_same_is_correct(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "correct"


@pytest.mark.parametrize(("gold", "answer"), [pair for rows in DIFFERENT.values() for pair in table(rows)])
def test_what_says_something_else_is_wrong(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "wrong"


@pytest.mark.parametrize(("gold", "answer"), table(ALIKE))
def test_an_answer_in_other_words_is_correct(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "correct"


@pytest.mark.parametrize(("gold", "answer"), table(OTHERS))
def test_an_answer_that_only_looks_like_it_is_not_correct(gold: str, answer: str) -> None:
    assert verdict(gold, answer) in ("wrong", "unparsed")


@pytest.mark.parametrize(("gold", "answer"), UNREAD)
def test_what_cannot_be_read_is_unparsed_and_never_correct(gold: str, answer: str) -> None:
    assert verdict(gold, answer) == "unparsed"


@pytest.mark.parametrize(
    ("gold", "answer"), [pair for rows in [*SAME.values(), *DIFFERENT.values()] for pair in table(rows)]
)
def test_every_answer_and_every_gold_equals_itself(gold: str, answer: str) -> None:
    assert verdict(gold, gold) == verdict(answer, answer) == verdict(gold, f" {gold} .") == "correct"


# The fast path --------------------------------------------------------------------------------------------------------

integers = st.integers(-(10**6), 10**6)
numerals = st.one_of(
    integers.map(str),
    integers.map(lambda n: f"{n:,}"),
    st.decimals(-10_000, 10_000, places=3, allow_nan=False).map(str),
    st.tuples(integers, st.integers(1, 999)).map(lambda f: rf"\frac{{{f[0]}}}{{{f[1]}}}"),
    st.tuples(integers, st.integers(1, 99)).map(lambda f: f"{f[0]}/{f[1]}"),
    st.tuples(st.integers(1, 50), st.integers(1, 9), st.integers(10, 19)).map(
        lambda f: rf"{f[0]}\frac{{{f[1]}}}{{{f[2]}}}"
    ),
    st.tuples(st.integers(1, 9999), st.integers(-30, 30)).map(lambda f: rf"{f[0] / 1000} \times 10^{{{f[1]}}}"),
    st.tuples(integers, st.integers(2, 60)).map(lambda f: rf"{f[0]}\sqrt{{{f[1]}}}"),
    st.tuples(st.integers(1, 99), st.integers(1, 9)).map(lambda f: rf"\frac{{{f[0]}\pi}}{{{f[1]}}}"),
    st.tuples(st.integers(2, 30), st.integers(-9, 9)).map(lambda f: f"{f[0]}^{{{f[1]}}}"),
    st.integers(0, 20).map(lambda n: f"{n}!"),
    integers.map(lambda n: rf"{n}\%"),
    integers.map(lambda n: rf"{n}^\circ"),
)
answers = st.one_of(
    numerals,
    st.lists(numerals, min_size=2, max_size=3).map(lambda parts: f"({', '.join(parts)})"),
    st.lists(numerals, min_size=2, max_size=3).map(lambda parts: rf"\{{{'; '.join(parts)}\}}"),
    numerals.map(lambda n: f"x = {n}"),
    numerals.map(lambda n: rf"(-\infty, {n}]"),
)


@settings(max_examples=150, deadline=None)
@given(answers, answers)
def test_the_fast_path_says_what_the_slow_one_says(gold: str, answer: str) -> None:
    assert grade_fast(gold, answer) in (None, grade_slow(gold, answer))


@settings(max_examples=100, deadline=None)
@given(integers, st.integers(1, 200), st.integers(1, 30), st.sampled_from(["0", "1e-3", "1e-7", "1e-10", "1e-12"]))
def test_the_fast_path_says_so_also_of_values_that_are_nearly_equal(
    top: int, bottom: int, factor: int, noise: str
) -> None:
    gold = rf"\frac{{{top}}}{{{bottom}}}"
    near = float(Fraction(top, bottom) * (1 + Fraction(noise)))
    for answer in (f"{near:.6f}", f"{near:.12f}", rf"\frac{{{top * factor}}}{{{bottom * factor}}}"):
        assert grade_fast(gold, answer) in (None, grade_slow(gold, answer))
        assert grade_fast(answer, gold) in (None, grade_slow(answer, gold))


symbols = st.sampled_from(["x", "y", "n", "a_1", r"\theta"])
terms = st.one_of(
    symbols,
    st.tuples(st.integers(1, 9), symbols).map(lambda p: f"{p[0]}{p[1]}"),
    st.tuples(symbols, st.integers(2, 4)).map(lambda p: f"{p[0]}^{p[1]}"),
    st.tuples(st.integers(1, 9), st.integers(2, 9), symbols).map(lambda p: rf"\frac{{{p[0]}{p[2]}}}{{{p[1]}}}"),
    st.tuples(symbols, symbols).map(lambda p: rf"\frac{{1}}{{{p[0]} + {p[1]}^2}}"),
    symbols.map(lambda x: rf"\sqrt{{{x}}}"),
    symbols.map(lambda x: rf"\sqrt{{{x}^2}}"),
    symbols.map(lambda x: rf"e^{{-{x}}}"),
    symbols.map(lambda x: rf"\sin {x}"),
    st.integers(1, 9).map(lambda n: rf"{n}\pi"),
    st.integers(1, 9).map(str),
)
sums = st.lists(terms, min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(sums, sums, st.randoms())
def test_the_fast_path_says_what_the_slow_one_says_of_expressions(
    left: list[str], right: list[str], random: Random
) -> None:
    shuffled = random.sample(left, len(left))
    gold = " + ".join(left)
    for answer in (" + ".join(right), " + ".join(shuffled), f"({' + '.join(shuffled)})(2 - 1)", " - ".join(left)):
        assert grade_fast(gold, answer) in (None, grade_slow(gold, answer))


@given(st.fractions(-1000, 1000, max_denominator=999))
def test_rational_numbers_are_decided_fast_and_exactly(value: Fraction) -> None:
    gold = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert grade_fast(gold, f"{value.numerator * 3}/{value.denominator * 3}") == "correct"
    assert grade_fast(gold, f"{value.numerator * 3 + 1}/{value.denominator * 3}") == "wrong"


@given(numerals, numerals)
def test_agreement_is_symmetric_but_for_the_scale_of_the_noise(left: str, right: str) -> None:
    first, second = (numbers.read(normalise(text)) for text in (left, right))
    assume(first is not None and second is not None)
    assert first is not None and second is not None
    if abs(first.value - second.value) > 2 * numbers.NOISE * max(abs(first.value), abs(second.value)):
        assert numbers.agree(first, second) == numbers.agree(second, first)


@given(st.text("0123456789.,{}()[]\\ +-*/^_=<>%$fracsqtpibode:;!|", max_size=60))
@example("=a")
@example("a = a")
def test_no_text_breaks_the_fast_path(text: str) -> None:
    assert grade_fast("5", text) in (None, "correct", "wrong", "unparsed")
    assert grade_fast(text, "5") in (None, "correct", "wrong", "unparsed")


@given(answers)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert compact(normalise(once)) == compact(once)


# Where the answer stands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "output", "answer"),
    [
        ("2", r"\boxed{1}, \boxed{2}", "2"),
        ("1,2", r"\boxed{1}, \boxed{2}", "1, 2"),
        ("1,2", r"\boxed{1} \text{ and } \boxed{2}", "1, 2"),
        ("1,2", r"$x = \boxed{1}$ or $x = \boxed{2}$", "1, 2"),
        ("1,2", r"\boxed{0} is wrong. So \boxed{1} and \boxed{2}", "1, 2"),
        ("1,2", r"\boxed{0}, \boxed{1}, \boxed{2}", "2"),
        ("1,2", r"first \boxed{1}, then after much thought \boxed{2}", "2"),
        ("1,2", r"\boxed{1,2}", "1,2"),
        ("(1,2)", r"\boxed{1}, \boxed{2}", "2"),
        ("5", "the answer is 5", None),
    ],
)
def test_the_last_box_counts_and_a_run_of_boxes_only_where_there_are_as_many_answers(
    gold: str, output: str, answer: str | None
) -> None:
    assert read_answer(output, gold) == answer


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (r"\boxed{4} and so on: 7", "4"),
        ("The answer is 5.", "5"),
        ("Answer: $336$", "$336$"),
        ("x\n#### 72", "72"),
        ("so\nA: 1,234", "1,234"),
        ("We get $x = 3$ apples in the end", "x = 3"),
        ("She has 12 apples and 7 pears in all.", "7"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        ("42 because geometry proves it", "42"),
        ("Final Answer: The final answer is $(-6, 10)$. I hope it is correct.", "(-6, 10)"),
        ("no number in here at all", None),
        ("", None),
    ],
)
def test_without_a_box_the_final_answer_is_read_where_that_is_asked_for(output: str, answer: str | None) -> None:
    assert read_answer(output, "5", "final") == answer


@pytest.mark.parametrize(
    ("gold", "output", "same"),
    [
        (r"\frac{3}{7}", "The probability is 3/7.", True),
        (r"\frac{3}{7}", "The probability is 3/8.</s>", False),
        ("7", "The probability is 3/7.", False),
        ("(3,4)", "They meet at (3, 4).<|im_end|>", True),
        ("4", "They meet at (3, 4).", False),
        (r"2\sqrt{3}", "The length is 2√3 units.", True),
        (r"\frac{3}{2}", "She needs 1½ cups.", True),
        ("4:30", "They arrive at 4:30.", True),
        (r"3 \times 10^8", "The speed is 3 × 10^8 m/s.", True),
        ("-3", "so x is −3.", True),
        ("3", "so x is -3.", False),
        ("x > 2", "The solution is x > 2.", True),
        ("72", "<think>maybe 70</think><answer>72</answer>", True),
        ("8", "The answer is 8, as 3 was excluded.", True),
        ("3", "The answer is 8, as 3 was excluded.", False),
        ("C", "The correct option is (C).", True),
        ("2, 3", "The solutions are $x = 2$ and $x = 3$.", True),
        ("2, 3", "The sum of 2 and 3 is 5.", False),
        ("5", "The sum of 2 and 3 is 5.", True),
    ],
)
def test_final_answers_are_read_out_of_prose(gold: str, output: str, same: bool) -> None:
    answer = read_answer(output, gold, "final")
    assert answer is not None and (verdict(gold, answer) == "correct") is same


@pytest.mark.parametrize("between", [r" \approx ", r"$ \approx $", " ≈ "])
def test_a_value_and_its_rounding_in_boxes_are_one_answer(between: str) -> None:
    answer = read_answer(rf"so $\boxed{{\frac{{70}}{{9}}}}{between}\boxed{{7.78}}$", r"\frac{70}{9}")
    assert answer == r"\frac{70}{9} \approx 7.78"


def test_a_gold_that_is_a_worked_solution_is_its_box() -> None:
    assert read_gold(r"Since 1+1=2 we have \boxed{2}.") == "2"
    assert read_gold(r"\boxed{1} and \boxed{2}") == "1, 2"
    assert read_gold("3 apples. Of 4") == "3 apples. Of 4"
