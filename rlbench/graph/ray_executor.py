"""Running a graph of stages on Ray: on this machine's cores and GPUs, or on a cluster.

A pool of worker actors, made when first needed and kept warm between stages, each of which runs one stage at a time in
its main thread. The coordinator is the calling process: it holds no resource, so nothing waits for what it holds
itself. Everything that matters lies in the store; the coordinator, a worker or the machine may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import socket
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rlbench
from rlbench.graph import worker
from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.lease import is_alive
from rlbench.graph.machine import single_thread_environment
from rlbench.graph.provenance import LIBRARIES
from rlbench.graph.ray_session import INSTEAD, QUIET, ray_folder, session
from rlbench.graph.result import StageResult, describe_error, one_line
from rlbench.graph.schedule import OnEvent, Progress, Schedule
from rlbench.graph.stage import Stage
from rlbench.records import UserError

if TYPE_CHECKING:
    from types import ModuleType

TICK_S = 0.5
# Of a stage whose worker died: enough for a preempted node, few enough for a stage that kills its worker every time.
MAX_RETRIES = 3
PLACEMENT_S = 30.0  # a worker that Ray has found no place for after this long is made room for
DEATH_S = 5.0  # within which a worker that is killed is gone
START_S = 180.0  # within which a first worker has to answer on a machine whose Ray is ours


class RayExecutor:
    """Runs independent stages at once.

    ``address`` is that of a Ray cluster which sees the store under the same path (``auto``: the one running here);
    without it, Ray is started on this machine and stopped at the end, unless this process has already started it.
    ``workers`` bounds how many stages run at once, by default only the cores and GPUs do.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"workers is {workers}; it must be at least 1")
        self.address = address
        self.workers = workers

    def execute(
        self, stages: Iterable[Stage], store: Store, *, on_event: OnEvent | None = None
    ) -> dict[str, StageResult]:
        """See ``Executor.execute``. Starts no Ray where nothing is to be done.

        Raises UserError where Ray cannot start, the cluster cannot be reached, or its nodes have another rlbench.
        """
        schedule = Schedule(stages, store, on_event)
        if schedule.ready():
            with session(self.address, self.workers) as ray:
                pool = _Pool(ray, store, self.workers, start_s=START_S if self.address is None else None)
                try:
                    _Run(ray, schedule, pool, store).until_done()
                finally:
                    pool.close()
        return schedule.results()


@dataclass(eq=False)
class _Handle:
    """The coordinator's side of a worker, and of the stage that it runs."""

    name: str
    actor: Any
    need: Counter[str]
    hello: Any  # the reference that is there once the worker has been placed and started, see Worker.hello
    made: float = field(default_factory=time.monotonic)
    placed: bool = False
    pid: int = 0  # where it lives on this machine
    stage: Stage | None = None
    warm_key: tuple[str, str] | None = None  # see Stage.warm_key
    reference: Any = None
    progress: Path = Path()
    seen: str = ""


class _Pool:
    """The workers, by what they hold: cores, GPUs, and one of the number of workers asked for.

    The first of them has to start within ``start_s`` seconds, if that is given: on a cluster it may have to wait.
    """

    def __init__(self, ray: ModuleType, store: Store, workers: int | None, start_s: float | None) -> None:
        self._ray = ray
        self._store = store
        self._start_s = start_s
        self._told: set[str] = set()
        self._code = worker.Code.of_this_process(Path(rlbench.__file__).resolve().parent, LIBRARIES)
        ray.cloudpickle.register_pickle_by_value(worker)  # see there
        self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._made = 0
        self._total = Counter(_count(self._nodes))
        self._total["workers"] = workers or max(1, int(self._total["CPU"]))
        self.handles: list[_Handle] = []

    def need(self, stage: Stage) -> Counter[str] | str:
        """What a worker for this stage holds, or why no node of the cluster could have it.

        Cores are capped by what a node has: with fewer of them a stage is only slower, without its GPUs it cannot run.
        """
        gpus = stage.resources.gpus
        nodes = [node for node in self._nodes if node.get("GPU", 0.0) >= gpus and node.get("CPU", 0.0) > 0]
        if not nodes:
            most = max((node.get("GPU", 0.0) for node in self._nodes), default=0.0)
            return f"needs {gpus:g} GPU(s) on one node, and no node of the Ray cluster has more than {most:g}"
        cpus = min(stage.resources.cpus, max(node["CPU"] for node in nodes))
        return Counter({"CPU": cpus, "GPU": gpus, "workers": 1})

    def idle(self) -> list[_Handle]:
        """The workers that have nothing to do."""
        return [handle for handle in self.handles if handle.stage is None]

    def acquire(self, need: Counter[str], warm_key: tuple[str, str] | None) -> _Handle | None:
        """An idle worker that holds just this, or a new one, making room by stopping idle ones; None where there is no
        room.

        Of several idle ones it is one that has the stage's model warm, else one that has nothing warm.
        """
        fitting = [handle for handle in self.idle() if handle.need == need]
        if fitting:
            return min(
                fitting,
                key=lambda handle: (warm_key is None or handle.warm_key != warm_key, handle.warm_key is not None),
            )
        busy = [handle.need for handle in self.handles if handle.stage is not None]
        if _short(self._total, [*busy, need]):
            return None
        while short := _short(self._total, [*(handle.need for handle in self.handles), need]):
            self.stop(next(handle for handle in self.idle() if any(handle.need[name] for name in short)))
        return self._make(need)

    def _make(self, need: Counter[str]) -> _Handle:
        self._made += 1
        options = {
            "num_cpus": need["CPU"],
            "num_gpus": need["GPU"],
            "max_restarts": 0,
            "runtime_env": {"env_vars": {**single_thread_environment(), **QUIET}},
        }
        actor = self._ray.remote(worker.Worker).options(**options).remote(str(self._store.root), self._code)
        self.handles.append(_Handle(f"worker {self._made}", actor, need, actor.hello.remote()))
        return self.handles[-1]

    def stop(self, handle: _Handle) -> None:
        """Kill a worker, whatever it does."""
        self.handles.remove(handle)
        with contextlib.suppress(Exception):  # it may be dead, or the whole of Ray
            self._ray.kill(handle.actor)
        _remove(handle.progress)

    def greet(self, handle: _Handle) -> None:
        """Take a worker's hello. Raises UserError where it refuses to work; warns, once, where its libraries differ."""
        handle.placed = True
        try:
            greeting = self._ray.get(handle.hello)
        except self._ray.exceptions.RayError:
            return  # it died, which its stage will tell
        if greeting.host == socket.gethostname():
            handle.pid = greeting.pid
        if greeting.refusal is not None:
            raise UserError(greeting.refusal)
        if greeting.difference and greeting.difference not in self._told:
            self._told.add(greeting.difference)
            warnings.warn(f"{greeting.difference}: results may differ", RuntimeWarning, stacklevel=2)

    def make_room(self) -> None:
        """Stop idle workers where one has waited long for its place: cores that are free in sum may lie on different
        nodes.
        """
        waiting = [handle for handle in self.handles if not handle.placed]
        if waiting:
            started, _ = self._ray.wait([handle.hello for handle in waiting], num_returns=len(waiting), timeout=0)
            for handle in waiting:
                if handle.hello in started:
                    self.greet(handle)
        if waiting and self._start_s is not None and not any(handle.placed for handle in self.handles):
            self._refuse_to_wait(waiting[0], self._start_s)
        if any(not handle.placed and time.monotonic() - handle.made > PLACEMENT_S for handle in waiting):
            for handle in self.idle():
                self.stop(handle)

    def _refuse_to_wait(self, handle: _Handle, limit_s: float) -> None:
        if self._made == len(self.handles) and time.monotonic() - handle.made > limit_s:
            logs = f"{ray_folder()}/ray/session_latest/logs"
            raise UserError(
                f"no worker of Ray has started within {limit_s:.0f} s; its logs are in {logs}; {INSTEAD[3:]}"
            )

    def close(self) -> None:
        """Stop all workers, and remove what those on this machine leave when they are stopped in a stage."""
        busy = {handle.pid for handle in self.handles if handle.stage is not None}
        for handle in list(self.handles):
            self.stop(handle)
        if busy:
            deadline = time.monotonic() + DEATH_S
            while any(is_alive(pid) for pid in busy if pid) and time.monotonic() < deadline:
                time.sleep(TICK_S / 10)
            with contextlib.suppress(OSError):
                self._store.remove_leftovers()


def _count(nodes: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}


def _short(total: Counter[str], needs: list[Counter[str]]) -> list[str]:
    """Names of the resources of which the needs are more than there is (thirds of a GPU add up with rounding)."""
    return [name for name in total if sum(need[name] for need in needs) > total[name] + 1e-6]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


class _Run:
    """One execution of a schedule on a pool."""

    def __init__(self, ray: ModuleType, schedule: Schedule, pool: _Pool, store: Store) -> None:
        self._ray = ray
        self._store = store
        self._schedule = schedule
        self._pool = pool
        self._deaths: Counter[str] = Counter()

    def until_done(self) -> None:
        while self._dispatch():
            busy = {handle.reference: handle for handle in self._pool.handles if handle.stage is not None}
            ended, _ = self._ray.wait(list(busy), timeout=TICK_S)
            for reference in ended:
                self._collect(busy[reference])
            self._pool.make_room()
            for handle in self._pool.handles:
                self._report(handle)

    def _dispatch(self) -> bool:
        """Give ready stages to workers as far as there is room; whether any stage is running then."""
        while True:
            finished = False
            warm = {handle.warm_key for handle in self._pool.idle()}
            for stage in self._schedule.by_urgency(self._schedule.ready(), warm):
                need = self._pool.need(stage)
                if isinstance(need, str):
                    self._schedule.finish(StageResult(stage, "error", reason=need))
                    finished = True
                elif handle := self._pool.acquire(need, stage.warm_key):
                    self._start(stage, handle)
            if not finished:  # else others may have become needless or skipped
                return any(handle.stage is not None for handle in self._pool.handles)

    def _start(self, stage: Stage, handle: _Handle) -> None:
        device = "cuda" if stage.resources.gpus else "cpu"
        handle.stage, handle.seen = stage, ""
        if stage.resources.holds_model:
            handle.warm_key = stage.warm_key
        handle.progress = self._store.temporary(stage.fingerprint)
        handle.reference = handle.actor.run.remote(pickle.dumps(stage), device, str(handle.progress))
        self._schedule.start(stage, handle.name)

    def _collect(self, handle: _Handle) -> None:
        """Take the outcome of a worker's stage: a result, an input that is gone, or the worker's death."""
        self._report(handle)  # what a short stage told may not have been looked at yet
        stage, handle.stage = handle.stage, None
        assert stage is not None
        try:
            outcome = self._ray.get(handle.reference)
        except self._ray.exceptions.RayActorError as error:
            self._pool.stop(handle)
            self._retry(stage, error)
        except Exception as error:  # what cannot travel between processes: a bug, of a stage or here
            self._schedule.finish(StageResult(stage, "error", reason=describe_error(error)))
        else:
            _remove(handle.progress)
            if outcome is None:
                self._pool.greet(handle)  # raises what it has against working
            elif isinstance(outcome, MissingArtifact):
                warnings.warn(outcome.message, RuntimeWarning, stacklevel=2)
                self._schedule.lose(stage, outcome.fingerprint, outcome.message)
            else:
                outcome.stage = stage
                self._schedule.finish(outcome)

    def _retry(self, stage: Stage, error: Exception) -> None:
        self._deaths[stage.fingerprint] += 1
        deaths = self._deaths[stage.fingerprint]
        if deaths > MAX_RETRIES:
            reason = f"its worker process died {deaths} times (killed, out of memory, or crashed): {_cause(error)}"
            self._schedule.finish(StageResult(stage, "error", reason=one_line(reason)))
        else:
            self._schedule.requeue(stage)

    def _report(self, handle: _Handle) -> None:
        """Pass on how far a worker's stage is, if that has changed."""
        if handle.stage is None:
            return
        with contextlib.suppress(OSError, ValueError):  # not written yet, or just being written
            text = handle.progress.read_text(encoding="utf-8")
            done, total, note = json.loads(text)
            if text != handle.seen:
                handle.seen = text
                self._schedule.emit(Progress(handle.stage, done, total, note))


def _cause(error: Exception) -> str:
    """The telling part of Ray's many lines about a dead actor."""
    text = str(error)
    found = re.search(r"Worker exit detail: (.*?)(?: There are some potential root causes|\n|$)", text)
    return found[1] if found else text.strip().splitlines()[-1]
