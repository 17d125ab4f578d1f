"""Order of a graph: the stages that are ready, those whose inputs failed, and the events that a run tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.result import REFUSAL_LENGTH, StageResult, one_line
from rlbench.graph.stage import Stage, topological
from rlbench.records import UserError

MAX_LOSSES = 3  # how often a stage's inputs may turn out to be gone before the stage gives up


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


class Executor(Protocol):
    """A way of running a graph: ``LocalExecutor`` or ``RayExecutor``."""

    def execute(
        self, stages: Iterable[Stage], store: Store, *, on_event: OnEvent | None = None
    ) -> dict[str, StageResult]:
        """Make the artifacts of the target ``stages`` and of what they need.

        Returns results by fingerprint, in topological order, of every stage of the graph that was run, skipped or found
        in the store.
        """
        ...


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
        self._unreadable: dict[str, str] = {}  # reasons of those whose artifact is there and cannot be read
        self._running: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._height = self._heights()
        for stage in self.order:
            try:
                manifest = store.manifest(stage.fingerprint)
                if stage.fingerprint in self._targets:
                    store.open(stage.fingerprint)
            except MissingArtifact:
                continue
            except UserError as error:
                self._unreadable[stage.fingerprint] = one_line(str(error), REFUSAL_LENGTH)
            else:
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
        needed = self._needed()
        for stage in self.order:
            if stage.fingerprint in needed and stage.fingerprint in self._unreadable:
                unreadable = self._unreadable[stage.fingerprint]
                self.finish(StageResult(stage, "error", reason=unreadable, bad_input=True))
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
