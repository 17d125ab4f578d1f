"""``python -m rlbench.testing FILE.py``: check everything that a plug-in file registers."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from rlbench.graph.machine import single_thread_environment
from rlbench.recipe import apply_override
from rlbench.records import UserError, nearest
from rlbench.testing.report import ConformanceReport, described

EPILOG = """\b
Examples:
  python -m rlbench.testing my_objective.py
  python -m rlbench.testing my_objective.py --set my_objective.beta=0.5 --json"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="Check NAME with this hyper-parameter too; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option(
    "--processes/--no-processes",
    default=True,
    help="Also run a step of each objective in two processes (some seconds).",
)
def main(file: Path, overrides: tuple[str, ...], as_json: bool, processes: bool) -> None:
    """Check every objective, advantage estimator, reward and filter that FILE registers against its contract.

    One line a check, with what is wrong and how to repair it. All of it runs on the CPU, so it cannot tell a tensor
    that was made on the wrong device. Exit codes: 0 all hold; 1 some do not; 2 FILE is missing, is not Python, cannot
    be imported or registers nothing.
    """
    os.environ.update(single_thread_environment())  # before torch is imported
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a plug-in prints is not the report
            reports = _reports(file, overrides, processes)
    except UserError as error:
        click.echo(f"rlbench.testing: {error}", err=True)
        sys.exit(2)
    click.echo(
        json.dumps([_table(report) for report in reports], indent=1) if as_json else "\n\n".join(map(_text, reports))
    )
    sys.exit(0 if all(report.ok for report in reports) else 1)


def _reports(file: Path, overrides: tuple[str, ...], processes: bool) -> list[ConformanceReport]:
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    names = [found.name for found in described(file)]
    hyperparameters: dict[str, Any] = {}
    for text in overrides:
        apply_override(hyperparameters, text, f"{names[0]}.key=value")
        name, dot, _ = text.partition("=")[0].strip().partition(".")
        if not dot:
            raise UserError(f"--set {text!r}: write it as NAME.key=value, for instance --set {names[0]}.key=value")
        if name not in names:
            raise UserError(f"--set {text!r}: {file} registers nothing called {name!r}{nearest(name, names)}")
    from rlbench.testing.kit import check_file  # imports torch

    return list(check_file(file, hyperparameters=hyperparameters, processes=processes).values())


def _text(report: ConformanceReport) -> str:
    lines = [f"{report.kind} {report.name} ({report.where})"]
    return "\n".join(
        lines + [f"  {'ok ' if check.ok else 'BAD'}  {check.name:<18}  {check.detail}" for check in report.checks]
    )


def _table(report: ConformanceReport) -> dict[str, Any]:
    checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in report.checks]
    return {"kind": report.kind, "name": report.name, "where": report.where, "ok": report.ok, "checks": checks}


if __name__ == "__main__":
    main(prog_name="python -m rlbench.testing")
