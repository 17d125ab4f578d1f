"""Leases: two runs at once on one store do no stage twice, as far as a file system lets one promise that.

A lease is a file with a heartbeat. Nothing depends on it but the absence of double work: publishing an artifact is
atomic, so two processes that both believe to hold a lease produce the same artifact twice and the second one is
dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from functools import cache
from pathlib import Path

import psutil

HEARTBEAT_S = 3.0
STALE_S = 20.0
LONG_STALE_S = 600.0  # beyond what the clocks of two hosts may differ by


@cache
def host() -> str:
    """Name of the set of processes among which a process id means something: the host, and the container on it."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def host_digest() -> str:
    """The host in eight characters that any file name may hold."""
    return hashlib.sha256(host().encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """True while a process of this host runs; a dead one that nobody has waited for (a zombie) does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.NoSuchProcess, ValueError):  # gone, or no process id
        return False
    except psutil.AccessDenied:  # somebody else's, which says that it is there
        return True


class Lease:
    """A lease that this process holds until ``release``; a thread touches it, and the folders added with ``keep``,
    every few seconds.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self._token = token
        self._touched = [path]
        self._released = threading.Event()
        threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True).start()

    @classmethod
    def take(cls, path: Path) -> Lease | None:
        """Take the lease unless somebody has it. Raises OSError where the file cannot be written for another reason."""
        token = uuid.uuid4().hex
        text = json.dumps({"host": host(), "pid": os.getpid(), "time": time.time(), "token": token})
        descriptor = None
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            os.write(descriptor, text.encode())
        except FileExistsError:
            return None
        except BaseException:
            if descriptor is not None:
                path.unlink(missing_ok=True)
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return cls(path, token)

    def guard(self, folder: Path) -> None:
        """Touch this folder as well, so that nobody takes it for the leftover of a dead process."""
        self._touched.append(folder)

    def release(self) -> None:
        """Give the lease up, unless somebody who thought this process dead has taken it."""
        self._released.set()
        if read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            for path in self._touched:
                with contextlib.suppress(OSError):
                    os.utime(path)


def read(path: Path) -> dict:
    """What the lease says; empty where there is none, or where its holder is just writing it."""
    try:
        lease = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return lease if isinstance(lease, dict) else {}


def is_own(path: Path) -> bool:
    """True where the lease is of this process."""
    lease = read(path)
    return (lease.get("host"), lease.get("pid")) == (host(), os.getpid())


class Watch:
    """Somebody else's lease, watched until it is released or goes stale.

    Stale is: its process is dead (same host), or its heartbeat stood still for ``STALE_S`` of *our* clock, since clocks
    of hosts differ.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: int | None = None
        self._since = time.monotonic()

    def is_stale(self) -> bool:
        """Whether the lease's holder is gone. False where there is no lease (any more)."""
        try:
            beat = self.path.stat().st_mtime_ns
        except OSError:
            return False
        if beat != self._seen:
            self._seen, self._since = beat, time.monotonic()
        holder = read(self.path)
        if holder.get("host") == host() and isinstance(holder.get("pid"), int) and not is_alive(holder["pid"]):
            return True
        return time.monotonic() - self._since > STALE_S or time.time() - beat / 1e9 > LONG_STALE_S

    def remove(self) -> None:
        """Remove the stale lease; where somebody else did so first and took it anew, theirs stays."""
        token = read(self.path).get("token")
        aside = self.path.with_suffix(f".{uuid.uuid4().hex}")
        with contextlib.suppress(OSError):
            self.path.rename(aside)
            if read(aside).get("token") != token:
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)

    def holder(self) -> str:
        """Who holds the lease, for a line of progress."""
        lease = read(self.path)
        return f"process {lease.get('pid', '?')} on {str(lease.get('host', '?')).split(' ')[0]}"
