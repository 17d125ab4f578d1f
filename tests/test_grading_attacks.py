r"""What nobody should write in a box: each gets a verdict within the limit, never ``correct``, runs nothing, and leaves
the pool whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbench.grading import restrict
from rlbench.grading.compare import grade_fast
from rlbench.grading.extract import read_answer
from rlbench.grading.normalise import normalise
from rlbench.grading.pool import Grader
from rlbench.grading.symbolic import expression

LIMIT_S = 1.0
# Each may write the mark; none may.
CODE = [
    "__import__('os').system('touch MARK')",
    "open('MARK', 'w').write('x') or 0",
    "exec(\"open('MARK','w')\")",
    "().__class__.__bases__[0].__subclasses__()",
    "(lambda: open('MARK', 'w'))()",
    "[open('MARK','w') for x in (1,)]",
    r"\text{__import__('os').system('touch MARK')}",
    r"\operatorname{open}(MARK)",
    "sympify(\"open('MARK','w')\")",
    "1+open('MARK','w')",
    "x.__class__",
    "globals()",
    "eval(input())",
    "print(5)",
    "import os",
    "while True: pass",
    "f(x=open('MARK','w'))",
    "＿＿import＿＿('os').system('touch MARK')",
    "__builtins__.open('MARK','w')",
    r"\input{/etc/passwd}",
    r"\write18{touch MARK}",
    r"\def\x{\x}\x",
    r"\href{file:///etc/passwd}{5}",
    r"\immediate\write18{touch MARK}",
    "$(touch MARK)",
    "`touch MARK`",
    "5; touch MARK",
]
# Refused before anything computes them.
REFUSED = [
    "9^{9^{9^{9}}}",
    "9^9^9^9",
    "9**9**9**9",
    "10^{10^{10}}",
    "10^{10^{10^{10}}}",
    "x^{9^{9^{9}}}",
    "2^{1000000000000}",
    "10^{-99999999}",
    "4.5e999999999",
    r"\frac{1}{10^{9^{9}}}",
    "2^{2^{2^{2^{x}}}}",
    r"e^{e^{e^{e^{e}}}}",
    "9!!!!!!",
    "((9!)!)!",
    "100000!",
    r"\left(10^{5}\right)!",
    "{(9!)}!",
    "(5+99999)!",
    "9" * 1999,
    "{" * 900 + "x" + "}" * 900,
    "(" * 900 + "x" + ")" * 900,
    r"\frac{1}{" * 150 + "x" + "}" * 150,
    r"\sqrt{" * 200 + "2" + "}" * 200,
    "1\x000",
    "\ud800",
    "\u202e1\u202c",
    "٧",
    "x_" * 500,
    "|" * 1001 + "?",
    r"\begin{cases}" * 100,
    "'" * 500,
    r"\def",
    "𓀀",
    "🙂",
]
# Let through, as mathematics: whatever they cost is taken from them by the limits.
EXPENSIVE = [
    r"\binom{10^{9}}{5 \cdot 10^{8}}",
    r"\sum_{k=1}^{10^{9}} \frac{1}{k^{2}}",
    r"\prod_{k=1}^{99999999} k",
    r"\Gamma(10^{9})",
    r"\exp(\exp(\exp(\exp(10))))",
    r"\lfloor 10^{9999} \pi \rfloor",
    r"(x+y+z+w)^{9999}",
    r"\tan(\tan(\tan(10^{50})))",
    r"1.0000001^{9999}",
    "(((9^{999})^{999})^{999})^{999}",
    "x + ((9^{9999})^{9999})^{9999}",
    r"\int_0^1 \sin(\sin(\sin(x^{x}))) dx",
    "|" * 1000,
    "-" * 1900 + "1",
    r"\pm" * 500 + "1",
    ",".join(f"x+{n}" for n in range(60)),
    r"\begin{pmatrix}" + "1&" * 500 + r"\end{pmatrix}",
    r"\infty - \infty",
    r"\frac{1}{0}",
    "+".join([r"\pm 1"] * 60),
    r"\cdot" * 300,
    "0." + r"\overline{" + "9" * 1900 + "}",
    "/".join(["9" * 300] * 6),
]


@pytest.fixture(scope="module")
def graders() -> Iterator[list[Grader]]:
    made = [Grader(name, limit_s=LIMIT_S, memory_bytes=1 << 30) for name in ("rlbench", "qwen")]
    yield made
    for grader in made:
        grader.close()


def survives(grader: Grader, gold: str, output: str) -> str:
    """The verdict, after a check that it came in time and that the pool still grades."""
    grader.grade([("4 \\tan x", r"\boxed{5\tan(x)}")])  # a worker is up, so that its start is not part of the time
    started = time.monotonic()
    verdict = grader.grade([(gold, output)])[0].verdict
    assert time.monotonic() - started < LIMIT_S + 2.0
    assert grader.grade([(r"7 \tan y", r"\boxed{7\tan(y)}")])[0].verdict == "correct"
    return verdict


@pytest.mark.parametrize("text", CODE)
def test_code_is_never_run(graders: list[Grader], text: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    answer = text.replace("MARK", str(mark))
    for grader in graders:
        for output in (rf"\boxed{{{answer}}}", f"The final answer is {answer}"):
            assert survives(grader, "3.7", output) in ("wrong", "unparsed")
        assert survives(grader, answer, r"\boxed{x + 1}") == "wrong"
    assert not mark.exists()


@pytest.mark.parametrize("text", CODE)
def test_code_does_not_reach_the_parser(text: str) -> None:
    """It is refused, or it is no mathematics: letters, brackets and a stop that the grammar multiplies or rejects."""
    found = expression(normalise(text))
    assert found is None or all(name.isalpha() or "_" in name for name in map(str, found.free_symbols))
    if any(sign in text for sign in ("__", '"', "import", "open")):
        assert found is None


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_costs_nothing_and_is_unparsed(graders: list[Grader], text: str) -> None:
    with pytest.raises(restrict.Refused):
        restrict.check(normalise(text) or "?")
    started = time.monotonic()
    assert grade_fast("5", text) in (None, "unparsed")
    assert time.monotonic() - started < 0.5
    for grader in graders:
        assert survives(grader, "5", rf"\boxed{{{text}}}") in ("unparsed", "wrong")
        assert survives(grader, "x+1", rf"\boxed{{{text}}}") in ("unparsed", "wrong")


@pytest.mark.parametrize("text", EXPENSIVE[:3])
def test_what_is_expensive_gets_a_verdict_within_the_limit(graders: list[Grader], text: str) -> None:
    assert survives(graders[0], "5", rf"\boxed{{{text}}}") == "timeout"


@pytest.mark.slow
@pytest.mark.parametrize("text", EXPENSIVE)
@pytest.mark.parametrize("gold", ["5", "x + 1"])
def test_so_does_all_that_is_expensive_from_either_grader(graders: list[Grader], text: str, gold: str) -> None:
    for grader in graders:
        assert survives(grader, gold, rf"\boxed{{{text}}}") != "correct"


@pytest.mark.parametrize(
    "output",
    [
        "",
        "   ",
        "x" * 1_000_000,
        r"\boxed{" * 10_000,
        r"\boxed{" + "{" * 10_000 + "x" + "}" * 10_000 + "}",
        "9" * 1_000_000,
        r"\boxed{" + "1" * 1_000_000 + "}",
        "$" * 1_000_000,
        "1," * 500_000,
        "the answer is " * 70_000,
        "\\" * 1_000_000,
        "\n" * 1_000_000,
        r"\boxed{1} and " * 60_000,
        "####" * 250_000,
        "A:" * 500_000,
        "a b " * 250_000,
        r"\(" * 500_000,
        "-." * 500_000,
        "answer:" * 140_000,
    ],
    ids=range(19),
)
@pytest.mark.parametrize("reading", ["box", "final"])
def test_a_megabyte_is_read_in_time(output: str, reading: str) -> None:
    started = time.process_time()
    for gold in ("5", "1,2"):
        read_answer(output, gold, reading)  # type: ignore[arg-type]
    with Grader("qwen") as grader:
        assert grader.grade([("no", output)])[0].verdict in ("unparsed", "wrong")
    assert time.process_time() - started < 4.0


@settings(max_examples=60, deadline=None)
@given(st.text("0123456789^!{}()[]|.,;:+-*/=<>_'\\xeEi %", max_size=200))
def test_the_restriction_and_the_rules_are_quick_on_anything(text: str) -> None:
    started = time.process_time()
    grade_fast("5", text)
    grade_fast("(x+1, 2)", text)
    assert time.process_time() - started < 0.5


def test_golds_are_not_trusted_either(graders: list[Grader]) -> None:
    for grader in graders:
        for gold in ("9^{9^{9}}", "__import__('os')", "{" * 900, "1" * 100_000):
            assert survives(grader, gold, r"\boxed{x + 1}") == "wrong"
            assert survives(grader, gold, r"\boxed{1}") == "wrong"
        assert survives(grader, r"\binom{10^{9}}{5 \cdot 10^{8}}", r"\boxed{1}") == "timeout"
