"""Provenance of an artifact: versions of libraries and state of the checkout, recorded and never hashed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

_LIBRARIES = (
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
    for name in _LIBRARIES:
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
