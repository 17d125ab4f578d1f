"""What a person sees while stages run: a line a finished stage with an estimate of what is left, and a live line on a terminal."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TextIO

from rlbench.graph.execute import Event, Finished, Progress, Started
from rlbench.graph.stage import Stage


class ProgressPrinter:
    """An ``on_event`` callback for executors that writes to ``stream``.

    Evaluations are summed up a model at a time, problem sets altogether; everything else gets a line of its own.
    The estimate of what is left takes the mean time of finished stages of the same kind, over the number of stages that were seen
    to run at once.
    """

    def __init__(self, stages: list[Stage], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._kinds = {stage.fingerprint: stage.kind for stage in stages}
        self._left = dict(self._kinds)
        self._running: dict[str, tuple[str, float, float, float]] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._group: dict[str, int] = defaultdict(int)
        for stage in stages:
            self._group[_group(stage)] += 1
        self._grouped: dict[str, float] = defaultdict(float)
        self._width = 0
        self._most = 1
        self.cached = self.ran = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._running[event.stage.fingerprint] = (event.stage.name, time.monotonic(), 0.0, 0.0)
            self._most = max(self._most, len(self._running))
        elif isinstance(event, Progress) and event.stage.fingerprint in self._running:
            name, since, _, _ = self._running[event.stage.fingerprint]
            self._running[event.stage.fingerprint] = (name, since, event.done, event.total)
        elif isinstance(event, Finished):
            self._finished(event)
        self._status()

    def _finished(self, event: Finished) -> None:
        result = event.result
        self._running.pop(result.stage.fingerprint, None)
        self._left.pop(result.stage.fingerprint, None)
        self._group[_group(result.stage)] -= 1
        if result.cached:
            self.cached += 1
            return
        if result.status != "skipped":
            self.ran += 1
        if result.status == "done":
            self._seconds[result.stage.kind].append(result.seconds)
            self._grouped[_group(result.stage)] += result.seconds
            if self._group[_group(result.stage)] <= 0:
                self._line(f"{_group(result.stage):<44} {self._grouped[_group(result.stage)]:7.1f} s")
        elif result.status != "skipped":
            self._line(f"{result.stage.name:<44} {result.status}: {result.reason}")

    def _line(self, text: str) -> None:
        self._clear()
        total = len(self._kinds)
        self._stream.write(f"[{total - len(self._left):>4}/{total}] {text}   {self._eta()}".rstrip() + "\n")
        self._stream.flush()

    def _status(self) -> None:
        if not self._live:
            return
        self._clear()
        now = time.monotonic()
        parts = [
            f"{name} {100 * done / total:.0f}%" if total else f"{name} {now - since:.0f}s"
            for name, since, done, total in self._running.values()
        ]
        text = f"[{len(self._kinds) - len(self._left):>4}/{len(self._kinds)}] {' | '.join(parts)}   {self._eta()}"[:118]
        self._width = len(text)
        self._stream.write(text)
        self._stream.flush()

    def _clear(self) -> None:
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _eta(self) -> str:
        """Time left; a lower bound while a kind of stage is left that has not been seen."""
        if not self._left or not self._seconds:
            return ""
        means: Mapping[str, float] = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        left = sum(means.get(kind, 0.0) for kind in self._left.values())
        left -= sum(min(time.monotonic() - since, means.get(self._kinds[key], 0.0)) for key, (_, since, _, _) in self._running.items())
        if left < 3:
            return ""
        unseen = set(self._left.values()) - means.keys() - {"problems", "view", "model"}
        return f"{'at least' if unseen else 'about'} {max(left, 0) / self._most / 60:.1f} min left"

    def close(self) -> None:
        """Leave the terminal clean."""
        self._clear()
        self._stream.flush()


def _group(stage: Stage) -> str:
    """What shares one line: a model's evaluations, all problem sets, else the stage by itself."""
    if stage.kind == "evaluate":
        return stage.name.rsplit("/", 2)[0]
    return "problems" if stage.kind == "problems" else stage.name
