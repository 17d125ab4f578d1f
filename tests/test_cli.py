"""The command line: exit codes, one line for bad input, help with an example, JSON for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlbench.cli.main import cli

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
QUICKSTART = str(RECIPES / "quickstart.toml")


def rlbench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlbench.cli", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = rlbench(name, "--help")
    assert done.returncode == 0
    assert f"rlbench {name}" in done.stdout.split("Examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["plan", "nowhere.toml"], ["nowhere.toml", "does not exist"]),
        (["plan", QUICKSTART, "--set", "rollouts.sampels=3"], ["rollouts.sampels", "did you mean 'samples'"]),
        (["plan", QUICKSTART, "--only", "gpro"], ["did you mean 'grpo'"]),
        (["plan", QUICKSTART, "--seeds", "a,b"], ["--seeds", "0,1,2"]),
        (["run", QUICKSTART, "--store", "/proc/nowhere"], ["/proc/nowhere"]),
        (["run", QUICKSTART, "--out", "/proc/nowhere"], ["/proc/nowhere"]),
        (["report", "/nowhere"], ["manifest.json"]),
        (["pln"], ["did you mean 'plan'"]),
        (["plan", QUICKSTART, "--sed", "3"], ["--sed"]),
        (["run", str(RECIPES / "local_math.toml")], ["path/to"]),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(arguments: list[str], parts: list[str], tmp_path: Path) -> None:
    done = rlbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_a_bad_line_of_a_jsonl_file_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"id": "a", "problem": "1+1?", "answer": "2"}\n{"id": "b", "problem": "1+2?"}\n')
    done = rlbench("plan", QUICKSTART, "--set", f"data.prompts={path}")
    assert done.returncode == 2
    assert f"{path}, line 2" in done.stderr
    assert "answer" in done.stderr


def test_plan_as_json_has_its_stable_form(tmp_path: Path) -> None:
    done = rlbench("plan", QUICKSTART, "--json", "--store", str(tmp_path / "store"))
    stages = json.loads(done.stdout)["stages"]
    assert all({"name", "fingerprint", "cached", "estimate"} <= stage.keys() for stage in stages)
    assert not any(stage["cached"] for stage in stages)


def test_show_prints_formula_hyper_parameters_and_prompts_verbatim() -> None:
    done = rlbench("show", str(RECIPES / "dft_vs_rl.toml"))
    assert done.returncode == 0
    for part in ("-sg(p) log p", "beta 0.1", "<|im_start|>system", "\\boxed{}", "Deviations:"):
        assert part in done.stdout, part


def test_plan_does_not_write_a_store(tmp_path: Path) -> None:
    assert rlbench("plan", QUICKSTART, "--store", str(tmp_path / "store")).returncode == 0
    assert not (tmp_path / "store").exists()


def test_objectives_as_json_have_their_stable_form() -> None:
    found = {entry["name"]: entry for entry in json.loads(rlbench("objectives", "--json").stdout)}
    assert {"sft", "dft", "iw_sft", "dpo", "ppo", "grpo"} <= found.keys()
    assert all(
        entry.keys() >= {"name", "rows", "reads", "reduction", "hyperparameters", "source"} for entry in found.values()
    )
    assert found["dpo"]["hyperparameters"] == {"beta": 0.1}


@pytest.mark.slow
def test_doctor_checks_the_machine_and_starts_a_worker(tmp_path: Path) -> None:
    done = rlbench("doctor", "--store", str(tmp_path / "store"), "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["packages"]["ok"], checks["packages"]["found"]
    assert checks["ray"]["ok"], checks["ray"]["found"]
