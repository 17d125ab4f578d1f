"""Signals that end a command: once, as Ctrl-C does, also when the terminal is gone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = """
import sys, time
from rlbench.cli.main import cli, main
from rlbench.cli.options import interruptible

class Printer:
    cached, ran = 1, 2
    def close(self): print("closed", file=sys.stderr, flush=True)

@cli.command()
def wait():
    with interruptible(Printer(), 5, "STORE"):
        print("ready", file=sys.__stdout__, flush=True)
        print("ready", file=sys.stderr, flush=True)
        try:
            time.sleep(60)
        finally:
            time.sleep(0.3)  # what is being ended needs its time

sys.argv = ["rlbench", "wait"]
main()
"""


def start(**options: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", COMMAND], cwd=ROOT, text=True, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_once_with_how_to_go_on(name: str) -> None:
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    process = start(stderr=subprocess.PIPE, preexec_fn=heed)
    assert process.stderr is not None and process.stderr.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    if name != "SIGINT":
        process.send_signal(signal.SIGTERM)  # again, while it ends
    rest = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert rest == "closed\n\nInterrupted. 3 of 5 stages are in STORE; the same command goes on from there.\n"


def test_a_command_that_ignores_the_closing_of_its_terminal_goes_on() -> None:
    process = start(stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stderr is not None and process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130


def test_a_command_whose_terminal_is_closed_ends_as_it_should() -> None:
    ours, theirs = pty.openpty()
    process = start(stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.close(theirs)
    os.close(ours)  # what is written there fails from now on
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 130
