"""The embedded task: whole-number problems of one to five steps, in the clean sets of up to twenty, asked as an
expression, a story or "Let x=...".

All splits come out of this file, the same on every machine. No two problems share an expression, in whatever words they
are asked: not within a split, not across splits, and pre-training excludes all of ``test/*`` and ``development/*``
(``held_out``). ``VERSION`` rises whenever a split changes; a golden digest in the tests forces it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from rlbench.records import Problem, UserError
from rlbench.tasks.arithmetic_documents import (
    COMMON,
    FORMS,
    RARE,
    Chain,
    Wording,
    draw_chain,
    pick,
    seeded,
    word_problem,
    write_backwards,
    write_prose,
)
from rlbench.tasks.base import task

VERSION = 1

_LENGTHS = (1, 2, 2, 3, 3)


@dataclass(frozen=True)
class ProblemStyle:
    """The style of a split's problems."""

    lengths: tuple[int, ...] = _LENGTHS
    operators: str = "+-*"
    two_digits: bool = False
    wording: Wording = COMMON


BENCHMARKS: Mapping[str, ProblemStyle] = {
    "in_domain": ProblemStyle(),
    "wording": ProblemStyle(wording=RARE),
    "steps": ProblemStyle(lengths=(4, 5)),
    "two_digits": ProblemStyle(two_digits=True),
    "add_sub": ProblemStyle(operators="+-"),
}


@dataclass(frozen=True)
class DemonstrationStyle:
    """How the worked solutions of a split are written: the voice, and the probability that a step is merged with the
    next one.

    Which voice and how much is merged decides what imitation can gain, so both ends of both stand here as splits of
    their own, over the same 2,000 problems.
    """

    write: Callable[[random.Random, Chain, float], str] = write_prose
    merged_steps: float = 0.1


DEMONSTRATIONS: Mapping[str, DemonstrationStyle] = {
    "demonstrations": DemonstrationStyle(),
    "demonstrations/every_step": DemonstrationStyle(merged_steps=0.0),
    "demonstrations/merged_steps": DemonstrationStyle(merged_steps=0.5),
    "demonstrations/unseen_style": DemonstrationStyle(write=write_backwards),
}

CLEAN: Mapping[str, ProblemStyle] = {
    f"clean/{steps}_steps": ProblemStyle(lengths=(steps,)) for steps in (6, 10, 15, 20)
}
"""Sets of controlled difficulty for models of any size: made by this code, longer than anything the miniature is
trained on, and in no model's training data that was gathered before they were published. Their scores stand beside
those of benchmarks that may be known.
"""

HELD_OUT = tuple(f"{part}/{name}" for part in ("test", "development") for name in BENCHMARKS)
SPLITS: tuple[str, ...] = ("prompts", *DEMONSTRATIONS, *HELD_OUT, *CLEAN)

_SIZES = {**dict.fromkeys(HELD_OUT, 100), "prompts": 1500, "demonstrations": 2000, **dict.fromkeys(CLEAN, 100)}


@task(
    "arithmetic",
    splits=SPLITS,
    version=VERSION,
    default_split="prompts",
    sizes={split: _SIZES["demonstrations" if split in DEMONSTRATIONS else split] for split in SPLITS},
    generated=True,
)
def load(split: str, *, limit: int | None = None) -> list[Problem]:
    """The problems of one of the ``SPLITS``, the first ``limit`` of them if one is given.

    ``meta`` holds the expression, the form and the number of steps. Demonstrations have a solution, which ends in
    ``\\boxed{N}``.

    Raises:
        UserError: there is no such split.
    """
    if split not in SPLITS:
        raise UserError(f"the task arithmetic has no split {split!r}; it has {', '.join(SPLITS)}")
    problems = _generate()["demonstrations" if split in DEMONSTRATIONS else split][:limit]
    if split in DEMONSTRATIONS:
        return [_demonstration(problem, chain, split) for problem, chain in problems]
    return [problem for problem, _ in problems]


def held_out() -> frozenset[str]:
    """The expressions of all test and development problems, which nothing may be trained on."""
    return frozenset(problem.meta["expression"] for split in HELD_OUT for problem in load(split))


@cache
def _generate() -> Mapping[str, tuple[tuple[Problem, Chain], ...]]:
    """All problems with their chains, the held-out splits first, so that other sizes cannot change them."""
    seen: set[str] = set()
    splits = {}
    for split, size in _SIZES.items():
        style = CLEAN.get(split) or BENCHMARKS.get(split.rpartition("/")[2], ProblemStyle())
        rng = seeded("arithmetic", split)
        splits[split] = tuple(_problem(rng, f"{split}/{index:04d}", style, seen) for index in range(size))
    return splits


def _problem(rng: random.Random, name: str, style: ProblemStyle, seen: set[str]) -> tuple[Problem, Chain]:
    length = pick(rng, style.lengths)
    chain = draw_chain(rng, length, operators=style.operators, two_digits=style.two_digits)
    while chain.expression in seen or (style.two_digits and set(dict(chain.steps)) == {"*"}):
        chain = draw_chain(rng, length, operators=style.operators, two_digits=style.two_digits)
    seen.add(chain.expression)
    form = pick(rng, FORMS)
    text = word_problem(rng, chain, form, style.wording)
    return Problem(
        name, text, str(chain.answer), meta={"expression": chain.expression, "form": form, "steps": length}
    ), chain


def _demonstration(problem: Problem, chain: Chain, split: str) -> Problem:
    style = DEMONSTRATIONS[split]
    solution = style.write(seeded("arithmetic", split, problem.id), chain, style.merged_steps)
    return Problem(problem.id, problem.problem, problem.answer, solution, problem.meta)
