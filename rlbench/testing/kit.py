"""The entrance for authors: every check that fits a function, over its default hyper-parameters and those given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from rlbench.objectives import registry, source
from rlbench.records import UserError, nearest
from rlbench.testing import components, objectives
from rlbench.testing.engine import Beside, check_engine
from rlbench.testing.probes import one_thread
from rlbench.testing.report import Check, ConformanceReport, NotConforming, Wrong, checked, described, for_each_setting
from rlbench.training.step import BoundComponent, BoundObjective

_OBJECTIVE = {
    "purity": objectives.check_purity,
    "locality": objectives.check_locality,
    "micro-batches": check_engine,
    "extremes": objectives.check_extremes,
    "finite differences": objectives.check_differences,
}


def check_objective(
    function: Callable[..., Any], *, hyperparameters: Mapping[str, Any] | None = None, processes: bool = True
) -> ConformanceReport:
    """``examine``, for a test, and in two processes unless told not to, which a function that only this process knows
    cannot do.

    Raises:
        NotConforming: some check does not hold; the message lists all of those.
    """
    report = examine(function, hyperparameters=hyperparameters, processes=processes)
    if not report.ok:
        raise NotConforming("\n".join([f"{report.kind} {report.name!r} does not conform:", *report.failures]))
    return report


def check_file(
    path: str | Path, *, hyperparameters: Mapping[str, Mapping[str, Any]] | None = None, processes: bool = False
) -> dict[str, ConformanceReport]:
    """Check everything that a file registers; reports by name (by kind and name where two kinds share one).

    Args:
        path: the file.
        hyperparameters: for some names, values to check the function with besides its defaults.
        processes: as in ``examine``.

    Raises:
        UserError: the file is missing, not Python, cannot be imported or registers nothing; or one of its functions has
            no such hyper-parameter, or one of another type.
    """
    found = described(path)
    given = [(hyperparameters or {}).get(d.name, {}) for d in found]
    given = [{key: registry.resolved(d, values)[key] for key in values} for d, values in zip(found, given, strict=True)]
    functions = [registry.load(d.kind, d.name, () if d.module else (d.path,)) for d in found]
    reports = examine_all(functions, hyperparameters=given, processes=processes, problems=[d.problem for d in found])
    twice = {report.name for report in reports if sum(other.name == report.name for other in reports) > 1}
    return {f"{report.kind} {report.name}" if report.name in twice else report.name: report for report in reports}


def examine(
    function: Callable[..., Any], *, hyperparameters: Mapping[str, Any] | None = None, processes: bool = False
) -> ConformanceReport:
    """Hold one decorated function against its contract.

    Args:
        function: what one of the decorators returned.
        hyperparameters: values to check it with besides its defaults.
        processes: run an objective's step in two processes too, which takes some seconds.

    Raises:
        UserError: the function has no hyper-parameter of that name.
    """
    return examine_all([function], hyperparameters=[hyperparameters or {}], processes=processes)[0]


def examine_all(
    functions: Sequence[Callable[..., Any]],
    *,
    hyperparameters: Sequence[Mapping[str, Any]] = (),
    processes: bool = False,
    problems: Sequence[str | None] = (),
) -> list[ConformanceReport]:
    """``examine`` for several functions, each with its hyper-parameters, of which all objectives share one second
    process.

    ``problems`` is what the registry found in the source of each, see ``source.Description``.
    """
    hyperparameters, problems = hyperparameters or [{}] * len(functions), problems or [None] * len(functions)
    attached = [registry.registration(function) for function in functions]
    several = processes and any(a.get("kind") == "objective" for a in attached)
    with one_thread(), Beside() if several else nullcontext() as beside:
        every = [_checks(*each) for each in zip(functions, hyperparameters, problems, strict=True)]
        if beside is not None:
            sound = [
                n for n, checks in enumerate(every) if attached[n].get("kind") == "objective" and _in_engine(checks)
            ]
            bounds = [_bound(functions[n], hyperparameters[n]) for n in sound]
            for n, check in zip(sound, beside.check(bounds), strict=True):
                every[n].append(check)
    return [_report(function, checks) for function, checks in zip(functions, every, strict=True)]


def _checks(function: Callable[..., Any], hyperparameters: Mapping[str, Any], problem: str | None) -> list[Check]:
    kind = registry.registration(function).get("kind", "")
    registered = checked(function, "registered", lambda: _registered(function))
    if not registered.ok:
        return [registered]
    known = inspect.signature(function).parameters
    for name in hyperparameters:
        if name not in known:
            raise UserError(
                f"{registry.name_and_place(function)} has no hyper-parameter {name!r}{nearest(name, known)}"
            )
    settings = [{}, dict(hyperparameters)] if hyperparameters else [{}]
    if kind != "objective":
        return components.checks(kind, [_component(function, setting) for setting in settings], problem)
    bounds = [_bound(function, setting) for setting in settings]
    checks = [
        checked(function, "reads", lambda: objectives.check_reads(bounds, problem)),
        checked(function, "result", lambda: for_each_setting(bounds, objectives.check_result)),
    ]
    if checks[-1].ok:  # the others would only say it again
        checks += [
            checked(function, name, partial(for_each_setting, bounds, check)) for name, check in _OBJECTIVE.items()
        ]
    return checks


def _registered(function: Callable[..., Any]) -> str:
    """The problem that ``registry.describe`` would find with a decorator, for a function that it has not read."""
    if not (attached := registry.registration(function)):
        raise Wrong('it is not registered: put @objective("its name") before it, or @advantage, @reward or @row_filter')
    source.check_decorator(attached, registry.name_and_place(function))
    return "its decorator is as it has to be"


def _in_engine(checks: Sequence[Check]) -> bool:
    return any(check.name == "micro-batches" and check.ok for check in checks)


def _bound(function: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> BoundObjective:
    known = registry.registration(function)
    return BoundObjective(
        known["name"], function, dict(hyperparameters), known["rows"], tuple(known["reads"]), known["reduction"]
    )


def _component(function: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> BoundComponent:
    known = registry.registration(function)
    return BoundComponent(known["name"], function, dict(hyperparameters), tuple(known.get("reads", ())))


def _report(function: Callable[..., Any], checks: Sequence[Check]) -> ConformanceReport:
    known = registry.registration(function)
    code = getattr(function, "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"
    return ConformanceReport(
        known.get("kind", "function"), known.get("name", getattr(function, "__name__", "?")), where, tuple(checks)
    )
