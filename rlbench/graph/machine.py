"""The machine as a process may use it: cores and memory within affinity and control groups, one thread each."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_UNLIMITED_BYTES = 2**60  # version 1 says "no limit" by a number near 2**63


@dataclass(frozen=True)
class Memory:
    """Memory in bytes: ``total`` and ``available``, of the machine or within the tightest control group."""

    total: int
    available: int


def affinity_cores() -> int:
    """The cores that this process may be scheduled on."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13, also heeds PYTHON_CPU_COUNT
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """Whole cores that this process may keep busy, at least 1: those of its affinity, within the quota of its control
    groups.
    """
    quota = cgroup_cores()
    return affinity_cores() if quota is None else max(1, min(affinity_cores(), int(quota + 1e-6)))


def usable_memory() -> Memory:
    """The memory that this process may use: the machine's, within its control groups."""
    machine, group = psutil.virtual_memory(), cgroup_memory()
    if group is None:
        return Memory(machine.total, machine.available)
    return Memory(min(machine.total, group.total), min(machine.available, group.available))


# -- control groups (Linux), of version 1 and 2, each with all groups around it


def cgroup_cores(root: Path = Path("/")) -> float | None:
    """The tightest quota of CPU time of this process's control groups, in cores; None where there is none."""
    quotas = []
    for group in _groups("cpu", root):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text().split()[:2]
            else:
                quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if quota != "max" and int(quota) > 0:
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cgroup_memory(root: Path = Path("/")) -> Memory | None:
    """The tightest limit of memory of this process's control groups, and what is left below any of them (file caches
    count as left); None where there is no limit.
    """
    found = []
    for group in _groups("memory", root):
        names = ("memory.max", "memory.current", "inactive_file")
        if not (group / names[0]).exists():
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        with contextlib.suppress(OSError, ValueError):
            limit, used = int((group / names[0]).read_text()), int((group / names[1]).read_text())
            if limit < _UNLIMITED_BYTES:
                found.append(Memory(limit, max(0, limit - used + _cached(group / "memory.stat", names[2]))))
    if not found:
        return None
    return Memory(min(memory.total for memory in found), min(memory.available for memory in found))


def _cached(stat: Path, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in stat.read_text().splitlines():
            if line.startswith(f"{key} "):
                return int(line.split()[1])
    return 0


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the control groups with this controller that the process is in, from its own to the outermost
    that can be seen.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        for mounted, place in _mounts(mounts, controller if number != "0" else None):
            if not Path(path).is_relative_to(mounted):
                continue  # the mount shows another part of the tree
            below = Path(path).relative_to(mounted)
            top = root / place.relative_to("/")
            for folder in ((top / below), *(top / below).parents):
                yield folder
                if folder == top:
                    break
            break


def _mounts(lines: list[str], controller: str | None) -> Iterator[tuple[Path, Path]]:
    """(root within the tree, place) of each mount of version 1's tree of a controller, or of version 2's for None."""
    for line in lines:
        left, _, right = line.partition(" - ")
        kind, *_, options = right.split()
        fits = kind == "cgroup2" if controller is None else kind == "cgroup" and controller in options.split(",")
        if fits:
            yield Path(left.split()[3]), Path(left.split()[4])


def single_thread_environment() -> dict[str, str]:
    """Environment of a process that runs stages: one thread of mathematics each (more of them on shared cores spin),
    and no telemetry.

    It must be set before torch is imported; where torch is imported already, this sets its number of threads too.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
