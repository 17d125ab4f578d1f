"""What several test files share: one thread a process, and one tiny run from Python with the local executor."""

from __future__ import annotations

import os
from pathlib import Path

from rlbench.graph.machine import single_thread_environment

os.environ.update(single_thread_environment())  # before anything imports torch

import pytest

from rlbench.running.runner import Results, run

TINY = Path(__file__).parent / "recipes" / "tiny.toml"


@pytest.fixture(scope="session")
def tiny_recipe() -> Path:
    return TINY


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny") / "store"


@pytest.fixture(scope="session")
def tiny_run(tiny_store: Path) -> Results:
    """The tiny comparison from an empty store, undisturbed, in this process."""
    return run(TINY, out=tiny_store.parent / "run", store=tiny_store, executor="local")
