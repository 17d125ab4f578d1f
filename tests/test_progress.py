"""Progress: one line a stage, a model's evaluations summed up, and an estimate that never promises what it cannot know."""

from __future__ import annotations

import io

from rlbench.graph.execute import Finished, StageResult, Started
from rlbench.graph.stage import Stage
from rlbench.progress import ProgressPrinter


def stage(name: str) -> Stage:
    return Stage(name=name, function="rlbench.tasks.base:problems_stage", version=1, config={"name": name})


def lines_of(*results: tuple[str, float, str], left: tuple[str, ...] = (), cached: bool = False) -> list[str]:
    stream = io.StringIO()
    stages = {name: stage(name) for name in (*(name for name, _, _ in results), *left)}
    printer = ProgressPrinter(list(stages.values()), stream)
    for name, seconds, status in results:
        printer(Started(stages[name], "local"))
        printer(Finished(StageResult(stages[name], status, cached=cached, seconds=seconds, reason="why" if status != "done" else None)))
    return stream.getvalue().splitlines()


def test_evaluations_of_one_model_share_a_line_with_their_seconds() -> None:
    lines = lines_of(("evaluate/sft/seed0/a/t1.0", 2.0, "done"), ("evaluate/sft/seed0/b/t1.0", 3.0, "done"))
    assert len(lines) == 1
    assert "evaluate/sft/seed0" in lines[0]
    assert "5.0 s" in lines[0]


def test_a_failure_is_a_line_with_its_reason() -> None:
    assert "failed: why" in lines_of(("train/dpo/seed0", 1.0, "failed"))[0]


def test_the_estimate_scales_with_what_is_left_and_says_at_least_while_a_kind_is_unknown() -> None:
    known = lines_of(("train/a/seed0", 60.0, "done"), left=("train/b/seed0", "train/c/seed0"))
    assert "about 2.0 min left" in known[0]
    unknown = lines_of(("train/a/seed0", 60.0, "done"), left=("train/b/seed0", "evaluate/a/seed0/x/t1.0"))
    assert "at least 1.0 min left" in unknown[0]


def test_what_was_cached_is_counted_and_not_listed() -> None:
    assert lines_of(("train/a/seed0", 60.0, "done"), cached=True) == []
