"""A package that is installed beside rlbench: its four parts are listed, conform, and fill a row of a table."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from rlbench.objectives import registry
from rlbench.running.runner import Results
from rlbench.testing import check_file

PACKAGE = Path(__file__).parent / "plugin_package"
ROW = (
    '{objective="awr", hyperparameters={beta=1.0}, data="online", advantage="ranks", reward="brief", '
    'filters=["not_mastered"], '
    "online={steps=2, prompts_per_step=4, samples_per_prompt=4, max_new_tokens=40}}"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in, built without a network."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PACKAGE, folder / "source")
    if importlib.util.find_spec("setuptools") and importlib.util.find_spec("pip"):
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-index",
            "--no-deps",
        ]
        done = subprocess.run(
            [*pip, "--no-build-isolation", "--target", folder / "site", source], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    else:
        unpack(source, folder / "site")
    return folder / "site"


def unpack(source: Path, site: Path) -> None:
    """What an installer makes of the package, where there is none."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    shutil.copytree(source / "src", site)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = (
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in group_points.items())
        for group, group_points in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("".join(points))


def rlbench(*arguments: str | Path, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, filter(None, [site, os.environ.get("PYTHONPATH")])))
    line = [sys.executable, "-m", "rlbench.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path})


def test_what_an_installed_package_registers_is_listed(installed: Path) -> None:
    assert "awr" not in {found["name"] for found in json.loads(rlbench("objectives", "--json").stdout)}
    listed = {found["name"]: found for found in json.loads(rlbench("objectives", "--json", site=installed).stdout)}
    awr = listed["awr"]
    assert (awr["rows"], awr["reads"], awr["reduction"]) == ("sequences", [], "token-mean")
    assert awr["hyperparameters"] == {"beta": 0.5, "weight_max": 20.0}
    assert Path(str(awr["source"]).rpartition(":")[0]) == installed / "rlbench_example" / "regression.py"
    assert "sft" in listed


def test_what_an_installed_package_registers_conforms(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    files = [installed / "rlbench_example" / name for name in ("regression.py", "credit.py")]
    reports = {name: report for file in files for name, report in check_file(file).items()}
    for name in [name for name in sys.modules if name.split(".")[0] == "rlbench_example"]:
        del sys.modules[name]  # as if it had never been imported here
    assert set(reports) == {"awr", "ranks", "brief", "not_mastered"}
    assert [failure for report in reports.values() for failure in report.failures] == []


def test_the_entry_points_are_enough_where_no_installer_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(PACKAGE, tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalogue = registry.describe()
    assert catalogue.objectives["awr"].module == "rlbench_example.regression"
    assert (
        {"ranks"} <= set(catalogue.advantages)
        and {"brief"} <= set(catalogue.rewards)
        and {"not_mastered"} <= set(catalogue.filters)
    )


def test_a_row_of_nothing_but_installed_parts_is_filled_and_re_runs_nothing_else(
    installed: Path, tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    options = (
        "--executor",
        "local",
        "--store",
        tiny_store,
        "--out",
        tmp_path / "run",
        "--only",
        "awr",
        "--set",
        f"methods.awr={ROW}",
    )
    done = rlbench("run", tiny_recipe, *options, site=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = pd.read_csv(tmp_path / "run" / "summary.csv").set_index(["method", "benchmark", "decoding"])
    assert 0 <= summary.loc[("awr", "avg", "t1.0"), "avg_at_k"] <= 100
    stages = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    assert all("awr" in stage["name"] for stage in stages if not stage["cached"]) and any(
        "awr" in stage["name"] for stage in stages
    )
    refused = rlbench("run", tiny_recipe, *options)
    assert refused.returncode == 2 and "unknown objective 'awr'" in refused.stderr
