"""From a recipe to its plan: the rows of the table in order, each with the stages that it needs.

Planning needs neither torch nor Ray: hyper-parameters are read from the objectives' source, data sources are described
and not loaded, and whether a stage is done is a question to the store. A new kind of row is one more function here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rlbench.grading import GRADERS
from rlbench.graph.stage import Stage
from rlbench.planning.rows import Plan, Row
from rlbench.planning.stages import Stages, options_of
from rlbench.recipe import AVERAGE, BASE, DEVELOPMENT, EvaluationConfig, MethodConfig, Recipe
from rlbench.records import UserError, nearest


def build(recipe: Recipe, path: str | Path | None = None) -> Plan:
    """Expand a recipe into its rows and stages. ``path`` is the file that it was read from, for messages.

    Raises:
        UserError: a method, objective, hyper-parameter, template, task, file or model that the recipe names is wrong.
    """
    try:
        return _plan(recipe)
    except UserError as error:
        if path is not None and str(error).startswith("`"):  # a key of the recipe
            raise UserError(f"{path}: {error}") from None
        raise


def banks(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe's rollout banks, one a base model, whether a method uses them or not.

    Raises: as ``build``.
    """
    stages = Stages(recipe)
    return [stages.bank_of(seed) for seed in stages.base_seeds]


def _plan(recipe: Recipe) -> Plan:
    _check_evaluation(recipe.evaluation)
    stages = Stages(recipe)
    rows = list(_base_rows(stages))
    for name, method in recipe.methods.items():
        if name == BASE:
            raise UserError("`methods.base`: the base model is a row already; choose another name")
        rows += (_trained_rows if method.checkpoint is None else _checkpoint_rows)(stages, name, method)
    warnings = tuple(dict.fromkeys([*stages.warnings, *stages.methods.warnings]))
    return Plan(recipe, stages.device, tuple(rows), tuple(_probes(stages)), warnings)


def _check_evaluation(options: EvaluationConfig) -> None:
    """Refuse what no evaluation can be: names taken twice, choices made on what is reported, an unknown grader."""
    reported = (*options.benchmarks, *options.clean)
    for key, sources in (("benchmarks", reported), ("development", options.development)):
        names = [source.label for source in sources]
        if AVERAGE in names:
            taken = f"{AVERAGE!r} is what their mean is called"
            raise UserError(f"`evaluation.{key}`: {taken}; give that one another `name`")
        if duplicate := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"`evaluation.{key}`: two are called {duplicate!r}; give one a `name`")
    if both := next((source.source for source in options.development if source in reported), None):
        held_out = f"{both!r} is one of the benchmarks too; what is chosen on it is not held out"
        raise UserError(f"`evaluation.development`: {held_out}")
    if options.checkpoints > 1 and not options.development:
        chosen = "they are chosen on problem sets that `evaluation.development` has to name"
        raise UserError(f"`evaluation.checkpoints`: {chosen}")
    if options.grader not in GRADERS:
        known = f"{', '.join(GRADERS)}{nearest(options.grader, GRADERS)}"
        raise UserError(f"`evaluation.grader`: {options.grader!r} is none of {known}")


def _base_rows(stages: Stages) -> Iterator[Row]:
    """The untrained model, under more decodings than others: what sampling alone can do."""
    recipe = stages.recipe
    options = recipe.evaluation
    grid = tuple(dict.fromkeys((*options.decodings, *(options.base_decodings or ()))))
    label = BASE if recipe.methods else Path(recipe.model.source).name  # alone, it is the base of nothing
    for seed in stages.base_seeds:
        yield _evaluated(stages, BASE, label, seed, stages.base_of(seed), None, decodings=grid, chosen_among=grid)


def _trained_rows(stages: Stages, name: str, method: MethodConfig) -> Iterator[Row]:
    """A method, trained once a seed."""
    for seed in stages.recipe.seeds:
        bank = stages.bank_of(seed) if str(method.data).startswith("rollouts.") else None
        trained = stages.train(name, method, seed)
        label, model = method.label or name, stages.selected(name, seed, trained)
        yield _evaluated(stages, name, label, seed, model, method.template, trained=trained, bank=bank)


def _checkpoint_rows(stages: Stages, name: str, method: MethodConfig) -> Iterator[Row]:
    """A model that is not trained here: somebody's, or, for a ``checkpoint`` called "base", the untrained model once
    more under another prompt.
    """
    label = method.label or name
    if method.checkpoint != BASE:
        model = stages.link(str(method.checkpoint), method.revision, options_of(method, f"methods.{name}"))
        yield _evaluated(stages, name, label, None, model, method.template)
        return
    if method.template is None:
        again = f'checkpoint = "{BASE}" is the row "{BASE}" again unless it has a `template` of its own'
        raise UserError(f"`methods.{name}`: {again}")
    for seed in stages.base_seeds:
        yield _evaluated(stages, name, label, seed, stages.base_of(seed), method.template)


def _evaluated(
    stages: Stages,
    name: str,
    label: str,
    seed: int | None,
    model: Stage,
    template: str | None,
    *,
    decodings: Sequence[str] = (),
    chosen_among: Sequence[str] = (),
    trained: Stage | None = None,
    bank: Stage | None = None,
) -> Row:
    """A row: reported under ``decodings``, the recipe's by default, and evaluated on the development sets under those
    that one is ``chosen_among``.
    """
    options = stages.recipe.evaluation
    sources = (*options.benchmarks, *options.clean)
    reported = stages.evaluations(
        name, model, seed, sources, decodings or options.decodings, template, split=options.split
    )
    development = stages.evaluations(name, model, seed, options.development, chosen_among, template, split=DEVELOPMENT)
    return Row(name, label, seed, model, trained, bank, reported, development)


def _probes(stages: Stages) -> Iterator[tuple[int | None, Stage]]:
    """The contamination probes of every base on every benchmark, where the recipe asks for them."""
    options = stages.recipe.evaluation
    if options.contamination is None:
        return
    for seed in stages.base_seeds:
        for benchmark in (*options.benchmarks, *options.clean):
            yield seed, stages.probe(seed, benchmark)
