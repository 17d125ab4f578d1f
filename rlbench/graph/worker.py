"""A worker process of the Ray executor: it takes over the driver's import path and refuses to run any other rlbench.

This module travels to the workers by value and imports nothing of rlbench at its top: a worker that imported it from
its own path would already run whatever lies there, as Ray puts the folder that the driver was started in before all
else. For the same reason it imports only what Ray has imported by then.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import signal
import site
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rlbench.graph.artifact import MissingArtifact
    from rlbench.graph.result import StageResult

INSTALLATION = "<installation>"  # in an import path: the standard library and what is installed for this Python


@dataclass(frozen=True)
class Code:
    """The code that a process runs: its import ``path`` (what is installed for its Python stands as ``INSTALLATION``),
    the ``folder`` of rlbench with the ``digest`` of its files, and the ``versions`` of Python and libraries.
    """

    path: tuple[str, ...]
    folder: str
    digest: str
    versions: dict[str, str]

    @classmethod
    def of_this_process(cls, folder: Path, libraries: Iterable[str]) -> Code:
        """The code of a process that has imported rlbench from ``folder``."""
        return cls(import_path(), str(folder), digest(folder), installed(libraries))


def import_path() -> tuple[str, ...]:
    """The import path of this process in its order, as it can be taken over by another one."""
    installation = _installation()
    path = (INSTALLATION if _is_within(entry, installation) else entry for entry in _absolute(sys.path))
    return tuple(dict.fromkeys(path))


def adopt(path: Iterable[str]) -> None:
    """Make ``path`` the import path of this process, with its own installation in the place of the other's.

    Folders that this process's PYTHONPATH names come last: on another machine, rlbench may lie there.
    """
    installation = _installation()
    own = [entry for entry in _absolute(sys.path) if _is_within(entry, installation)]
    parts = [own if entry == INSTALLATION else [entry] for entry in path]
    named = _absolute(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    sys.path[:] = dict.fromkeys([entry for part in parts for entry in part] + named)
    importlib.invalidate_caches()


def _absolute(entries: Iterable[str]) -> list[str]:
    return [os.path.abspath(entry) for entry in entries]  # the empty one is the current folder


def _installation() -> list[str]:
    """The folders that Python and its installers use."""
    standard = Path(os.__file__).parent
    zipped = standard.with_name(f"python{sys.version_info.major}{sys.version_info.minor}.zip")
    return [str(standard), str(zipped), *site.getsitepackages(), site.getusersitepackages()]


def _is_within(entry: str, folders: Iterable[str]) -> bool:
    """True where the path is one of the folders or lies in one, links resolved or not."""
    ways = (Path(entry), Path(entry).resolve())
    return any(way.is_relative_to(place) for folder in folders for way in ways for place in _both(folder))


def _both(folder: str) -> tuple[Path, Path]:
    return Path(folder), Path(folder).resolve()


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a package's files. Caches, hidden files and what editors leave do not
    count.
    """
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def installed(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of those libraries that are installed."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def refusal(driver: Code) -> str | None:
    """Why this process must not run the driver's stages: the rlbench that it would import is another one. None where
    it is the same.
    """
    spec = importlib.util.find_spec("rlbench")  # finds a package without running it
    where = f"the worker on {socket.gethostname()}"
    if spec is None or not spec.submodule_search_locations:
        return f"{where} finds no rlbench, and the driver's is {driver.folder}: install the same version there"
    folder = Path(next(iter(spec.submodule_search_locations)))
    if digest(folder) == driver.digest:
        return None
    if str(folder) == driver.folder:
        return f"{folder} was changed while the run was going on (or differs on {where}): start the run again"
    return (
        f"{where} would run the rlbench of {folder}, which differs from the driver's, {driver.folder}: "
        "install the same version there"
    )


class Greeting(NamedTuple):
    """Where a worker lives, the reason of its ``refusal`` to work, if any, and the ``difference`` of its libraries."""

    host: str
    pid: int
    refusal: str | None
    difference: str


class Worker:
    """The actor: runs one stage at a time, and none where the code is not the driver's."""

    def __init__(self, root: str, code: Code) -> None:
        adopt(code.path)
        # At once and without a word, as by SIGKILL: the stage is tried again, where Ray's own way of ending would look
        # like an error of the stage.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.root = root
        self.code = code
        self.refusal = refusal(code)
        self.store: Any = None  # opened by the first stage, where a refusal can be told; it knows what is verified
        self.slot: Any = None

    def hello(self) -> Greeting:
        """What the driver has to know of the worker, once it has started."""
        own = installed(name for name in self.code.versions if name != "python")
        differing = (
            f"{name} {own.get(name, 'none')} instead of {version}"
            for name, version in self.code.versions.items()
            if own.get(name) != version
        )
        text = ", ".join(differing)
        difference = text and f"the worker on {socket.gethostname()} has {text}"
        return Greeting(socket.gethostname(), os.getpid(), self.refusal, difference)

    def run(self, pickled: bytes, device: str, progress: str) -> StageResult | MissingArtifact | None:
        """Run a stage, pickled, since reading it imports rlbench; None where it refuses.

        How far the stage is goes into the file ``progress``, so that asking needs neither a thread nor another process
        here.
        """
        if self.refusal is not None:
            return None
        from rlbench.graph.artifact import MissingArtifact, Store
        from rlbench.graph.result import StageResult, one_line
        from rlbench.graph.run_stage import run_stage
        from rlbench.graph.stage import WarmSlot
        from rlbench.records import UserError

        def report(done: float, total: float, note: str) -> None:
            with contextlib.suppress(OSError):
                Path(progress).write_text(json.dumps([done, total, note]), encoding="utf-8")

        stage = pickle.loads(pickled)
        try:
            self.store = self.store or Store(self.root)
            self.slot = self.slot or WarmSlot()
            return run_stage(stage, self.store, device, report, self.slot)
        except MissingArtifact as missing:
            return missing
        except UserError as error:
            return StageResult(stage, "error", reason=one_line(str(error)))
