"""Checks of the machine: ``rlbench doctor``. A new check is one more function and its line in ``checks``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rlbench.cli.options import examples, json_option, store_option
from rlbench.records import UserError

MEMORY_NEEDED_GIB = 6
DISK_NEEDED_GIB = 2


def checks(store: Path) -> list[dict[str, Any]]:
    """Each check as ``{name, ok, found}``; one that raises is not ok, with its reason."""
    return [
        _checked(name, check)
        for name, check in {
            "python": _python,
            "packages": _packages,
            "torch": _torch,
            "cores": _cores,
            "memory": _memory,
            "disk": lambda: _disk(store),
            "shared memory": _shared_memory,
            "store": lambda: _store(store),
            "ray": _ray,
        }.items()
    ]


def _checked(name: str, check: Callable[[], tuple[bool, str]]) -> dict[str, Any]:
    try:
        ok, found = check()
    except UserError as error:
        ok, found = False, str(error)
    except Exception as error:  # whatever is broken about the machine is what the command is asked to say
        ok, found = False, f"{type(error).__name__}: {error}"
    return {"name": name, "ok": ok, "found": found}


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), sys.version.split()[0]


def _packages() -> tuple[bool, str]:
    """Every requirement of the package against what is installed."""
    from packaging.requirements import Requirement

    wrong = []
    needed = [Requirement(text) for text in importlib.metadata.requires("rlbench") or () if "extra ==" not in text]
    for requirement in needed:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return not wrong, "; ".join(wrong) or f"{len(needed)} requirements met"


def _torch() -> tuple[bool, str]:
    import torch
    import transformers

    devices = (
        f"{torch.cuda.device_count()} GPU ({torch.cuda.get_device_name(0)})" if torch.cuda.is_available() else "no GPU"
    )
    return True, f"torch {torch.__version__}, transformers {transformers.__version__}, {devices}"


def _cores() -> tuple[bool, str]:
    from rlbench.graph.machine import affinity_cores, cgroup_cores, usable_cores

    machine, affinity, quota = os.cpu_count() or 1, affinity_cores(), cgroup_cores()
    limits = []
    if affinity < machine:
        limits.append(f"affinity {affinity}")
    if quota is not None:
        limits.append(f"control group {quota:g}")
    return True, f"{usable_cores()} usable of {machine}{_in_brackets(limits)}"


def _memory() -> tuple[bool, str]:
    import psutil

    from rlbench.graph.machine import cgroup_memory, usable_memory

    usable, group = usable_memory(), cgroup_memory()
    limits = [f"the miniature comparison wants {MEMORY_NEEDED_GIB}"]
    if group is not None:
        limits.insert(0, f"control group {group.total / 2**30:.1f} of {psutil.virtual_memory().total / 2**30:.1f}")
    free = usable.available / 2**30
    return free >= MEMORY_NEEDED_GIB, f"{free:.1f} GiB free of {usable.total / 2**30:.1f}{_in_brackets(limits)}"


def _in_brackets(notes: list[str]) -> str:
    return f" ({', '.join(notes)})" if notes else ""


def _disk(store: Path) -> tuple[bool, str]:
    folder = store.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    return free >= DISK_NEEDED_GIB, f"{free:.1f} GiB free at {store} (the miniature comparison wants {DISK_NEEDED_GIB})"


def _shared_memory() -> tuple[bool, str]:
    """Where Ray keeps its objects; without it, Ray takes its folder on the disk."""
    from rlbench.graph.ray_session import OBJECT_STORE_BYTES, SHARED_MEMORY, can_write, ray_folder

    if not can_write(SHARED_MEMORY):
        return True, f"{SHARED_MEMORY} cannot be written; Ray uses {ray_folder()}"
    free = shutil.disk_usage(SHARED_MEMORY).free
    instead = f"; Ray wants {OBJECT_STORE_BYTES >> 20} MiB and uses {ray_folder()}" if free < OBJECT_STORE_BYTES else ""
    return True, f"{free / 2**20:.0f} MiB free in {SHARED_MEMORY}{instead}"


def _store(store: Path) -> tuple[bool, str]:
    from rlbench.graph.artifact import Store

    try:
        Store(store)
    except UserError as error:
        return False, str(error)
    return True, f"{store} can be written"


def _ray() -> tuple[bool, str]:
    import tempfile
    import time

    from rlbench.graph.artifact import Store
    from rlbench.graph.ray_executor import RayExecutor
    from rlbench.graph.stage import Stage

    start = time.monotonic()
    source = {"task": "arithmetic", "split": "test/in_domain", "limit": 1, "revision": None, "version": 0}
    probe = Stage(
        name="problems/probe", function="rlbench.tasks.base:problems_stage", version=1, config={"source": source}
    )
    with tempfile.TemporaryDirectory() as folder:
        result = RayExecutor(workers=1).execute([probe], Store(folder))[probe.fingerprint]
    return (
        result.status == "done",
        result.reason or f"a worker started and ran a stage in {time.monotonic() - start:.1f} s",
    )


@click.command(epilog=examples("rlbench doctor", "rlbench doctor --json"))
@store_option
@json_option
def doctor(store: Path, as_json: bool) -> int:
    """Check this machine: versions, cores, memory, GPU, store, and that a Ray worker starts."""
    found = checks(store)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for check in found:
            click.echo(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']:<14} {check['found']}")
    return 0 if all(check["ok"] for check in found) else 1
