"""Signals that ask a command to end: each of them ends it as Ctrl-C does, with what is there and how to go on."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

ENDING = ("SIGTERM", "SIGHUP")  # of schedulers and service managers; of a terminal that is closed


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as SIGINT does.

    One that is ignored (under ``nohup``) stays so.
    """
    for name in ENDING:
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for name in ENDING:  # once: what is being ended needs its few seconds, however often one asks
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is _interrupt:
            signal.signal(getattr(signal, name), lambda number, frame: None)
    raise KeyboardInterrupt


def say_interrupted(rest: str = "") -> None:
    """Print that a command was interrupted; to nobody where the terminal is gone."""
    try:
        click.echo(f"\nInterrupted.{rest}", err=True)
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)  # else Python fails at its end, when it flushes them
