"""A plan in words: what would run and what it costs, and everything a recipe resolves to."""

from __future__ import annotations

import shutil
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlbench.graph.stage import Stage
from rlbench.objectives import registry, source
from rlbench.planning.engines import engine_of
from rlbench.planning.estimate import ASSUMPTIONS, detectable_effect, estimate, totals
from rlbench.planning.prompts import prompts
from rlbench.planning.rows import Plan
from rlbench.recipe import MethodConfig, ModelConfig, Recipe
from rlbench.records import UserError, nearest
from rlbench.reporting.table import Table, plain
from rlbench.tasks.templates import label
from rlbench.training import trl_support


def plan_text(plan: Plan, cached: set[str]) -> str:
    """Stages by kind with what they cost, and what the store has already."""
    groups: dict[str, list[Stage]] = defaultdict(list)
    for stage in plan.stages:
        groups[stage.kind].append(stage)
    lines = [plan.recipe.title or plan.recipe.name, ""]
    seeds = ", ".join(str(seed) for seed in plan.recipe.seeds)
    benchmarks = ", ".join(source.label for source in plan.recipe.evaluation.benchmarks)
    lines += [
        f"model       {plan.recipe.model.source}{_admitted(plan.recipe.model)}",
        f"rows        {', '.join(dict.fromkeys(row.method for row in plan.rows))}",
    ]
    lines += [
        f"seeds       {seeds}",
        f"benchmarks  {benchmarks}",
        f"device      {plan.device}, {plan.recipe.dtype}",
        "",
    ]
    lines += [plain(_stage_table(groups, plan, cached)).rstrip(), "", *textwrap.wrap(ASSUMPTIONS, 110)]
    if banks := [stage for stage in groups["rollouts"] if not stage.is_shard]:
        shards = f" in {len(banks[0].parts)} shards" if len(banks[0].parts) > 1 else ""
        times = f"{len(banks)} time{'s' * (len(banks) != 1)}"
        lines += [f"The bank is sampled {times}{shards}, for {sum(row.bank is not None for row in plan.rows)} rows."]
    if (effect := detectable_effect(plan)) is not None:
        noise = "" if len(plan.recipe.seeds) > 1 else ", training noise not included, as there is one seed"
        lines += textwrap.wrap(
            f"It could tell rows apart that differ by about {effect:.1f} points in avg (found in four of five cases "
            "at 5 %, from assumed "
            f"variances{noise}).",
            110,
        )
    lines += _list("Notes", plan.recipe.notes) + _list("Deviations", plan.recipe.deviations)
    return "\n".join(lines)


def _stage_table(groups: Mapping[str, list[Stage]], plan: Plan, cached: set[str]) -> Table:
    """A line per kind of stage with what it costs, and last what is not in the store."""
    keys = ("generations", "sampled_tokens", "trained_tokens")
    rows = []
    for kind, stages in groups.items():
        costs = [estimate(stage) for stage in stages]
        there = sum(stage.fingerprint in cached for stage in stages)
        rows.append((kind, str(len(stages)), str(there), *(_sum(costs, key) for key in keys)))
    left, done = totals(plan, cached), sum(stage.fingerprint in cached for stage in plan.stages)
    rows.append(("left to do", str(len(plan.stages) - done), "", *(_number(left[key]) for key in keys)))
    columns = ("", "number", "cached", *(key.replace("_", " ") for key in keys))
    return Table(f"{len(plan.stages)} stages", columns, tuple(rows))


def recipe_json(plan: Plan) -> dict[str, Any]:
    """The resolved recipe and, for each row, the configuration that its training stage is given."""
    rows = {row.method: row.trained.config for row in plan.rows if row.trained is not None}
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "warnings": list(plan.warnings),
        "methods": {name: _without_sources(dict(config)) for name, config in rows.items()},
    }


def recipe_text(plan: Plan) -> str:
    """Every row with objective, formula, data and hyper-parameters, and every prompt verbatim."""
    catalogue = registry.describe(plan.recipe.plugins)
    recipe = plan.recipe
    engines = dict.fromkeys(engine_of(stage.config) for stage in plan.stages if stage.kind in ("rollouts", "evaluate"))
    lines = [
        f"# {recipe.title or recipe.name}",
        "",
        f"model: {recipe.model.source}{_admitted(recipe.model)}",
        f"seeds: {', '.join(map(str, recipe.seeds))}",
    ]
    lines += [f"sampled by: {', '.join(map(str, engines))}", ""]
    first = {row.method: row for row in reversed(plan.rows)}  # rows differ between seeds in nothing but the seed
    for row in (first[method] for method in dict.fromkeys(row.method for row in plan.rows)):
        method = recipe.methods.get(row.method)
        if row.trained is None:
            if method is not None:
                prompt = f", prompt {label(method.template)}" if method.template else ""
                lines += [
                    f"## {row.label}  [{row.method}]",
                    "",
                    f"  checkpoint  {method.checkpoint}{_admitted(method)}, not trained here{prompt}",
                    "",
                ]
            continue
        config = row.trained.config
        objective = config["objective"]
        described = catalogue.find(objective["name"], "objective")
        lines += [f"## {row.label}  [{row.method}]", ""]
        lines += [*textwrap.indent(textwrap.dedent(described.docstring or "").strip(), "    ").splitlines(), ""]
        lines.append(
            f"  objective   {objective['name']} {_table(objective['hyperparameters'])} "
            f"({described.path.name}:{described.line})"
        )
        reads = ", ".join(objective["reads"]) or "only logp"
        lines.append(
            f"  data        {recipe.methods[row.method].data}; reduction {objective['reduction']}; reads {reads}"
        )
        if config["advantage"]:
            lines.append(f"  advantage   {_named(config['advantage'])}")
        if critic := config["critic"]:
            lines.append(
                f"  critic      {critic['name']} {_table(critic['hyperparameters'])}, learning rate "
                f"{critic['learning_rate']:g}"
            )
        lines.append(f"  reward      {_named(config['reward'])}")
        lines += [f"  filter      {_named(part)}" for part in config["filters"]]
        lines += _wrapped(f"  training    {_table(config['training'])}")
        if method is not None and method.backend == "trl":
            lines.append(f"  backend     TRL {config['trl']}")
            lines += [
                line
                for note in trl_support.differences(config, str(method.data))
                for line in _wrapped(f"{'':<14}{note}")
            ]
        if config["online"]:
            lines += _wrapped(f"  online      {_table(config['online'])}")
        lines.append("")
    lines += [*_evaluation_text(recipe), "## Prompts", ""]
    for used in prompts(recipe):
        lines += [
            f"{used.use}: {label(used.value)}",
            textwrap.indent(used.shown, "    | ", lambda line: True),
            "",
        ]
    return "\n".join([*lines, *_list("Notes", recipe.notes), *_list("Deviations", recipe.deviations)])


def _admitted(foreign: ModelConfig | MethodConfig) -> str:
    """Leave that the recipe gives a foreign model, or what it does with it, as an addition to its name."""
    return "".join(f", {text}" for text in admitted_with(foreign))


def admitted_with(foreign: ModelConfig | MethodConfig) -> tuple[str, ...]:
    """Sentences on how a foreign model was admitted, for readers."""
    found = (f"{foreign.strip_prefix!r} stripped from its tensors' names",) if foreign.strip_prefix else ()
    return (*found, *(("code of its own runs (trust_remote_code)",) if foreign.trust_remote_code else ()))


def _evaluation_text(recipe: Recipe) -> list[str]:
    """Lines on the benchmarks that rows are measured on, and on what is chosen where."""
    options = recipe.evaluation
    sets = {"benchmarks": options.benchmarks, "clean sets": options.clean, "development": options.development}
    lines = ["## Evaluation", ""]
    lines += [
        line
        for name, found in sets.items()
        if found
        for line in _wrapped(f"  {name:<12}{', '.join(s.source for s in found)}")
    ]
    more = [decoding for decoding in options.base_decodings or () if decoding not in options.decodings]
    grid = f"; the base also {', '.join(more)}" if more else ""
    lines += [
        f"  decodings   {', '.join(options.decodings)}{grid}; {options.samples} samples; at most "
        f"{options.max_new_tokens} tokens"
    ]
    lines += [f"  grader      {options.grader}"]
    if options.checkpoints > 1:
        lines += [f"  checkpoints the best of {options.checkpoints} on the development sets"]
    return [*lines, ""]


def objectives_json(plugins: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Every objective as ``{name, rows, reads, reduction, hyperparameters, source, summary, reference, uses_advantage,
    problem}``.

    ``source`` is file:line, ``reference`` where the formula comes from.
    """
    return [
        {
            "name": found.name,
            "rows": found.rows,
            "reads": list(found.reads),
            "reduction": found.reduction,
            "hyperparameters": found.hyperparameters,
            "source": f"{found.path}:{found.line}",
            "summary": _summary(found),
            "reference": _reference(found),
            "uses_advantage": found.uses_advantage,
            "problem": found.problem,
        }
        for found in registry.describe(plugins).objectives.values()
    ]


def objectives_text(plugins: Sequence[Path] = ()) -> str:
    """The same for people, and under it the advantage estimators, rewards and filters that a method is put together
    from.
    """
    catalogue = registry.describe(plugins)
    lines: list[str] = []
    for kind, title in _KINDS.items():
        lines += [f"{title}", "-" * len(title)]
        for found in catalogue.of(kind).values():
            lines += _listed(found)
        lines.append("")
    lines += _wrapped(
        "rlbench objectives NAME shows one with its code; rlbench objectives new NAME --like dft begins a new one.", ""
    )
    return "\n".join([*lines, *(f"cannot be read: {text}" for text in catalogue.broken)])


_KINDS: dict[source.Kind, str] = {
    "objective": "Objectives",
    "advantage": "Advantage estimators",
    "reward": "Rewards",
    "filter": "Filters",
}


def objective_text(name: str, plugins: Sequence[Path] = ()) -> str:
    """Everything that is registered under a name: formula, what it needs, hyper-parameters, and its code.

    Raises:
        UserError: there is nothing of that name; the nearest is suggested.
    """
    catalogue = registry.describe(plugins)
    found = [catalogue.of(kind)[name] for kind in _KINDS if name in catalogue.of(kind)]
    if not found:
        known = sorted({name for kind in _KINDS for name in catalogue.of(kind)})
        raise UserError(
            f"nothing is registered as {name!r}{nearest(name, known)}; `rlbench objectives` lists what there is"
        )
    parts = []
    for description in found:
        text = textwrap.indent(textwrap.dedent(description.docstring).strip(), "    ")
        facts = [f"{description.kind} {name}", "", text, "", *_facts(description)]
        parts.append("\n".join([*facts, "", textwrap.indent(source.code(description), "    ")]))
    return "\n\n".join(parts)


def _wrapped(text: str, indent: str = " " * 14) -> list[str]:
    """A long line as several, as wide as the terminal and at most 130 columns."""
    width = min(shutil.get_terminal_size((130, 24)).columns, 130)
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _named(part: Mapping[str, Any]) -> str:
    """A component's name and hyper-parameters."""
    return f"{part['name']} {_table(part['hyperparameters'])}".rstrip()


def _listed(found: source.Description) -> list[str]:
    indent = " " * 15
    shown = [f"{found.name:<14} {_summary(found)}".rstrip()]
    facts = [] if found.kind != "objective" else [f"rows: {found.rows}", str(found.reduction)]
    facts += [f"reads {', '.join(found.reads)}"] if found.reads else []
    facts += ["takes an advantage"] if found.uses_advantage else []
    facts += [_table(found.hyperparameters)] if found.hyperparameters else []
    shown += [
        indent + text
        for text in ("; ".join(facts), _reference(found), found.problem and f"PROBLEM {found.problem}")
        if text
    ]
    return [line for text in shown for line in _wrapped(text, indent)]


def _facts(found: source.Description) -> list[str]:
    facts = [("rows", found.rows), ("reduction", found.reduction), ("reads", ", ".join(found.reads))]
    facts += [("advantage", "its method names an estimator")] if found.uses_advantage else []
    facts += [("hyper-parameters", _table(found.hyperparameters) or "none"), ("file", f"{found.path}:{found.line}")]
    facts += [("problem", found.problem)]
    return [f"    {key:<18}{value}" for key, value in facts if value]


def _summary(found: source.Description) -> str:
    """The docstring's first paragraph as one line."""
    return " ".join(found.docstring.split("\n\n")[0].split())


def _reference(found: source.Description) -> str | None:
    """The source that the docstring names, as one line."""
    _, marker, rest = found.docstring.partition("Source:")
    return " ".join(rest.split("\n\n")[0].split()) if marker else None


def _without_sources(config: dict[str, Any]) -> dict[str, Any]:
    """A training configuration for people: without the hashes and texts of source code."""
    kept = {key: value for key, value in config.items() if key != "plugins"}
    return {
        key: {k: v for k, v in value.items() if k != "source"} if isinstance(value, dict) else value
        for key, value in kept.items()
    }


def _table(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def _list(title: str, items: tuple[str, ...]) -> list[str]:
    wrapped = ["\n".join(textwrap.wrap(item, 110, initial_indent="  - ", subsequent_indent="    ")) for item in items]
    return ["", f"{title}:", *wrapped] if items else []


def _sum(costs: list[dict[str, Any]], key: str) -> str:
    return _number(None if any(cost[key] is None for cost in costs) else sum(cost[key] for cost in costs))


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}" if value else "-"
