r"""How fast graders grade: made-up answers in the forms of public benchmarks, none of them twice, over the pool as it
is used.

Three mixes: ``plain`` (integers, as golds of the arithmetic task and AIME), ``ordinary`` (the forms of ``ORDINARY`` in
shares like those of the golds of MATH-500, Minerva Math, OlympiadBench, AIME 2024 and AMC 2023 together) and ``parsed``
(expressions in other words, each of which sympy has to compare). In each, half of the answers are right, and half of
those are spelled as the gold is.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rlbench.grading import GRADERS, grader_spec
from rlbench.grading.pool import Grader

Case = tuple[str, str]  # gold, output
Form = Callable[[random.Random], tuple[str, str, str]]  # gold, the same in other words, something else


def _integer(draw: random.Random) -> tuple[str, str, str]:
    n = draw.randint(-999, 99_999)
    return str(n), f"{n:,}", str(n + draw.randint(1, 50))


def _fraction(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(1, 400), draw.randint(2, 400)
    return rf"\frac{{{a}}}{{{b}}}", rf"\dfrac{{{2 * a}}}{{{2 * b}}}", rf"\frac{{{a + 1}}}{{{b}}}"


def _decimal(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(100, 999), draw.randint(-12, 20)
    return f"{a / 100}e{b}", rf"{a / 100} \times 10^{{{b}}}", f"{(a + 3) / 100}e{b}"


def _root(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(2, 99), draw.choice((2, 3, 5, 6, 7, 10, 11, 13))
    return rf"{a} \sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", rf"{a + 1}\sqrt{{{b}}}"


def _multiple_of_pi(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(1, 99), draw.randint(2, 60)
    return rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}\pi", rf"\frac{{{a}\pi}}{{{b + 1}}}"


def _tuple(draw: random.Random) -> tuple[str, str, str]:
    a, b, c = (draw.randint(-99, 99) for _ in range(3))
    return f"({a}, {b}, {c})", rf"\left({a},{b},{c}\right)", f"({b + 1}, {a}, {c})"


def _several(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(-99, 99), draw.randint(100, 999)
    return f"{a}, {b}", rf"\{{{b}, {a}\}}", f"{a}"


def _interval(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(-99, 0), draw.randint(1, 99)
    return f"[{a}, {b})", rf"{a} \le x < {b}", f"({a}, {b})"


def _angle(draw: random.Random) -> tuple[str, str, str]:
    n = draw.randint(1, 3599) / 10
    return rf"{n}^\circ", f"{n} degrees", str(n + 1)


def _polynomial(draw: random.Random) -> tuple[str, str, str]:
    a, b, x = draw.randint(1, 60), draw.randint(1, 60), draw.choice("xyntk")
    return rf"{x}^2 + {a + b}{x} + {a * b}", f"({x}+{a})({x}+{b})", rf"{x}^2 + {a + b}{x} - {a * b}"


def _function(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(2, 99), draw.randint(2, 99)
    return (
        rf"\frac{{{a}}}{{{b}}} e^{{-t}} \cos t",
        rf"\frac{{{a} \cos(t)}}{{{b} e^t}}",
        rf"\frac{{{a}}}{{{b}}} e^{{-t}} \sin t",
    )


def _equation(draw: random.Random) -> tuple[str, str, str]:
    a, b = draw.randint(2, 99), draw.randint(2, 99)
    return f"y = {a}x + {b}", f"{a}x - y + {b} = 0", f"y = {a}x - {b}"


# Form -> its share. Of the 1,517 golds of those benchmarks 58 % are integers and decimals, and 9 % of answers drawn at
# random need sympy.
ORDINARY: dict[Form, float] = {
    _integer: 0.55,
    _fraction: 0.12,
    _decimal: 0.06,
    _root: 0.07,
    _multiple_of_pi: 0.03,
    _tuple: 0.04,
    _several: 0.03,
    _interval: 0.02,
    _angle: 0.02,
    _polynomial: 0.03,
    _function: 0.02,
    _equation: 0.01,
}
MIXES: dict[str, dict[Form, float]] = {
    "plain": {_integer: 1.0},
    "ordinary": ORDINARY,
    "parsed": {_root: 0.25, _polynomial: 0.4, _function: 0.2, _equation: 0.15},
}


def cases(mix: str, count: int, seed: int) -> list[Case]:
    """So many different cases of a mix; the same for the same seed."""
    draw = random.Random(f"{mix}/{seed}")
    found: dict[Case, None] = {}
    while len(found) < count:
        (form,) = draw.choices(list(MIXES[mix]), weights=list(MIXES[mix].values()))
        gold, same, other = form(draw)
        answer = draw.choice((other, other, same, same if mix == "parsed" else gold))
        found[gold, rf"After some thought the answer is $\boxed{{{answer}}}$."] = None
    return list(found)


def bench_grade(
    graders: Sequence[str] = (),
    *,
    answers: int = 2000,
    workers: int = 2,
    rounds: int = 3,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Measure graders on each mix.

    Args:
        graders: of ``rlbench.grading.GRADERS``; all by default.
        answers: how many of each mix, all different, in each round others.
        workers: processes of the pool.
        rounds: measured ones; before them comes one that is not.
        say: told what is being measured.

    Returns: One table for each grader and mix: ``grader``, ``version``, ``mix``, ``answers``, ``workers``,
        ``answers_per_second`` (median over rounds of wall clock), ``fast_share`` (the share that needed no worker),
        ``verdicts`` (of the last round), ``rounds``.

    Raises:
        UserError: there is no such grader.
    """
    specs = [grader_spec(name) for name in graders or GRADERS]
    found = []
    for spec in specs:
        with Grader(spec.name, workers=workers) as grader:
            for mix in MIXES:
                say(f"{spec.name}, {mix}")
                found.append(_measure(grader, mix, answers, rounds))
    return found


def _measure(grader: Grader, mix: str, answers: int, rounds: int) -> dict[str, Any]:
    first = 1000 * list(GRADERS).index(grader.name)  # other cases for each grader, as readings of texts are remembered
    grader.grade(cases(mix, min(answers, 500), seed=first))
    speeds = []
    for number in range(1, rounds + 1):
        batch = cases(mix, answers, seed=first + number)
        start = time.perf_counter()
        graded = grader.grade(batch)
        speeds.append(len(batch) / (time.perf_counter() - start))
    rules = grader.spec.rules()
    fast = sum(rules.fast(gold, grade.answer) is not None for (gold, _), grade in zip(batch, graded, strict=True))
    return {
        "grader": grader.name,
        "version": grader.version,
        "mix": mix,
        "answers": answers,
        "workers": grader.workers,
        "answers_per_second": round(statistics.median(speeds), 1),
        "fast_share": round(fast / answers, 4),
        "verdicts": dict(Counter(grade.verdict for grade in graded)),
        "rounds": rounds,
    }
