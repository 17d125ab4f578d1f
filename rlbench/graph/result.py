"""How a stage ended, and errors in one line."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlbench.graph.stage import Stage

Status = Literal["done", "failed", "skipped", "error"]

REASON_LENGTH = 300  # characters of an error's text, which may be of any library
REFUSAL_LENGTH = 1000  # of a UserError's: it names paths, and its hint stands at the end


@dataclass
class StageResult:
    """How a stage ended. ``reason`` is one line and None for ``done``; measurements of a cached one are those of when
    it was made.

    ``failed`` can never succeed and is remembered; ``error`` (a bug, memory, a disk) is tried again by the next run;
    ``skipped`` had an input which is one of the two. ``bad_input`` marks an error that only the user can mend, a
    UserError. ``notes`` are for the readers of the results. Times are in seconds; ``cpu_seconds`` are of all threads
    and of children waited for.
    """

    stage: Stage
    status: Status
    cached: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    counters: dict[str, int | float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    peak_memory_bytes: int | None = None
    reason: str | None = None
    bad_input: bool = False

    @classmethod
    def stored(cls, stage: Stage, manifest: Mapping[str, Any], *, cached: bool) -> StageResult:
        """The result that an artifact's manifest tells."""
        names = ("status", "seconds", "cpu_seconds", "counters", "notes", "peak_memory_bytes", "reason")
        return cls(stage, cached=cached, **{name: manifest[name] for name in names if name in manifest})


def describe_error(error: BaseException) -> str:
    """One line: type, message, and the place of the innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno})" if frames else ""
    message = one_line(str(error))
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def one_line(text: str, longest: int = REASON_LENGTH) -> str:
    """A text as one line of at most ``longest`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."
