"""Where two runs part: the first key of each kind, from real runs and from copies of one in which a single thing is
changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rlbench.cli.main import cli
from rlbench.running.difference import ABSENT, Comparison, Difference, Side, compare, difference_text, keys_that_differ
from rlbench.running.runner import Results, run

Change = Callable[[dict[str, Any]], None]

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
names = st.text("abc", min_size=1, max_size=2)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)


@given(trees, trees)
def test_keys_differ_where_values_do_and_nowhere_else(a: Any, b: Any) -> None:
    found = list(keys_that_differ(a, b))
    assert bool(found) == (a != b)
    assert {(key, y, x) for key, x, y in map(_plain, keys_that_differ(b, a))} == set(map(_plain, found))
    assert not list(keys_that_differ(a, deepcopy(a)))


def _plain(found: tuple[str, Any, Any]) -> tuple[str, str, str]:
    return found[0], repr(found[1]), repr(found[2])


@given(st.dictionaries(names, trees, min_size=1, max_size=3), names, leaves)
def test_one_key_more_is_the_one_that_differs(tree: dict[str, Any], name: str, value: Any) -> None:
    before = {key: kept for key, kept in tree.items() if key != name}
    assert list(keys_that_differ({"t": before}, {"t": {**before, name: value}})) == [(f"t.{name}", ABSENT, value)]


@pytest.fixture(scope="module")
def plain_run(tiny_run: Results, tiny_recipe: Path, tiny_store: Path) -> Results:
    return run(tiny_recipe, out=tiny_store.parent / "plain", store=tiny_store, executor="local", only=["sft"])


def kinds(found: Comparison) -> list[str]:
    return [difference.kind for difference in found.differences]


@pytest.mark.parametrize(
    ("override", "key", "stage"),
    [
        ("methods.sft.training.learning_rate=2e-4", "methods.sft.training.learning_rate", "train/sft/seed0"),
        ("data.demonstrations.limit=40", "data.demonstrations.limit", "problems/arithmetic:demonstrations"),
        ("evaluation.max_new_tokens=20", "evaluation.max_new_tokens", "evaluate/base/seed0/in_domain/t1.0"),
    ],
)
def test_runs_of_two_recipes_part_at_the_key_and_at_the_first_stage_that_it_reaches(
    plain_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path, override: str, key: str, stage: str
) -> None:
    other = run(tiny_recipe, out=tmp_path / "b", store=tiny_store, executor="local", only=["sft"], overrides=[override])
    found = compare(Side.load(plain_run.out, tiny_store), Side.load(other.out, tiny_store))
    recipe, first = (next(d for d in found.differences if d.kind == kind) for kind in ("recipe", "stage"))
    assert (recipe.key, recipe.more) == (key, 0)
    assert first.stage == stage and first.key.split(".")[-1] == key.split(".")[-1]
    assert str(first.b) == override.split("=")[1].replace("2e-4", "0.0002")


def test_a_row_more_is_told_with_the_stages_that_it_alone_needs(
    tiny_run: Results, plain_run: Results, tiny_store: Path
) -> None:
    found = compare(Side.load(plain_run.out, tiny_store), Side.load(tiny_run.out, tiny_store))
    assert next(d for d in found.differences if d.kind == "rows").key == "dft"
    alone = [d for d in found.differences if d.kind == "stage"]
    assert [(d.key, d.a, d.b) for d in alone] == [("only in one run", ABSENT, "there")]


def copied(results: Results, store: Path, to: Path) -> Side:
    """The run's folder, and a store that has its artifacts' manifests."""
    shutil.copytree(results.out, to / "run")
    for stage in results.manifest["stages"]:
        name = Path("artifacts") / stage["fingerprint"][:2] / stage["fingerprint"]
        if (store / name).exists():
            (to / "store" / name).mkdir(parents=True)
            shutil.copyfile(store / name / "manifest.json", to / "store" / name / "manifest.json")
    return Side.load(to / "run", to / "store")


def edited(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def of_artifact(results: Results, to: Path, stage: str, change: Change) -> None:
    fingerprint = next(s["fingerprint"] for s in results.manifest["stages"] if s["name"] == stage)
    edited(to / "store" / "artifacts" / fingerprint[:2] / fingerprint / "manifest.json", change)


def test_the_same_run_twice_does_not_differ(plain_run: Results, tiny_store: Path, tmp_path: Path) -> None:
    a, b = Side.load(plain_run.out, tiny_store), copied(plain_run, tiny_store, tmp_path)
    # Times, costs and what was cached are no differences.
    edited(b.folder / "manifest.json", lambda m: m["stages"][0].update(seconds=1e6, cached=False, tokens=1))
    found = compare(a, Side.load(b.folder, b.store.root))
    assert found.differences == [] and found.exit_code == 0
    assert difference_text(a, b, found, 100).startswith("No difference")


@pytest.mark.parametrize(
    ("where", "change", "kind", "stage", "key"),
    [
        ("run", lambda m: m["versions"].update(torch="1.0"), "versions", None, "torch"),
        ("run", lambda m: m["stages"][3]["versions"].update(python="2.7"), "versions", 3, "python"),
        ("run", lambda m: m.update(git={"commit": "abc", "dirty": True}), "checkout", None, ""),
        ("run", lambda m: m.update(device="cuda"), "device", None, ""),
        ("run", lambda m: m["problem_sets"][0].update(content="0" * 64), "problems", None, "test/in_domain"),
        ("run", lambda m: m["rows"][1].update(reasons_by_seed={"0": "killed"}), "rows", None, "sft.0"),
        ("run", lambda m: m["recipe"].update(seeds=[0, 1]), "recipe", None, "seeds"),
        ("base/seed0", lambda m: m["files"]["config.json"].update(sha256="0" * 64), "files", "base/seed0", "config"),
        ("base/seed0", lambda m: m["machine"].update(cpu="another"), "machine", "base/seed0", "cpu"),
    ],
)
def test_a_single_change_is_the_only_difference_and_is_named(
    plain_run: Results,
    tiny_store: Path,
    tmp_path: Path,
    where: str,
    change: Change,
    kind: str,
    stage: str | int | None,
    key: str,
) -> None:
    sides = [copied(plain_run, tiny_store, tmp_path / name) for name in "ab"]
    for name in "ab":
        of_artifact(plain_run, tmp_path / name, "base/seed0", lambda m: m.update(machine={"cpu": "one", "cores": 2}))
    if where == "run":
        edited(sides[1].folder / "manifest.json", change)
    else:
        of_artifact(plain_run, tmp_path / "b", where, change)
    a, b = (Side.load(side.folder, side.store.root) for side in sides)
    found = compare(a, b)
    assert kinds(found) == [kind] and found.exit_code == 1
    (difference,) = found.differences
    assert key in difference.key
    named = plain_run.manifest["stages"][stage]["name"] if isinstance(stage, int) else stage
    assert difference.stage == named
    swapped = compare(b, a).differences
    assert [(d.kind, d.key, d.b, d.a) for d in swapped] == [(kind, difference.key, difference.a, difference.b)]
    assert kind in difference_text(a, b, found, 100)


def test_a_sample_with_another_output_is_named(plain_run: Results, tiny_store: Path, tmp_path: Path) -> None:
    a, b = Side.load(plain_run.out, tiny_store), copied(plain_run, tiny_store, tmp_path)
    samples = pd.read_parquet(b.folder / "samples.parquet")
    samples.loc[[7, 9], "output"] = "another"
    samples.to_parquet(b.folder / "samples.parquet", index=False)
    (difference,) = compare(a, b).differences
    row = samples.iloc[7]
    assert difference == Difference("samples", difference.key, plain_run.samples["output"][7], "another", more=1)
    assert difference.key.startswith(f"output of {row['method']}/{row['seed']}/{row['benchmark']}/{row['problem_id']}/")


def test_what_cannot_be_compared_is_said(
    plain_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    a, b = Side.load(plain_run.out, tmp_path / "nowhere"), copied(plain_run, tiny_store, tmp_path)
    (b.folder / "samples.parquet").unlink()
    edited(b.folder / "manifest.json", lambda m: m["stages"][0].update(fingerprint="f" * 64))
    found = compare(a, Side.load(b.folder, b.store.root))
    (difference,) = found.differences
    assert (difference.kind, difference.key, difference.b) == ("stage", "fingerprint", "f" * 12)
    told = " ".join(found.not_compared)
    for part in ("the configuration of", "samples.parquet", "the files of", "machines"):
        assert part in told
    assert not (tmp_path / "nowhere").exists()


def test_the_command_prints_one_screen_or_json_and_its_exit_code_says_whether_they_differ(
    plain_run: Results, tiny_run: Results, tiny_store: Path
) -> None:
    def diff(*arguments: str | Path) -> Any:
        line = ["diff", *map(str, arguments), "--store", str(tiny_store)]
        return CliRunner().invoke(cli, line, standalone_mode=False)

    same = diff(plain_run.out, plain_run.out)
    assert same.return_value == 0 and "No difference" in same.stdout
    differing = diff(plain_run.out, tiny_run.out)
    assert differing.return_value == 1 and "Where they part" in differing.stdout
    _, *others = differing.stdout.splitlines()  # the first has both paths
    assert len(others) < 23 and max(map(len, others)) <= 130
    told = json.loads(diff(plain_run.out, tiny_run.out, "--json").stdout)
    assert told["same"] is False and told["differences"][0].keys() == {"kind", "key", "a", "b", "stage", "more"}
    wrong = diff(plain_run.out, tiny_store)
    assert "is no run's folder" in str(wrong.exception)
