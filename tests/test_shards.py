"""Banks and evaluations in shards: the same samples as undisturbed, whoever is killed in the middle of one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from interruptions import stop_at
from tiny_model import Context, write_model

from rlbench.evaluation.stage import evaluate, merge_samples
from rlbench.graph.artifact import Store
from rlbench.graph.schedule import Event, OnEvent, Progress, Started
from rlbench.graph.stage import topological
from rlbench.planning.build import banks, build
from rlbench.planning.estimate import estimate
from rlbench.recipe import load_recipe
from rlbench.records import EvalSample, Problem, Rollout, read_problems, read_records, write_problems
from rlbench.running.execution import Execution
from rlbench.running.runner import Results, sample_banks
from rlbench.sampling.rollouts import merge_rollouts, rollouts_stage
from rlbench.tasks.base import expected_rows

CONFIG = {
    "template": "<bos>{problem}\n",
    "seed": 3,
    "dtype": "float32",
    "engine": "transformers",
    "batch_rows": 16,
    "samples": 4,
    "grader": {"name": "rlbench"},
}
BANK = {**CONFIG, "temperature": 1.0, "max_new_tokens": 24, "drop_truncated": False}
EVALUATION = {**CONFIG, "benchmark": "b", "split": "test", "decoding": "t1.0", "temperature": 1.0, "max_new_tokens": 24}
SLOW_BANK = (
    "rollouts.samples=16",
    "sampling.shard_samples=256",
    "sampling.batch_rows=2",
    "seeds=[0]",
)  # three shards of some seconds


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    write_problems(folder / "problems.jsonl", [Problem(f"p{i}", f"{i}+{i}", str(2 * i)) for i in range(1, 8)])
    return {"model": write_model(folder / "model"), "problems": folder}


def test_the_shards_of_a_problem_list_are_all_of_it_in_order_and_of_like_size(inputs: dict[str, Path]) -> None:
    path = inputs["problems"] / "problems.jsonl"
    for parts in (1, 2, 3, 7, 9):
        shards = [read_problems(path, (index, parts)) for index in range(parts)]
        assert [problem for shard in shards for problem in shard] == read_problems(path)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def shards_of(function: object, config: dict, inputs: dict[str, Path], folder: Path, count: int) -> dict[str, Path]:
    made = {}
    for index in range(count):
        made[f"shard{index + 1}"] = folder / f"shard{index + 1}"
        made[f"shard{index + 1}"].mkdir(parents=True)
        function({**config, "shard": [index, count]}, inputs, made[f"shard{index + 1}"], Context())  # type: ignore[operator]
    (folder / "merged").mkdir()
    return made


def test_a_merged_bank_is_the_whole_one(inputs: dict[str, Path], tmp_path: Path) -> None:
    shards = shards_of(rollouts_stage, BANK, inputs, tmp_path, 3)
    context = Context()
    merge_rollouts({**BANK, "shards": 3}, {**inputs, **shards}, tmp_path / "merged", context)
    (tmp_path / "whole").mkdir()
    rollouts_stage(BANK, inputs, tmp_path / "whole", Context())
    merged, whole = (read_records(tmp_path / name / "rollouts.parquet", Rollout) for name in ("merged", "whole"))
    # The log-probabilities differ in their last bits: other rows were computed together.
    assert [(r.problem_id, r.sample_index, r.token_ids, r.verdict) for r in merged] == [
        (r.problem_id, r.sample_index, r.token_ids, r.verdict) for r in whole
    ]
    summaries = [json.loads((tmp_path / name / "bank.json").read_text()) for name in ("merged", "whole")]
    assert summaries[0] == summaries[1] and list(summaries[0]) == list(summaries[1])
    assert context.counters == {"samples": 28, "correct": summaries[1]["correct"]}


def test_a_merged_evaluation_is_the_whole_one(inputs: dict[str, Path], tmp_path: Path) -> None:
    shards = shards_of(evaluate, EVALUATION, inputs, tmp_path, 2)
    merge_samples({**EVALUATION, "shards": 2}, {**inputs, **shards}, tmp_path / "merged", Context())
    (tmp_path / "whole").mkdir()
    evaluate(EVALUATION, inputs, tmp_path / "whole", Context())
    merged, whole = (read_records(tmp_path / name / "samples.parquet", EvalSample) for name in ("merged", "whole"))
    assert merged == whole


def test_the_recipe_alone_says_how_many_shards_there_are_and_they_cost_what_the_whole_does(tiny_recipe: Path) -> None:
    whole, cut = (build(load_recipe(tiny_recipe, [f"sampling.shard_samples={size}"])) for size in (8192, 50))
    assert not any(stage.is_shard for stage in whole.stages)
    names = [stage.name for stage in cut.stages if stage.kind == "rollouts"]
    assert names == [*(f"rollouts/seed0/shard{i}of4" for i in (1, 2, 3, 4)), "rollouts/seed0"]  # 48 prompts x 4
    sums = [sum(estimate(stage)["generations"] for stage in plan.stages) for plan in (whole, cut)]
    assert sums[0] == sums[1] > 0
    trained = [sum(estimate(stage)["trained_tokens"] for stage in plan.stages) for plan in (whole, cut)]
    assert trained[0] == trained[1] > 0
    same = [
        build(load_recipe(tiny_recipe, ["sampling.shard_samples=50", f"resources.workers={n}"])).fingerprint
        for n in (1, 7)
    ]
    assert same[0] == same[1] == cut.fingerprint != whole.fingerprint


def test_a_shard_without_a_problem_is_an_empty_one(inputs: dict[str, Path], tmp_path: Path) -> None:
    shards = shards_of(rollouts_stage, {**BANK, "samples": 1}, inputs, tmp_path, 9)  # of seven problems
    merge_rollouts({**BANK, "shards": 9}, {**inputs, **shards}, tmp_path / "merged", Context())
    assert len(read_records(tmp_path / "merged" / "rollouts.parquet", Rollout)) == 7
    assert json.loads((tmp_path / "merged" / "bank.json").read_text())["prompts"] == 7


def test_a_limit_says_nothing_of_how_many_problems_a_task_of_unknown_size_has() -> None:
    source = {"task": "math500", "split": "test", "limit": 5000}
    assert (expected_rows(source, {}), expected_rows({**source, "limit": 7}, {})) == (500, 7)
    assert expected_rows({**source, "split": "unknown"}, {}) is None


# Killed in the middle -------------------------------------------------------------------------------------------------


def bank(
    recipe: Path, store: Path, execution: Execution, on_event: OnEvent | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The bank's samples, and the time at which each of its stages was made."""
    loaded = load_recipe(recipe, SLOW_BANK)
    found = sample_banks(loaded, store=store, execution=execution, on_event=on_event)
    opened = Store(store)
    made = {
        s.name: opened.path(s.fingerprint).joinpath("manifest.json").stat().st_mtime_ns
        for s in topological(banks(loaded))
    }
    return pd.read_parquet(found[0]["path"]), {name: str(time) for name, time in made.items()}


@pytest.fixture(scope="module")
def undisturbed(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> pd.DataFrame:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    shutil.copytree(tiny_store, store)
    return bank(tiny_recipe, store, Execution("local"))[0]


@pytest.fixture
def store(tiny_run: Results, tiny_store: Path, tmp_path: Path) -> Path:
    """With a base model, and without a bank in shards."""
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


@pytest.mark.slow
def test_a_killed_engine_is_replaced_and_only_its_shard_is_done_again(
    undisturbed: pd.DataFrame, tiny_recipe: Path, store: Path
) -> None:
    killed: list[str] = []
    started: list[str] = []

    def kill(event: Event) -> None:
        if isinstance(event, Started):
            started.append(event.stage.name)
        if isinstance(event, Progress) and not killed and event.stage.is_shard and 0 < event.done < event.total:
            lease = json.loads((store / "leases" / f"{event.stage.fingerprint}.json").read_text())
            os.kill(lease["pid"], signal.SIGKILL)
            killed.append(event.stage.name)

    samples, _ = bank(tiny_recipe, store, Execution(workers=2), kill)
    assert len(killed) == 1
    assert sorted(started) == sorted([*killed, *(f"rollouts/seed0/shard{i}of3" for i in (1, 2, 3)), "rollouts/seed0"])
    pd.testing.assert_frame_equal(samples, undisturbed)


@pytest.mark.slow
def test_a_killed_driver_goes_on_at_the_shards_that_are_left(
    undisturbed: pd.DataFrame, tiny_recipe: Path, store: Path
) -> None:
    options = [part for override in SLOW_BANK for part in ("--set", override)]
    killed = stop_at(
        "shard1of3 ", signal.SIGKILL, "rollouts", tiny_recipe, "--store", store, "--executor", "local", *options
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = banks(load_recipe(tiny_recipe, SLOW_BANK))[0].inputs["shard1"]
    made = Store(store).path(first.fingerprint).joinpath("manifest.json").stat().st_mtime_ns
    samples, times = bank(tiny_recipe, store, Execution(workers=1))
    assert times[first.name] == str(made)
    pd.testing.assert_frame_equal(samples, undisturbed)
