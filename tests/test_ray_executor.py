"""On Ray a graph gives the same artifacts as in one process, whoever is killed meanwhile. Ray is started once for most
of these tests.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlbench.graph import ray_executor
from rlbench.graph.artifact import Store
from rlbench.graph.lease import is_alive
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.ray_executor import RayExecutor
from rlbench.graph.schedule import Finished, Progress, Started
from rlbench.graph.stage import Requirements, Stage
from rlbench.records import UserError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")

ROOT = Path(__file__).parents[1]
STAGES = '''
"""A user's package: importable because its folder is on the path of the coordinator, and only therefore in workers."""

import os, signal, threading, time
from pathlib import Path
from rlbench.records import StageFailure


def write(config, inputs, output, context):
    text = config["text"] + "".join(sorted((folder / "text.txt").read_text() for folder in inputs.values()))
    context.progress(1, 2, "half")
    if "pids" in config:
        Path(config["pids"], str(os.getpid())).touch()
    time.sleep(config.get("sleep", 0))
    (output / "text.txt").write_text(text)
    context.count(tokens=len(text))


def environment(config, inputs, output, context):
    names = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "HF_HUB_DISABLE_TELEMETRY")
    assert threading.current_thread() is threading.main_thread()
    (output / "text.txt").write_text(" ".join(os.environ[name] for name in names) + f" {context.device}")


def die(config, inputs, output, context):
    """Killed as by the kernel for lack of memory, the first `times` times."""
    (output / "half.txt").write_text("half")
    deaths = context.scratch / "deaths"
    died = len(deaths.read_text()) if deaths.exists() else 0
    if died < config["times"]:
        deaths.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    (output / "text.txt").write_text("survived")


def fail(config, inputs, output, context):
    raise {"failed": StageFailure, "error": ValueError}[config["as"]]("in the worker")
'''
DRIVER = """if True:
    import sys
    sys.path.insert(0, sys.argv[1])
    from test_ray_executor import *
    try:
        say = lambda event: print(event, flush=True)
        RayExecutor(workers=2).execute(eval(sys.argv[3]), Store(sys.argv[2]), on_event=say)
    except KeyboardInterrupt:
        import ray
        print("interrupted", ray.is_initialized(), flush=True)
    """


def stage(name: str, *inputs: Stage, function: str = "write", gpus: float = 0.0, cpus: float = 1.0, **config) -> Stage:
    upstream = {f"input{index}": stage for index, stage in enumerate(inputs)}
    return Stage(name, f"users_stages:{function}", 1, config or {"text": name}, upstream, Requirements(cpus, gpus))


def graph(sleep: float = 0.0) -> list[Stage]:
    base = stage("base", text="base", sleep=sleep)
    return [
        stage(f"leaf{i}", stage(f"middle{i}", base, text=f"m{i}", sleep=sleep), text=f"l{i}", sleep=sleep)
        for i in range(3)
    ]


def contents(store: Store) -> dict[str, bytes]:
    """Every file of every artifact but the manifests."""
    files = [path for path in (store.root / "artifacts").rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


def text(store: Store, stage: Stage) -> str:
    return (store.open(stage.fingerprint) / "text.txt").read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("package")
    (folder / "users_stages.py").write_text(STAGES)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def session(package: Path) -> Iterator[RayExecutor]:
    """Ray with two cores and a GPU, whatever this machine has; the executor finds it running and leaves it so."""
    import ray

    ray.init(
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield RayExecutor()
    assert ray.is_initialized()  # as it was found
    ray.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def undisturbed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    LocalExecutor().execute(graph(0.4), store)
    return contents(store)


def test_a_cluster_that_is_not_there_and_a_wrong_number_of_workers_are_the_users_errors(store: Store) -> None:
    """The first test here: it must find Ray not started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UserError, match=f"^Ray at {address} cannot be reached: .*refused"):
        RayExecutor(address=address).execute([stage("a")], store)
    with pytest.raises(UserError, match="workers is 0; it must be at least 1"):
        RayExecutor(workers=0)


def test_ray_gives_the_bytes_of_the_local_executor_and_runs_branches_at_once(
    session: RayExecutor, store: Store, undisturbed: dict[str, bytes]
) -> None:
    events: list = []
    results = session.execute(graph(0.4), store, on_event=events.append)
    assert [r.status for r in results.values()] == ["done"] * 7
    assert contents(store) == undisturbed
    running, most = set(), 0
    for event in events:
        if isinstance(event, Started):
            running.add(event.stage.name)
        elif isinstance(event, Finished):
            running.discard(event.result.stage.name)
        most = max(most, len(running))
    assert most == 2
    told = [(e.stage.name, e.done, e.total, e.note) for e in events if isinstance(e, Progress)]
    assert sorted(told) == sorted(
        (result.stage.name, 1, 2, "half") for result in results.values()
    )  # each once, however short
    assert {e.worker for e in events if isinstance(e, Started)} == {"worker 1", "worker 2"}
    assert results[graph(0.4)[0].fingerprint].counters == {"tokens": 8}
    assert results[graph(0.4)[0].fingerprint].seconds >= 0.4
    assert list((store.root / "tmp").iterdir()) == list((store.root / "leases").iterdir()) == []
    again = session.execute(graph(0.4), store)
    assert all(result.cached for result in again.values())


def test_a_ray_whose_workers_do_not_start_is_not_waited_for_without_end(
    session: RayExecutor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "START_S", 0.0)
    with pytest.raises(
        UserError, match=r"^no worker of Ray has started within 0 s; its logs are in .*--executor local$"
    ):
        session.execute([stage("a")], store)


def test_nothing_to_do_starts_no_ray(store: Store, package: Path) -> None:
    done = stage("done")
    LocalExecutor().execute([done], store)
    assert RayExecutor(address="nowhere:1").execute([done], store)[done.fingerprint].cached


def test_workers_have_one_thread_and_a_worker_serves_many_stages(
    session: RayExecutor, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "pids").mkdir()
    many = [stage(f"s{i}", text=f"s{i}", pids=str(tmp_path / "pids")) for i in range(8)]
    environment = stage("environment", function="environment", x=0)
    results = session.execute([environment, *many], store)
    assert {result.status for result in results.values()} == {"done"}, results
    assert text(store, environment) == "1 0 1 cpu"
    assert len(list((tmp_path / "pids").iterdir())) <= 2


def test_a_killed_worker_is_replaced_and_its_stage_tried_again(session: RayExecutor, store: Store) -> None:
    dies, always = stage("dies", function="die", times=2), stage("always", function="die", times=100)
    after, fine = stage("after", dies), stage("fine")
    results = {r.stage.name: r for r in session.execute([after, stage("never", always), fine], store).values()}
    assert results["dies"].status == results["after"].status == results["fine"].status == "done"
    assert text(store, after) == "aftersurvived"
    assert results["always"].status == "error"
    assert results["always"].reason.startswith("its worker process died 4 times (killed, out of memory, or crashed): ")
    assert "\n" not in results["always"].reason
    assert results["never"].status == "skipped"
    assert results["never"].reason == f"`always`: {results['always'].reason}"
    assert (store.scratch(always.fingerprint) / "deaths").read_text() == "xxxx"
    deadline = time.monotonic() + 5  # the kernel takes a moment to bury a killed process
    while list((Store(store.root).root / "tmp").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((store.root / "tmp").iterdir()) == []


def test_failures_errors_and_impossible_needs_are_results(session: RayExecutor, store: Store) -> None:
    failed, error = (
        stage("failed", function="fail", **{"as": "failed"}),
        stage("error", function="fail", **{"as": "error"}),
    )
    gpus = stage("gpus", gpus=1000)
    absent = Stage("absent", "nowhere_to_be_found:f", 1, {}, {})
    greedy = stage("greedy", cpus=10_000)
    targets = [stage("a", failed), stage("b", error), stage("c", gpus), absent, greedy]
    results = {r.stage.name: r for r in session.execute(targets, store).values()}
    assert (results["failed"].status, results["failed"].reason) == ("failed", "in the worker")
    assert results["error"].status == "error"
    assert results["error"].reason.startswith("ValueError: in the worker (")
    assert results["gpus"].reason.startswith(
        "needs 1000 GPU(s) on one node, and no node of the Ray cluster has more than "
    )
    assert results["c"].reason == f"`gpus`: {results['gpus'].reason}"
    assert results["absent"].reason.startswith("ModuleNotFoundError: No module named 'nowhere_to_be_found'")
    assert results["greedy"].status == "done"
    assert [results[name].status for name in "abc"] == ["skipped"] * 3


def test_a_tampered_input_is_made_again_before_it_is_read(session: RayExecutor, store: Store) -> None:
    (leaf, *_) = graph()
    session.execute([leaf], store)
    base = leaf.inputs["input0"].inputs["input0"]
    (store.path(base.fingerprint) / "text.txt").write_text("tampered")
    last = stage("last", base, leaf)
    with pytest.warns(RuntimeWarning, match=r"text\.txt was changed"):
        results = session.execute([last], Store(store.root))
    assert {result.status for result in results.values()} == {"done"}
    assert not results[base.fingerprint].cached
    assert text(store, last) == "lastbasel0m0base"


def start_driver(package: Path, store: Store, graph: str, until: str) -> tuple[subprocess.Popen, list[str]]:
    """A process that runs the graph, once it has started the stage ``until``, and the lines it has printed by then."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(package), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(store.root), graph]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A shell may have started us with Ctrl-C ignored, which children inherit.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heed, **pipe)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("Started") and until in line:
            return process, seen
    raise AssertionError("".join(seen))


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(status.read_text().rpartition(")")[2].split()[1]), []).append(
                int(status.parent.name)
            )
        except OSError:
            continue  # it has just ended
    found: set[int] = set()
    stack = [pid]
    while stack:
        below = children.get(stack.pop(), [])
        found.update(below)
        stack += below
    return found


def wait_for_end(pids: set[int], seconds: float) -> set[int]:
    deadline = time.monotonic() + seconds
    while (alive := {pid for pid in pids if is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive


@pytest.mark.slow
def test_a_killed_coordinator_leaves_no_worker_and_a_store_that_the_next_run_completes(
    session: RayExecutor, package: Path, store: Store, undisturbed: dict[str, bytes]
) -> None:
    process, _ = start_driver(package, store, "graph(0.4)", until="middle1")
    time.sleep(0.2)
    below = descendants(process.pid)
    assert any("ray::Worker" in Path(f"/proc/{pid}/cmdline").read_text() for pid in below)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert wait_for_end(below, 15) == set()
    assert 0 < len(contents(store)) < 7
    results = session.execute(graph(0.4), Store(store.root))
    assert {result.status for result in results.values()} == {"done"}
    assert contents(store) == undisturbed


@pytest.mark.slow
def test_an_interrupt_stops_the_workers_and_ray_and_the_terminal_stays_clean(package: Path, store: Store) -> None:
    graph = "[stage('after', stage('dies', function='die', times=1), text='after', sleep=30)]"
    process, before = start_driver(package, store, graph, until="after")
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    rest, _ = process.communicate(timeout=20)
    lines = [line for line in [*before, *rest.splitlines()] if not line.startswith(("Started", "Progress", "Finished"))]
    assert lines == ["interrupted False"]
    assert wait_for_end(below, 10) == set()
    assert list((Store(store.root).root / "tmp").iterdir()) == []


def test_idle_workers_make_room_for_a_stage_that_needs_something_else(
    session: RayExecutor, store: Store, tmp_path: Path
) -> None:
    """Two cores and one GPU (of which Ray only counts): whatever a stage needs, idle workers do not keep it from it."""
    (tmp_path / "pids").mkdir()
    first = [stage(f"cpu{i}", text=f"cpu{i}", sleep=0.3, pids=str(tmp_path / "pids")) for i in range(2)]
    whole = stage("whole", *first, function="environment", gpus=1, x=0)
    halves = [stage(f"half{i}", whole, gpus=0.5, text=f"half{i}", pids=str(tmp_path / "pids")) for i in range(2)]
    wide = stage("wide", *halves, cpus=2, text="wide", pids=str(tmp_path / "pids"))
    results = session.execute([wide], store)
    assert {result.status for result in results.values()} == {"done"}, results
    assert text(store, whole).endswith(" cuda")
    assert len(list((tmp_path / "pids").iterdir())) == 5
