"""Rows and plans: a recipe expanded into the rows of its table and the stages that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rlbench.graph.fingerprint import fingerprint
from rlbench.graph.stage import Stage, topological
from rlbench.recipe import Recipe


@dataclass(frozen=True)
class Row:
    """One row of the comparison at one seed. ``seed`` is None where one model serves all seeds.

    ``model`` is what is evaluated and ``trained`` the stage that trained it, None where none did. ``evaluations`` by
    benchmark and decoding are what is reported, ``development`` what choices are made on.
    """

    method: str
    label: str
    seed: int | None
    model: Stage
    trained: Stage | None
    bank: Stage | None
    evaluations: Mapping[tuple[str, str], Stage]
    development: Mapping[tuple[str, str], Stage]

    @property
    def all_evaluations(self) -> list[Stage]:
        """Those of both kinds."""
        return [*self.evaluations.values(), *self.development.values()]


@dataclass(frozen=True)
class Plan:
    """A recipe expanded: its rows in order, and every stage they need in the order in which they can run.

    ``warnings`` say which rows cannot be filled although the rest can, and which prompts are not what they seem.
    """

    recipe: Recipe
    device: str
    rows: tuple[Row, ...]
    probes: tuple[tuple[int | None, Stage], ...] = ()  # of contamination, each with the seed of its base
    warnings: tuple[str, ...] = ()

    @cached_property
    def targets(self) -> list[Stage]:
        """The stages whose artifacts the report reads."""
        return [stage for row in self.rows for stage in row.all_evaluations] + [stage for _, stage in self.probes]

    @cached_property
    def stages(self) -> list[Stage]:
        """Every stage once, upstream first."""
        return topological(self.targets)

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that is computed: two recipes that ask for the same rows have the same one."""
        return fingerprint([stage.fingerprint for stage in self.targets])
