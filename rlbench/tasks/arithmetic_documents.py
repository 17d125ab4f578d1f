"""The text of the arithmetic task: chains of steps, how a problem is worded, how a solution is written, and
pre-training documents.

Every number that is written here is right. What pre-training teaches badly is a habit, never a fact: many documents
jump straight to the boxed answer, which can be learnt for one step and is hopeless beyond, and a minority works step by
step.

Only ``random.Random.random`` is drawn from, because Python promises that it never changes for a given seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

FORMS = ("expression", "story", "let")
HABITS = ("direct", "leap", "steps", "checked", "prose")

_LOW, _HIGH = 1, 99  # every intermediate value lies between them, both included
_APPLY: Mapping[str, Callable[[int, int], int]] = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
_INVERSE = {"+": "-", "-": "+", "*": "/"}

Item = TypeVar("Item")


def seeded(*parts: str | int) -> random.Random:
    """A generator whose stream depends on the parts alone: not on the process, the platform or Python's ``hash``."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def pick(rng: random.Random, options: Sequence[Item]) -> Item:
    """Draw one of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


@dataclass(frozen=True)
class Chain:
    """A start value and the steps that are applied to it one after the other, each an operator of ``+-*`` and an
    operand.
    """

    start: int
    steps: tuple[tuple[str, int], ...]

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The start and the value after each step: one more than there are steps."""
        values = [self.start]
        for operator, operand in self.steps:
            values.append(_APPLY[operator](values[-1], operand))
        return tuple(values)

    @property
    def answer(self) -> int:
        """The last value."""
        return self.values[-1]

    @cached_property
    def expression(self) -> str:
        """The chain as a bracketed expression, ``((12+5)*3)-4``. It is the key by which problems of any form are the
        same.
        """
        text = str(self.start)
        for index, (operator, operand) in enumerate(self.steps):
            text = f"{text}{operator}{operand}" if index == 0 else f"({text}){operator}{operand}"
        return text


def draw_chain(rng: random.Random, length: int, *, operators: str = "+-*", two_digits: bool = False) -> Chain:
    """Draw a chain: start 2-60, operands 1-9 (10-30 for two digits), multipliers 2-4, all values in 1-99.

    A step that would leave the range is drawn again.
    """
    start = 2 + int(rng.random() * 59)
    value = start
    steps: list[tuple[str, int]] = []
    while len(steps) < length:
        operator = pick(rng, operators)
        low, high = (2, 4) if operator == "*" else (10, 30) if two_digits else (1, 9)
        operand = low + int(rng.random() * (high - low + 1))
        result = _APPLY[operator](value, operand)
        if _LOW <= result <= _HIGH:
            steps.append((operator, operand))
            value = result
    return Chain(start, tuple(steps))


# ---- wording ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wording:
    """The words of one way to ask: templates by form, with the names and things that stories are about."""

    names: tuple[str, ...]
    things: tuple[str, ...]
    expression: tuple[str, ...]
    story: Mapping[str, tuple[str, ...]]
    let: Mapping[str, tuple[str, ...]]


COMMON = Wording(
    names=("Anna", "Ben", "Carl", "Dora", "Eva", "Finn"),
    things=("apples", "books", "coins", "cards"),
    expression=("Compute {x}.", "What is {x}?"),
    story={
        "start": ("{n} has {v} {t}.",),
        "+": ("{n} gets {v} more.", "{n} finds {v} more."),
        "-": ("{n} gives away {v}.", "{n} loses {v}."),
        "*": ("Then {n} has {v} times as many.",),
        "question": ("How many {t} does {n} have now?",),
    },
    let={
        "start": ("Let x={v}.",),
        "+": ("Add {v}.",),
        "-": ("Subtract {v}.",),
        "*": ("Multiply by {v}.",),
        "question": ("What is x?",),
    },
)

RARE = Wording(
    names=("Gina", "Hugo", "Iris"),
    things=("pens", "stones"),
    expression=("Find the value of {x}.",),
    story={
        "start": ("At first {n} owns {v} {t}.",),
        "+": ("{n} buys another {v}.",),
        "-": ("{n} sells {v} of them.",),
        "*": ("The amount becomes {v} times as large.",),
        "question": ("Find the number of {t}.",),
    },
    let={
        "start": ("Start from {v}.",),
        "+": ("Increase it by {v}.",),
        "-": ("Decrease it by {v}.",),
        "*": ("Take it {v} times.",),
        "question": ("Which number is it?",),
    },
)


def word_problem(rng: random.Random, chain: Chain, form: str, wording: Wording) -> str:
    """Ask for the value of a chain in one of the ``FORMS``."""
    if form == "expression":
        return pick(rng, wording.expression).format(x=chain.expression)
    templates = wording.story if form == "story" else wording.let
    name, thing = pick(rng, wording.names), pick(rng, wording.things)
    sentences = [("start", chain.start), *chain.steps, ("question", 0)]
    return " ".join(pick(rng, templates[kind]).format(v=value, n=name, t=thing) for kind, value in sentences)


# ---- solutions -------------------------------------------------------------------------------------------------------


def boxed(chain: Chain) -> str:
    r"""The answer as every solution ends: ``\boxed{70}``."""
    return f"\\boxed{{{chain.answer}}}"


def _statement(chain: Chain, first: int, count: int) -> str:
    """Steps first .. first+count-1 as one equation from the value before them: ``41-6=35``, or
    ``(41-6)*2=70`` for two.
    """
    part = Chain(chain.values[first], chain.steps[first : first + count])
    return f"{part.expression}={part.answer}"


def _segments(rng: random.Random, length: int, merged: float) -> Iterator[tuple[int, int]]:
    """Cut steps 0 .. length-1 into (first, count): with probability ``merged`` a step is done together with the one
    after it.
    """
    first = 0
    while first < length:
        count = 2 if first + 1 < length and rng.random() < merged else 1
        yield first, count
        first += count


_OPENINGS = ("We start with {v}.", "At first there are {v}.", "The first number is {v}.")
_MOVES = {
    "+": ("Then adding {v} gives {e}.", "Now we add {v} and get {e}."),
    "-": ("Then taking away {v} gives {e}.", "Now we subtract {v} and get {e}."),
    "*": ("Then multiplying by {v} gives {e}.", "Now we multiply by {v} and get {e}."),
}
_MERGED = ("Then this gives {e}.", "Now we get {e}.")
_CLOSINGS = ("So the answer is {b}", "This makes {b}")


def write_prose(rng: random.Random, chain: Chain, merged: float) -> str:
    """A solution in full sentences; ``merged`` is the probability that a step is skipped by doing
    it with the next one.
    """
    parts = [pick(rng, _OPENINGS).format(v=chain.start)]
    for first, count in _segments(rng, len(chain.steps), merged):
        operator, operand = chain.steps[first]
        template = pick(rng, _MERGED if count == 2 else _MOVES[operator])
        parts.append(template.format(v=operand, e=_statement(chain, first, count)))
    return " ".join([*parts, pick(rng, _CLOSINGS).format(b=boxed(chain))])


def write_backwards(rng: random.Random, chain: Chain, merged: float) -> str:
    """A solution in a style that pre-training never shows: each value before the equation that it comes from."""
    parts = []
    for first, count in _segments(rng, len(chain.steps), merged):
        left, right = _statement(chain, first, count).split("=")
        parts.append(f"{right} is the value of {left},")
    return " ".join([*parts, f"and so the answer is {boxed(chain)}"])


def write_solution(rng: random.Random, chain: Chain, habit: str, merged: float) -> str:
    """A solution in one of the ``HABITS``; ``merged`` matters to prose alone.

    direct: the boxed answer. leap: two steps at once wherever there are two. steps: one equation a step. checked: each
    with its inverse. prose: the style of the demonstrations.
    """
    if habit == "prose":
        return write_prose(rng, chain, merged)
    if habit == "direct":
        return boxed(chain)
    lines = []
    for first, count in _segments(rng, len(chain.steps), 1.0 if habit == "leap" else 0.0):
        line = _statement(chain, first, count)
        if habit == "checked":
            operator, operand = chain.steps[first]
            line += f", {chain.values[first + 1]}{_INVERSE[operator]}{operand}={chain.values[first]}"
        lines.append(line)
    return "\n".join([*lines, boxed(chain)])


# ---- documents -------------------------------------------------------------------------------------------------------


def draw_documents(
    rng: random.Random,
    *,
    habits: Mapping[str, Mapping[str, float]],
    merged_steps: float,
    lengths: Sequence[int],
    long_share: float,
    two_digit_share: float,
    rare_wording_share: float,
    exclude: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Draw pre-training documents without end, each a problem and a solution.

    Args:
        rng: the source of every choice.
        habits: for each of the ``FORMS`` the weights of the ``HABITS``; forms are equally frequent.
        merged_steps: probability that prose does a step together with the next.
        lengths: numbers of steps to choose from.
        long_share: share of problems with four or five steps instead.
        two_digit_share: share of problems with operands 10-30.
        rare_wording_share: share of problems in the ``RARE`` wording.
        exclude: expressions that must not occur.
    """
    while True:
        length = pick(rng, (4, 5)) if rng.random() < long_share else pick(rng, lengths)
        chain = draw_chain(rng, length, two_digits=rng.random() < two_digit_share)
        if chain.expression in exclude:
            continue
        form = pick(rng, FORMS)
        wording = RARE if rng.random() < rare_wording_share else COMMON
        problem = word_problem(rng, chain, form, wording)
        yield problem, write_solution(rng, chain, _draw_habit(rng, habits[form]), merged_steps)


def _draw_habit(rng: random.Random, weights: Mapping[str, float]) -> str:
    habits = [(name, weights[name]) for name in HABITS if weights.get(name)]
    level = rng.random() * sum(weight for _, weight in habits)
    for name, weight in habits:
        if level < weight:
            return name
        level -= weight
    return habits[-1][0]  # the rounding of the subtractions used the last one up
