"""Commands that grade: anybody's outputs, and the stored samples of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rlbench.cli.options import examples, json_option, warn


@click.command(
    epilog=examples(
        "rlbench grade outputs.jsonl",
        "rlbench grade outputs.jsonl --read final --json",
        "rlbench grade outputs.jsonl --grader qwen",
        "zcat outputs.jsonl.gz | rlbench grade -",
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
@json_option
def grade(file: Path, grader: str, reading: Any, limit_s: float, workers: int, as_json: bool) -> int:
    """Grade anybody's outputs: a verdict a line for JSON lines {id, gold, output}; FILE may be - for standard input.

    Prints id (as within a JSON string), verdict and the answer that was read, tabs between; with --json an object a
    line. Verdicts: correct, wrong, unparsed (no answer that can be read), timeout, error. A file is checked whole
    before anything is graded; of standard input or a pipe, what comes before a bad line is graded.
    """
    from collections import Counter

    from rlbench.grading.files import grade_file, line_of
    from rlbench.grading.pool import Grader

    counts: Counter[str] = Counter()
    with Grader(grader, limit_s=limit_s, workers=workers, reading=reading) as pool:
        for name, graded in grade_file(file, pool, lambda text: warn([text])):
            counts[graded.verdict] += 1
            if as_json:
                click.echo(json.dumps({"id": name, "verdict": graded.verdict, "answer": graded.answer}))
            else:
                click.echo(line_of(name, graded))
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    click.echo(f"{counts.total()} outputs by {pool.name} {pool.version}{': ' * bool(parts)}{parts}", err=True)
    return 0


@click.command(epilog=examples("rlbench regrade runs/quickstart-1a2b3c4d --grader qwen"))
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--grader", required=True, metavar="NAME", help="rlbench or qwen; see docs/grading.md.")
@json_option
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
