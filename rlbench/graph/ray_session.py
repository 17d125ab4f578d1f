"""Ray itself: started on this machine and stopped again, or a cluster joined; why it cannot be is one line.

What is known to keep Ray from starting is looked at first, since Ray would tell it after half a minute or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rlbench.graph.machine import usable_cores
from rlbench.graph.result import one_line
from rlbench.records import UserError

if TYPE_CHECKING:
    from types import ModuleType

OBJECT_STORE_BYTES = 200 * 2**20  # artifacts travel through the store; Ray only carries stages and results
PROBE_S = 30.0  # within which a cluster has to let a driver in
SPACE_NEEDED_BYTES = 50 * 2**20  # of Ray's folder: its logs and sockets
# Of a Unix socket's path Linux takes 107 bytes; Ray's are in sessions that are named like this one.
LONGEST_FOLDER = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
PORTS_NEEDED = 16  # of a node, its workers and its driver, at least
SHARED_MEMORY = Path("/dev/shm")
TOKEN = Path("~/.ray/auth_token")  # where Ray puts one when it starts on a machine for the first time
INSTEAD = "or run with --executor local"

QUIET = {
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
# Under `uv run` Ray would start each worker by the same command, in a copy of the current folder: another environment
# than the driver's, made anew each time. Our workers run the driver's Python.
_NO_UV = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}

_PATH = "import ast, sys; sys.path[:] = ast.literal_eval(sys.argv[1])\n"
# Looks every two seconds what there is below Ray's own processes, since those end before it can look at the end.
_REAPER = """
import psutil, select
found = {psutil.Process(int(pid)) for pid in sys.argv[2:] if psutil.pid_exists(int(pid))}
driver_lives = True
while driver_lives:
    for process in [process for process in found if process.is_running()]:
        try:
            found.update(process.children(recursive=True))
        except psutil.Error:
            pass
    found = {process for process in found if process.is_running()}
    driver_lives = not select.select([sys.stdin], [], [], 2.0)[0]  # until it is closed
for process in found:
    try:
        process.kill()
    except psutil.Error:
        pass
"""
_PROBE = """
import os, ray
try:
    ray.init(address=sys.argv[2], namespace=sys.argv[3], log_to_driver=False, logging_level="ERROR")
except BaseException as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    os._exit(1)
os._exit(0)
"""


@contextlib.contextmanager
def session(address: str | None, workers: int | None) -> Iterator[ModuleType]:
    """The module ``ray``, connected to the cluster at ``address``, or to one that is started here for ``workers`` and
    stopped at the end. One that this process has already started or joined is used and left as it is.

    Raises UserError where there is no Ray or it cannot be had.
    """
    for name, value in {**QUIET, **_LOCAL}.items():  # read when Ray is imported and started
        os.environ.setdefault(name, value)
    os.environ.update(_NO_UV)
    if address is not None and not _is_connected():
        _answers(address)
        _let_in(address)
    ray = _import()
    if _is_connected():
        yield ray
        return
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        with _signal_handlers_kept():
            if address is not None:
                _join(ray, address)
            else:
                stack.enter_context(_reaped(_start(ray, workers)))
        yield ray


def _is_connected() -> bool:
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _import() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UserError(f"Ray cannot be imported ({one_line(str(error))}); install it, {INSTEAD}") from error
    return ray


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray puts a handler of its own on SIGTERM; one that somebody has set stays."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and callable(before):
            signal.signal(signal.SIGTERM, before)


# -- starting


def _start(ray: ModuleType, workers: int | None) -> set[psutil.Process]:
    """Start Ray; returns those of its processes that have the others below them."""
    _check_folder(ray_folder())
    _check_network()
    options: dict[str, Any] = {"num_cpus": max(workers or 0, usable_cores())}
    if not can_write(SHARED_MEMORY):
        options["_plasma_directory"] = str(ray_folder())
    before = set(psutil.Process().children())
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **options,
            **_common(ray),
        )
    except Exception as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        _end(set(psutil.Process().children()) - before)
        raise UserError(
            f"Ray cannot start on this machine: {one_line(str(error) or type(error).__name__)} "
            f"(its logs: {ray_folder()}/ray/session_latest/logs); mend that, {INSTEAD}"
        ) from error
    except BaseException:  # interrupted
        _end(set(psutil.Process().children()) - before)
        raise
    return set(psutil.Process().children()) - before


def _common(ray: ModuleType) -> dict[str, Any]:
    return {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "namespace": f"rlbench-{uuid.uuid4().hex[:8]}",
        # Else Ray puts the current folder first on the import path of its workers, and its own imports there find what
        # lies in it before ``Worker`` sets the path right.
        "job_config": ray.job_config.JobConfig(_client_job=True),
    }


@contextlib.contextmanager
def _reaped(processes: set[psutil.Process]) -> Iterator[None]:
    """Let these processes, and those below them, not outlive this one, which may be killed at any moment.

    Ray's own agents would notice that after a minute.
    """
    reaper = subprocess.Popen(
        _program(_REAPER, *(str(process.pid) for process in processes)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what a terminal sends to all of a command's processes must not end it first
    )
    try:
        yield
    finally:
        reaper.terminate()
        reaper.communicate()


def _end(processes: set[psutil.Process]) -> None:
    """Kill processes and what they have started."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            below = process.children(recursive=True)
            for one in (process, *below):
                with contextlib.suppress(psutil.Error):
                    one.kill()


def _program(code: str, *arguments: str) -> list[str]:
    """The command line of a Python program that imports what this process does, whatever the current folder is."""
    return [sys.executable, "-P", "-c", _PATH + code, repr(sys.path), *arguments]


def ray_folder() -> Path:
    """The folder below which Ray keeps its sockets and logs."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _check_folder(folder: Path) -> None:
    """Raises UserError where Ray could not live in the folder."""
    problem = folder_problem(folder)
    if problem is not None:
        raise UserError(
            f"Ray cannot start on this machine: its folder {folder} {problem}; "
            f"set RAY_TMPDIR to another one (such as /tmp), {INSTEAD}"
        )


def _check_network() -> None:
    """Raises UserError where a process here cannot reach another one: Ray would wait for that without end."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports = [socket.create_connection(server.getsockname(), timeout=10) for _ in range(PORTS_NEEDED)]
            for port in ports:
                port.close()
    except OSError as error:
        raise UserError(
            f"Ray cannot start on this machine: its processes cannot talk over 127.0.0.1 ({error.strerror or error}); "
            f"mend that, {INSTEAD}"
        ) from error


def folder_problem(folder: Path) -> str | None:
    """Why Ray cannot keep its sockets and logs in a folder; None where it can."""
    text = str(folder)
    if not text.isascii():
        return "has letters beyond ASCII in its name"
    if not folder.is_absolute():
        return "is not an absolute path"
    if len(text) > LONGEST_FOLDER:
        return f"has a path of {len(text)} bytes, and sockets allow {LONGEST_FOLDER}"
    try:
        (folder / "ray").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    if not can_write(folder / "ray"):
        return "cannot be written"
    free = shutil.disk_usage(folder).free
    if free < SPACE_NEEDED_BYTES:
        return f"has {free / 2**20:.0f} MiB of free space, and Ray wants {SPACE_NEEDED_BYTES >> 20}"
    return None


def can_write(folder: Path) -> bool:
    """True where a file can be made in the folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="rlbench-probe-"):
            return True
    except OSError:
        return False


# -- joining


def _answers(address: str) -> None:
    """Raise UserError where nobody answers at ``host:port``: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise _unreachable(address, str(error)) from error


def _let_in(address: str) -> None:
    """Raise UserError where the cluster lets no driver in, tried by a process of its own, which may hang or crash.

    A cluster that was started where Ray has put a token wants it, but Ray's drivers show it only when they are told to;
    one that wants none does not mind it.
    """
    if os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} or TOKEN.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        probe = subprocess.run(
            _program(_PROBE, address, "rlbench-probe"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROBE_S,
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, f"it let no driver in for {PROBE_S:.0f} s; is this a Ray cluster?") from None
    output = probe.stdout.decode(errors="replace")
    if probe.returncode and "InvalidAuthToken" in output:
        reason = f"it wants another token than {TOKEN} (see RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH of Ray)"
        raise _unreachable(address, reason)
    if probe.returncode:
        raise _unreachable(address, _last_words(output))


def _join(ray: ModuleType, address: str) -> None:
    try:
        ray.init(address=address, **_common(ray))
    except Exception as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        raise _unreachable(address, str(error)) from error


def _last_words(output: str) -> str:
    """The error of a driver that could not join, without the stack of one that crashed."""
    errors = [line for line in output.splitlines() if "Error: " in line or "Exception: " in line]
    text = output[output.index(errors[-1]) :] if errors else output
    return text.strip() or "the probe ended without a word"


def _unreachable(address: str, reason: str) -> UserError:
    return UserError(f"Ray at {address} cannot be reached: {one_line(reason)}; give the --address of one, {INSTEAD}")
