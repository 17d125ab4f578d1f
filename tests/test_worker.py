"""Workers run the code of the driver, whatever lies in the current folder or on another machine's import path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import rlbench
from rlbench.graph import worker
from rlbench.graph.worker import INSTALLATION, Code, digest, import_path

PACKAGE = Path(rlbench.__file__).resolve().parent
# Loads worker.py by its place, as a worker has it: without importing rlbench.
LOAD = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
sys.modules["worker"] = worker
spec.loader.exec_module(worker)
code = worker.Code(**{**json.loads(sys.argv[2]), "path": tuple(json.loads(sys.argv[2])["path"])})
worker.adopt(code.path)
"""


def in_worker(code: Code, lines: str, cwd: Path, **environment: str) -> str:
    """What the lines print in a Python process that has taken over the code's import path."""
    facts = json.dumps({"path": code.path, "folder": code.folder, "digest": code.digest, "versions": code.versions})
    command = [sys.executable, "-c", LOAD + lines, str(PACKAGE / "graph" / "worker.py"), facts]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**clean, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def code(*path: str | Path) -> Code:
    return Code(tuple(map(str, path)), str(PACKAGE), digest(PACKAGE), {})


def test_a_worker_has_the_import_path_of_the_driver_in_its_order(tmp_path: Path) -> None:
    for name in ("first", "last", "current"):
        (tmp_path / name).mkdir()
    driver = code(tmp_path / "first", INSTALLATION, tmp_path / "last")
    path = json.loads(in_worker(driver, "print(json.dumps(sys.path))", tmp_path / "current"))
    assert (path[0], path[-1]) == (str(tmp_path / "first"), str(tmp_path / "last"))
    assert str(tmp_path / "current") not in path and "" not in path
    assert str(Path(os.__file__).parent) in path
    there = str(tmp_path / "current")
    path = json.loads(in_worker(driver, "print(json.dumps(sys.path))", tmp_path, PYTHONPATH=there))
    assert path[-1] == there  # of another machine; what the driver has comes before


def test_the_import_path_of_the_driver_names_its_own_folders_and_not_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = next(entry for entry in sys.path if entry.endswith("site-packages"))
    monkeypatch.setattr(
        "sys.path", ["", "relative", os.path.dirname(os.__file__), site, f"{site}/below", "/elsewhere/site-packages"]
    )
    assert import_path() == (str(tmp_path), str(tmp_path / "relative"), INSTALLATION, "/elsewhere/site-packages")


def change(folder: Path) -> None:
    with (folder / "views.py").open("a") as file:
        file.write("#")


@pytest.mark.parametrize(
    ("alter", "same"),
    [
        (lambda folder: None, True),
        (lambda folder: (folder / "__pycache__" / "x.pyc").write_text("cache"), True),
        (change, False),
        (lambda folder: (folder / "graph" / "new.py").touch(), False),
        (lambda folder: (folder / "graph" / "lease.py").unlink(), False),
        (lambda folder: (folder / "views.py").rename(folder / "wievs.py"), False),
    ],
    ids=["equal", "caches", "changed", "added", "removed", "renamed"],
)
def test_a_worker_refuses_any_other_rlbench_and_names_both(alter, same: bool, tmp_path: Path) -> None:
    other = Path(shutil.copytree(PACKAGE, tmp_path / "other" / "rlbench"))
    (other / "__pycache__").mkdir(exist_ok=True)
    (other / "__init__.py").write_text((other / "__init__.py").read_text())
    alter(other)
    driver = code(tmp_path / "other", INSTALLATION)
    ask = "print(worker.refusal(code)); print('rlbench' in sys.modules)"
    refusal, imported = in_worker(driver, ask, tmp_path).splitlines()
    assert imported == "False"
    if same:
        assert refusal == "None"
    else:
        assert str(other) in refusal and str(PACKAGE) in refusal and "install the same version" in refusal


def test_a_worker_without_rlbench_and_one_whose_rlbench_was_changed_meanwhile_say_so(tmp_path: Path) -> None:
    # -S: nothing is installed
    facts = json.dumps({"path": [INSTALLATION], "folder": str(PACKAGE), "digest": digest(PACKAGE), "versions": {}})
    command = [sys.executable, "-S", "-c", LOAD + "print(worker.refusal(code))", str(PACKAGE / "graph" / "worker.py")]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*command, facts], capture_output=True, text=True, cwd=tmp_path, env=clean)
    assert "finds no rlbench" in done.stdout, done.stderr
    assert str(PACKAGE) in done.stdout
    before = Code((str(PACKAGE.parent), INSTALLATION), str(PACKAGE), "0" * 64, {})
    assert "was changed while the run was going on" in in_worker(before, "print(worker.refusal(code))", tmp_path)


def test_libraries_that_differ_are_named() -> None:
    versions = worker.installed(("click", "no-such-library"))
    assert set(versions) == {"python", "click"}
    actor = worker.Worker.__new__(worker.Worker)
    actor.refusal, actor.code = None, Code((), "", "", {**versions, "click": "0.1", "pandas-of-old": "1.0"})
    greeting = actor.hello()
    assert (greeting.pid, greeting.refusal) == (os.getpid(), None)
    assert f"click {versions['click']} instead of 0.1, pandas-of-old none instead of 1.0" in greeting.difference
    actor.code = Code((), "", "", versions)
    assert actor.hello().difference == ""


def shadow_everything(folder: Path, marks: Path) -> None:
    """Modules named as all of the standard library, of what is installed, and rlbench; each leaves a mark and ends."""
    folder.mkdir()
    marks.mkdir()
    for name in {*sys.stdlib_module_names, *packages_distributions(), "rlbench"}:
        if name.isidentifier():
            mark = f"open({str(marks / name)!r}, 'w').close()\nraise SystemExit('{name} was shadowed')\n"
            (folder / f"{name}.py").write_text(mark)


RUN = """
import sys
sys.path.insert(0, {package!r})
from rlbench.cli.main import main
sys.argv = ["rlbench", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "local"])
def test_nothing_that_lies_in_the_current_folder_is_imported(executor: str, tiny_recipe: Path, tmp_path: Path) -> None:
    """The command started from its script, as an installed one is: the current folder is on no import path."""
    shadow_everything(tmp_path / "here", tmp_path / "marks")
    script = tmp_path / "bin" / "rlbench"
    script.parent.mkdir()
    script.write_text(RUN.format(package=str(PACKAGE.parent)))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = ["--only", "sft", "--executor", executor, "--store", str(tmp_path / "store"), "--out", "run", "--json"]
    done = subprocess.run(
        [sys.executable, str(script), "run", str(tiny_recipe), *options],
        cwd=tmp_path / "here",
        env=clean,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert {path.name for path in (tmp_path / "marks").iterdir()} == set()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] == []
