"""The command line. Exit codes: 0 every row filled; 1 some row failed (the others are there); 2 bad input; 130
interrupted (by Ctrl-C, SIGTERM or SIGHUP), resumable.
"""

from __future__ import annotations

import sys

import click

from rlbench import __version__
from rlbench.cli import bench, doctor, grading, objectives, runs
from rlbench.cli.options import EXIT_BAD_INPUT, EXIT_INTERRUPTED, Group, examples
from rlbench.cli.signals import end_as_by_ctrl_c, say_interrupted
from rlbench.records import UserError


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("rlbench recipes", "rlbench run quickstart", "rlbench plan dft_vs_rl"),
)
@click.version_option(__version__, prog_name="rlbench")
def cli() -> None:
    """rlbench: which objective should I post-train with?"""


for command in (
    runs.run,
    runs.plan,
    runs.show,
    runs.keys,
    runs.rollouts,
    runs.evaluate,
    runs.report,
    runs.diff,
    runs.recipes,
    grading.grade,
    grading.regrade,
    objectives.objectives,
    bench.bench,
    doctor.doctor,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the ``rlbench`` command."""
    end_as_by_ctrl_c()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except UserError as error:
        click.echo(f"rlbench: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):  # click makes the latter of the former
        say_interrupted()
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
