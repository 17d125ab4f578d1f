"""Commands that measure: ``rlbench bench``. A new benchmark is one more command here."""

from __future__ import annotations

import json
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
    click.echo(f"{found[0]['engine']}, {of}")
    click.echo(f"{'workers':<10}{'tokens/s':>10}{'seconds':>10}")
    for row in found:
        click.echo(f"{row['workers']:<10}{row['tokens_per_second']:>10,.0f}{row['seconds']:>10.1f}")
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
    click.echo(f"95 % intervals for new seeds and new problems, {repeats} data sets a process, in percent")
    coverage = f"{'lowest coverage':>17}{'highest':>9}{'MC error':>10}"
    click.echo(f"{'seeds':>5}{'problems':>10}{coverage}{'false better':>14}{'MC error':>10}")
    for row in found:
        shares = ("coverage", "coverage_highest", "coverage_error", "false_positive", "false_positive_error")
        percents = (f"{100 * row[name]:>{width}.1f}" for name, width in zip(shares, (17, 9, 10, 14, 10), strict=True))
        click.echo(f"{row['seeds']:>5}{row['problems']:>10}{''.join(percents)}")
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
    click.echo(f"{answers} answers of each mix, {workers} workers, medians of {rounds} rounds")
    click.echo(f"{'grader':<10}{'mix':<10}{'answers/s':>10}{'fast path':>11}")
    for row in found:
        click.echo(f"{row['grader']:<10}{row['mix']:<10}{row['answers_per_second']:>10,.0f}{row['fast_share']:>11.1%}")
    return 0
