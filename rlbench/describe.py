"""A plan in words: what would run and what it costs, and everything a recipe resolves to."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlbench.estimate import ASSUMPTIONS, estimate, totals
from rlbench.objectives import registry
from rlbench.pipeline import Plan
from rlbench.tasks.templates import get_template


def plan_text(plan: Plan, cached: set[str]) -> str:
    """Stages by kind with what they cost, and what the store has already."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for stage in plan.stages:
        groups[stage.kind].append(stage)
    lines = [plan.recipe.title or plan.recipe.name, ""]
    seeds = ", ".join(str(seed) for seed in plan.recipe.seeds)
    benchmarks = ", ".join(source.label for source in plan.recipe.evaluation.benchmarks)
    lines += [f"model       {plan.recipe.model.source}", f"rows        {', '.join(dict.fromkeys(row.method for row in plan.rows))}"]
    lines += [f"seeds       {seeds}", f"benchmarks  {benchmarks}", f"device      {plan.device}, {plan.recipe.dtype}", ""]
    header = f"{'stage':<12}{'number':>8}{'cached':>8}{'generations':>14}{'sampled tokens':>17}{'trained tokens':>17}"
    lines += [header, "-" * len(header)]
    for kind, stages in groups.items():
        costs = [estimate(stage) for stage in stages]
        there = sum(stage.fingerprint in cached for stage in stages)
        numbers = (_sum(costs, key) for key in ("generations", "sampled_tokens", "trained_tokens"))
        lines.append(f"{kind:<12}{len(stages):>8}{there:>8}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, (14, 17, 17), strict=True)))
    left = totals(plan, cached)
    numbers = (_number(left[key]) for key in ("generations", "sampled_tokens", "trained_tokens"))
    lines.append("-" * len(header))
    done = sum(stage.fingerprint in cached for stage in plan.stages)
    lines.append(
        f"{'left to do':<12}{len(plan.stages) - done:>8}{'':>8}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, (14, 17, 17), strict=True))
    )
    lines += ["", *textwrap.wrap(ASSUMPTIONS, 110)]
    lines += [f"The bank is sampled {len(groups['rollouts'])} time{'s' * (len(groups['rollouts']) != 1)}, "
              f"for {sum(row.bank is not None for row in plan.rows)} rows."] if groups["rollouts"] else []  # fmt: skip
    lines += _list("Notes", plan.recipe.notes) + _list("Deviations", plan.recipe.deviations)
    return "\n".join(lines)


def recipe_json(plan: Plan) -> dict[str, Any]:
    """The resolved recipe and, for each row, the configuration that its training stage is given."""
    rows = {row.method: row.model.config for row in plan.rows if row.model.kind == "train"}
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "methods": {name: _without_sources(dict(config)) for name, config in rows.items()},
    }


def recipe_text(plan: Plan) -> str:
    """Every row with objective, formula, data and hyper-parameters, and every prompt verbatim."""
    catalogue = registry.describe(plan.recipe.plugins)
    recipe = plan.recipe
    lines = [f"# {recipe.title or recipe.name}", "", f"model: {recipe.model.source}", f"seeds: {', '.join(map(str, recipe.seeds))}", ""]
    first = {row.method: row for row in reversed(plan.rows)}  # rows differ between seeds in nothing but the seed
    for row in (first[method] for method in dict.fromkeys(row.method for row in plan.rows)):
        if row.model.kind != "train":
            continue
        config = row.model.config
        objective = config["objective"]
        described = catalogue.find(objective["name"], "objective")
        lines += [f"## {row.label}  [{row.method}]", ""]
        lines += [*textwrap.indent(textwrap.dedent(described.docstring or "").strip(), "    ").splitlines(), ""]
        lines.append(f"  objective   {objective['name']} {_table(objective['hyperparameters'])} ({described.path.name}:{described.line})")
        reads = ", ".join(objective["reads"]) or "only logp"
        lines.append(f"  data        {recipe.methods[row.method].data}; reduction {objective['reduction']}; reads {reads}")
        if config["advantage"]:
            lines.append(f"  advantage   {config['advantage']['name']} {_table(config['advantage']['hyperparameters'])}")
        if critic := config["critic"]:
            lines.append(f"  critic      {critic['name']} {_table(critic['hyperparameters'])}, learning rate {critic['learning_rate']:g}")
        lines.append(f"  reward      {config['reward']['name']}" + "".join(f"; filter {part['name']}" for part in config["filters"]))
        lines.append(f"  training    {_table(config['training'])}")
        if config["online"]:
            lines.append(f"  online      {_table(config['online'])}")
        lines.append("")
    lines += ["## Prompts", ""]
    rollouts = recipe.rollouts.template or recipe.data.template
    for use, name in (("training, online sampling", recipe.data.template), ("bank", rollouts), ("evaluation", recipe.evaluation.template)):
        lines += [f"{use}: {name}", textwrap.indent(get_template(name), "    | ", lambda line: True), ""]
    return "\n".join([*lines, *_list("Notes", recipe.notes), *_list("Deviations", recipe.deviations)])


def objectives_json(plugins: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Every objective as ``{name, rows, reads, reduction, hyperparameters, source}``; ``source`` is file:line."""
    return [
        {
            "name": found.name,
            "rows": found.rows,
            "reads": list(found.reads),
            "reduction": found.reduction,
            "hyperparameters": found.hyperparameters,
            "source": f"{found.path}:{found.line}",
        }
        for found in registry.describe(plugins).objectives.values()
    ]


def objectives_text(plugins: Sequence[Path] = ()) -> str:
    """The same for people, with the first line of each docstring."""
    lines = []
    for found in registry.describe(plugins).objectives.values():
        lines.append(f"{found.name:<10} {next(iter((found.docstring or '').strip().splitlines()), '')}")
        reads = f"; reads {', '.join(found.reads)}" if found.reads else ""
        values = f"; {_table(found.hyperparameters)}" if found.hyperparameters else ""
        lines.append(f"{'':<10} rows: {found.rows}; {found.reduction}{reads}{values}")
    return "\n".join(lines)


def _without_sources(config: dict[str, Any]) -> dict[str, Any]:
    """A training configuration for people: without the hashes and texts of source code."""
    kept = {key: value for key, value in config.items() if key != "plugins"}
    return {key: {k: v for k, v in value.items() if k != "source"} if isinstance(value, dict) else value for key, value in kept.items()}


def _table(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())


def _list(title: str, items: tuple[str, ...]) -> list[str]:
    wrapped = ["\n".join(textwrap.wrap(item, 110, initial_indent="  - ", subsequent_indent="    ")) for item in items]
    return ["", f"{title}:", *wrapped] if items else []


def _sum(costs: list[dict[str, Any]], key: str) -> str:
    return _number(None if any(cost[key] is None for cost in costs) else sum(cost[key] for cost in costs))


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}" if value else "-"
