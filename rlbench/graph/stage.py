"""A stage: a plain function of its configuration and of its upstream artifacts, and the graph that stages make."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from rlbench.graph.fingerprint import fingerprint

T = TypeVar("T")
StageFunction = Callable[[dict[str, Any], dict[str, Path], Path, "StageContext"], None]
Report = Callable[[float, float, str], None]

PROGRESS_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Requirements:
    """What a stage needs while it runs: CPU cores and GPUs (a fraction shares one). Never part of a fingerprint.

    One that does not ``holds_model`` leaves room for a model that is kept for later stages.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    holds_model: bool = True


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of the graph.

    ``name`` is for people (``train/grpo/seed0``); ``function`` is a stable id of its function, and ``path`` the dotted
    path ``package.module:function`` which is imported only when the stage runs, by default the id itself; ``version``
    is raised when the function's output changes; ``config`` is plain data; ``inputs`` are the upstream stages by the
    name under which the function gets the folder of their artifact. Config and inputs must not be changed afterwards.
    ``unhashed`` say where something lies that config names by its content; like ``name``, ``resources`` and ``path``,
    they are not fingerprinted.
    """

    name: str
    function: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Stage] = field(default_factory=dict, repr=False)
    resources: Requirements = Requirements()
    unhashed: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of function, version, config and the inputs' fingerprints; not of name and resources. TypeError: see
        ``fingerprint``.
        """
        parts = {
            "function": self.function,
            "version": self.version,
            "config": self.config,
            "inputs": {name: stage.fingerprint for name, stage in self.inputs.items()},
        }
        try:
            return fingerprint(parts)
        except TypeError as error:
            raise TypeError(f"stage {self.name}: {error}") from None

    @property
    def kind(self) -> str:
        """The first part of the name: ``train`` of ``train/grpo/seed0``."""
        return self.name.split("/", 1)[0]

    @property
    def warm_key(self) -> tuple[str, str] | None:
        """What a worker that has run it may have kept for others with the same value: its function's model; None
        without a model.
        """
        return (
            (self.function, self.inputs["model"].fingerprint)
            if "model" in self.inputs and self.resources.holds_model
            else None
        )

    @property
    def is_shard(self) -> bool:
        """Whether this is a part of what another stage puts together."""
        return "shard" in self.config

    @property
    def parts(self) -> list[Stage]:
        """The shards that it puts together; where it has none, itself."""
        return [stage for stage in self.inputs.values() if stage.is_shard] or [self]

    def load(self) -> StageFunction:
        """Import the function. Raises ImportError or AttributeError where there is none."""
        module, _, name = (self.path or self.function).partition(":")
        return getattr(importlib.import_module(module), name)


def topological(stages: Iterable[Stage]) -> list[Stage]:
    """The stages and everything upstream of them, inputs first, one for each fingerprint.

    The order is that of a depth-first walk, so it depends on nothing but the order of ``stages`` and of their inputs.
    """
    found: dict[str, Stage] = {}
    stack = [(stage, False) for stage in reversed(list(stages))]
    while stack:  # without recursion: a chain may be longer than Python's stack
        stage, inputs_done = stack.pop()
        if stage.fingerprint in found:
            continue
        if inputs_done:
            found[stage.fingerprint] = stage
        else:
            stack.append((stage, True))
            stack += [(upstream, False) for upstream in reversed(list(stage.inputs.values()))]
    return list(found.values())


@dataclass(frozen=True)
class _Held:
    function: str
    key: str
    value: Any
    close: Callable[[Any], None]


class WarmSlot:
    """The one value (an engine with its model) that a worker holds for following stages of the same function.

    Whoever runs stages has one and hands it to each of them; stages use it through ``StageContext.reuse``.
    """

    def __init__(self) -> None:
        self._held: _Held | None = None

    def reuse(self, function: str, key: str, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """The value held under ``function`` and ``key``, else that of ``make``, which takes the other's place."""
        if self._held is None or (self._held.function, self._held.key) != (function, key):
            self.release()
            self._held = _Held(function, key, make(), close)
        return self._held.value

    def release(self, but: str = "") -> None:
        """Close the value, unless stages of the function ``but`` have left it: memory is for the stage that runs."""
        held = self._held
        if held is not None and held.function != but:
            self._held = None
            with contextlib.suppress(Exception):  # one that cannot be closed is given up
                held.close(held.value)


class StageContext:
    """What a stage function may tell and ask while it runs."""

    def __init__(
        self,
        scratch: Path,
        device: str,
        report: Report | None = None,
        unhashed: Mapping[str, Any] | None = None,
        function: str = "",
        share: float = 1.0,
        slot: WarmSlot | None = None,
    ) -> None:
        self.device = device
        self.share = share  # of a GPU, or 1
        self._function = function
        self._slot = slot or WarmSlot()
        self.unhashed = dict(unhashed or {})
        self.counters: dict[str, int | float] = {}
        self.notes: list[str] = []
        self._scratch = scratch
        self._report = report
        self._reported = float("-inf")

    @property
    def scratch(self) -> Path:
        """A folder outside the artifact for snapshots: it survives kills and is emptied once the
        artifact is published.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Say how far the stage is. Rate-limited here, so it may be called as often as one likes."""
        now = time.monotonic()
        if self._report is not None and (now - self._reported >= PROGRESS_INTERVAL_S or done >= total > 0):
            self._reported = now
            self._report(done, total, note)

    def reuse(self, key: str, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """What ``make`` returns, held by this worker for following stages of the same function that ask with the same
        key.

        It is closed before another takes its place, and before a stage of another function runs.
        """
        return self._slot.reuse(self._function, key, make, close)

    def count(self, **numbers: float) -> None:
        """Add to named counters (``tokens``, ``prompts``, ...), which end in the artifact's manifest and in the stage's
        result.
        """
        for name, number in numbers.items():
            value = number if type(number) is int else float(number)
            self.counters[name] = self.counters.get(name, 0) + value

    def note(self, text: str) -> None:
        """Say something that readers of the results have to know; it stands in the artifact's manifest, in the stage's
        result and in the report.
        """
        if text not in self.notes:
            self.notes.append(text)
