"""Checks and reports: what is checked, whether it holds, and a line that tells an author what is wrong and how to
repair it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlbench.objectives import registry, source
from rlbench.records import StageFailure, UserError


class NotConforming(AssertionError):
    """A function does not keep its contract. The message lists every check that failed."""


class Wrong(Exception):
    """Raised by a check for what it found; the message says how to repair it. The function's file and line are put
    before it.
    """


@dataclass(frozen=True)
class Check:
    """One check; ``detail`` says what was compared or, if it is not ``ok``, what is wrong, where,
    and how to repair it.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class ConformanceReport:
    """The findings on one registered function, which stands at ``where``, ``file:line``."""

    kind: str
    name: str
    where: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True where every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each check that does not hold: its name and its detail."""
        return tuple(f"{check.name}: {check.detail}" for check in self.checks if not check.ok)


def checked(function: Callable[..., Any], name: str, check: Callable[[], str]) -> Check:
    """Run a check, which returns what it compared or raises; whatever it raises is a failure with the function's file
    and line.
    """
    try:
        return Check(name, True, check())
    except Wrong as wrong:
        return Check(name, False, f"{registry.name_and_place(function)}: {wrong}")
    except (StageFailure, UserError) as error:  # of the engine, which names the function itself
        return Check(name, False, _one_line(error))
    except Exception as error:  # whatever a function raises is what is wrong with it
        return Check(
            name, False, f"{registry.name_and_place(function, error)}: {type(error).__name__}: {_one_line(error)}"
        )


def for_each_setting(settings: Sequence[Any], check: Callable[[Any], str]) -> str:
    """A check of a function under each setting of its hyper-parameters; what is wrong says under which."""
    detail = ""
    for bound in settings:
        try:
            detail = check(bound)
        except Wrong as wrong:
            raise Wrong(
                f"with {dict(bound.hyperparameters)} {wrong}" if bound.hyperparameters else str(wrong)
            ) from None
    return detail


def described(path: str | Path) -> list[source.Description]:
    """The functions that a file registers, be it built in, installed, or a plug-in's that is neither.

    Raises:
        UserError: it cannot be read, is not Python, or registers nothing.
    """
    path = Path(path).resolve()
    return _of(registry.describe(), path) or _of(registry.describe([path]), path)


def _of(catalogue: registry.Catalogue, path: Path) -> list[source.Description]:
    kinds = [catalogue.of(kind) for kind in ("objective", "advantage", "reward", "filter")]
    return [found for kind in kinds for found in kind.values() if found.path.resolve() == path]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
