"""Running a graph of stages on Ray: on this machine's cores and GPUs, or on a cluster.

A pool of worker actors, made when first needed and kept warm between stages, each of which runs one stage at a time in
its main thread. The coordinator is the calling process: it holds no resource, so nothing waits for what it holds
itself. Everything that matters lies in the store; the coordinator, a worker or the machine may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import sysconfig
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.machine import single_thread_environment
from rlbench.graph.result import StageResult, describe_error, one_line
from rlbench.graph.run_stage import run_stage
from rlbench.graph.schedule import OnEvent, Progress, Schedule
from rlbench.graph.stage import Stage, WarmSlot
from rlbench.records import UserError

if TYPE_CHECKING:
    from types import ModuleType

TICK_S = 0.5
# Of a stage whose worker died: enough for a preempted node, few enough for a stage that kills its worker every time.
MAX_RETRIES = 3
PLACEMENT_S = 30.0  # a worker that Ray has found no place for after this long is made room for
OBJECT_STORE_BYTES = 200 * 2**20  # artifacts travel through the store; Ray only carries stages and results

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # hides the GPUs from CPU stages
}
_LOCAL = {  # of a Ray that is started here
    # What a stage has started (grading processes) dies with its worker, also with a killed one.
    "RAY_process_group_cleanup_enabled": "1",
    # Workers made in advance lack our environment and are of no use.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray's lines about dead workers; a stage's result tells what is worth telling
}


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
        """See ``Executor.execute``. Starts no Ray where nothing is to be done. Raises UserError where the cluster
        cannot be reached.
        """
        schedule = Schedule(stages, store, on_event)
        if schedule.ready():
            with self._ray() as ray:
                pool = _Pool(ray, store, self.workers)
                try:
                    _Run(ray, schedule, pool, store).until_done()
                finally:
                    pool.close()
        return schedule.results()

    @contextlib.contextmanager
    def _ray(self) -> Iterator[ModuleType]:
        for name, value in {**_QUIET, **_LOCAL}.items():  # read when Ray is imported and started
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise UserError(f"Ray cannot be imported ({error}); install it, or run with --executor local") from error
        if ray.is_initialized():
            yield ray
            return
        options: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        if self.workers is not None:
            options["num_cpus"] = max(self.workers, len(os.sched_getaffinity(0)))
        try:
            _reach(self.address)
            ray.init(
                address=self.address or "local",
                **(options if self.address is None else {}),
                log_to_driver=False,
                logging_level="ERROR",
                namespace=f"rlbench-{uuid.uuid4().hex[:8]}",
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"Ray at {self.address or 'this machine'} cannot be reached: {one_line(str(error))}"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _reach(address: str | None) -> None:
    """Raise OSError where nobody answers at ``host:port``: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class _Worker:
    """What lives in a worker process."""

    def __init__(self, root: str) -> None:
        self.root = root
        # Opened by the first stage, where a refusal can be told, and kept: it knows what is verified.
        self.store: Store | None = None
        self.slot = WarmSlot()

    def hello(self) -> int:
        return os.getpid()

    def run(self, stage: Stage, device: str, progress: str) -> StageResult | MissingArtifact:
        """Run a stage; how far it is goes into the file ``progress``, so that asking needs neither a thread nor another
        process here.
        """

        def report(done: float, total: float, note: str) -> None:
            with contextlib.suppress(OSError):
                Path(progress).write_text(json.dumps([done, total, note]), encoding="utf-8")

        try:
            self.store = self.store or Store(self.root)
            return run_stage(stage, self.store, device, report, self.slot)
        except MissingArtifact as missing:
            return missing
        except UserError as error:
            return StageResult(stage, "error", reason=one_line(str(error)))


@dataclass(eq=False)
class _Handle:
    """The coordinator's side of a worker, and of the stage that it runs."""

    name: str
    actor: Any
    need: Counter[str]
    hello: Any  # the reference that is there once the worker has been placed and started
    made: float = field(default_factory=time.monotonic)
    placed: bool = False
    stage: Stage | None = None
    warm_key: tuple[str, str] | None = None  # see Stage.warm_key
    reference: Any = None
    progress: Path = Path()
    seen: str = ""


class _Pool:
    """The workers, by what they hold: cores, GPUs, and one of the number of workers asked for."""

    def __init__(self, ray: ModuleType, store: Store, workers: int | None) -> None:
        self._ray = ray
        self._store = store
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
        environment = {**single_thread_environment(), **_QUIET, "PYTHONPATH": os.pathsep.join(_import_path())}
        options = {
            "num_cpus": need["CPU"],
            "num_gpus": need["GPU"],
            "max_restarts": 0,
            "runtime_env": {"env_vars": environment},
        }
        actor = self._ray.remote(_Worker).options(**options).remote(str(self._store.root))
        self.handles.append(_Handle(f"worker {self._made}", actor, need, actor.hello.remote()))
        return self.handles[-1]

    def stop(self, handle: _Handle) -> None:
        """Kill a worker, whatever it does."""
        self.handles.remove(handle)
        with contextlib.suppress(Exception):  # it may be dead, or the whole of Ray
            self._ray.kill(handle.actor)
        _remove(handle.progress)

    def make_room(self) -> None:
        """Stop idle workers where one has waited long for its place: cores that are free in sum may lie on different
        nodes.
        """
        waiting = [handle for handle in self.handles if not handle.placed]
        if waiting:
            started, _ = self._ray.wait([handle.hello for handle in waiting], num_returns=len(waiting), timeout=0)
            for handle in waiting:
                handle.placed = handle.hello in started
        if any(not handle.placed and time.monotonic() - handle.made > PLACEMENT_S for handle in waiting):
            for handle in self.idle():
                self.stop(handle)

    def close(self) -> None:
        for handle in list(self.handles):
            self.stop(handle)


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
        handle.reference = handle.actor.run.remote(stage, device, str(handle.progress))
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
            if isinstance(outcome, MissingArtifact):
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


def _import_path() -> list[str]:
    """What this process can import beyond its Python installation: folders given by PYTHONPATH, editable installs, the
    script's own.
    """
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    folders = [Path(entry or os.getcwd()).resolve() for entry in sys.path]
    own = [folder for folder in folders if not any(folder.is_relative_to(library) for library in standard)]
    return [str(folder) for folder in own if folder.is_dir() and folder.name not in ("site-packages", "dist-packages")]
