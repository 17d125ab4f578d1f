from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rlbench.cli.main import cli
from rlbench.cli.scaffold import new_objective
from rlbench.objectives import registry
from rlbench.planning.build import build
from rlbench.recipe import load_recipe
from rlbench.records import UserError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def test_a_new_objective_begins_as_the_one_it_is_like(tmp_path: Path) -> None:
    path, test = new_objective("softer", "grpo", tmp_path)
    assert (path, test) == (tmp_path / "softer.py", tmp_path / "test_softer.py")
    found, model = registry.describe([path]).objectives["softer"], registry.describe().objectives["grpo"]
    assert (found.rows, found.reads, found.reduction, found.hyperparameters) == (
        model.rows,
        model.reads,
        model.reduction,
        model.hyperparameters,
    )
    assert found.docstring == model.docstring
    assert "from rlbench.objectives" not in path.read_text() and "#   reads " in path.read_text()


@pytest.mark.parametrize("like", sorted(registry.describe().objectives))
def test_every_objective_can_be_begun_from_and_the_files_are_tidy(like: str, tmp_path: Path) -> None:
    path, test = new_objective("mine", like, tmp_path)
    assert callable(registry.load("objective", "mine", [path]))
    line = next(line for line in path.read_text().splitlines() if line.startswith("Run it:")).replace(
        "mine.py", str(path)
    )
    words = shlex.split(line)
    overrides = [word for before, word in itertools.pairwise(words) if before == "--set"]
    rows = build(load_recipe(RECIPES / "quickstart.toml", overrides, only=[words[words.index("--only") + 1]])).rows
    assert any(
        (row.trained.config if row.trained else {}).get("objective", {}).get("name") == "mine" or "value" in like
        for row in rows
    )
    compile(test.read_text(), str(test), "exec")
    for file in (path, test):
        assert file.read_text().endswith("\n") and "\n\n\n\n" not in file.read_text()
        assert max(map(len, file.read_text().splitlines())) <= 200


@pytest.mark.parametrize("like", ["dft", "dpo", "grpo"])
def test_the_test_that_is_written_passes_as_it_is_and_fails_when_the_formula_changes(like: str, tmp_path: Path) -> None:
    path, test = new_objective("mine", like, tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), "-k", "golden"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    path.write_text(path.read_text().replace("batch.logp", "(2 * batch.logp)"))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1


def test_what_cannot_be_begun_is_refused_and_nothing_is_written_over(tmp_path: Path) -> None:
    for name, like, message in (
        ("torch", "dft", "something else"),
        ("stop_gradient", "dft", "something else"),
        ("_u", "dft", "letters, digits and _"),
        ("two words", "dft", "letters, digits and _"),
        ("lambda", "dft", "letters, digits and _"),
        ("sft", "dft", "already defined"),
        ("mine", "dtf", "did you mean 'dft'"),
    ):
        with pytest.raises(UserError, match=message):
            new_objective(name, like, tmp_path)
    new_objective("mine", "dft", tmp_path)
    (tmp_path / "mine.py").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        new_objective("mine", "dft", tmp_path)
    assert (tmp_path / "mine.py").read_text() == "precious"


def test_a_plugin_can_be_begun_from_however_its_decorator_is_written(tmp_path: Path) -> None:
    plugin = tmp_path / "theirs.py"
    plugin.write_text('''import rlbench

A, B = 1.0, 2.0


@rlbench.objective(name='theirs',
    reduction='sequence-mean')
def theirs(batch):
    """Theirs."""
    return -A * B * batch.logp
''')
    path, _ = new_objective("mine", "theirs", tmp_path / "new", [plugin])
    found = registry.describe([path]).objectives["mine"]
    assert found.reduction == "sequence-mean"
    assert registry.load("objective", "mine", [path]) and "A, B = 1.0, 2.0" in path.read_text()


def test_the_command_lists_shows_and_begins(tmp_path: Path) -> None:
    runner = CliRunner()

    def output(*arguments: str) -> str:
        result = runner.invoke(cli, ["objectives", *arguments], standalone_mode=False)
        assert result.exception is None, result.exception
        return result.output

    listed = output()
    for name in (*registry.describe().objectives, "group_norm", "random", "mixed_groups"):
        assert f"\n{name} " in f"\n{listed}"
    shown = output("grpo")
    for part in ("arXiv:2402.03300", "clip_low 0.2", "its method names an estimator", "def grpo(", "def _surrogate("):
        assert part in shown
    assert "def gae(" in output("gae")
    (only,) = json.loads(output("dft", "--json"))
    assert (only["name"], only["reduction"], only["reference"]) == (
        "dft",
        "token-mean",
        "Wu et al. 2025, eq. 9 (arXiv:2508.05629).",
    )
    assert "Wrote" in output("new", "mine", "--like", "dpo", "--folder", str(tmp_path))
    assert "mine " in output("--plugin", str(tmp_path / "mine.py"))


def test_the_command_refuses_what_it_does_not_know() -> None:
    runner = CliRunner()
    assert "did you mean 'grpo'" in str(runner.invoke(cli, ["objectives", "grop"], standalone_mode=False).exception)
    for arguments in (["new"], ["dft", "sft"], ["dft", "--like", "sft"]):
        result = runner.invoke(cli, ["objectives", *arguments])
        assert result.exit_code == 2
