"""Commands that measure: ``rlbench bench``. A new benchmark is one more command here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from rlbench.cli.options import examples, interruptible, json_option, load_plan, store_option
from rlbench.records import UserError


@click.group(
    epilog=examples(
        "rlbench bench generate", "rlbench bench workers", "rlbench bench statistics", "rlbench bench grade"
    )
)
def bench() -> None:
    """Measure: figures that the project quotes come from these commands."""


@bench.command(
    "generate",
    epilog=examples(
        "rlbench bench generate",
        "rlbench bench generate quickstart --engine transformers --engine generate --json",
        "rlbench bench generate --set data.prompts=arithmetic:test/steps --prompts 100",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path), default=Path("quickstart"))
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
@store_option
@json_option
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

    plan = load_plan(recipe, overrides, (), None)
    stages = topological(bank_of(plan).inputs.values())
    printer = ProgressPrinter(stages)
    with interruptible(printer, len(stages), store):
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
    rows = [
        (
            row["engine"],
            f"{row['tokens_per_second']:,.0f}",
            f"{row['tokens_per_cpu_second']:,.0f}",
            f"{row['first_token_seconds'] * 1000:.1f} ms",
            f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
        )
        for row in found
    ]
    caption = f"{prompts} prompts x {samples} of {recipe}, medians of {rounds} rounds"
    _echo_table(caption, ("engine", "tokens/s", "tokens/CPU-s", "first token", "peak memory"), rows)
    return 0


@bench.command(
    "workers",
    epilog=examples(
        "rlbench bench workers",
        "rlbench bench workers quickstart --workers 1,2,4 --prompts 512 --json",
    ),
)
@click.argument("recipe", type=click.Path(path_type=Path), default=Path("quickstart"))
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
@store_option
@json_option
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
    with interruptible(printer, len(stages), store):
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
    rows = [(str(row["workers"]), f"{row['tokens_per_second']:,.0f}", f"{row['seconds']:.1f}") for row in found]
    _echo_table(f"{found[0]['engine']}, {of}", ("workers", "tokens/s", "seconds"), rows)
    return 0


@bench.command(
    "statistics",
    epilog=examples(
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
@json_option
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
    shares = {
        "lowest coverage": "coverage",
        "highest": "coverage_highest",
        "MC error": "coverage_error",
        "false better": "false_positive",
        "MC error of it": "false_positive_error",
    }
    rows = [
        (str(row["seeds"]), str(row["problems"]), *(f"{100 * row[key]:.1f}" for key in shares.values()))
        for row in found
    ]
    caption = f"95 % intervals for new seeds and new problems, {repeats} data sets a process, in percent"
    _echo_table(caption, ("seeds", "problems", *shares), rows)
    return 0


def _counts(option: str, text: str, least: int) -> list[int]:
    """Whole numbers with commas between them, each ``least`` or more."""
    counts = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if min(counts) < least:
        example = f"for instance {option} {least},{least + 1}"
        raise UserError(f"{option} {text!r}: write numbers from {least} with commas between, {example}")
    return counts


@bench.command(
    "grade", epilog=examples("rlbench bench grade", "rlbench bench grade --grader rlbench --workers 2 --json")
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
@json_option
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
    rows = [
        (row["grader"], row["mix"], f"{row['answers_per_second']:,.0f}", f"{row['fast_share']:.1%}") for row in found
    ]
    caption = f"{answers} answers of each mix, {workers} workers, medians of {rounds} rounds"
    _echo_table(caption, ("grader", "mix", "answers/s", "fast path"), rows, words=2)
    return 0


def _echo_table(caption: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: int = 1) -> None:
    """Print a table, of which the first ``words`` columns are words and the others numbers."""
    from rlbench.reporting.table import Table, plain

    click.echo(plain(Table(caption, columns, tuple(rows), text=frozenset(range(words)))).rstrip())
