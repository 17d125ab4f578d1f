"""The wheel, installed into an environment of its own and used away from the checkout, does what the checkout does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))
TEXT = {"capture_output": True, "text": True, "encoding": "utf-8", "timeout": 600}

pytestmark = pytest.mark.slow


def environment() -> dict[str, str]:
    """Of a shell that knows nothing of the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def pip(*arguments: str | Path) -> None:
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(line, env=environment(), **TEXT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what is packaged, built from a copy so that nothing of an earlier build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("rlbench", "recipes"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder / "dist", folder)
    return next((folder / "dist").glob("rlbench-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment that has the wheel, with the dependencies of the one that runs the tests."""
    home = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip("--python", home / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    # Folders that a .pth file names are searched; .pth files in them, such as an editable install's, are not read.
    site = next((home / "lib").glob("python*/site-packages"))
    paths = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in paths))
    return home / "bin"


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rlbench(installed: Path, tmp_path: Path) -> Command:
    """The installed command, run from a folder with nothing in it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([installed / "rlbench", *arguments], cwd=tmp_path, env=environment(), **TEXT)

    return run


def checkout(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "rlbench.cli", *arguments]
    return subprocess.run(line, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, **TEXT)


def test_it_is_the_wheels_rlbench_that_is_imported(installed: Path, tmp_path: Path) -> None:
    line = [installed / "python", "-c", "import rlbench; print(rlbench.__file__)"]
    done = subprocess.run(line, cwd=tmp_path, env=environment(), **TEXT)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent), done.stdout + done.stderr


def test_every_file_of_the_package_is_in_the_wheel(installed: Path) -> None:
    def files(package: Path) -> set[Path]:
        listed = {path.relative_to(package) for path in package.rglob("*") if "__pycache__" not in path.parts}
        return {path for path in listed if path.suffix} | {Path("recipes", f"{name}.toml") for name in RECIPES}

    package = next(installed.parent.glob("lib/python*/site-packages/rlbench"))
    assert files(package) == files(ROOT / "rlbench")
    assert all((package / "recipes" / f"{name}.toml").is_file() for name in RECIPES)
    licence = next(package.parent.glob("rlbench-*.dist-info/licenses/LICENSE"))
    assert licence.read_text() == (ROOT / "LICENSE").read_text()


def test_recipes_are_listed(rlbench: Command) -> None:
    assert sorted(found["name"] for found in json.loads(rlbench("recipes", "--json").stdout)) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_planned_with_the_fingerprints_of_the_checkout(
    rlbench: Command, tmp_path: Path, name: str
) -> None:
    command = ("plan", name, "--json", "--set", "device=cpu", "--store", "absent")
    ours, theirs = rlbench(*command), checkout(*command, cwd=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert ours.returncode == 0 or "path/to/" in ours.stderr  # that of one's own files has none
    assert not (tmp_path / "absent").exists()


def test_objectives_are_listed_and_shown_with_their_code(rlbench: Command, tmp_path: Path) -> None:
    def listed(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
        return [{**found, "source": None} for found in json.loads(done.stdout)]

    assert listed(rlbench("objectives", "--json")) == listed(checkout("objectives", "--json", cwd=tmp_path))
    assert "def dft(" in rlbench("objectives", "dft").stdout


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_recipe_that_extends_a_packaged_one_runs_to_its_report(
    rlbench: Command, tmp_path: Path, executor: str
) -> None:
    tiny = (ROOT / "tests" / "recipes" / "tiny.toml").read_text()
    (tmp_path / "tiny.toml").write_text(tiny.replace('"../../recipes/quickstart.toml"', '"quickstart"'))
    options = ("--only", "sft", "--executor", executor, "--out", "run", "--json")
    done = rlbench("run", "tiny.toml", *options)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["failures"] == [] and {row["method"] for row in facts["summary"]} == {"base", "sft"}
    assert "<table" in (tmp_path / "run" / "report.html").read_text()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["git"] is None and manifest["versions"]["rlbench"]
