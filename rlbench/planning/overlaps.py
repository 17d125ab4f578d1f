"""The problem sets of a plan and what they are for, so that it can be seen which of them share problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from rlbench.graph.stage import Stage
from rlbench.planning.rows import Plan
from rlbench.recipe import DEVELOPMENT
from rlbench.records import Problem
from rlbench.tasks.base import get_task, load_offline
from rlbench.tasks.overlap import Overlap, ProblemSet, Role, find_overlaps

_ORDER: tuple[Role, ...] = ("training", "development", "test")
Load = Callable[[Stage], Iterable[tuple[Problem, int | None]] | None]


def overlaps_before(plan: Plan) -> list[Overlap]:
    """What the sets share that need no network, known before anything runs: files, and tasks that generate problems."""
    return find_overlaps(problem_sets(plan, lambda stage: load_offline(stage.config["source"], stage.unhashed)))


def problem_sets(plan: Plan, load: Load) -> list[ProblemSet]:
    """Every problem set that something is trained, chosen or evaluated on, under the name that it has in tables.

    Args:
        load: gives the problems of a set's stage; a set for which it gives None is left out.
    """
    uses = sorted(dict.fromkeys(_uses(plan)), key=lambda use: _ORDER.index(use[1]))
    names = Counter(name for name, _, _ in uses)
    found = []
    for name, role, stage in uses:
        if (problems := load(stage)) is not None:
            task = stage.config["source"].get("task")
            templates = task if task is not None and get_task(task).generated else None
            found.append(ProblemSet(name if names[name] == 1 else f"{name} ({role})", role, problems, templates))
    return found


def _uses(plan: Plan) -> Iterator[tuple[str, Role, Stage]]:
    for stage in plan.stages:
        problems = stage.inputs.get("problems")
        if problems is None:
            continue
        if "benchmark" not in stage.config:
            yield problems.name.removeprefix("problems/"), "training", problems
        elif stage.config.get("split") == DEVELOPMENT:
            yield stage.config["benchmark"], "development", problems
        else:
            yield stage.config["benchmark"], "test", problems
