"""The graders there are: names, versions and where their rules stand. Imports nothing heavy, so a
planner may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from rlbench.records import UserError, nearest

DEFAULT = "rlbench"


@dataclass(frozen=True, slots=True)
class GraderSpec:
    """A grader's name in tables, the version of its rules, and the module that holds them.

    The version rises whenever a verdict may change, so that what was graded by other rules is graded again. The module
    has ``read(output, gold, reading)``, ``read_gold(gold, reading)``, ``fast(gold, answer)`` (None: ask ``slow``) and
    ``slow(gold, answer)``.
    """

    name: str
    version: int
    module: str
    about: str

    def rules(self) -> ModuleType:
        """The module of its rules; still without sympy, which ``slow`` imports when called."""
        return import_module(self.module)

    def identity(self) -> dict[str, Any]:
        """What a verdict depends on: name, version, and math-verify's version (None where it is not installed)."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            parser = version("math-verify")
        except PackageNotFoundError:
            parser = None
        return {"name": self.name, "version": self.version, "math-verify": parser}


GRADERS: dict[str, GraderSpec] = {
    spec.name: spec
    for spec in (
        GraderSpec(
            "rlbench", 2, "rlbench.grading.rules", "the last box; exact values; math-verify behind rules of its own"
        ),
        GraderSpec(
            "qwen",
            2,
            "rlbench.grading.qwen",
            "the last box or number; to 1 in 10,000, also x/100 and 100x: published cells",
        ),
    )
}


def grader_spec(name: str) -> GraderSpec:
    """The grader of that name. UserError, with the nearest name: there is none."""
    if name not in GRADERS:
        raise UserError(f"grader {name!r}: graders are {', '.join(GRADERS)}{nearest(name, GRADERS)}")
    return GRADERS[name]
