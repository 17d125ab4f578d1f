"""A graph of stages is run: only what is needed, in order, once, and every way of going wrong ends in a result."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.graph import run_stage
from rlbench.graph.artifact import Store
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.machine import single_thread_environment
from rlbench.graph.result import StageResult
from rlbench.graph.schedule import Finished, Progress, Schedule, Started
from rlbench.graph.stage import Requirements, Stage, StageContext, topological
from rlbench.records import StageFailure, UserError

ROOT = Path(__file__).parents[1]
EXECUTED: list[str] = []


def write(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """The stage of these tests: its text is made of its own and its inputs' texts."""
    EXECUTED.append(config["text"])
    if "calls" in config:  # counts executions over processes
        with open(config["calls"], "a") as file:
            file.write(config["text"] + "\n")
    time.sleep(config.get("sleep", 0.0))
    text = config["text"] + "".join(sorted((folder / "text.txt").read_text() for folder in inputs.values()))
    (output / "text.txt").write_text(text)
    context.count(tokens=len(text), prompts=1)
    context.count(prompts=0.5)
    context.note(f"{text} was written")
    context.note(f"{text} was written")
    context.progress(1, 1, "written")
    config["text"] = "changed by the stage"


KEPT: list[str] = []


def keep(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    def make() -> str:
        KEPT.append(f"make {config['key']}")
        return config["key"]

    (output / "text.txt").write_text(context.reuse(config["key"], make, lambda value: KEPT.append(f"close {value}")))


def fail(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    EXECUTED.append("fail")
    (output / "training.jsonl").write_text("{}")
    raise {"StageFailure": StageFailure, "UserError": UserError, "ValueError": ValueError, "SystemExit": SystemExit}[
        config["raise"]
    ]("the loss is NaN\n  in step 3")


def fill(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    with open("/dev/full", "w") as file:
        file.write("x")


def scratch(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """Interrupted the first time; finds its snapshot the second time."""
    snapshot = context.scratch / "snapshot"
    if not snapshot.exists():
        snapshot.write_text("half")
        raise KeyboardInterrupt
    (output / "text.txt").write_text(snapshot.read_text())


def memory(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    size = config["megabytes"] * 2**20
    block = bytearray(size)
    block[::4096] = b"x" * (size // 4096)
    sum(range(2_000_000))


def stage(name: str, *inputs: Stage, function: str = "write", **config: Any) -> Stage:
    names = {f"input{index}": upstream for index, upstream in enumerate(inputs)}
    config = config or {"text": name}
    return Stage(name, f"{__name__}:{function}", 1, config, names)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    EXECUTED.clear()
    return Store(tmp_path / "store")


def run(store: Store, *stages: Stage, events: list | None = None) -> dict[str, StageResult]:
    results = LocalExecutor().execute(stages, store, on_event=None if events is None else events.append)
    return {result.stage.name: result for result in results.values()}


def text(store: Store, stage: Stage) -> str:
    return (store.open(stage.fingerprint) / "text.txt").read_text()


# -- stages and graphs

changes = st.sampled_from(["function", "version", "config", "inputs", "input name", "name", "resources"])


@given(st.lists(changes, max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3))
def test_only_function_version_config_and_inputs_enter_the_fingerprint(
    changed: list[str], config: dict[str, int]
) -> None:
    above = Stage("above", "m:f", 1, {"x": 1}, {})
    one = Stage("one", "m:f", 1, config, {"in": above})
    upstream = Stage("other", "m:f", 1, {"x": 2 if "inputs" in changed else 1}, {}, Requirements(3, 1))
    other = Stage(
        "other" if "name" in changed else "one",
        "m:g" if "function" in changed else "m:f",
        2 if "version" in changed else 1,
        {**config, "new": 0} if "config" in changed else dict(config),
        {"IN" if "input name" in changed else "in": upstream},
        Requirements(8, 2) if "resources" in changed else Requirements(),
    )
    assert (one.fingerprint == other.fingerprint) == (not set(changed) - {"name", "resources"})


def test_a_config_without_a_stable_form_is_refused_with_the_stage(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"stage train/grpo: value\['config'\]\['path'\] is of type pathlib"):
        _ = Stage("train/grpo", "m:f", 1, {"path": tmp_path}, {}).fingerprint


def test_kind_is_the_first_part_of_the_name() -> None:
    assert [stage(name).kind for name in ("train/grpo/seed0", "problems")] == ["train", "problems"]


@given(st.lists(st.lists(st.integers(0, 20), max_size=4), min_size=1, max_size=12), st.randoms())
def test_topological_order_has_inputs_first_and_each_stage_once(edges: list[list[int]], random) -> None:
    stages: list[Stage] = []
    for index, upstream in enumerate(edges):
        stages.append(stage(str(index), *(stages[i % index] for i in upstream if index)))
    targets = random.sample(stages, len(stages))
    order = topological(targets)
    assert sorted(s.fingerprint for s in order) == sorted(s.fingerprint for s in stages)
    place = {s.fingerprint: index for index, s in enumerate(order)}
    assert all(place[i.fingerprint] < place[s.fingerprint] for s in order for i in s.inputs.values())
    assert [s.name for s in topological(targets)] == [s.name for s in order]
    assert topological(order) == order


def test_a_chain_may_be_longer_than_the_stack() -> None:
    last = stage("first")
    for index in range(3000):
        last = stage(str(index), last)
        _ = last.fingerprint
    assert len(topological([last])) == 3001


# -- running


def test_a_diamond_runs_each_stage_once_and_reports_it(store: Store) -> None:
    a = stage("a")
    b, c = stage("b", a), stage("c", a, stage("a"))
    d = stage("d", b, c)
    events: list = []
    results = run(store, d, events=events)
    assert EXECUTED == ["a", "b", "c", "d"]
    assert text(store, d) == "dbacaa"
    assert [r.status for r in results.values()] == ["done"] * 4
    kinds = [
        (type(event), (event.result.stage if isinstance(event, Finished) else event.stage).name) for event in events
    ]
    assert kinds == [(kind, name) for name in "abcd" for kind in (Started, Progress, Finished)]
    assert (events[1].done, events[1].total, events[1].note) == (1, 1, "written")
    assert results["d"].counters == {"tokens": 6, "prompts": 1.5}
    assert results["d"].notes == store.manifest(d.fingerprint)["notes"] == ["dbacaa was written"]


def test_what_is_done_is_not_done_again_and_keeps_its_measurements(store: Store) -> None:
    last = stage("b", stage("a", text="a", sleep=0.05))
    first = run(store, last)
    events: list = []
    again = run(store, last, events=events)
    assert EXECUTED == ["a", "b"]
    assert all(isinstance(event, Finished) and event.result.cached for event in events)
    assert [event.result.stage.name for event in events] == ["a", "b"]
    for name, result in again.items():
        for key in ("seconds", "counters", "notes", "peak_memory_bytes"):
            assert getattr(result, key) == getattr(first[name], key)
        assert not first[name].cached
    assert again["a"].seconds >= 0.05
    assert again["a"].peak_memory_bytes > 2**20


def test_an_upstream_artifact_that_nobody_needs_is_not_made_again(store: Store) -> None:
    a = stage("a")
    b = stage("b", a)
    run(store, b)
    store.path(a.fingerprint).rename(store.root / "away")
    assert list(run(Store(store.root), b)) == ["b"]
    assert EXECUTED == ["a", "b"]
    run(Store(store.root), stage("c", b))
    assert EXECUTED == ["a", "b", "c"]
    run(Store(store.root), stage("d", a))
    assert EXECUTED == ["a", "b", "c", "a", "d"]


def test_a_tampered_input_is_made_again_before_it_is_read(store: Store) -> None:
    a, other = stage("a"), stage("other")
    b = stage("b", a)
    run(store, b, other)
    (store.path(a.fingerprint) / "text.txt").write_text("tampered")
    store = Store(store.root)
    with pytest.warns(RuntimeWarning, match="text.txt was changed"):
        results = run(store, stage("c", other, a, b))
    assert EXECUTED == ["a", "b", "other", "a", "c"]
    assert all(result.status == "done" for result in results.values())


def test_a_tampered_target_is_made_again(store: Store) -> None:
    b = stage("b", stage("a"))
    run(store, b)
    (store.path(b.fingerprint) / "text.txt").write_text("tampered")
    with pytest.warns(RuntimeWarning, match="text.txt was changed"):
        run(Store(store.root), b)
    assert EXECUTED == ["a", "b", "b"]
    assert text(store, b) == "ba"


def test_an_input_that_is_always_gone_ends_in_an_error(store: Store) -> None:
    b = stage("b", stage("a"))
    schedule = Schedule([b], store)
    for _ in range(4):
        a_result = next(s for s in schedule.order if s.name == "a")
        schedule.finish(StageResult(a_result, "done"))
        (again,) = schedule.ready()
        schedule.start(again, "local")
        schedule.lose(again, a_result.fingerprint, "gone")
    assert schedule.ready() == []
    assert schedule.results()[b.fingerprint].reason == "an input was made again 3 times and is gone again: gone"


def test_a_stage_sees_plain_data_and_cannot_change_the_config(store: Store) -> None:
    shared = {"text": "x", "nested": (1, 2)}
    run(store, Stage("a", f"{__name__}:write", 1, shared, {}))
    assert shared == {"text": "x", "nested": (1, 2)}


def test_the_manifest_tells_where_an_artifact_comes_from(store: Store) -> None:
    a = stage("a")
    b = stage("b", a)
    run(store, b)
    manifest = store.manifest(b.fingerprint)
    assert manifest["inputs"] == {"input0": a.fingerprint}
    assert manifest["config"] == {"text": "b"}
    assert (manifest["name"], manifest["function"], manifest["version"], manifest["status"]) == (
        "b",
        f"{__name__}:write",
        1,
        "done",
    )
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["git"] is None or set(manifest["git"]) == {"commit", "dirty"}
    assert manifest["machine"]["cores"] == os.cpu_count() and manifest["machine"]["system"]
    assert set(manifest) >= {"seconds", "cpu_seconds", "counters", "peak_memory_bytes", "created", "files", "reason"}


def test_peak_memory_is_that_of_the_stage_and_not_of_an_earlier_one(store: Store) -> None:
    big, small = stage("big", function="memory", megabytes=200), stage("small", function="memory", megabytes=1)
    results = run(store, big, small)
    assert results["big"].peak_memory_bytes - results["small"].peak_memory_bytes > 150 * 2**20
    assert 0 < results["big"].cpu_seconds < 5


def test_a_snapshot_survives_an_interruption_and_goes_when_the_artifact_is_there(store: Store) -> None:
    a = stage("a", function="scratch")
    with pytest.raises(KeyboardInterrupt):
        run(store, a)
    assert list((store.root / "tmp").iterdir()) == list((store.root / "leases").iterdir()) == []
    assert run(store, a)["a"].status == "done"
    assert text(store, a) == "half"
    assert not store.scratch(a.fingerprint).exists()


def test_progress_is_rate_limited_but_for_the_end(tmp_path: Path) -> None:
    seen: list = []
    context = StageContext(tmp_path / "scratch", "cpu", lambda *progress: seen.append(progress))
    for done in range(1000):
        context.progress(done + 1, 1000, "n")
    assert seen[0] == (1, 1000, "n")
    assert seen[-1] == (1000, 1000, "n")
    assert len(seen) < 5
    assert not (tmp_path / "scratch").exists()


# -- going wrong


def test_a_failure_is_remembered_and_its_dependants_are_skipped_with_the_first_cause(store: Store) -> None:
    bad = stage("train/dpo", function="fail", **{"raise": "StageFailure"})
    middle = stage("middle", bad)
    last, fine = stage("last", middle), stage("fine")
    for cached in (False, True):
        results = run(Store(store.root), last, fine)
        assert results["train/dpo"].status == "failed"
        assert results["train/dpo"].reason == "the loss is NaN in step 3"
        assert results["train/dpo"].cached == cached
        assert [results[name].status for name in ("middle", "last")] == ["skipped"] * 2
        assert results["last"].reason == results["middle"].reason == "`train/dpo`: the loss is NaN in step 3"
        assert results["fine"].status == "done"
    assert EXECUTED == ["fail", "fine"]
    assert (store.path(bad.fingerprint) / "training.jsonl").exists()


def test_what_only_skipped_stages_need_is_not_run(store: Store) -> None:
    bad = stage("bad", function="fail", **{"raise": "StageFailure"})
    run(store, stage("both", bad, stage("costly")))
    assert EXECUTED == ["fail"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ValueError", r"ValueError: the loss is NaN in step 3 \(.*test_execute.py:\d+\)"),
        ("SystemExit", r"SystemExit: the loss is NaN in step 3 \(.*test_execute.py:\d+\)"),
        ("UserError", "the loss is NaN in step 3"),
    ],
)
def test_an_error_is_told_in_one_line_and_tried_again_by_the_next_run(store: Store, kind: str, reason: str) -> None:
    bad = stage("bad", function="fail", **{"raise": kind})
    for _ in range(2):
        results = run(store, stage("last", bad), stage("fine"))
        assert results["bad"].status == "error"
        assert re.fullmatch(reason, results["bad"].reason)
        assert results["last"].reason == f"`bad`: {results['bad'].reason}"
        assert results["fine"].status == "done"
    assert EXECUTED == ["fail", "fine", "fail"]
    assert store.status(bad.fingerprint) is None
    assert list((store.root / "tmp").iterdir()) == []
    log = store.root / "logs" / f"{bad.fingerprint[:12]}.txt"
    assert log.exists() == (kind != "UserError")
    if log.exists():
        assert "Traceback" in log.read_text()


def test_a_function_that_is_not_there_is_an_error(store: Store) -> None:
    results = run(store, Stage("a", "rlbench.nowhere:f", 1, {}, {}), Stage("b", f"{__name__}:nothing", 1, {}, {}))
    assert results["a"].reason.startswith("ModuleNotFoundError: No module named 'rlbench.nowhere' (")
    assert results["b"].reason.startswith("AttributeError: module 'test_execute' has no attribute 'nothing' (")


def test_a_full_disk_is_told_as_such(store: Store) -> None:
    results = run(store, stage("a", function="fill"), stage("fine"))
    assert results["a"].reason == f"store {store.root}: no space left on the device; free some or name another folder"
    assert results["fine"].status == "done"


def test_a_full_disk_somewhere_else_is_not_blamed_on_the_store(store: Store) -> None:
    elsewhere = OSError(28, "No space left on device", "/somewhere/else")
    assert not run_stage._is_full(elsewhere, store)
    assert run_stage._is_full(OSError(28, "No space left on device", str(store.root / "tmp" / "x")), store)
    assert run_stage._is_full(RuntimeError("I/O error: No space left on device (os error 28)"), store)


# -- several runs


def test_two_processes_at_once_on_one_store_do_no_stage_twice(store: Store, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    code = f"""if True:
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_execute import *
        common = [stage(f"s{{i}}", text=f"s{{i}}", sleep=0.05, calls={str(calls)!r}) for i in range(12)]
        last = stage("last", *common, text="last", calls={str(calls)!r})
        time.sleep(max(0, {time.time() + 2} - time.time()))
        results = LocalExecutor().execute([last], Store({str(store.root)!r}))
        assert [r.status for r in results.values()] == ["done"] * 13, results
        print(sum(not r.cached for r in results.values()))
        """
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    made = [int(process.communicate()[0]) for process in processes]
    assert sorted(calls.read_text().split()) == sorted([*(f"s{i}" for i in range(12)), "last"])
    assert sum(made) == 13


def test_a_run_that_is_killed_is_completed_by_the_next_to_the_same_bytes(store: Store, tmp_path: Path) -> None:
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_execute import *
        LocalExecutor().execute(chain(), Store({str(store.root)!r}), on_event=lambda event: print(event, flush=True))
        """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for line in process.stdout:
        if line.startswith("Started") and "s3" in line:
            break
    time.sleep(0.03)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list((store.root / "leases").iterdir())) == 1
    again = Store(store.root)
    assert list((again.root / "tmp").iterdir()) == list((again.root / "leases").iterdir()) == []
    run(again, *chain())
    assert EXECUTED == ["s3", "s4", "s5"]
    undisturbed = Store(tmp_path / "undisturbed")
    run(undisturbed, *chain())
    assert contents(again) == contents(undisturbed)


def chain() -> list[Stage]:
    """Six stages of 0.1 s, each of which reads the one before."""
    stages: list[Stage] = []
    for index in range(6):
        stages.append(stage(f"s{index}", *stages[-1:], text=f"s{index}", sleep=0.1))
    return stages[-1:]


def contents(store: Store) -> dict[str, bytes]:
    """Every file of every artifact but the manifests."""
    files = [path for path in (store.root / "artifacts").rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


# -- threads


def test_stages_run_with_one_thread_also_where_torch_is_imported_first() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    environment = single_thread_environment()
    assert torch.get_num_threads() == 1
    assert environment["OMP_NUM_THREADS"] == "1"
    assert all(isinstance(value, str) for value in environment.values())
    LocalExecutor().execute([], Store("/nonexistent", create=False))
    assert environment.items() <= os.environ.items()


def test_what_a_stage_keeps_serves_the_next_of_its_function_and_is_closed_before_anything_else_runs(
    tmp_path: Path,
) -> None:
    KEPT.clear()
    chain: list[Stage] = []
    for number, (function, key) in enumerate(
        [("keep", "a"), ("keep", "a"), ("keep", "b"), ("write", ""), ("keep", "b")]
    ):
        config = {"key": key, "number": number} if function == "keep" else {"text": "w"}
        upstream = {"before": chain[-1]} if chain else {}
        chain.append(Stage(f"s{number}", f"{__name__}:{function}", 1, config, upstream))
    results = LocalExecutor().execute([chain[-1]], Store(tmp_path / "store"))
    assert {result.status for result in results.values()} == {"done"}
    assert KEPT == ["make a", "close a", "make b", "close b", "make b", "close b"]


def keep_and_fail(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    def close(value: str) -> None:
        KEPT.append("close")
        raise RuntimeError("it cannot be closed")

    context.reuse("engine", lambda: KEPT.append("make"), close)
    if config["number"] == 0:
        raise ValueError("broken")
    (output / "text.txt").write_text("done")


def test_what_a_stage_that_failed_has_kept_serves_nobody_and_what_cannot_be_closed_stops_nothing(
    tmp_path: Path,
) -> None:
    KEPT.clear()
    stages = [Stage(f"s{number}", f"{__name__}:keep_and_fail", 1, {"number": number}) for number in range(2)]
    results = LocalExecutor().execute(stages, Store(tmp_path / "store"))
    assert [results[stage.fingerprint].status for stage in stages] == ["error", "done"]
    assert KEPT == ["make", "close", "make", "close"]


def test_a_light_stage_leaves_what_is_kept_where_it_is(tmp_path: Path) -> None:
    KEPT.clear()
    first = Stage("s0", f"{__name__}:keep", 1, {"key": "a", "number": 0})
    light = Stage("s1", f"{__name__}:write", 1, {"text": "w"}, {"before": first}, Requirements(holds_model=False))
    last = Stage("s2", f"{__name__}:keep", 1, {"key": "a", "number": 2}, {"before": light})
    LocalExecutor().execute([last], Store(tmp_path / "store"))
    assert KEPT == ["make a", "close a"]


def test_of_equally_urgent_stages_those_come_first_whose_model_an_idle_worker_has_kept(store: Store) -> None:
    models = [stage(f"model{i}") for i in range(2)]
    sampled = [
        Stage(f"s{i}{j}", f"{__name__}:write", 1, {"i": i, "j": j}, {"model": models[i]})
        for j in range(2)
        for i in range(2)
    ]
    last = stage("last", sampled[3])
    schedule = Schedule([*sampled, last], store)
    names = [s.name for s in schedule.by_urgency(sampled, {sampled[1].warm_key, None})]
    assert names == ["s11", "s10", "s00", "s01"]  # s11 has a dependant; s10's model is kept
    assert [s.name for s in schedule.by_urgency(sampled)] == ["s11", "s00", "s10", "s01"]
