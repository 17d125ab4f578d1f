"""The command line. Exit codes: 0 every row filled; 1 some row failed (the others are there); 2 bad input; 130
interrupted, resumable.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from rlbench import __version__
from rlbench.records import UserError, nearest

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


class _Group(click.Group):
    """Suggests the nearest command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message.rstrip('.')}{nearest(args[0], self.list_commands(ctx))}", ctx
            ) from None


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, shown in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_recipe_options = _options(
    click.argument("recipe", type=click.Path(path_type=Path)),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe; may be repeated."
    ),
    click.option("--only", multiple=True, metavar="METHOD,...", help="Keep these methods (the base is always a row)."),
    click.option("--seeds", metavar="N,N,...", help="Run these seeds instead of the recipe's."),
)
_store_option = click.option(
    "--store", type=click.Path(path_type=Path), default=Path(".rlbench"), show_default=True, help="The artifact store."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_examples("rlbench run recipes/quickstart.toml", "rlbench plan recipes/dft_vs_rl.toml"),
)
@click.version_option(__version__, prog_name="rlbench")
def cli() -> None:
    """rlbench: which objective should I post-train with?"""


def _load(recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None) -> Any:
    from rlbench.planning.build import build
    from rlbench.recipe import load_recipe

    names = [name.strip() for text in only for name in text.split(",")]
    if "" in names:
        raise UserError("--only: name methods with commas between them, for instance --only sft,dft")
    try:
        numbers = [int(seed) for seed in seeds.split(",")] if seeds is not None else []
    except ValueError:
        raise UserError(
            f"--seeds {seeds!r}: write whole numbers with commas between them, for instance --seeds 0,1,2"
        ) from None
    return build(load_recipe(recipe, overrides, only=names, seeds=numbers), recipe)


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"rlbench: warning: {text}", err=True)


_execution_options = _options(
    click.option(
        "--executor",
        type=click.Choice(["ray", "local"]),
        default="ray",
        show_default=True,
        help="Ray workers, or this process for a debugger.",
    ),
    click.option("--address", help="Address of a running Ray cluster (ray://host:port, host:port or auto)."),
    click.option("--workers", type=click.IntRange(1), help="Stages that run at once.  [default: the machine's cores]"),
)
_out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME-FINGERPRINT8]"
)


@cli.command(
    epilog=_examples(
        "rlbench run recipes/quickstart.toml",
        "rlbench run recipes/quickstart.toml --only sft,dft --seeds 0,1,2 --out runs/sft-dft",
        "rlbench run recipes/quickstart.toml --set methods.dpo.hyperparameters.beta=0.3 --executor local",
    )
)
@_recipe_options
@_store_option
@_out_option
@_execution_options
@_json_option
def run(
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    seeds: str | None,
    store: Path,
    out: Path | None,
    as_json: bool,
    **execution: Any,
) -> int:
    """Run a recipe to its table. What the store holds already is not done again."""
    return _carry_out(_load(recipe, overrides, only, seeds), store, out, as_json, execution)


def _carry_out(plan: Any, store: Path, out: Path | None, as_json: bool, execution: dict[str, Any]) -> int:
    """Run a plan and print its table; returns the exit code."""
    from rlbench.running.progress import ProgressPrinter
    from rlbench.running.runner import default_out, plan_warnings, run_plan

    with contextlib.redirect_stdout(sys.stderr):  # what a plug-in prints is no result
        _warn(plan_warnings(plan))
    printer = ProgressPrinter(plan.stages)
    folder = out or default_out(plan)
    rows = f"{len(plan.rows)} row{'s' * (len(plan.rows) != 1)}"
    click.echo(f"{plan.recipe.name}: {rows}, {len(plan.stages)} stages, store {store}, run {folder}", err=True)
    with _interruptible(printer, len(plan.stages), store):
        results = run_plan(
            plan, out=folder, store=store, on_event=printer, command=shlex.join(["rlbench", *sys.argv[1:]]), **execution
        )
    printer.close()
    if as_json:
        failures = [{"method": m, "seed": s, "reason": r} for (m, s), r in results.failures.items()]
        summary = json.loads(results.summary.to_json(orient="records"))
        facts = {
            "out": str(folder),
            "ran": printer.ran,
            "cached": printer.cached,
            "failures": failures,
            "summary": summary,
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        _print_results(folder, results, printer)
    return results.exit_code


@contextlib.contextmanager
def _interruptible(printer: Any, stages: int, store: Path) -> Iterator[None]:
    """Ctrl-C ends the command with what is there and how to go on."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        printer.close()
        done = f"{printer.cached + printer.ran} of {stages} stages are in {store}"
        click.echo(f"\nInterrupted. {done}; the same command goes on from there.", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None


def _print_results(folder: Path, results: Any, printer: Any) -> None:
    click.echo(results.text)
    click.echo(f"{printer.ran} stages ran, {printer.cached} were in the store.")
    click.echo(f"Report: {folder / 'report.html'} (and report.md, summary.csv, samples.parquet beside it)")


@cli.command(epilog=_examples("rlbench plan recipes/dft_vs_rl.toml", "rlbench plan recipes/quickstart.toml --json"))
@_recipe_options
@_store_option
@_json_option
def plan(
    recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None, store: Path, as_json: bool
) -> int:
    """Say what would run, what is cached, and what it costs. Needs no torch."""
    from rlbench.graph.artifact import Store
    from rlbench.planning.estimate import detectable_effect, estimate

    planned = _load(recipe, overrides, only, seeds)
    _warn(planned.warnings)
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


@cli.command(epilog=_examples("rlbench show recipes/quickstart.toml", "rlbench show recipes/dft_vs_rl.toml --only dpo"))
@_recipe_options
@_json_option
def show(recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None, as_json: bool) -> int:
    """Show everything resolved: each row's data, objective, formula and hyper-parameters, and every prompt verbatim."""
    from rlbench.planning.describe import recipe_json, recipe_text

    planned = _load(recipe, overrides, only, seeds)
    _warn(planned.warnings)
    click.echo(json.dumps(recipe_json(planned), indent=1) if as_json else recipe_text(planned))
    return 0


@cli.command(
    epilog=_examples(
        "rlbench rollouts recipes/quickstart.toml --seeds 0",
        "rlbench rollouts recipes/dft_vs_rl.toml --out banks --json",
    )
)
@_recipe_options
@_store_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Copy the banks into this folder.  [default: they stay in the store]"
)
@_execution_options
@_json_option
def rollouts(
    recipe: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    seeds: str | None,
    store: Path,
    out: Path | None,
    as_json: bool,
    **execution: Any,
) -> int:
    """Sample and grade a recipe's rollout bank and nothing else; prints where each rollouts.parquet lies and how much
    of it is right.
    """
    from rlbench.graph.stage import topological
    from rlbench.planning.build import banks
    from rlbench.running.progress import ProgressPrinter
    from rlbench.running.runner import sample_banks

    loaded = _load(recipe, overrides, only, seeds).recipe
    stages = topological(banks(loaded))
    printer = ProgressPrinter(stages)
    with _interruptible(printer, len(stages), store):
        found = sample_banks(loaded, out=out, store=store, on_event=printer, **execution)
    printer.close()
    if as_json:
        click.echo(json.dumps(found, indent=1))
    for bank in found if not as_json else ():
        if "reason" in bank:
            click.echo(f"{bank['name']}: none: {bank['reason']}")
            continue
        click.echo(f"{bank['name']}: {bank['samples']} samples of {bank['prompts']} prompts, {bank['tokens']:,} tokens")
        click.echo(
            f"  correct {bank['correct_rate']:.1%}, prompts with a correct one {bank['solved_rate']:.1%}, cut off {bank['truncated']}, "
            f"unparsed {bank['unparsed']}, left out {bank['dropped']}\n  {bank['path']}"
        )
    return 1 if any("reason" in bank for bank in found) else 0


@cli.command(
    epilog=_examples(
        "rlbench evaluate Qwen/Qwen2.5-Math-1.5B --benchmarks math500,aime24",
        "rlbench evaluate models/mine --benchmarks test.jsonl --limit 50 --decodings t1.0,greedy",
        "rlbench evaluate Qwen/Qwen2.5-Math-1.5B --benchmarks math500,arithmetic:clean/10_steps --contamination",
    )
)
@click.argument("model")
@click.option("--benchmarks", required=True, help="Names of benchmarks or JSONL files, commas between them.")
@click.option("--decodings", default="t1.0", show_default=True, help="t1.0, t0.6, greedy, ...; commas between them.")
@click.option("--samples", type=click.IntRange(1), help="Completions a problem.  [default: 16]")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Longest completion.  [default: 4096]")
@click.option("--template", help="Prompt template: a name, a file, or a text with {problem}.  [default: qwen-boxed]")
@click.option("--limit", type=click.IntRange(1), help="Problems of each benchmark, from the first.  [default: all]")
@click.option("--grader", metavar="NAME", help="Who grades: rlbench or qwen.  [default: rlbench]")
@click.option("--contamination", is_flag=True, help="Also probe whether it completes the problems by heart.")
@click.option("--revision", help="Revision of a hub model.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="[default: float32]")
@click.option("--engine", type=click.Choice(["auto", "transformers", "vllm"]), help="What samples.  [default: auto]")
@_store_option
@_out_option
@_execution_options
@_json_option
def evaluate(
    model: str,
    benchmarks: str,
    decodings: str,
    limit: int | None,
    contamination: bool,
    store: Path,
    out: Path | None,
    executor: str,
    address: str | None,
    workers: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Score a model on benchmarks: any Hugging Face folder or hub id, also one that rlbench did not train."""
    from rlbench.planning.build import build
    from rlbench.recipe import recipe_of_model

    names = [name.strip() for name in benchmarks.split(",") if name.strip()]
    options["decodings"] = [name.strip() for name in decodings.split(",")]
    options["contamination"] = {} if contamination else None
    plan = build(recipe_of_model(model, names, limit=limit, **options), "rlbench evaluate")
    return _carry_out(plan, store, out, as_json, {"executor": executor, "address": address, "workers": workers})


@cli.command(
    epilog=_examples(
        "rlbench grade outputs.jsonl",
        "rlbench grade outputs.jsonl --read final --json",
        "rlbench grade outputs.jsonl --grader qwen",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--grader", default="rlbench", show_default=True, metavar="NAME", help="rlbench or qwen, see docs/grading.md."
)
@click.option(
    "--read",
    "reading",
    type=click.Choice(["box", "final"]),
    default="box",
    show_default=True,
    help="Where an answer stands: in the last box, or without one in the final statement, formula or number.",
)
@click.option(
    "--limit-s",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds an answer may take.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that grade.")
@_json_option
def grade(file: Path, grader: str, reading: Any, limit_s: float, workers: int, as_json: bool) -> int:
    """Grade anybody's outputs: a verdict a line for JSON lines {id, gold, output}.

    Prints id, verdict and the answer that was read, tabs between; with --json an object a line. Verdicts: correct,
    wrong, unparsed (no answer that can be read), timeout, error.
    """
    from collections import Counter

    from rlbench.grading.files import grade_file
    from rlbench.grading.pool import Grader

    counts: Counter[str] = Counter()
    with Grader(grader, limit_s=limit_s, workers=workers, reading=reading) as pool:
        for name, graded in grade_file(file, pool):
            counts[graded.verdict] += 1
            if as_json:
                click.echo(json.dumps({"id": name, "verdict": graded.verdict, "answer": graded.answer}))
            else:
                click.echo(f"{name}\t{graded.verdict}\t{' '.join((graded.answer or '').split())}")
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    click.echo(f"{counts.total()} outputs by {pool.name} {pool.version}{': ' * bool(parts)}{parts}", err=True)
    return 0


@cli.command(epilog=_examples("rlbench report runs/quickstart-1a2b3c4d"))
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@_json_option
def report(run_folder: Path, as_json: bool) -> int:
    """Write a run's tables and page anew from its samples, and print the table."""
    from rlbench.running.runner import report as write

    results = write(run_folder)
    click.echo(results.summary.to_json(orient="records", indent=1) if as_json else results.text)
    return results.exit_code


@cli.command(epilog=_examples("rlbench regrade runs/quickstart-1a2b3c4d --grader qwen"))
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--grader", required=True, metavar="NAME", help="rlbench or qwen; see docs/grading.md.")
@_json_option
def regrade(run_folder: Path, grader: str, as_json: bool) -> int:
    """Grade a run's stored samples by another grader, and write its report with both: scores, and ranks that flip."""
    from rlbench.running.runner import regrade as grade

    results = grade(run_folder, grader, lambda done, total: click.echo(f"  {done:,} of {total:,} samples", err=True))
    click.echo(
        results.summary.to_json(orient="records", indent=1)
        if as_json
        else (results.out / "report.md").read_text(encoding="utf-8")
    )
    return results.exit_code


@cli.command(
    epilog=_examples(
        "rlbench objectives",
        "rlbench objectives dft",
        "rlbench objectives --plugin my_objective.py --json",
        "rlbench objectives new soft_dft --like dft",
    )
)
@click.argument("what", nargs=-1, metavar="[NAME | new NAME]")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Also know what this file registers."
)
@click.option("--like", metavar="OBJECTIVE", help="With `new`: which objective to begin from.  [default: dft]")
@click.option("--folder", type=click.Path(path_type=Path), help="With `new`: where to write.  [default: here]")
@_json_option
def objectives(
    what: tuple[str, ...], plugins: tuple[Path, ...], like: str | None, folder: Path | None, as_json: bool
) -> int:
    """List the objectives, show one, or begin a new one.

    The list says what each needs (rows, what it reads), its reduction, hyper-parameters with their defaults, and
    source; NAME shows formula, docstring and code. `new NAME` writes NAME.py, a commented plug-in, and test_NAME.py.
    """
    from rlbench.cli.scaffold import new_objective
    from rlbench.planning.describe import objective_text, objectives_json, objectives_text

    new = what[:1] == ("new",)
    if len(what) != 2 if new else len(what) > 1:
        raise click.UsageError(
            "write `rlbench objectives`, `rlbench objectives NAME` or `rlbench objectives new NAME --like OBJECTIVE`"
        )
    if not new and (like or folder):
        raise click.UsageError("--like and --folder belong to `rlbench objectives new NAME`")
    if new:
        files = new_objective(what[1], like or "dft", folder or Path(), plugins)
        click.echo(
            json.dumps([str(file) for file in files])
            if as_json
            else f"Wrote {files[0]} and {files[1]}; the first says what to do."
        )
    elif as_json:
        listed = objectives_json(plugins)
        shown = [found for found in listed if not what or found["name"] == what[0]]
        if not shown:
            objective_text(what[0], plugins)  # refuses a name that is not there
            raise UserError(f"--json lists objectives, and {what[0]!r} is none")
        click.echo(json.dumps(shown, indent=1))
    else:
        click.echo(objective_text(what[0], plugins) if what else objectives_text(plugins))
    return 0


@cli.group(
    epilog=_examples(
        "rlbench bench generate", "rlbench bench workers", "rlbench bench statistics", "rlbench bench grade"
    )
)
def bench() -> None:
    """Measure: figures that the project quotes come from these commands."""


@bench.command(
    "generate",
    epilog=_examples(
        "rlbench bench generate",
        "rlbench bench generate recipes/quickstart.toml --engine transformers --engine generate --json",
        "rlbench bench generate --set data.prompts=arithmetic:test/steps --prompts 100",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path), default=Path("recipes/quickstart.toml"))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe; repeatable."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="transformers, vllm, generate; repeatable.  [default: all]",
)
@click.option(
    "--prompts", type=click.IntRange(1), default=512, show_default=True, help="Prompts of the recipe's, from the first."
)
@click.option("--samples", type=click.IntRange(1), default=4, show_default=True, help="Completions of each.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often each engine does it; medians are reported.",
)
@_store_option
@_json_option
def bench_generate(
    recipe: Path,
    overrides: tuple[str, ...],
    engines: tuple[str, ...],
    prompts: int,
    samples: int,
    rounds: int,
    store: Path,
    as_json: bool,
) -> int:
    """How fast engines sample a recipe's base model on its prompts, beside transformers' `generate`.

    Engines take turns, each in a process of its own with one thread on a CPU. Tokens are those emitted, the stop token
    included.
    """
    from rlbench.bench.generate import bank_of
    from rlbench.bench.generate import bench_generate as measure
    from rlbench.graph.stage import topological
    from rlbench.running.progress import ProgressPrinter

    plan = _load(recipe, overrides, (), None)
    stages = topological(bank_of(plan).inputs.values())
    printer = ProgressPrinter(stages)
    with _interruptible(printer, len(stages), store):
        found = measure(
            plan,
            store,
            engines,
            prompts=prompts,
            samples=samples,
            rounds=rounds,
            on_event=printer,
            say=lambda text: click.echo(f"  {text}", err=True),
        )
    printer.close()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    click.echo(f"{prompts} prompts x {samples} of {recipe}, medians of {rounds} rounds")
    click.echo(f"{'engine':<14}{'tokens/s':>10}{'tokens/CPU-s':>14}{'first token':>13}{'peak memory':>13}")
    for row in found:
        click.echo(
            f"{row['engine']:<14}{row['tokens_per_second']:>10,.0f}{row['tokens_per_cpu_second']:>14,.0f}"
            f"{row['first_token_seconds'] * 1000:>10.1f} ms{row['peak_memory_bytes'] / 2**30:>9.2f} GiB"
        )
    return 0


@bench.command(
    "workers",
    epilog=_examples(
        "rlbench bench workers",
        "rlbench bench workers recipes/quickstart.toml --workers 1,2,4 --prompts 512 --json",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path), default=Path("recipes/quickstart.toml"))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe; repeatable."
)
@click.option("--workers", default="1,2", show_default=True, metavar="N,N,...", help="Sizes of the pools.")
@click.option(
    "--prompts",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Prompts of the recipe's, from the first.",
)
@click.option("--samples", type=click.IntRange(1), default=16, show_default=True, help="Completions of each.")
@click.option(
    "--shards", type=click.IntRange(1), default=8, show_default=True, help="Parts that the bank is sampled in."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often each pool does it; medians are reported.",
)
@click.option("--address", help="Address of a running Ray cluster.")
@_store_option
@_json_option
def bench_workers(
    recipe: Path,
    overrides: tuple[str, ...],
    workers: str,
    prompts: int,
    samples: int,
    shards: int,
    rounds: int,
    address: str | None,
    store: Path,
    as_json: bool,
) -> int:
    """How sampling scales with workers: a recipe's rollout bank in shards over pools of engines.

    Pools take turns. Time is that of the shards, the opening of the engines included.
    """
    from rlbench.bench.workers import bank_of
    from rlbench.bench.workers import bench_workers as measure
    from rlbench.graph.stage import topological
    from rlbench.recipe import load_recipe
    from rlbench.running.progress import ProgressPrinter

    counts = _counts("--workers", workers, 1)
    bank = bank_of(load_recipe(recipe, overrides), prompts=prompts, samples=samples, shards=shards)
    stages = topological(bank.parts[0].inputs.values())
    printer = ProgressPrinter(stages)
    with _interruptible(printer, len(stages), store):
        found = measure(
            bank,
            store,
            counts,
            rounds=rounds,
            address=address,
            on_event=printer,
            say=lambda text: click.echo(f"  {text}", err=True),
        )
    printer.close()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    of = f"{found[0]['tokens']:,} tokens in {found[0]['shards']} shards, medians of {rounds} rounds"
    click.echo(f"{found[0]['engine']}, {of}")
    click.echo(f"{'workers':<10}{'tokens/s':>10}{'seconds':>10}")
    for row in found:
        click.echo(f"{row['workers']:<10}{row['tokens_per_second']:>10,.0f}{row['seconds']:>10.1f}")
    return 0


@bench.command(
    "statistics",
    epilog=_examples(
        "rlbench bench statistics",
        "rlbench bench statistics --seeds 2,3 --problems 30,100 --repeats 500 --json",
    ),
)
@click.option("--seeds", default="2,3,5,10", show_default=True, metavar="N,N,...", help="Numbers of training seeds.")
@click.option(
    "--problems",
    default="30,100,300,700",
    show_default=True,
    metavar="N,N,...",
    help="Numbers of problems in a benchmark.",
)
@click.option("--repeats", type=click.IntRange(4), default=2000, show_default=True, help="Data sets of each process.")
@_json_option
def bench_statistics(seeds: str, problems: str, repeats: int, as_json: bool) -> int:
    """How often the 95 % interval holds the truth, and how often equals are called better, on simulated benchmarks.

    Processes differ in the difficulty of problems, in training noise, and in what is compared; a cell has its worst
    process. With --json figures are shares, each process by itself under "by_process".
    """
    from rlbench.bench.statistics import bench_statistics as measure

    grid = _counts("--seeds", seeds, 2), _counts("--problems", problems, 2)
    found = measure(*grid, repeats=repeats, say=lambda text: click.echo(f"  {text}", err=True))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    click.echo(f"95 % intervals for new seeds and new problems, {repeats} data sets a process, in percent")
    click.echo(
        f"{'seeds':>5}{'problems':>10}{'lowest coverage':>17}{'highest':>9}{'MC error':>10}{'false better':>14}{'MC error':>10}"
    )
    for row in found:
        click.echo(
            f"{row['seeds']:>5}{row['problems']:>10}{100 * row['coverage']:>17.1f}{100 * row['coverage_highest']:>9.1f}"
            f"{100 * row['coverage_error']:>10.1f}{100 * row['false_positive']:>14.1f}{100 * row['false_positive_error']:>10.1f}"
        )
    return 0


def _counts(option: str, text: str, least: int) -> list[int]:
    """Whole numbers with commas between them, each ``least`` or more."""
    counts = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if min(counts) < least:
        raise UserError(
            f"{option} {text!r}: write numbers from {least} with commas between, for instance {option} {least},{least + 1}"
        )
    return counts


@bench.command(
    "grade", epilog=_examples("rlbench bench grade", "rlbench bench grade --grader rlbench --workers 2 --json")
)
@click.option("--grader", "graders", multiple=True, metavar="NAME", help="rlbench, qwen; repeatable.  [default: all]")
@click.option(
    "--answers", type=click.IntRange(1), default=2000, show_default=True, help="Answers of each mix, all different."
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes that grade.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How often each is measured; medians are reported.",
)
@_json_option
def bench_grade(graders: tuple[str, ...], answers: int, workers: int, rounds: int, as_json: bool) -> int:
    """How many answers a second each grader grades, after a warm-up: plain ones, an ordinary mix, and those that need
    sympy.

    No answer comes twice, so the cache of verdicts does not help.
    """
    from rlbench.bench.grade import bench_grade as measure

    found = measure(
        graders, answers=answers, workers=workers, rounds=rounds, say=lambda text: click.echo(f"  {text}", err=True)
    )
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    click.echo(f"{answers} answers of each mix, {workers} workers, medians of {rounds} rounds")
    click.echo(f"{'grader':<10}{'mix':<10}{'answers/s':>10}{'fast path':>11}")
    for row in found:
        click.echo(f"{row['grader']:<10}{row['mix']:<10}{row['answers_per_second']:>10,.0f}{row['fast_share']:>11.1%}")
    return 0


@cli.command(epilog=_examples("rlbench doctor", "rlbench doctor --json"))
@_store_option
@_json_option
def doctor(store: Path, as_json: bool) -> int:
    """Check this machine: versions, cores, memory, GPU, store, and that a Ray worker starts."""
    from rlbench.cli.doctor import checks

    found = checks(store)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for check in found:
            click.echo(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']:<14} {check['found']}")
    return 0 if all(check["ok"] for check in found) else 1


def main() -> None:
    """Entry point of the ``rlbench`` command."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except UserError as error:
        click.echo(f"rlbench: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
