"""Documentation that can be checked: the tree of docs/architecture.md, links between the project's pages, and the names
of recipes in the commands that pages, recipes and help texts quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlbench.recipe.packaged import packaged

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAME = re.compile(r"[\w/]+(?:\.(?:py|toml|md)|/)(?=[\s,;:]|$)")


def tree() -> Iterator[tuple[Path, str]]:
    """Each name of the tree's lines with the folder that its line stands in."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders: list[tuple[int, Path]] = [(-1, ROOT)]
    block = next(part for part in text.split("```") if part.startswith("\nrlbench/"))
    for line in block.strip().splitlines():
        depth = len(line) - len(line.lstrip())
        folders = [(at, folder) for at, folder in folders if at < depth]
        first = line.split()[0]
        parent = folders[-1][1]
        if first.endswith("/"):
            folders.append((depth, parent / first))
        for name in NAME.findall(line):
            yield parent, name


def test_what_the_tree_names_is_there() -> None:
    names = list(tree())
    assert len(names) > 40
    for folder, name in names:
        places = [folder, *(child for child in folder.iterdir() if child.is_dir())]
        assert any((place / name).exists() for place in places), f"{name} is not in {folder.relative_to(ROOT)}"


def test_every_package_is_in_the_tree() -> None:
    named = {name.rstrip("/") for _, name in tree()}
    assert {path.parent.name for path in (ROOT / "rlbench").glob("*/__init__.py")} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


QUOTING = [*PAGES, *sorted((ROOT / "recipes").glob("*.toml")), *sorted((ROOT / "rlbench" / "cli").glob("*.py"))]


def test_commands_that_are_quoted_name_recipes_that_come_along() -> None:
    command = re.compile(r"rlbench (?:run|plan|show|rollouts|bench generate|bench workers) (\w[\w./-]*)(?=[`\s\"])")
    named = {(page.name, name) for page in QUOTING for name in command.findall(page.read_text(encoding="utf-8"))}
    assert {name for _, name in named} >= {"quickstart", "dft_vs_rl"}
    assert {(page, name) for page, name in named if name not in packaged()} == set()
