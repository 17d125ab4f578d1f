"""The recipes that come with rlbench: found by their name from any folder, in a checkout and in an installed package.

A file ``recipes/NAME.toml`` at the top of the repository is one of them; nothing else has to be said anywhere.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from rlbench.records import nearest

# In a checkout this is a link to the folder at its top, which a wheel holds as files.
FOLDER = Path(__file__).resolve().parents[1] / "recipes"


def packaged() -> dict[str, Path]:
    """The packaged recipes' files by their names, in alphabetical order."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def titles() -> dict[str, str]:
    """The packaged recipes' titles by their names."""
    return {name: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for name, path in packaged().items()}


def locate(name: str | Path, folder: Path = Path()) -> Path:
    """The file that a recipe's name means: the one of that name in ``folder``, else the packaged recipe of that name.

    A path that is neither is returned as it is; reading it says what is wrong.
    """
    path = folder / name
    is_file = os.path.exists(path) and not os.path.isdir(path)  # a pipe is as good as a file
    return path if is_file else packaged().get(str(name), path)


def suggestion(path: Path) -> str:
    """A hint to append where there is no such recipe: the nearest neighbour or packaged recipe."""
    known = packaged()
    neighbours = sorted(str(file) for file in path.parent.glob("*.toml")) if os.path.isdir(path.parent) else []
    meant = nearest(str(path), [*neighbours, *known]) or nearest(path.stem, known)
    return meant or "; `rlbench recipes` lists those that come with rlbench"
