"""The store: a folder in which every artifact lies under the fingerprint of the stage that made it, with a manifest.

    ROOT/artifacts/FP[:2]/FP/  the artifact's files and manifest.json     ROOT/scratch/FP/  snapshots of a stage that is
    not done yet ROOT/tmp/                  artifacts being written                    ROOT/leases/      who is at work
    on what, see ``lease`` ROOT/quarantine/           artifacts that were tampered with          ROOT/logs/
    tracebacks of stages that raised

An artifact is written in ``tmp`` and renamed into place, so that it is there whole or not at all, whenever the process
is killed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlbench.graph.fingerprint import file_fingerprint
from rlbench.graph.lease import Lease, Watch, host, host_digest, is_alive, is_own, read
from rlbench.graph.permissions import denial, share, walk
from rlbench.records import UserError

MANIFEST = "manifest.json"
POLL_S = 0.2
LEFTOVER_S = (
    24 * 3600.0
)  # after this long without a heartbeat, the temporary folder of another host's process is a leftover

_REASONS = {
    errno.ENOSPC: "no space left on the device; free some or name another folder",
    errno.EDQUOT: "disk quota exceeded; free some or name another folder",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.ENOTDIR: "this path, or a part of it, is a file; name a folder",
    errno.EEXIST: "this path, or a part of it, is a file; name a folder",
}


class MissingArtifact(Exception):
    """An artifact that was asked for is not in the store (any more): not made yet, or tampered with and moved to
    quarantine.
    """

    def __init__(self, fingerprint: str, message: str) -> None:
        super().__init__(fingerprint, message)
        self.fingerprint = fingerprint
        self.message = message

    def __str__(self) -> str:
        return self.message


class Store:
    """The store in the folder ``root``, created if need be (with ``create=False`` nothing is written until a stage
    runs).

    Raises UserError where the folder cannot be made or used.
    """

    def __init__(self, root: str | Path, *, create: bool = True) -> None:
        self.root = Path(root).absolute()
        self._verified: dict[str, tuple] = {}
        with self.errors():
            if self.root.exists() and not self.root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(self.root))
            if create:
                self._make_folders()
                self.remove_leftovers()

    # -- reading

    def path(self, fingerprint: str) -> Path:
        """The artifact's folder, whether it is there or not."""
        return self.root / "artifacts" / fingerprint[:2] / fingerprint

    def status(self, fingerprint: str) -> str | None:
        """``done``, ``failed``, or None where there is no artifact. Looks at the manifest only; ``open`` verifies the
        files.
        """
        try:
            return self.manifest(fingerprint)["status"]
        except MissingArtifact:
            return None

    def manifest(self, fingerprint: str) -> dict[str, Any]:
        """The artifact's manifest. Raises MissingArtifact, or UserError where it is there and cannot be read."""
        path = self.path(fingerprint) / MANIFEST
        try:
            with self._reading():
                manifest = json.loads(path.read_bytes())
        except FileNotFoundError:
            # The folder is looked at first: it appears together with its manifest, perhaps just now.
            if path.parent.is_dir() and not path.exists():
                raise self._quarantine(fingerprint, f"{MANIFEST} is missing") from None
            raise MissingArtifact(fingerprint, f"artifact {fingerprint[:12]} is not in the store {self.root}") from None
        except NotADirectoryError:
            if not path.parent.is_file():
                raise  # the store itself is a file
            manifest = None
        except (ValueError, IsADirectoryError):
            manifest = None
        if (
            isinstance(manifest, dict)
            and manifest.get("status") in ("done", "failed")
            and isinstance(manifest.get("files"), dict)
        ):
            return manifest
        raise self._quarantine(fingerprint, f"{MANIFEST} is not readable")

    def open(self, fingerprint: str) -> Path:
        """The artifact's folder, its files verified against the manifest (once a process while their sizes and times
        stay the same).

        Raises MissingArtifact where it is not there, or was not as it was published: then it is moved to quarantine,
            with a warning. Raises UserError where it cannot be read.
        """
        files = self.manifest(fingerprint)["files"]
        folder = self.path(fingerprint)
        try:
            with self._reading():
                state = _state(folder)
                if self._verified.get(fingerprint) == state:
                    return folder
                wrong = _difference(folder, files)
        except FileNotFoundError as error:
            wrong = f"{Path(error.filename).name} is missing"
        if wrong:
            raise self._quarantine(fingerprint, wrong)
        self._verified[fingerprint] = state
        return folder

    def _quarantine(self, fingerprint: str, wrong: str) -> MissingArtifact:
        """Move an artifact away and warn; returns the exception to raise."""
        place = self.root / "quarantine"
        message = (
            f"artifact {fingerprint[:12]} is not as it was published ({wrong}): moved to {place}, made again if needed"
        )
        with contextlib.suppress(
            OSError
        ):  # somebody else may have moved it, or the store be read-only: then it is only not used
            place.mkdir(exist_ok=True)
            self.path(fingerprint).rename(place / f"{fingerprint}.{uuid.uuid4().hex[:8]}")
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        return MissingArtifact(fingerprint, message)

    # -- writing

    def temporary(self, fingerprint: str) -> Path:
        """A new path on the store's file system, which is not made here; what this process leaves there is removed once
        it is dead.
        """
        return self.root / "tmp" / f"{fingerprint[:12]}.{host_digest()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def folder(self, fingerprint: str) -> Iterator[Path]:
        """A new empty folder on the store's file system to write an artifact in. What is left of it at the end is
        removed.
        """
        path = self.temporary(fingerprint)
        with self.errors():
            path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, fingerprint: str, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
        """Rename a folder of the store into place as an artifact and return its manifest.

        ``manifest`` gets the files' digests, and every file the permissions that the umask (or the folder's default
        access list) gives, also one that a library has made for its user alone. Where somebody else published the same
        artifact in the meantime, theirs stays and its manifest is returned. Raises UserError where the store has no
        space or gives no permission.
        """
        if (folder / MANIFEST).exists():
            raise ValueError(f"a stage must not write a file named {MANIFEST}")
        with self.errors():
            share(folder)
            manifest = {**manifest, "files": _digests(folder)}
            with (folder / MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1, ensure_ascii=False)
            _sync(folder)
            target = self.path(fingerprint)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                with contextlib.suppress(MissingArtifact):
                    return self.manifest(fingerprint)
                folder.rename(target)  # what was in the way was no artifact and has just been moved to quarantine
            _sync_path(target.parent)
        self._verified[fingerprint] = _state(target)
        shutil.rmtree(self.scratch(fingerprint), ignore_errors=True)
        return manifest

    def scratch(self, fingerprint: str) -> Path:
        """Where a stage may keep snapshots that survive kills; removed when its artifact is published."""
        return self.root / "scratch" / fingerprint

    def log(self, fingerprint: str, text: str) -> Path:
        """Keep a text (a traceback) about a stage for people, replacing an earlier one."""
        path = self.root / "logs" / f"{fingerprint[:12]}.txt"
        with contextlib.suppress(OSError):  # the log must not hide what it is about
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return path

    @contextlib.contextmanager
    def lease(self, fingerprint: str, waiting: Callable[[str], None] | None = None) -> Iterator[Lease | None]:
        """Be the only one at work on an artifact, as long as the block lasts.

        Waits while another process that is alive holds the lease, telling ``waiting`` who does. Yields None when the
        artifact is there (perhaps because the other one made it). Raises UserError where the store has no space or
        gives no permission.
        """
        path = self.root / "leases" / f"{fingerprint}.json"
        try:
            with contextlib.ExitStack() as stack:
                lease = self._wait_for_lease(fingerprint, path, waiting)
                if lease is not None:
                    stack.callback(lease.release)
                yield lease
        except KeyboardInterrupt:  # may come anywhere, also when the file is there and the lease not yet known
            if is_own(path):
                path.unlink(missing_ok=True)
            raise

    def _wait_for_lease(
        self, fingerprint: str, path: Path, waiting: Callable[[str], None] | None = None
    ) -> Lease | None:
        watch = Watch(path)
        while self.status(fingerprint) is None:
            with self.errors():
                path.parent.mkdir(parents=True, exist_ok=True)
                lease = Lease.take(path)
            if lease is not None:
                if self.status(fingerprint) is None:
                    return lease
                lease.release()  # published between our look and our taking the lease
            elif watch.is_stale():
                watch.remove()
            else:
                if waiting is not None:
                    waiting(f"waiting for {watch.holder()}")
                time.sleep(POLL_S)
        return None

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the file system's refusals into one clear line that names the store, and what was not permitted."""
        try:
            yield
        except PermissionError as error:
            raise UserError(f"store {self.root}: {denial(error)}; ask for permission or name another store") from error
        except OSError as error:
            if error.errno not in _REASONS:
                raise
            raise UserError(f"store {self.root}: {_REASONS[error.errno]}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """As ``errors``; what is there and cannot be read for another reason is told as well."""
        try:
            with self.errors():
                yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            where = error.filename or "an artifact"
            raise UserError(f"store {self.root}: {where} cannot be read: {error.strerror or error}") from error

    def _make_folders(self) -> None:
        for name in ("artifacts", "tmp", "leases", "scratch", "quarantine", "logs"):
            try:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            except PermissionError:
                raise
            except OSError as error:
                reason = _REASONS.get(error.errno or 0, f"it cannot be made ({error.strerror}); name another folder")
                raise UserError(f"store {self.root}: {reason}") from error

    def remove_leftovers(self) -> None:
        """Remove what killed processes left: of this host those that are dead, of others what had no heartbeat for a
        day.
        """
        for path in (self.root / "tmp").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                _, owner, pid, _ = path.name.split(".")
                dead = owner == host_digest() and not is_alive(int(pid))
                if dead or time.time() - path.stat().st_mtime > LEFTOVER_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (self.root / "leases").iterdir():
            lease = read(path)
            dead = lease.get("host") == host() and not is_alive(int(lease.get("pid", 0)))
            with contextlib.suppress(OSError):
                if dead or time.time() - path.stat().st_mtime > LEFTOVER_S:
                    path.unlink()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every file of an artifact but the manifest, in order. Hidden files are not part of
    artifacts.
    """
    for path in sorted(walk(folder)):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name != MANIFEST and not path.name.startswith("."):
            yield name, path


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    links = [name for name, path in _files(folder) if path.is_symlink()]
    if links:
        raise ValueError(f"an artifact must hold its files itself, but {links[0]} is a link")
    return {name: {"sha256": file_fingerprint(path), "size": path.stat().st_size} for name, path in _files(folder)}


def _difference(folder: Path, files: dict[str, dict[str, Any]]) -> str | None:
    """How the files differ from what the manifest says, or None."""
    there = dict(_files(folder))
    for name in files.keys() | there.keys():
        if name not in there:
            return f"{name} is missing"
        if name not in files:
            return f"{name} was added"
        if {"sha256": file_fingerprint(there[name]), "size": there[name].stat().st_size} != files[name]:
            return f"{name} was changed"
    return None


def _state(folder: Path) -> tuple:
    """Sizes and times of an artifact's files: while they stay the same, so does the content, unless somebody sets times
    on purpose.
    """
    stats = [(name, path.stat()) for name, path in [(MANIFEST, folder / MANIFEST), *_files(folder)]]
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
