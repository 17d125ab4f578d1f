"""Running a graph of stages: what runs when (``Schedule``), how one stage runs (``run_stage``), and all of it in this
process.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.stage import Report, Stage, StageContext, release, topological
from rlbench.records import StageFailure, UserError

Status = Literal["done", "failed", "skipped", "error"]

MAX_LOSSES = 3  # how often a stage's inputs may turn out to be gone before the stage gives up
REASON_LENGTH = 300
_LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "math_verify",
    "numpy",
    "pandas",
    "pyarrow",
    "vllm",
    "ray",
)


@dataclass
class StageResult:
    """How a stage ended. ``reason`` is one line and None for ``done``; measurements of a cached one are those of when
    it was made.

    ``failed`` can never succeed and is remembered; ``error`` (a bug, memory, a disk) is tried again by the next run;
    ``skipped`` had an input which is one of the two. ``bad_input`` marks an error that only the user can mend, a
    UserError. ``notes`` are for the readers of the results. Times are in seconds, of all threads and of children waited
    for in ``cpu_seconds``.
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


@dataclass(frozen=True)
class Started:
    """A stage begins on a worker (``local``, ``worker 3``)."""

    stage: Stage
    worker: str


@dataclass(frozen=True)
class Progress:
    """A running stage is at ``done`` of ``total`` (0 of 0: unknown)."""

    stage: Stage
    done: float
    total: float
    note: str


@dataclass(frozen=True)
class Finished:
    """A stage has a result. A stage whose artifact is found to be gone later finishes a second time."""

    result: StageResult


Event = Started | Progress | Finished
OnEvent = Callable[[Event], None]


def single_thread_environment() -> dict[str, str]:
    """Environment of a process that runs stages: one thread of mathematics each (more of them on shared cores spin),
    and no telemetry.

    It must be set before torch is imported; where torch is imported already, this sets its number of threads too.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def run_stage(stage: Stage, store: Store, device: str, report: Report) -> StageResult:
    """Make a stage's artifact, unless it is there or another process makes it: take the lease, run in a temporary
    folder, publish.

    Returns status ``done``, ``failed`` (the function raised StageFailure) or ``error`` (anything else: not stored, its
    traceback in the store's logs). Raises MissingArtifact where an input is not in the store or was tampered with.
    """
    try:
        share = min(stage.resources.gpus, 1.0) or 1.0
        context = StageContext(store.scratch(stage.fingerprint), device, report, stage.unhashed, stage.function, share)
        with store.lease(stage.fingerprint, waiting=lambda note: context.progress(0, 0, note)) as lease:
            if lease is None:
                return StageResult.stored(stage, store.manifest(stage.fingerprint), cached=True)
            inputs = {name: store.open(upstream.fingerprint) for name, upstream in stage.inputs.items()}
            with store.folder(stage.fingerprint) as folder:
                lease.guard(folder)
                done = False
                try:
                    result = _run(stage, store, inputs, folder, context)
                    done = result.status == "done"
                finally:
                    if not done:
                        release()  # what it kept may be in any state
                return result
    except UserError as error:
        return StageResult(stage, "error", reason=one_line(str(error)), bad_input=True)


def _run(stage: Stage, store: Store, inputs: dict[str, Path], folder: Path, context: StageContext) -> StageResult:
    if stage.resources.holds_model:
        release(but=stage.function)
    meter = _Meter()
    status, reason = "done", None
    config = json.dumps(stage.config, default=dict)
    try:
        # A copy in plain JSON types: what a function sees is the same in every executor, and what it changes stays its
        # own.
        with contextlib.redirect_stdout(sys.stderr):  # what a plug-in prints is no part of a command's output
            stage.load()(json.loads(config), inputs, folder, context)
    except StageFailure as failure:
        status, reason = "failed", one_line(str(failure))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        store.log(stage.fingerprint, f"stage {stage.name} ({stage.function})\n{traceback.format_exc()}")
        if _is_full(error, store):
            with store.errors():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        return StageResult(stage, "error", **meter.read(), counters=context.counters, reason=describe_error(error))
    manifest = {
        "name": stage.name,
        "function": stage.function,
        "version": stage.version,
        "config": json.loads(config),
        "inputs": {name: upstream.fingerprint for name, upstream in stage.inputs.items()},
        "status": status,
        "reason": reason,
        **meter.read(),
        "counters": context.counters,
        "notes": context.notes,
        "versions": library_versions(),
        "git": git_state(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        return StageResult.stored(stage, store.publish(stage.fingerprint, folder, manifest), cached=False)
    except (OSError, ValueError) as error:
        store.log(stage.fingerprint, f"stage {stage.name} ({stage.function})\n{traceback.format_exc()}")
        return StageResult(stage, "error", **meter.read(), counters=context.counters, reason=describe_error(error))


def describe_error(error: BaseException) -> str:
    """One line: type, message, and the place of the innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno})" if frames else ""
    message = one_line(str(error))
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def one_line(text: str) -> str:
    """A text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 3] + "..."


def _is_full(error: BaseException, store: Store) -> bool:
    """Whether the store's disk was full; libraries written in other languages only say so in words."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
    named = getattr(error, "filename", None)  # None: it was the writing that failed, not the opening
    return full and (not isinstance(named, str) or Path(named).absolute().is_relative_to(store.root))


class _Meter:
    """Measures from its making to ``read``: wall and CPU seconds, and the peak of this process's resident memory."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # Linux: start the high-water mark anew
            Path("/proc/self/clear_refs").write_text("5")
        self._wall, self._cpu = time.perf_counter(), self._cpu_seconds()

    def read(self) -> dict[str, float | int]:
        return {
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(self._cpu_seconds() - self._cpu, 3),
            "peak_memory_bytes": self._peak(),
        }

    @staticmethod
    def _cpu_seconds() -> float:
        return sum(os.times()[:4])

    @staticmethod
    def _peak() -> int:
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def library_versions() -> dict[str, str]:
    """Versions of Python and of those libraries that this process has imported."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        if name in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
    return versions


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of the checkout that rlbench is imported from and whether it has changes; None where it is no checkout of
    its own.
    """
    root = Path(__file__).resolve().parents[2]

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")) != root:
            return None  # a checkout of something else around an installed package
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


class Schedule:
    """What is left to do of a graph. Both executors ask it for stages that are ready and tell it how they ended.

    Only what the targets need is done: a stage whose artifact is there needs none of its inputs. Targets that are there
    are verified, other artifacts when a stage reads them. A stage that is neither there nor needed gets no result.
    """

    def __init__(self, stages: Iterable[Stage], store: Store, on_event: OnEvent | None = None) -> None:
        targets = list(stages)
        self.order = topological(targets)
        self.emit: OnEvent = on_event or (lambda event: None)
        self._targets = [stage.fingerprint for stage in targets]
        self._results: dict[str, StageResult] = {}
        self._running: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._height = self._heights()
        for stage in self.order:
            with contextlib.suppress(MissingArtifact):
                manifest = store.manifest(stage.fingerprint)
                if stage.fingerprint in self._targets:
                    store.open(stage.fingerprint)
                self.finish(StageResult.stored(stage, manifest, cached=True))

    def _heights(self) -> dict[str, int]:
        """Length of the longest chain of dependants of each stage."""
        height = dict.fromkeys((stage.fingerprint for stage in self.order), 0)
        for stage in reversed(self.order):
            for upstream in stage.inputs.values():
                height[upstream.fingerprint] = max(height[upstream.fingerprint], height[stage.fingerprint] + 1)
        return height

    def ready(self) -> list[Stage]:
        """Stages to be started now: needed, not running, every input done. In topological order."""
        for stage in self.order:
            bad = [self._results[i.fingerprint] for i in stage.inputs.values() if self._is_bad(i.fingerprint)]
            if bad and stage.fingerprint not in self._results and stage.fingerprint not in self._running:
                first = bad[0]
                reason = first.reason if first.status == "skipped" else f"`{first.stage.name}`: {first.reason}"
                self.finish(StageResult(stage, "skipped", reason=reason))
        needed = self._needed()
        return [
            stage
            for stage in self.order
            if stage.fingerprint in needed
            and stage.fingerprint not in self._running
            and all(upstream.fingerprint in self._results for upstream in stage.inputs.values())
        ]

    def by_urgency(self, stages: Iterable[Stage], warm: Collection[tuple[str, str] | None] = ()) -> list[Stage]:
        """Stages with the longest chain of dependants first, of equal ones those for which idle workers have ``kept``
        the model.
        """
        return sorted(
            stages,
            key=lambda stage: (-self._height[stage.fingerprint], stage.warm_key is None or stage.warm_key not in warm),
        )

    def _is_bad(self, fingerprint: str) -> bool:
        return fingerprint in self._results and self._results[fingerprint].status != "done"

    def _needed(self) -> set[str]:
        """Fingerprints without a result that the targets depend on."""
        needed = {fingerprint for fingerprint in self._targets if fingerprint not in self._results}
        for stage in reversed(self.order):
            if stage.fingerprint in needed:
                needed |= {i.fingerprint for i in stage.inputs.values() if i.fingerprint not in self._results}
        return needed

    def start(self, stage: Stage, worker: str) -> None:
        """A stage was given to a worker."""
        self._running.add(stage.fingerprint)
        self.emit(Started(stage, worker))

    def finish(self, result: StageResult) -> None:
        """A stage has ended."""
        self._running.discard(result.stage.fingerprint)
        self._results[result.stage.fingerprint] = result
        self.emit(Finished(result))

    def requeue(self, stage: Stage) -> None:
        """A stage's worker is gone: it is the stage's turn again."""
        self._running.discard(stage.fingerprint)

    def lose(self, stage: Stage, fingerprint: str, message: str) -> None:
        """A stage could not start, since this input of it is gone: the input is made again first, and then it is the
        stage's turn.
        """
        self._running.discard(stage.fingerprint)
        self._losses[stage.fingerprint] += 1
        if self._losses[stage.fingerprint] > MAX_LOSSES:
            reason = f"an input was made again {MAX_LOSSES} times and is gone again: {message}"
            self.finish(StageResult(stage, "error", reason=one_line(reason)))
        else:
            self._results.pop(fingerprint, None)

    def results(self) -> dict[str, StageResult]:
        """The results so far by fingerprint, in topological order."""
        return {
            stage.fingerprint: self._results[stage.fingerprint]
            for stage in self.order
            if stage.fingerprint in self._results
        }


class LocalExecutor:
    """Runs stages in this process, one after the other: for a debugger, and where Ray is not wanted.

    It sets this process's environment to one thread of mathematics, see ``single_thread_environment``.
    """

    def execute(
        self, stages: Iterable[Stage], store: Store, *, on_event: OnEvent | None = None
    ) -> dict[str, StageResult]:
        """Make the artifacts of the target ``stages`` and of what they need.

        Returns results by fingerprint, in topological order, of every stage of the graph that was run, skipped or found
        in the store.
        """
        os.environ.update(single_thread_environment())
        schedule = Schedule(stages, store, on_event)
        try:
            while ready := schedule.ready():
                stage = ready[0]
                schedule.start(stage, "local")
                device = "cuda" if stage.resources.gpus else "cpu"
                try:
                    result = run_stage(
                        stage, store, device, lambda *progress, stage=stage: schedule.emit(Progress(stage, *progress))
                    )
                except MissingArtifact as missing:
                    schedule.lose(stage, missing.fingerprint, missing.message)
                else:
                    schedule.finish(result)
        finally:
            release()
        return schedule.results()
