"""Progress on a terminal while stages run: a line per finished stage with an estimate of what is left, and how far the
running ones are.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from rlbench.graph.result import StageResult
from rlbench.graph.schedule import Event, Finished, Progress, Started
from rlbench.graph.stage import Stage

WIDTH = 118
LEAST_SHARE = 0.1
QUIET_S = 30.0
"""Off a terminal: after so long without a line, one says how far the running stages are."""


@dataclass
class _Running:
    name: str
    kind: str
    since: float
    done: float = 0.0
    total: float = 0.0
    note: str = ""

    def text(self, now: float) -> str:
        how_far = f"{100 * self.done / self.total:.0f}%" if self.total else f"{now - self.since:.0f}s"
        return f"{self.name} {how_far}{' ' if self.note else ''}{self.note}"

    def whole(self, now: float) -> float | None:
        """How long it will have taken, once it has told enough of it: the first steps pay for what is loaded."""
        return (
            (now - self.since) * self.total / self.done
            if self.total and self.done >= LEAST_SHARE * self.total
            else None
        )


class ProgressPrinter:
    """An ``on_event`` callback for executors that writes to ``stream``.

    Evaluations are summed up a model at a time, problem sets altogether; everything else gets a line of its own. The
    estimate of what is left takes the mean time of finished stages of the same kind, or how far a running one is, over
    the number of stages that were seen to run at once.
    """

    def __init__(
        self, stages: list[Stage], stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._clock = clock
        self._kinds = {stage.fingerprint: _kind(stage) for stage in stages}
        self._left = dict(self._kinds)
        self._running: dict[str, _Running] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._group: dict[str, int] = defaultdict(int)
        for stage in stages:
            self._group[_group(stage)] += 1
        self._grouped: dict[str, list[StageResult]] = defaultdict(list)
        self._width = 0
        self._most = 1
        self._last_line = clock()
        self.cached = self.ran = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._running[event.stage.fingerprint] = _Running(event.stage.name, _kind(event.stage), self._clock())
            self._most = max(self._most, len(self._running))
        elif isinstance(event, Progress) and event.stage.fingerprint in self._running:
            running = self._running[event.stage.fingerprint]
            running.done, running.total, running.note = event.done, event.total, event.note
        elif isinstance(event, Finished):
            self._finished(event.result)
        self._status()

    def _finished(self, result: StageResult) -> None:
        stage, group = result.stage, _group(result.stage)
        self._running.pop(stage.fingerprint, None)
        self._left.pop(stage.fingerprint, None)
        self._group[group] -= 1
        if result.cached:
            self.cached += 1
            return
        if result.status != "skipped":
            self.ran += 1
        if result.status == "done":
            self._seconds[_kind(stage)].append(result.seconds)
            self._grouped[group].append(result)
            for note in result.notes:
                self._line(f"{stage.name}: note: {note}")
            if self._group[group] <= 0:
                self._line(f"{group:<44} {_cost(self._grouped[group])}")
        elif result.status != "skipped":
            self._line(f"{stage.name:<44} {result.status}: {result.reason}")

    def _line(self, text: str) -> None:
        self._clear()
        total = len(self._kinds)
        self._stream.write(f"[{total - len(self._left):>4}/{total}] {text}   {self._eta()}".rstrip() + "\n")
        self._stream.flush()
        self._last_line = self._clock()

    def _status(self) -> None:
        now = self._clock()
        running = " | ".join(stage.text(now) for stage in self._running.values())
        if not self._live:
            if running and now - self._last_line >= QUIET_S:
                self._line(running)
            return
        self._clear()
        text = f"[{len(self._kinds) - len(self._left):>4}/{len(self._kinds)}] {running}   {self._eta()}"[:WIDTH]
        self._width = len(text)
        self._stream.write(text)
        self._stream.flush()

    def _clear(self) -> None:
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _eta(self) -> str:
        """Time left; a lower bound while a kind of stage is left that has not been seen."""
        now = self._clock()
        means = self._means(now)
        if not self._left or not means:
            return ""
        left = sum(means.get(kind, 0.0) for kind in self._left.values())
        left -= sum(min(now - stage.since, means.get(stage.kind, 0.0)) for stage in self._running.values())
        if left < 3:
            return ""
        unseen = set(self._left.values()) - means.keys() - {"problems", "view", "model", "merge"}
        return f"{'at least' if unseen else 'about'} {max(left, 0) / self._most / 60:.1f} min left"

    def _means(self, now: float) -> Mapping[str, float]:
        """Seconds a stage by kind: of those that have finished, else of those that tell how far they are."""
        known: dict[str, list[float]] = defaultdict(list)
        for stage in self._running.values():
            if (whole := stage.whole(now)) is not None:
                known[stage.kind].append(whole)
        return {kind: sum(values) / len(values) for kind, values in {**known, **self._seconds}.items()}

    def close(self) -> None:
        """Leave the terminal clean."""
        self._clear()
        self._stream.flush()


def _kind(stage: Stage) -> str:
    """The class of stages that take like time: its kind, but what only puts shards together is of its own."""
    return stage.kind if stage.parts == [stage] else "merge"


def _group(stage: Stage) -> str:
    """The stages that share one line: a model's evaluations, all problem sets, else the stage by itself."""
    if stage.kind == "evaluate":
        name = stage.name.rsplit("/", 1)[0] if stage.is_shard else stage.name
        return name.rsplit("/", 2)[0]
    return "problems" if stage.kind == "problems" else stage.name


def _cost(results: list[StageResult]) -> str:
    """The time that stages took, and how fast they sampled, per worker."""
    seconds = sum(result.seconds for result in results)
    sampled = [
        result for result in results if result.stage.kind in ("rollouts", "evaluate") and result.counters.get("tokens")
    ]
    text = f"{seconds:7.1f} s"
    if own := sum(result.seconds for result in sampled):
        text += f"  {sum(result.counters['tokens'] for result in sampled) / own:9,.0f} tokens/s"
    return text
