"""Running one stage: under its lease, in a temporary folder, measured, its artifact published with a manifest."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import TypedDict

from rlbench.graph.artifact import Store
from rlbench.graph.provenance import git_state, library_versions, machine
from rlbench.graph.result import REFUSAL_LENGTH, StageResult, describe_error, one_line
from rlbench.graph.stage import Report, Stage, StageContext, WarmSlot
from rlbench.records import StageFailure, UserError


def run_stage(stage: Stage, store: Store, device: str, report: Report, slot: WarmSlot) -> StageResult:
    """Make a stage's artifact, unless it is there or another process makes it: take the lease, run in a temporary
    folder, publish. ``slot`` holds what earlier stages of this worker have left warm.

    Returns status ``done``, ``failed`` (the function raised StageFailure) or ``error`` (anything else: not stored, its
    traceback in the store's logs). Raises MissingArtifact where an input is not in the store or was tampered with.
    """
    try:
        context = StageContext(
            store.scratch(stage.fingerprint),
            device,
            report,
            unhashed=stage.unhashed,
            function=stage.function,
            share=min(stage.resources.gpus, 1.0) or 1.0,
            slot=slot,
        )
        with store.lease(stage.fingerprint, waiting=lambda note: context.progress(0, 0, note)) as lease:
            if lease is None:
                return StageResult.stored(stage, store.manifest(stage.fingerprint), cached=True)
            inputs = {name: store.open(upstream.fingerprint) for name, upstream in stage.inputs.items()}
            with store.folder(stage.fingerprint) as folder:
                lease.guard(folder)
                done = False
                if stage.resources.holds_model:
                    slot.release(but=stage.function)
                try:
                    result = _run(stage, store, inputs, folder, context)
                    done = result.status == "done"
                finally:
                    if not done:
                        slot.release()  # the value may be in any state
                return result
    except UserError as error:
        return StageResult(stage, "error", reason=one_line(str(error), REFUSAL_LENGTH), bad_input=True)


def _run(stage: Stage, store: Store, inputs: dict[str, Path], folder: Path, context: StageContext) -> StageResult:
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
        "machine": machine(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        return StageResult.stored(stage, store.publish(stage.fingerprint, folder, manifest), cached=False)
    except (OSError, ValueError) as error:
        store.log(stage.fingerprint, f"stage {stage.name} ({stage.function})\n{traceback.format_exc()}")
        return StageResult(stage, "error", **meter.read(), counters=context.counters, reason=describe_error(error))


def _is_full(error: BaseException, store: Store) -> bool:
    """Whether the store's disk was full; libraries written in other languages only say so in words."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
    named = getattr(error, "filename", None)  # None: it was the writing that failed, not the opening
    return full and (not isinstance(named, str) or Path(named).absolute().is_relative_to(store.root))


class _Measured(TypedDict):
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


class _Meter:
    """Measures from its making to ``read``: wall and CPU seconds, and the peak of this process's resident memory."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # Linux: start the high-water mark anew
            Path("/proc/self/clear_refs").write_text("5")
        self._wall, self._cpu = time.perf_counter(), self._cpu_seconds()

    def read(self) -> _Measured:
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
