"""Folders of a test that another user may look into."""

from __future__ import annotations

import tempfile
from pathlib import Path


def let_others_in(folder: Path) -> None:
    """Let everybody read a test's folder, and pass through those above it up to the system's temporary folder."""
    above = [path for path in folder.parents if path.is_relative_to(tempfile.gettempdir())][:-1]
    for path in (folder, *above):
        path.chmod(0o755)
