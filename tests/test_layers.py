"""The layers of the house: a module imports only from its own row or a row above, and heavy libraries stay where they
belong.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rlbench"

# Module (or package) -> row; the longest prefix that matches counts.
ROWS = {
    "rlbench": 0,
    "rlbench.records": 1,
    "rlbench.jsonl": 1,
    "rlbench.recipe": 2,
    "rlbench.graph": 2,
    "rlbench.objectives": 2,
    "rlbench.grading": 2,
    "rlbench.models": 2,
    "rlbench.tasks": 3,
    "rlbench.views": 3,
    "rlbench.sampling": 3,
    "rlbench.training": 4,
    "rlbench.evaluation": 4,
    "rlbench.analysis": 5,
    "rlbench.reporting": 6,
    "rlbench.planning": 6,
    "rlbench.running": 7,
    "rlbench.testing": 7,
    "rlbench.bench": 7,
    "rlbench.graph.ray_executor": 6,
    "rlbench.graph.ray_session": 6,
    "rlbench.cli": 8,
}
ROOMS = ("recipe", "graph", "objectives", "grading", "models")  # of row 2, which do not know each other
ONLY_IN = {"ray": {"rlbench.graph.ray_executor", "rlbench.graph.ray_session"}, "vllm": {"rlbench.sampling.vllm_engine"}}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def row_of(module: str) -> int:
    parts = module.split(".")
    return next(ROWS[name] for name in (".".join(parts[:n]) for n in range(len(parts), 0, -1)) if name in ROWS)


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_from_its_own_row_or_above(module: str, path: Path) -> None:
    known = {name for name, _ in modules()}
    for imported in imports(path) & known:
        assert imported == "rlbench" or row_of(imported) <= row_of(module), (
            f"{module} imports {imported}, which stands below it"
        )


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_rooms_of_the_second_row_do_not_know_each_other(module: str, path: Path) -> None:
    room = module.split(".")[1] if "." in module else ""
    if room not in ROOMS or row_of(module) != 2:
        return
    for imported in imports(path):
        other = imported.split(".")[1] if imported.startswith("rlbench.") else ""
        assert other not in ROOMS or other == room, f"{module} imports {imported}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_ray_and_vllm_are_imported_in_one_place_each(module: str, path: Path) -> None:
    for imported in imports(path):
        library = imported.split(".")[0]
        assert library not in ONLY_IN or module in ONLY_IN[library], f"{module} imports {library}"


@pytest.mark.parametrize("package", ["analysis", "reporting", "planning", "tasks", "grading", "graph", "recipe"])
def test_rooms_that_never_import_torch(package: str) -> None:
    for module, path in modules():
        if module.startswith(f"rlbench.{package}"):
            assert not any(name.split(".")[0] == "torch" for name in imports(path)), module


READERS_AND_WRITERS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "rename"}


def test_analysis_opens_no_file() -> None:
    """From samples to statements is arithmetic: frames come in, frames go out, and disks are somebody else's."""
    for module, path in modules():
        if not module.startswith("rlbench.analysis"):
            continue
        assert not imports(path) & {"os", "io", "pathlib", "pathlib.Path", "shutil", "tempfile", "json"}, module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                reads = name in READERS_AND_WRITERS or name.startswith("read_") or name.startswith("to_parquet")
                assert not reads and name != "to_csv", f"{module}, line {node.lineno}: {name}"


def test_planning_works_with_torch_ray_and_vllm_absent() -> None:
    recipe = PACKAGE.parent / "recipes" / "quickstart.toml"
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'ray', 'vllm', 'transformers', 'trl', 'datasets'): raise "
        "ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = ['rlbench', 'plan', {str(recipe)!r}, '--json']\n"
        "from rlbench.cli.main import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"name": "train/grpo/seed1"' in done.stdout


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_no_test_imports_another(path: Path) -> None:
    """What two tests share has a module of its own."""
    imported = [name for name in imports(path) if name.split(".")[0].startswith("test_")]
    assert not imported


def test_contributing_tells_these_layers() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The house")[1].split("\n## ")[0]
    told = {
        f"rlbench.{name}": row
        for row, line in enumerate(re.findall(r"(?m)^\d\. (.+)$", text), 1)
        for name in re.findall(r"`([\w.]+)`", line)
    }
    assert told == {module: row for module, row in ROWS.items() if row > 0}
