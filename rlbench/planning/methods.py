"""Methods: a recipe's method with every default filled in, checked rule by rule. A new rule is one function in RULES.

A method is objective x data x reward x advantage x filters x training; the registry says what each part reads
and takes, and a rule says which parts go together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlbench.graph.fingerprint import source_fingerprint
from rlbench.objectives import registry, source
from rlbench.planning.rows import Plan
from rlbench.recipe import Component, CriticConfig, MethodConfig, Recipe
from rlbench.records import UserError, nearest

DATA = ("demonstrations", "rollouts.correct", "rollouts.pairs", "rollouts.groups", "online")
# Fields of a batch that only a critic gives.
OF_CRITIC = frozenset({"value", "old_value", "returns"})


class Methods:
    """The methods of one recipe, resolved against the registry and the recipe's plug-ins.

    ``warnings`` collects what leaves a row empty without hindering the others.

    Raises:
        UserError: a plug-in file cannot be read, or registers what is there already.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.warnings: list[str] = []
        try:
            self.catalogue = registry.describe(recipe.plugins)
            self._plugins = [{"path": path, "source": source.text_of(path)[1]} for path in recipe.plugins]
        except UserError as error:
            raise UserError(f"`plugins`: {error}") from None

    def resolve(self, name: str, method: MethodConfig) -> dict[str, Any]:
        """Everything that decides what a method's training computes, but its training table.

        Raises:
            UserError: a part is not registered, a hyper-parameter is unknown, or parts do not go together.
        """
        where = f"methods.{name}"
        if method.data not in DATA:
            raise UserError(
                f"`{where}.data`: {method.data!r} is none of {', '.join(DATA)}{nearest(str(method.data), DATA)}"
            )
        named = Component(name=str(method.objective), hyperparameters=method.hyperparameters)
        objective = self._component("objective", named, where)
        advantage = method.advantage
        parts = {
            "objective": objective,
            "advantage": self._component("advantage", advantage, f"{where}.advantage") if advantage else None,
            "reward": self._component("reward", method.reward, f"{where}.reward"),
            "filters": [self._component("filter", part, f"{where}.filters") for part in method.filters],
            "critic": self._critic(method.critic, f"{where}.critic") if method.critic is not None else None,
        }
        described = self.catalogue.find(named.name, "objective")
        case = _Case(where, method, described, self.catalogue, self.recipe)
        for rule in RULES:
            rule(case)
        reduction = method.reduction or described.reduction
        return parts | {
            "objective": {
                **objective,
                "rows": described.rows,
                "reads": list(described.reads),
                "reduction": reduction,
            }
        }

    def plugins_of(self, method: MethodConfig) -> list[dict[str, str]]:
        """The plug-in files that a method uses and no other, so that adding a file to a recipe re-runs nothing."""
        used = {Path(self.catalogue.find(part, kind).path).resolve() for kind, part in _parts(method)}
        is_used = [Path(path).resolve() in used for path in self.recipe.plugins]
        return [plugin for plugin, use in zip(self._plugins, is_used, strict=True) if use]

    def _critic(self, critic: CriticConfig, where: str) -> dict[str, Any]:
        part = Component(name=critic.objective, hyperparameters=critic.hyperparameters)
        table = self._component("objective", part, where)
        loss = self.catalogue.find(part.name, "objective")
        if "value" not in loss.reads:
            raise UserError(f"`{where}.objective`: {part.name!r} does not read `value`, so it is no critic's loss")
        table |= {"rows": loss.rows, "reads": list(loss.reads), "reduction": loss.reduction}
        return {**table, "learning_rate": critic.learning_rate}

    def _component(self, kind: source.Kind, part: Component, where: str) -> dict[str, Any]:
        """A registered function with every hyper-parameter, under ``where``: for an objective, what holds its key."""
        key = f"{where}.objective" if kind == "objective" else where
        try:
            described = self.catalogue.find(part.name, kind)
        except UserError as error:
            raise UserError(f"`{key}`: {error}") from None
        try:
            hyperparameters = self.catalogue.resolve(part.name, kind, part.hyperparameters)
        except UserError as error:
            raise UserError(f"`{where}.hyperparameters`: {error}") from None
        table = {"name": part.name, "hyperparameters": hyperparameters, "source": source_fingerprint(described.source)}
        if not described.problem:
            return table
        self.warnings.append(f"`{key}` cannot be filled: {described.problem}")
        return {**table, "problem": described.problem}


def _parts(method: MethodConfig) -> list[tuple[source.Kind, str]]:
    """The registered functions that a method names."""
    parts: list[tuple[source.Kind, str]] = [("objective", str(method.objective)), ("reward", method.reward.name)]
    parts += [("filter", part.name) for part in method.filters]
    parts += [("advantage", method.advantage.name)] if method.advantage else []
    parts += [("objective", method.critic.objective)] if method.critic else []
    return parts


@dataclass(frozen=True)
class _Case:
    """A method beside what the registry says of its objective."""

    where: str
    method: MethodConfig
    objective: source.Description
    catalogue: registry.Catalogue
    recipe: Recipe
    online: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "online", self.method.online or {})

    @property
    def on_rollouts(self) -> bool:
        return str(self.method.data).startswith("rollouts.")

    @property
    def needs(self) -> set[str]:
        """The fields that its objective and its advantage read."""
        advantage = self.method.advantage
        reads = self.catalogue.find(advantage.name, "advantage").reads if advantage else ()
        return {*self.objective.reads, *reads}


def _rows_and_data_agree(case: _Case) -> None:
    objective, data = case.objective, case.method.data
    if (objective.rows == "pairs") != (data == "rollouts.pairs"):
        right = "rollouts.pairs" if objective.rows == "pairs" else "anything but rollouts.pairs"
        takes = f"objective {objective.name!r} takes rows of {objective.rows}"
        raise UserError(f"`{case.where}.data`: {takes}, so its data is {right}, not {data!r}")


def _an_advantage_that_is_read_is_named(case: _Case) -> None:
    if case.objective.uses_advantage and case.method.advantage is None:
        reads = f"objective {case.objective.name!r} reads batch.advantage"
        raise UserError(f'`{case.where}.advantage` is missing: {reads}; for instance advantage = "group_norm"')


def _only_online_methods_have_another_reward(case: _Case) -> None:
    if case.method.reward.name != "correct" and case.method.data != "online":
        carry = f"rows of {case.method.data} carry the bank's reward"
        raise UserError(f'`{case.where}.reward`: {carry}; another reward is for data = "online"')


def _only_online_methods_have_a_critic(case: _Case) -> None:
    if case.method.critic is not None and case.method.data != "online":
        raise UserError(f'`{case.where}.critic`: only data = "online" trains a critic, not {case.method.data!r}')


def _demonstrations_have_no_sampler(case: _Case) -> None:
    if "sampler_logp" in case.objective.reads and case.method.data == "demonstrations":
        reads = f"objective {case.objective.name!r} reads sampler_logp"
        raise UserError(f"`{case.where}.data`: {reads}, and nobody sampled demonstrations")


def _refills_go_with_filters(case: _Case) -> None:
    if case.online.get("refills") and not case.method.filters:
        example = 'name some, for instance filters = ["mixed_groups"]'
        raise UserError(f"`{case.where}.online.refills`: they fill up what filters drop; {example}")


def _estimators_and_filters_read_what_is_there(case: _Case) -> None:
    """They are called before the policy is, so what the policy computes is not there yet."""
    method = case.method
    sampled = {"sampler_logp"} if method.data != "demonstrations" else set()
    calls: list[tuple[source.Kind, str, str, set[str]]] = [
        ("filter", "filters", part.name, sampled) for part in method.filters
    ]
    if method.advantage:  # that it wants a critic beside is another rule's
        calls.insert(0, ("advantage", "advantage", method.advantage.name, {*sampled, "old_value"}))
    for kind, key, name, there in calls:
        late = sorted(set(case.catalogue.find(name, kind).reads) - there)
        if late:
            fields = ", ".join(sorted(there)) or "nothing that has to be declared"
            missing = f"{name!r} reads {late[0]}, which is not there when it is called"
            raise UserError(f"`{case.where}.{key}`: {missing}; there is: {fields}")


def _a_critics_loss_is_no_policys(case: _Case) -> None:
    if "value" in case.objective.reads:
        belongs = f"is a critic's loss; it stands in `{case.where}.critic.objective`"
        raise UserError(f"`{case.where}.objective`: {case.objective.name!r} {belongs}")


def _ratios_to_the_sampler_are_at_temperature_one(case: _Case) -> None:
    of_sampler = sorted({"sampler_logp", "old_logp"} & set(case.objective.reads))
    temperature = case.recipe.rollouts.temperature
    if of_sampler and case.on_rollouts and temperature != 1.0:
        has = f"which the bank has at rollouts.temperature = {temperature:g}, and offline training is at 1"
        raise UserError(f"`{case.where}.objective`: {case.objective.name!r} reads {of_sampler[0]}, {has}")


def _importance_caps_weigh_advantages(case: _Case) -> None:
    if case.online.get("importance_cap") and not case.objective.uses_advantage:
        reads_none = f"weighs advantages, and {case.objective.name!r} reads none"
        raise UserError(f"`{case.where}.online.importance_cap` {reads_none}")


def _only_offline_ratios_are_refreshed(case: _Case) -> None:
    refreshed = case.method.training.get("refresh_interval")
    if refreshed and (case.method.data == "online" or "old_logp" not in case.objective.reads):
        raise UserError(f"`{case.where}.training.refresh_interval` is for offline objectives that read old_logp")


def _values_need_online_data(case: _Case) -> None:
    if case.needs & OF_CRITIC and case.method.data != "online":
        reads = "its objective or advantage reads values"
        raise UserError(f'`{case.where}.data`: {reads}, and only data = "online" has a critic')


def _values_need_a_critic(case: _Case) -> None:
    if case.needs & OF_CRITIC and case.method.critic is None:
        example = "for instance critic = { learning_rate = 1e-5 }"
        raise UserError(f"`{case.where}.critic` is missing: its objective or advantage reads values; {example}")


def _reductions_are_known_and_fit_the_rows(case: _Case) -> None:
    reduction, rows = case.method.reduction or case.objective.reduction, case.objective.rows
    if reduction not in source.REDUCTIONS:
        raise UserError(f"`{case.where}.reduction`: {reduction!r} is none of {', '.join(source.REDUCTIONS)}")
    if (reduction == "pair-mean") != (rows == "pairs"):
        raise UserError(f"`{case.where}.reduction`: {reduction!r} does not go with rows of {rows}")


# The first that is broken is the one that is told.
RULES: tuple[Callable[[_Case], None], ...] = (
    _rows_and_data_agree,
    _an_advantage_that_is_read_is_named,
    _only_online_methods_have_another_reward,
    _only_online_methods_have_a_critic,
    _demonstrations_have_no_sampler,
    _refills_go_with_filters,
    _estimators_and_filters_read_what_is_there,
    _a_critics_loss_is_no_policys,
    _ratios_to_the_sampler_are_at_temperature_one,
    _importance_caps_weigh_advantages,
    _only_offline_ratios_are_refreshed,
    _values_need_online_data,
    _values_need_a_critic,
    _reductions_are_known_and_fit_the_rows,
)


def import_plugins(plan: Plan) -> list[str]:
    """Import what the plan's rows use of plug-ins, files and installed ones; say of each that fails why it does.

    Only rows that use it will be empty, so this is for a warning before the work begins.
    """
    catalogue = registry.describe(plan.recipe.plugins)
    trained = dict.fromkeys(row.method for row in plan.rows if row.trained is not None)
    used = dict.fromkeys(part for name in trained for part in _parts(plan.recipe.methods[name]))
    failures = []
    for kind, name in used:
        if not (catalogue.find(name, kind).module or "").startswith("rlbench."):
            try:
                registry.load(kind, name, plan.recipe.plugins)
            except UserError as error:
                failures.append(str(error))
    return list(dict.fromkeys(failures))
