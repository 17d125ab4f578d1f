"""Provenance of an artifact: library versions, checkout and machine, recorded and never hashed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

_NVIDIA = Path("/proc/driver/nvidia")
LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "math_verify",
    "numpy",
    "pandas",
    "pyarrow",
    "vllm",
    "ray",
)


def library_versions() -> dict[str, str]:
    """Versions of Python and of those libraries that this process has imported."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        if name in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
    return versions


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of the checkout that rlbench is imported from and whether it has changes; None where it is no checkout of
    its own.
    """
    root = Path(__file__).resolve().parents[2]

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")) != root:
            return None  # a checkout of something else around an installed package
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def machine() -> dict[str, Any]:
    """The hardware and system that this process runs on: ``cpu`` (model), ``cores`` (of the machine, logical),
    ``system``, and ``gpus`` (models) with their ``driver``.

    Read without torch; a key that the system does not tell is absent.
    """
    found = {
        "cpu": _first(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "gpus": [_first(r"Model:\s*(.+)", path) for path in sorted(_NVIDIA.glob("gpus/*/information"))],
        "driver": _first(r"(?:Kernel Module|Open Kernel Module for \S+)\s+(\d[\d.]*)", _NVIDIA / "version"),
    }
    return {name: value for name, value in found.items() if value}


def _first(pattern: str, path: Path) -> str | None:
    with contextlib.suppress(OSError):
        if match := re.search(pattern, path.read_text(encoding="utf-8", errors="replace")):
            return match[1].strip()
    return None
