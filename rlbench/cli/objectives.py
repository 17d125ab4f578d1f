"""Commands about objectives: list, show and begin one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rlbench.cli.options import Group, examples, json_option
from rlbench.records import UserError


class _Objectives(Group):
    """``rlbench objectives dft`` is short for ``rlbench objectives show dft``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


plugin_option = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Also know what this file registers."
)


@click.group(
    cls=_Objectives,
    invoke_without_command=True,
    epilog=examples(
        "rlbench objectives",
        "rlbench objectives dft",
        "rlbench objectives --plugin my_objective.py --json",
        "rlbench objectives new soft_dft --like dft",
    ),
)
@plugin_option
@json_option
@click.pass_context
def objectives(context: click.Context, plugins: tuple[Path, ...], as_json: bool) -> int:
    """List the objectives, show one, or begin a new one.

    Without a command it is `list`; with the name of an objective it is `show NAME`.
    """
    context.obj = (plugins, as_json)  # what stands before the command holds for it too
    return 0 if context.invoked_subcommand else _list(plugins, as_json)


@objectives.command("list", epilog=examples("rlbench objectives list", "rlbench objectives list --json"))
@plugin_option
@json_option
@click.pass_obj
def list_objectives(given: tuple[tuple[Path, ...], bool], plugins: tuple[Path, ...], as_json: bool) -> int:
    """List the objectives: what each needs (rows, what it reads), its reduction, hyper-parameters and source."""
    return _list((*given[0], *plugins), given[1] or as_json)


def _list(plugins: tuple[Path, ...], as_json: bool) -> int:
    from rlbench.planning.describe import objectives_json, objectives_text

    click.echo(json.dumps(objectives_json(plugins), indent=1) if as_json else objectives_text(plugins))
    return 0


@objectives.command(epilog=examples("rlbench objectives show dft", "rlbench objectives show dft --json"))
@click.argument("name")
@plugin_option
@json_option
@click.pass_obj
def show(given: tuple[tuple[Path, ...], bool], name: str, plugins: tuple[Path, ...], as_json: bool) -> int:
    """Show an objective, advantage, reward or filter: formula, docstring and code."""
    from rlbench.planning.describe import objective_text, objectives_json

    plugins = (*given[0], *plugins)
    text = objective_text(name, plugins)  # refuses a name that is not there
    if not (given[1] or as_json):
        click.echo(text)
        return 0
    shown = [found for found in objectives_json(plugins) if found["name"] == name]
    if not shown:
        raise UserError(f"--json lists objectives, and {name!r} is none")
    click.echo(json.dumps(shown, indent=1))
    return 0


@objectives.command(epilog=examples("rlbench objectives new soft_dft --like dft"))
@click.argument("name")
@plugin_option
@click.option("--like", metavar="OBJECTIVE", default="dft", show_default=True, help="The objective to begin from.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Where to write.  [default: here]")
@json_option
@click.pass_obj
def new(
    given: tuple[tuple[Path, ...], bool],
    name: str,
    plugins: tuple[Path, ...],
    like: str,
    folder: Path,
    as_json: bool,
) -> int:
    """Begin an objective: write NAME.py, a commented plug-in to be changed, and test_NAME.py."""
    from rlbench.cli.scaffold import new_objective

    files = new_objective(name, like, folder, (*given[0], *plugins))
    wrote = f"Wrote {files[0]} and {files[1]}; the first says what to do."
    click.echo(json.dumps([str(file) for file in files]) if given[1] or as_json else wrote)
    return 0
