"""Running a graph of stages in this process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.machine import single_thread_environment
from rlbench.graph.result import StageResult
from rlbench.graph.run_stage import run_stage
from rlbench.graph.schedule import OnEvent, Progress, Schedule
from rlbench.graph.stage import Stage, WarmSlot


class LocalExecutor:
    """Runs stages in this process, one after the other: for a debugger, and where Ray is not wanted.

    It sets this process's environment to one thread of mathematics, see ``single_thread_environment``.
    """

    def execute(
        self, stages: Iterable[Stage], store: Store, *, on_event: OnEvent | None = None
    ) -> dict[str, StageResult]:
        """See ``Executor.execute``."""
        os.environ.update(single_thread_environment())
        schedule, slot = Schedule(stages, store, on_event), WarmSlot()
        try:
            while ready := schedule.ready():
                stage = ready[0]
                schedule.start(stage, "local")
                device = "cuda" if stage.resources.gpus else "cpu"
                try:
                    result = run_stage(stage, store, device, partial(_report, schedule, stage), slot)
                except MissingArtifact as missing:
                    schedule.lose(stage, missing.fingerprint, missing.message)
                else:
                    schedule.finish(result)
        finally:
            slot.release()
        return schedule.results()


def _report(schedule: Schedule, stage: Stage, done: float, total: float, note: str) -> None:
    schedule.emit(Progress(stage, done, total, note))
