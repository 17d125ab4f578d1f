"""A Ray that cannot be had is one line that says why and what instead, in bounded time, with nothing left running."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rlbench.graph import ray_session
from rlbench.graph.ray_session import LONGEST_FOLDER, folder_problem, session
from rlbench.records import UserError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")

ROOT = Path(__file__).parents[1]
PROBE = """
import sys
from rlbench.graph.artifact import Store
from rlbench.graph.ray_executor import RayExecutor
from rlbench.graph.stage import Stage
from rlbench.records import UserError
source = {"task": "arithmetic", "split": "test/in_domain", "limit": 1, "revision": None, "version": 0}
stage = Stage("problems/probe", "rlbench.tasks.base:problems_stage", 1, {"source": source})
try:
    (result,) = RayExecutor(*sys.argv[2:]).execute([stage], Store(sys.argv[1])).values()
except UserError as error:
    sys.exit(f"refused: {error}")
print(result.status, result.reason)
"""


def run_stage(
    store: Path, *address: str, before: str = "", package: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one stage on Ray in a process of its own, in name spaces of its own where something is done ``before``."""
    command = [sys.executable, "-c", PROBE, str(store), *address]
    if before:
        command = ["unshare", "-rmn", "sh", "-c", f'{before}; exec "$0" "$@"', *command]
    outer = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}  # Ray sets it where it runs
    variables = {**outer, "PYTHONPATH": str(package), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=200)


def needs_namespaces() -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rmn", "true"], capture_output=True).returncode:
        pytest.skip("no name spaces can be made here")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a run was refused."""
    assert done.returncode == 1 and done.stdout == "", done.stderr
    # A name space has no way out, of which Ray's own library warns where it looks for one.
    (line,) = [line for line in done.stderr.splitlines() if "network_util.cc" not in line]
    assert line.startswith("refused: ") and line.endswith("or run with --executor local"), line
    return line


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("plain", None),
        ("with space", None),
        ("é", "has letters beyond ASCII"),
        ("ラ", "has letters beyond ASCII"),
        ("l" * LONGEST_FOLDER, "bytes, and sockets allow"),
        ("file", "cannot be used (Not a directory)"),
        ("file/below", "cannot be used (Not a directory)"),
    ],
)
def test_a_folder_that_ray_could_not_live_in_is_told_before(name: str, problem: str | None) -> None:
    base = Path("/tmp") / f"rl{os.getpid()}"
    base.mkdir()
    try:
        (base / "file").touch()
        found = folder_problem(base / name)
        assert (found is None) if problem is None else problem in str(found)
    finally:
        shutil.rmtree(base)
    assert folder_problem(Path("relative")) == "is not an absolute path"


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("mount -t tmpfs -o size=64k none {tmp}", "0 MiB of free space"),
        ("mount -t tmpfs -o ro none {tmp}", "Read-only file system"),
        ("true", "its processes cannot talk over 127.0.0.1"),  # a new network has no address that is up
        ("ip link set lo up; echo 60000 60002 > /proc/sys/net/ipv4/ip_local_port_range", "cannot talk over 127.0.0.1"),
    ],
    ids=["full", "read-only", "no network", "no ports"],
)
def test_a_machine_that_cannot_have_ray_is_refused_in_one_line(before: str, reason: str, tmp_path: Path) -> None:
    needs_namespaces()
    if "ip link" in before and not shutil.which("ip"):
        pytest.skip("no ip command here")
    folder = Path("/tmp") / f"rl{os.getpid()}"
    folder.mkdir()
    try:
        done = run_stage(tmp_path / "store", before=before.format(tmp=folder), TMPDIR=str(folder))
        assert reason in refused(done)
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_what_is_not_foreseen_is_one_line_too_and_leaves_no_process(tmp_path: Path) -> None:
    """Processes that may hardly open a file: Ray notices after half a minute that its own have ended."""
    needs_namespaces()
    folder = Path("/tmp") / f"rl{os.getpid()}"
    folder.mkdir()
    try:
        before = "ip link set lo up; ulimit -n 40"
        line = refused(run_stage(tmp_path / "store", before=before, TMPDIR=str(folder)))
        assert line.startswith("refused: Ray cannot start on this machine: ")
        assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{free}", "refused"),
        ("ray://127.0.0.1:{free}", "refused"),
        ("no-such-host.invalid:6379", "nown"),
        ("127.0.0.1:99999", ""),
        ("no address", "nvalid"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_in_one_line(address: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    address = address.format(free=free)
    with pytest.raises(UserError) as refusal, session(address, None):
        pass
    line = str(refusal.value)
    assert line.startswith(f"Ray at {address} cannot be reached: ") and reason in line and "\n" not in line
    assert line.endswith("or run with --executor local")


def test_a_server_that_is_no_cluster_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "PROBE_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(UserError, match=f"^Ray at {address} cannot be reached: it let no driver in for 3 s"),
            session(address, None),
        ):
            pass


# -- uv


@pytest.mark.slow
def test_under_uv_run_workers_have_the_drivers_python(tmp_path: Path) -> None:
    """Ray tells it by the command line of a parent, which a script named ``run`` and called ``uv`` has as well."""
    (tmp_path / "run").write_text("import subprocess, sys\nsys.exit(subprocess.run(sys.argv[1:]).returncode)\n")
    command = ["uv", "run", sys.executable, "-c", PROBE, str(tmp_path / "store")]
    done = subprocess.run(
        command,
        executable=sys.executable,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.strip() == "done None", done.stderr


# -- a cluster


@pytest.fixture
def start_head() -> Iterator[Callable[..., str]]:
    """Starts a cluster of one node with these environment variables; returns its address."""
    heads: list[subprocess.Popen] = []
    folder = Path("/tmp") / f"rl{os.getpid()}"

    def start(**environment: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        options = ["--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
        sizes = ["--include-dashboard=false", "--object-store-memory=80000000", f"--temp-dir={folder}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *sizes]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        variables = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}
        heads.append(subprocess.Popen(command, env=variables, start_new_session=True, cwd="/", **silent))
        address, deadline = f"127.0.0.1:{port}", time.monotonic() + 60
        variables = {**os.environ, "RAY_AUTH_MODE": variables.get("RAY_AUTH_MODE", "token")}
        join = [sys.executable, "-P", "-c", "import ray, sys; ray.init(address=sys.argv[1])", address]
        while subprocess.run(join, env=variables, **silent).returncode and time.monotonic() < deadline:
            time.sleep(0.5)
        return address

    yield start
    for head in heads:
        for process in (psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)):
            process.kill()
        head.wait()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_whose_nodes_have_another_rlbench_is_refused_with_both_places(
    start_head: Callable[..., str], tmp_path: Path
) -> None:
    """The driver's package lies where the node, as another machine, sees an empty folder."""
    needs_namespaces()
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    shutil.copytree(ROOT / "rlbench", theirs / "rlbench")
    with (theirs / "rlbench" / "views.py").open("a") as file:
        file.write("# changed\n")
    (ours / "rlbench").mkdir(parents=True)
    address = start_head(PYTHONPATH=str(theirs))
    mount = f"mount --bind {ROOT / 'rlbench'} {ours / 'rlbench'}"
    command = ["unshare", "-m", "sh", "-c", f'{mount}; exec "$0" "$@"', sys.executable, "-c", PROBE]
    done = subprocess.run(
        [*command, str(tmp_path / "store"), address],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ours)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stdout
    line = done.stderr.splitlines()[-1]
    assert line.startswith("refused: the worker on ") and str(theirs) in line and str(ours) in line
    same = run_stage(tmp_path / "store", address)
    assert same.stdout.strip() == "done None", same.stderr


@pytest.mark.slow
def test_a_cluster_of_another_version_of_ray_is_refused_in_one_line(
    start_head: Callable[..., str], tmp_path: Path
) -> None:
    address = start_head(RAY_AUTH_MODE="disabled")
    code = (
        "import json, sys, ray; ray.init(address=sys.argv[1]); gcs = ray._private.worker.global_worker.gcs_client;"
        "facts = json.loads(gcs.internal_kv_get(b'CLUSTER_METADATA', b'cluster'));"
        "facts['ray_version'] = '2.1.0';"
        "gcs.internal_kv_put(b'CLUSTER_METADATA', json.dumps(facts).encode(), True, b'cluster')"
    )
    variables = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    subprocess.run([sys.executable, "-c", code, address], check=True, env=variables)
    line = refused(run_stage(tmp_path / "store", address))
    assert "ersion mismatch" in line and "2.1.0" in line
