"""Progress: one line a stage, a model's evaluations summed up, and an estimate that never promises
what it cannot know.
"""

from __future__ import annotations

import io

from rlbench.graph.result import StageResult
from rlbench.graph.schedule import Finished, Progress, Started
from rlbench.graph.stage import Stage
from rlbench.running.progress import ProgressPrinter


def stage(name: str) -> Stage:
    return Stage(name=name, function="rlbench.tasks.base:problems_stage", version=1, config={"name": name})


def lines_of(*results: tuple[str, float, str], left: tuple[str, ...] = (), cached: bool = False) -> list[str]:
    stream = io.StringIO()
    stages = {name: stage(name) for name in (*(name for name, _, _ in results), *left)}
    printer = ProgressPrinter(list(stages.values()), stream)
    for name, seconds, status in results:
        printer(Started(stages[name], "local"))
        printer(
            Finished(
                StageResult(
                    stages[name], status, cached=cached, seconds=seconds, reason="why" if status != "done" else None
                )
            )
        )
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_sampling_says_how_fast_it_is_live_and_when_it_is_done() -> None:
    bank, stream = stage("rollouts/seed0"), Terminal()
    printer = ProgressPrinter([bank], stream)
    printer(Started(bank, "worker 1"))
    printer(Progress(bank, 30, 120, "12,345 tokens/s"))
    assert "rollouts/seed0 25% 12,345 tokens/s" in stream.getvalue()
    printer(Finished(StageResult(bank, "done", seconds=4.0, counters={"tokens": 50_000})))
    assert "4.0 s" in stream.getvalue() and "12,500 tokens/s" in stream.getvalue()


def test_the_estimate_takes_a_running_stage_at_its_word_before_one_of_its_kind_is_done() -> None:
    now, stream = [0.0], Terminal()
    stages = [stage("train/a/seed0"), stage("train/b/seed0")]
    printer = ProgressPrinter(stages, stream, lambda: now[0])
    printer(Started(stages[0], "worker 1"))
    now[0] = 60.0
    printer(Progress(stages[0], 1, 4, ""))
    assert "about 7.0 min left" in stream.getvalue()  # three minutes of the one, four of the other


def test_off_a_terminal_a_line_in_half_a_minute_says_how_far_the_running_stages_are() -> None:
    now, stream, base = [0.0], io.StringIO(), stage("base/seed0")
    printer = ProgressPrinter([base], stream, lambda: now[0])
    printer(Started(base, "local"))
    for second in range(1, 100):
        now[0] = float(second)
        printer(Progress(base, second, 200, ""))
    assert [line.split("]")[1].split("%")[0].strip() for line in stream.getvalue().splitlines()] == [
        "base/seed0 15",
        "base/seed0 30",
        "base/seed0 45",
    ]


def test_shards_have_a_line_each_and_a_models_evaluations_one_together() -> None:
    def shard(name: str, number: int) -> Stage:
        return Stage(f"{name}/shard{number}of2", "m:f", 1, {"name": name, "shard": [number - 1, 2]})

    graph = []
    for name in ("rollouts/seed0", "evaluate/sft/seed0/a/t1.0"):
        shards = [shard(name, 1), shard(name, 2)]
        graph += [
            *shards,
            Stage(name, "m:merge", 1, {"shards": 2}, {f"shard{i + 1}": part for i, part in enumerate(shards)}),
        ]
    stream = io.StringIO()
    printer = ProgressPrinter(graph, stream)
    for part in graph:
        printer(Started(part, "local"))
        printer(Finished(StageResult(part, "done", seconds=2.0)))
    assert [line.split("]")[1].split()[0] for line in stream.getvalue().splitlines()] == [
        "rollouts/seed0/shard1of2",
        "rollouts/seed0/shard2of2",
        "rollouts/seed0",
        "evaluate/sft/seed0",
    ]
