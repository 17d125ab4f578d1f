"""Options and habits that commands share: how a recipe is given, how a plan is carried out, how Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlbench.cli.signals import say_interrupted
from rlbench.records import UserError, nearest

if TYPE_CHECKING:
    from rlbench.running.execution import Execution

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


class Group(click.Group):
    """Suggests the nearest command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message.rstrip('.')}{nearest(args[0], self.list_commands(ctx))}", ctx
            ) from None


def examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, shown in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


recipe_options = options(
    click.argument("recipe", type=click.Path(path_type=Path)),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe; may be repeated."
    ),
    click.option("--only", multiple=True, metavar="METHOD,...", help="Keep these methods (the base is always a row)."),
    click.option("--seeds", metavar="N,N,...", help="Run these seeds instead of the recipe's."),
)


store_option = click.option(
    "--store", type=click.Path(path_type=Path), default=Path(".rlbench"), show_default=True, help="The artifact store."
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


_each_execution_option = options(
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


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of how stages are executed, given to the command as one ``execution``."""

    @functools.wraps(command)
    def with_execution(*args: Any, executor: str, address: str | None, workers: int | None, **options: Any) -> Any:
        from rlbench.running.execution import Execution

        return command(*args, execution=Execution(executor, address, workers), **options)

    return _each_execution_option(with_execution)


out_option = click.option(
    "--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME-FINGERPRINT8]"
)


def load_plan(recipe: Path, overrides: tuple[str, ...], only: tuple[str, ...], seeds: str | None) -> Any:
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


def warn(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"rlbench: warning: {text}", err=True)


def carry_out(plan: Any, store: Path, out: Path | None, as_json: bool, execution: Execution) -> int:
    """Run a plan and print its table; returns the exit code."""
    from rlbench.running.progress import ProgressPrinter
    from rlbench.running.runner import default_out, plan_warnings, run_plan

    with contextlib.redirect_stdout(sys.stderr):  # what a plug-in prints is no result
        warn(plan_warnings(plan))
    printer = ProgressPrinter(plan.stages)
    folder = out or default_out(plan)
    rows = f"{len(plan.rows)} row{'s' * (len(plan.rows) != 1)}"
    click.echo(f"{plan.recipe.name}: {rows}, {len(plan.stages)} stages, store {store}, run {folder}", err=True)
    with interruptible(printer, len(plan.stages), store):
        results = run_plan(
            plan,
            out=folder,
            store=store,
            execution=execution,
            on_event=printer,
            command=shlex.join(["rlbench", *sys.argv[1:]]),
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
def interruptible(printer: Any, stages: int, store: Path) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the command with what is there and how to go on."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            printer.close()
        done = f"{printer.cached + printer.ran} of {stages} stages are in {store}"
        say_interrupted(f" {done}; the same command goes on from there.")
        raise SystemExit(EXIT_INTERRUPTED) from None


def _print_results(folder: Path, results: Any, printer: Any) -> None:
    click.echo(results.text)
    click.echo(f"{printer.ran} stages ran, {printer.cached} were in the store.")
    click.echo(f"Report: {folder / 'report.html'} (and report.md, summary.csv, samples.parquet beside it)")
