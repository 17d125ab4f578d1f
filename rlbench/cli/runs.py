"""Commands about recipes and runs: run, plan, show, rollouts, evaluate, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlbench.cli.options import (
    carry_out,
    examples,
    execution_options,
    interruptible,
    json_option,
    load_plan,
    out_option,
    recipe_options,
    store_option,
    warn,
)
from rlbench.records import UserError, nearest

if TYPE_CHECKING:
    from rlbench.running.execution import Execution


@click.command(
    epilog=examples(
        "rlbench run quickstart",
        "rlbench run quickstart --only sft,dft --seeds 0,1,2 --out runs/sft-dft",
        "rlbench run quickstart --set methods.dpo.hyperparameters.beta=0.3 --executor local",
    )
)
@recipe_options
@store_option
@out_option
@execution_options
@json_option
def run(
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    seeds: str | None,
    store: Path,
    out: Path | None,
    as_json: bool,
    execution: Execution,
) -> int:
    """Run a recipe to its table. What the store holds already is not done again.

    RECIPE is a file, or the name of a recipe that comes with rlbench: see `rlbench recipes`.
    """
    return carry_out(load_plan(recipe, overrides, only, seeds), store, out, as_json, execution)


@click.command(epilog=examples("rlbench plan dft_vs_rl", "rlbench plan quickstart --json"))
@recipe_options
@store_option
@json_option
def plan(
    recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None, store: Path, as_json: bool
) -> int:
    """Say what would run, what is cached, and what it costs. Needs no torch."""
    from rlbench.graph.artifact import Store
    from rlbench.planning.estimate import detectable_effect, estimate
    from rlbench.planning.overlaps import overlaps_before

    planned = load_plan(recipe, overrides, only, seeds)
    warn([*planned.warnings, *(found.text for found in overlaps_before(planned))])
    opened = Store(store, create=False)
    cached = {stage.fingerprint for stage in planned.stages if opened.status(stage.fingerprint) is not None}
    if as_json:
        stages = [
            {"name": s.name, "fingerprint": s.fingerprint, "cached": s.fingerprint in cached, "estimate": estimate(s)}
            for s in planned.stages
        ]
        click.echo(
            json.dumps(
                {
                    "recipe": planned.recipe.name,
                    "fingerprint": planned.fingerprint,
                    "device": planned.device,
                    "detectable_effect": detectable_effect(planned),
                    "warnings": list(planned.warnings),
                    "stages": stages,
                },
                indent=1,
            )
        )
        return 0
    from rlbench.planning.describe import plan_text

    click.echo(plan_text(planned, cached))
    return 0


@click.command(epilog=examples("rlbench show quickstart", "rlbench show dft_vs_rl --only dpo"))
@recipe_options
@json_option
def show(recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None, as_json: bool) -> int:
    """Show everything resolved: each row's data, objective, formula and hyper-parameters, and every prompt verbatim."""
    from rlbench.planning.describe import recipe_json, recipe_text

    planned = load_plan(recipe, overrides, only, seeds)
    warn(planned.warnings)
    click.echo(json.dumps(recipe_json(planned), indent=1) if as_json else recipe_text(planned))
    return 0


@click.command(epilog=examples("rlbench keys", "rlbench keys evaluation", "rlbench keys methods.NAME.online --json"))
@click.argument("prefix", default="")
@json_option
def keys(prefix: str, as_json: bool) -> int:
    """List every key of a recipe, or those that begin with PREFIX: the values it takes, its default, what it does."""
    import textwrap

    from rlbench.recipe.keys import keys as every_key

    known = every_key()
    found = [key for key in known if key.key == prefix or key.key.startswith(f"{prefix}.") or not prefix]
    if not found:
        raise UserError(f"no key of a recipe is {prefix!r} or begins so{nearest(prefix, [key.key for key in known])}")
    if as_json:
        click.echo(json.dumps([key.as_json() for key in found], indent=1))
        return 0
    for key in found:
        default = "has to be given" if key.required else "" if key.default is None else f"default {key.default!r}"
        click.echo(f"{key.key}  ({', '.join(part for part in (key.values, default) if part)})")
        click.echo(textwrap.fill(key.description, 100, initial_indent="    ", subsequent_indent="    "))
    return 0


@click.command(
    epilog=examples(
        "rlbench rollouts quickstart --seeds 0",
        "rlbench rollouts dft_vs_rl --out banks --json",
    )
)
@recipe_options
@store_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Copy the banks into this folder.  [default: they stay in the store]"
)
@execution_options
@json_option
def rollouts(
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    seeds: str | None,
    store: Path,
    out: Path | None,
    as_json: bool,
    execution: Execution,
) -> int:
    """Sample and grade a recipe's rollout bank and nothing else; prints where each rollouts.parquet lies and how much
    of it is right.
    """
    from rlbench.graph.stage import topological
    from rlbench.planning.build import banks
    from rlbench.running.progress import ProgressPrinter
    from rlbench.running.runner import sample_banks

    loaded = load_plan(recipe, overrides, only, seeds).recipe
    stages = topological(banks(loaded))
    printer = ProgressPrinter(stages)
    with interruptible(printer, len(stages), store):
        found = sample_banks(loaded, out=out, store=store, execution=execution, on_event=printer)
    printer.close()
    if as_json:
        click.echo(json.dumps(found, indent=1))
    for bank in found if not as_json else ():
        if "reason" in bank:
            click.echo(f"{bank['name']}: none: {bank['reason']}")
            continue
        click.echo(f"{bank['name']}: {bank['samples']} samples of {bank['prompts']} prompts, {bank['tokens']:,} tokens")
        rates = f"correct {bank['correct_rate']:.1%}, prompts with a correct one {bank['solved_rate']:.1%}"
        counts = f"cut off {bank['truncated']}, unparsed {bank['unparsed']}, left out {bank['dropped']}"
        click.echo(f"  {rates}, {counts}\n  {bank['path']}")
    return 1 if any("reason" in bank for bank in found) else 0


@click.command(
    epilog=examples(
        "rlbench evaluate Qwen/Qwen2.5-Math-1.5B --benchmarks math500,aime24",
        "rlbench evaluate models/mine --benchmarks test.jsonl --limit 50 --decodings t1.0,greedy",
        "rlbench evaluate Qwen/Qwen2.5-Math-1.5B --benchmarks math500,arithmetic:clean/10_steps --contamination",
    )
)
@click.argument("model")
@click.option("--benchmarks", required=True, help="Names of benchmarks or JSONL files, commas between them.")
@click.option("--decodings", help="t1.0, t0.6, greedy, ...; commas between them.  [default: t1.0]")
@click.option("--samples", type=click.IntRange(1), help="Completions a problem.  [default: 16]")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Longest completion.  [default: 4096]")
@click.option("--template", help="Prompt template: a name, a file, or a text with {problem}.  [default: qwen-boxed]")
@click.option("--limit", type=click.IntRange(1), help="Problems of each benchmark, from the first.  [default: all]")
@click.option("--grader", metavar="NAME", help="Who grades: rlbench or qwen.  [default: rlbench]")
@click.option("--contamination", is_flag=True, help="Also probe whether it completes the problems by heart.")
@click.option("--revision", help="Revision of a hub model.")
@click.option("--strip-prefix", metavar="TEXT", help="Taken away from the names of all tensors, such as _orig_mod.")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Let code run that comes with the model.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="[default: float32]")
@click.option("--engine", type=click.Choice(["auto", "transformers", "vllm"]), help="What samples.  [default: auto]")
@store_option
@out_option
@execution_options
@json_option
def evaluate(
    model: str,
    benchmarks: str,
    decodings: str | None,
    limit: int | None,
    contamination: bool,
    store: Path,
    out: Path | None,
    as_json: bool,
    execution: Execution,
    **options: Any,
) -> int:
    """Score a model on benchmarks: any Hugging Face folder or hub id, also one that rlbench did not train."""
    from rlbench.planning.build import build
    from rlbench.recipe import recipe_of_model

    names = [name.strip() for name in benchmarks.split(",") if name.strip()]
    options["decodings"] = [name.strip() for name in decodings.split(",")] if decodings is not None else None
    options["contamination"] = {} if contamination else None
    plan = build(recipe_of_model(model, names, limit=limit, **options), "rlbench evaluate")
    return carry_out(plan, store, out, as_json, execution)


@click.command(epilog=examples("rlbench report runs/quickstart-1a2b3c4d"))
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@json_option
def report(run_folder: Path, as_json: bool) -> int:
    """Write a run's tables and page anew from its samples, and print the table."""
    from rlbench.running.runner import report as write

    results = write(run_folder)
    click.echo(results.summary.to_json(orient="records", indent=1) if as_json else results.text)
    return results.exit_code


@click.command(
    epilog=examples(
        "rlbench diff runs/quickstart-1a2b3c4d runs/quickstart-5e6f7a8b",
        "rlbench diff runs/here runs/there --store .rlbench --other-store /mnt/there/.rlbench --json",
    )
)
@click.argument("run_a", metavar="RUN_A", type=click.Path(path_type=Path))
@click.argument("run_b", metavar="RUN_B", type=click.Path(path_type=Path))
@store_option
@click.option(
    "--other-store", type=click.Path(path_type=Path), help="The store of RUN_B.  [default: that of RUN_A, --store]"
)
@json_option
def diff(run_a: Path, run_b: Path, store: Path, other_store: Path | None, as_json: bool) -> int:
    """Say where two runs part first: recipe, rows, stages, problem sets, samples, files, versions, machine.

    Exit code 0 where nothing differs, 1 where something does. Without the stores a stage's configuration cannot be
    compared, and that is said.
    """
    import dataclasses
    import shutil

    from rlbench.running.difference import Side, compare, difference_text

    a, b = Side.load(run_a, store), Side.load(run_b, other_store or store)
    found = compare(a, b)
    if as_json:
        click.echo(json.dumps({"same": not found.differences, **dataclasses.asdict(found)}, indent=1, default=str))
    else:
        click.echo(difference_text(a, b, found, shutil.get_terminal_size((130, 24)).columns))
    return found.exit_code


@click.command(epilog=examples("rlbench recipes", "rlbench run quickstart", "rlbench show dft_vs_rl"))
@json_option
def recipes(as_json: bool) -> int:
    """List the recipes that come with rlbench; every command takes their names.

    A recipe of your own is a TOML file, named by its path. It may begin with extends = "quickstart".
    """
    from rlbench.recipe.packaged import packaged, titles

    if as_json:
        files = packaged()
        click.echo(json.dumps([{"name": n, "title": t, "path": str(files[n])} for n, t in titles().items()], indent=1))
        return 0
    for name, title in titles().items():
        click.echo(f"{name:<20}{title}")
    return 0
