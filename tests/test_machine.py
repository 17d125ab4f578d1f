"""What a process may use of its machine: affinity and control groups of both versions, however nested."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.graph.machine import (
    affinity_cores,
    cgroup_cores,
    cgroup_memory,
    usable_cores,
    usable_memory,
)

GROUPS = Path("/sys/fs/cgroup")
GIB = 2**30

limits = st.none() | st.integers(1, 64)
levels = st.lists(st.tuples(limits, limits, st.integers(0, 4)), min_size=1, max_size=4)


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def machine(root: Path, version: int, groups: list[tuple[int | None, int | None, int]], hidden: int) -> None:
    """The files of a machine: nested groups with (quarter cores, GiB, GiB used), the outermost first, of which the
    ``hidden`` outermost are outside the mount, as in a container without a name space of its own for groups.
    """
    mounted = "/".join(["", *(f"g{level}" for level in range(1, hidden + 1))])
    process = "/".join(["", *(f"g{level}" for level in range(1, len(groups)))])
    names = {"cpu": ["cpu", "cpuacct"], "memory": ["memory"]} if version == 1 else {"unified": []}
    lines, mounts = ["0::/" if version == 1 else f"0::{process or '/'}"], ["22 1 0:20 / /proc rw - proc proc rw"]
    for number, (name, controllers) in enumerate(names.items(), 1):
        place = f"/sys/fs/cgroup/{name}" if version == 1 else "/sys/fs/cgroup"
        kind, options = ("cgroup", f"rw,{','.join(controllers)}") if version == 1 else ("cgroup2", "rw")
        if version == 1:
            lines.append(f"{number}:{','.join(controllers)}:{process or '/'}")
        mounts.append(f"{30 + number} 1 0:2{number} {mounted or '/'} {place} rw shared:9 - {kind} cgroup {options}")
        folder = root / place.lstrip("/")
        for level, (quarters, gib, used) in enumerate(groups):
            if level < hidden:
                continue
            folder = folder if level == hidden else folder / f"g{level}"
            fill(folder, version, quarters, gib, used)
    write(root / "proc/self/cgroup", "\n".join(lines))
    write(root / "proc/self/mountinfo", "\n".join(mounts))


def fill(folder: Path, version: int, quarters: int | None, gib: int | None, used: int) -> None:
    stat = f"anon 5\n{'total_' * (version == 1)}inactive_file {GIB // 2}\nslab 1"
    write(folder / "memory.stat", stat)
    if version == 1:
        write(folder / "cpu.cfs_quota_us", -1 if quarters is None else quarters * 25_000)
        write(folder / "cpu.cfs_period_us", 100_000)
        write(folder / "memory.limit_in_bytes", 9223372036854771712 if gib is None else gib * GIB)
        write(folder / "memory.usage_in_bytes", used * GIB)
    else:
        write(folder / "cpu.max", f"{'max' if quarters is None else quarters * 25_000} 100000")
        write(folder / "memory.max", "max" if gib is None else gib * GIB)
        write(folder / "memory.current", used * GIB)


@given(levels, st.sampled_from([1, 2]), st.data())
def test_the_tightest_of_nested_groups_counts(groups: list, version: int, data: st.DataObject) -> None:
    hidden = data.draw(st.integers(0, len(groups) - 1))
    with tempfile.TemporaryDirectory() as name:
        machine(Path(name), version, groups, hidden)
        seen = groups[hidden:]
        quotas = [quarters / 4 for quarters, _, _ in seen if quarters is not None]
        assert cgroup_cores(Path(name)) == min(quotas, default=None)
        memory = cgroup_memory(Path(name))
        bounded = [(gib, used) for _, gib, used in seen if gib is not None]
        assert (memory is None) == (not bounded)
        if memory is not None:
            assert memory.total == min(gib for gib, _ in bounded) * GIB
            assert memory.available == min(max(0, (gib - used) * GIB + GIB // 2) for gib, used in bounded)


@pytest.mark.parametrize("missing", ["proc/self/cgroup", "proc/self/mountinfo", "sys"])
def test_a_machine_that_does_not_tell_has_no_limits(missing: str, tmp_path: Path) -> None:
    machine(tmp_path, 2, [(4, 4, 1)], 0)
    (tmp_path / missing).rename(tmp_path / "away")
    assert cgroup_cores(tmp_path) is None
    assert cgroup_memory(tmp_path) is None


def test_usable_is_at_most_what_the_machine_has() -> None:
    assert 1 <= usable_cores() <= affinity_cores() <= (os.cpu_count() or 1)
    memory = usable_memory()
    assert 0 <= memory.available <= memory.total


ASK = (
    "from rlbench.graph.machine import *; "
    "print(usable_cores(), cgroup_cores(), cgroup_memory() and cgroup_memory().total >> 20)"
)


def test_a_process_bound_to_one_core_has_one() -> None:
    first = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {first})
    )
    assert done.stdout.split()[0] == "1", done.stderr


@pytest.fixture
def real_groups() -> Iterator[list[Path]]:
    """Folders of real control groups of this machine, of one core and a GiB; where one may not make any, a skip."""
    version_2 = (GROUPS / "cgroup.controllers").exists()
    made: list[Path] = []
    try:
        for top in [GROUPS] if version_2 else [GROUPS / "cpu", GROUPS / "memory"]:
            outer = top / f"rlbench-test-{os.getpid()}"
            for folder in (outer, outer / "inner"):
                folder.mkdir()
                made.append(folder)
            if version_2:
                (top / "cgroup.subtree_control").write_text("+cpu +memory")
            for name, text in (
                ("cpu.max", "100000 100000"),
                ("memory.max", str(GIB)),
                ("cpu.cfs_quota_us", "100000"),
                ("memory.limit_in_bytes", str(GIB)),
            ):
                if (outer / name).exists():
                    (outer / name).write_text(text)
        yield [folder for folder in made if folder.name == "inner"]
    except OSError as error:
        pytest.skip(f"no control groups can be made here: {error}")
    finally:
        for folder in reversed(made):
            folder.rmdir()


def test_the_limits_of_real_groups_are_seen_from_within(real_groups: list[Path]) -> None:
    def enter() -> None:
        for folder in real_groups:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, preexec_fn=enter)
    assert done.stdout.split() == ["1", "1.0", "1024"], done.stderr
