"""A whole run, as a user has it: the stable files, the cache, the same bytes whatever the executor, and rows that fail
by themselves.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from interruptions import stop_at

from rlbench.records import UserError
from rlbench.running.runner import Results, report, run

SAMPLE_COLUMNS = [
    "method",
    "seed",
    "split",
    "benchmark",
    "problem_id",
    "decoding",
    "sample_index",
    "output",
    "answer",
    "gold",
    "verdict",
    "grader",
    "finish_reason",
    "n_tokens",
]
SUMMARY_COLUMNS = [
    "method",
    "benchmark",
    "decoding",
    "n_seeds",
    "n_problems",
    "k",
    "avg_at_k",
    "ci_low",
    "ci_high",
    "pass_at_k",
    "truncation_rate",
    "unparsed_rate",
]
METHODS = ["base", "sft", "dft", "iw_sft", "rft", "dft_rollouts", "dpo", "ppo", "grpo"]


def command(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "rlbench.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]


def stages(results: Results, kind: str = "") -> dict[str, dict]:
    return {stage["name"]: stage for stage in results.manifest["stages"] if stage["name"].startswith(kind)}


def test_every_row_is_filled_and_the_files_have_their_stable_form(tiny_run: Results) -> None:
    assert tiny_run.exit_code == 0
    assert list(tiny_run.samples.columns) == SAMPLE_COLUMNS
    assert list(dict.fromkeys(tiny_run.samples["method"])) == METHODS
    assert set(tiny_run.samples["verdict"]) <= {"correct", "wrong", "unparsed", "timeout", "error"}
    summary = pd.read_csv(tiny_run.out / "summary.csv")
    assert list(summary.columns) == SUMMARY_COLUMNS
    assert set(summary["benchmark"]) == {"in_domain", "add_sub", "avg"}
    assert summary["avg_at_k"].between(0, 100).all()
    assert {"report.md", "report.html", "manifest.json", "samples.parquet"} <= {
        path.name for path in tiny_run.out.iterdir()
    }
    stage = json.loads((tiny_run.out / "manifest.json").read_text())["stages"][0]
    assert {"name", "fingerprint", "status", "cached", "seconds", "tokens", "peak_memory_bytes"} <= stage.keys()


def test_the_bank_is_sampled_once_for_its_users_and_charged_to_each(tiny_run: Results) -> None:
    assert list(stages(tiny_run, "rollouts")) == ["rollouts/seed0"]
    bank = stages(tiny_run, "rollouts")["rollouts/seed0"]
    charged = {row["method"]: row["bank_tokens"] for row in tiny_run.manifest["rows"] if row["bank_tokens"] is not None}
    assert charged == dict.fromkeys(["rft", "dft_rollouts", "dpo"], bank["tokens"])


def test_the_same_run_again_does_nothing(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    again = run(tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local")
    assert all(stage["cached"] for stage in again.manifest["stages"])
    pd.testing.assert_frame_equal(again.samples, tiny_run.samples)


def test_a_zero_learning_rate_equals_the_base_to_the_byte(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    still = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tiny_store,
        executor="local",
        only=["sft"],
        overrides=["methods.sft.training.learning_rate=0"],
    )
    columns = ["benchmark", "problem_id", "decoding", "sample_index", "output", "verdict"]
    by_method = {
        name: frame[frame["decoding"].isin(["t1.0", "greedy"])][columns].reset_index(drop=True)
        for name, frame in still.samples.groupby("method")
    }
    pd.testing.assert_frame_equal(by_method["sft"], by_method["base"])


def test_a_row_that_trl_trains_stands_in_the_table_and_says_what_trl_does_otherwise(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    keys = 'backend="trl", objective="sft", data="rollouts.correct", training={learning_rate=3e-4}'
    row = f'methods.trl_rft={{label="RFT by TRL", {keys}}}'
    found = run(
        tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local", only=["rft", "trl_rft"], overrides=[row]
    )
    assert found.exit_code == 0
    average = found.summary[found.summary["benchmark"] == "avg"].set_index(["method", "decoding"])["avg_at_k"]
    assert average[("trl_rft", "greedy")] >= 0
    assert (
        "- RFT by TRL: trained by TRL's trainer, the order of the data that of its sampler"
        in (found.out / "report.md").read_text()
    )
    trained = {name: stage for name, stage in stages(found, "train/").items() if not stage["cached"]}
    assert list(trained) == ["train/trl_rft/seed0"] and trained["train/trl_rft/seed0"]["versions"]["trl"]


def test_no_correct_rollout_empties_those_rows_with_the_reason_and_the_others_finish(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    # Two tokens are not enough for any answer in a box.
    failed = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tiny_store,
        executor="local",
        only=["sft", "rft", "dpo"],
        overrides=["rollouts.max_new_tokens=2"],
    )
    assert failed.exit_code == 1
    assert set(failed.failures) == {("rft", 0), ("dpo", 0)}
    assert "no correct rollout" in failed.failures["rft", 0]
    summary = failed.summary.set_index(["method", "benchmark", "decoding"])
    assert (
        summary.loc[("rft", "avg", "t1.0"), "avg_at_k"] != summary.loc[("rft", "avg", "t1.0"), "avg_at_k"]
    )  # NaN: empty, not 0
    assert summary.loc[("sft", "avg", "t1.0"), "avg_at_k"] >= 0
    written = pd.read_csv(failed.out / "summary.csv", dtype=str, keep_default_na=False).set_index(
        ["method", "benchmark", "decoding"]
    )
    assert set(written.loc[("rft", "avg", "t1.0"), ["avg_at_k", "ci_low", "ci_high", "pass_at_k"]]) == {""}


def test_the_manifest_says_that_the_bank_is_there_once_and_how_many_rows_rest_on_it(tiny_run: Results) -> None:
    banks = [stage for stage in tiny_run.manifest["stages"] if stage["name"].startswith("rollouts")]
    assert [(stage["name"], stage["rows"]) for stage in banks] == [("rollouts/seed0", 3)]
    base = next(stage for stage in tiny_run.manifest["stages"] if stage["name"] == "base/seed0")
    assert base["rows"] == len(tiny_run.manifest["rows"])


def test_a_loss_that_becomes_nan_fails_its_row_with_step_and_reason(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text('''from rlbench import objective

@objective("broken")
def broken(batch):
    """Not a number."""
    return batch.logp * float("nan")
''')
    failed = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tiny_store,
        executor="local",
        only=["sft", "broken"],
        overrides=[f'plugins=["{plugin}"]', 'methods.broken={objective="broken", data="demonstrations"}'],
    )
    assert set(failed.failures) == {("broken", 0)}
    assert "nan" in failed.failures["broken", 0].lower()
    assert "step 1" in failed.failures["broken", 0] or "step 0" in failed.failures["broken", 0]


def test_a_model_that_cannot_be_had_is_bad_input_said_once(
    tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"somebody/nothing.*cannot be fetched"):
        run(
            tiny_recipe,
            out=tmp_path / "run",
            store=tmp_path / "store",
            executor="local",
            overrides=["model.source=somebody/nothing"],
        )


def test_a_plugin_that_cannot_be_imported_is_said_at_once_and_costs_its_own_row(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "imports.py"
    decorated = '@objective("x")\ndef x(batch):\n    return -batch.logp\n'
    text = f"import nothing_of_that_name\nfrom rlbench import objective\n\n{decorated}"
    plugin.write_text(text)
    overrides = [f'plugins=["{plugin}"]', 'methods.x={objective="x", data="demonstrations"}']
    with pytest.warns(UserWarning, match=r"imports\.py:1 failed while it was imported: ModuleNotFoundError"):
        results = run(
            tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local", only="sft,x", overrides=overrides
        )
    assert set(results.failures) == {("x", 0)}
    assert "imports.py:1" in results.failures["x", 0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return None", "wrong.py:3): it returned NoneType"),
        ("return -batch.logp.detach()", "wrong.py:3): no gradient"),
        ("return batch.logp[:1]", "it returned (1,)"),
        ("raise RuntimeError('out of ideas')", "wrong.py:6): RuntimeError: out of ideas"),
        ("return batch.logp / 0", "wrong.py:3): the loss became -inf at step 1"),
        (
            "return -getattr(batch, 'ref_logp')",
            "wrong.py:6): AttributeError: the batch holds no 'ref_logp': declare it",
        ),
        (
            "p = batch.logp.exp(); loss = p * batch.logp; p.mul_(2); return -loss",
            "wrong.py:3): RuntimeError: one of the variables",
        ),
        (
            "import torch; torch.set_default_dtype(torch.float64); return -batch.logp",
            "wrong.py:3) changes torch's default dtype",
        ),
    ],
)
def test_a_plugin_that_goes_wrong_costs_its_own_row_with_the_reason(
    body: str, reason: str, tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        f'from rlbench import objective\n\n@objective("wrong")\ndef wrong(batch):\n    """Wrong."""\n    {body}\n'
    )
    results = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tiny_store,
        executor="local",
        only="sft,wrong",
        overrides=[f'plugins=["{plugin}"]', 'methods.wrong={objective="wrong", data="demonstrations"}'],
    )
    assert set(results.failures) == {("wrong", 0)}
    assert reason in results.failures["wrong", 0]
    assert results.exit_code == 1


def test_what_the_source_shows_to_be_wrong_costs_its_own_row_wherever_it_stands(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        'from rlbench import objective\n\n@objective("wrong")\ndef wrong(batch, *, anchored: bool = False):\n'
        "    return -batch.logp + (batch.ref_logp if anchored else 0)\n"
    )
    overrides = [f'plugins=["{plugin}"]', 'methods.wrong={objective="wrong", data="demonstrations"}']
    with pytest.warns(
        UserWarning, match=r"`methods\.wrong\.objective` cannot be filled: \S+wrong\.py:5: .* reads 'ref_logp'"
    ):
        results = run(
            tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local", only="sft,wrong", overrides=overrides
        )
    assert (
        list(results.failures) == [("wrong", 0)]
        and "wrong.py:5: objective 'wrong' reads 'ref_logp'" in results.failures["wrong", 0]
    )


def test_a_checkpoint_of_anybodys_becomes_a_row(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    model = tmp_path / "somebody"
    fingerprint = stages(tiny_run, "train/sft")["train/sft/seed0"]["fingerprint"]
    shutil.copytree(tiny_store / "artifacts" / fingerprint[:2] / fingerprint, model)
    results = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tiny_store,
        executor="local",
        only=["sft", "theirs"],
        overrides=[f'methods.theirs={{checkpoint="{model}", label="Theirs"}}'],
    )
    outputs = {name: list(frame["output"]) for name, frame in results.samples.groupby("method")}
    assert outputs["theirs"] == outputs["sft"]
    assert results.samples[results.samples["method"] == "theirs"]["seed"].isna().all()


def test_the_bank_alone_is_the_runs_and_is_copied_where_it_is_asked_for(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    done = command(
        "rollouts", tiny_recipe, "--store", tiny_store, "--out", tmp_path / "banks", "--executor", "local", "--json"
    )
    assert done.returncode == 0, done.stderr
    (bank,) = json.loads(done.stdout)
    assert (bank["name"], bank["cached"], bank["samples"]) == ("rollouts/seed0", True, 48 * 4)
    assert Path(bank["path"]) == tmp_path / "banks" / "rollouts-seed0.parquet"
    rows = pd.read_parquet(bank["path"])
    assert len(rows) == bank["samples"] and (rows["verdict"] == "correct").sum() == bank["correct"]
    text = command("rollouts", tiny_recipe, "--store", tiny_store, "--executor", "local")
    assert f"{bank['samples']} samples of 48 prompts" in text.stdout


def test_a_bank_of_a_model_without_a_tokenizer_is_bad_input_and_leaves_no_folder(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    done = command(
        "rollouts",
        tiny_recipe,
        "--set",
        f"model.source={tmp_path / 'model'}",
        "--store",
        tmp_path / "store",
        "--out",
        tmp_path / "banks",
        "--executor",
        "local",
    )
    assert (
        (done.returncode, done.stdout) == (2, "") and "no tokenizer" in done.stderr and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "banks").exists()


def test_a_folder_is_evaluated_by_itself_with_the_samples_that_a_run_would_draw(
    tiny_run: Results, tiny_store: Path, tmp_path: Path
) -> None:
    fingerprint = stages(tiny_run, "base")["base/seed0"]["fingerprint"]
    model = shutil.copytree(tiny_store / "artifacts" / fingerprint[:2] / fingerprint, tmp_path / "somebodys")
    sizes = [
        "--samples",
        "2",
        "--max-new-tokens",
        "40",
        "--limit",
        "6",
        "--template",
        "miniature",
        "--engine",
        "transformers",
    ]
    sizes += ["--grader", "qwen", "--contamination"]
    places = ["--store", tmp_path / "store", "--out", tmp_path / "run", "--executor", "local", "--json"]
    benchmarks = "arithmetic:test/in_domain,arithmetic:test/add_sub"
    done = command("evaluate", model, "--benchmarks", benchmarks, "--decodings", "t1.0,greedy", *sizes, *places)
    assert done.returncode == 0, done.stderr
    scores = {(row["benchmark"], row["decoding"]): row["avg_at_k"] for row in json.loads(done.stdout)["summary"]}
    assert scores.keys() == {(name, how) for name in ("in_domain", "add_sub", "avg") for how in ("t1.0", "greedy")}
    of_run = tiny_run.samples[(tiny_run.samples["method"] == "base") & (tiny_run.samples["decoding"] == "greedy")]
    alone = pd.read_parquet(tmp_path / "run" / "samples.parquet")
    alone = alone[alone["decoding"] == "greedy"].set_index(["benchmark", "problem_id"])["output"]
    assert alone.to_dict() == of_run.set_index(["benchmark", "problem_id"])["output"].to_dict()
    assert set(pd.read_parquet(tmp_path / "run" / "samples.parquet")["grader"]) == {"qwen"}
    assert "| somebodys" in (tmp_path / "run" / "report.md").read_text()
    assert pd.read_parquet(tmp_path / "run" / "probes.parquet").groupby("benchmark").size().to_dict() == {
        "in_domain": 6,
        "add_sub": 6,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmarks", "mth500"], "did you mean 'math500'"),
        (["--benchmarks", "absent.jsonl"], "absent.jsonl"),
        (["--benchmarks", " , "], "evaluation.benchmarks"),
        (["--benchmarks", "math500", "--decodings", "hot"], "evaluation.decodings"),
        (["--benchmarks", "math500", "--template", "qwen-boxd"], "did you mean 'qwen-boxed'"),
        (["--benchmarks", "math500", "--grader", "qwn"], "did you mean 'qwen'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    arguments: list[str], message: str, tiny_store: Path, tmp_path: Path
) -> None:
    done = command("evaluate", "owner/model", *arguments, "--store", tmp_path / "store")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


def test_a_tampered_artifact_is_noticed_and_made_again(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    fingerprint = stages(tiny_run, "evaluate/sft")["evaluate/sft/seed0/add_sub/greedy"]["fingerprint"]
    path = store / "artifacts" / fingerprint[:2] / fingerprint / "samples.parquet"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.warns(RuntimeWarning, match="not as it was published"):
        again = run(tiny_recipe, out=tmp_path / "run", store=store, executor="local")
    assert [name for name, stage in stages(again).items() if not stage["cached"]] == [
        "evaluate/sft/seed0/add_sub/greedy"
    ]
    pd.testing.assert_frame_equal(again.samples, tiny_run.samples)


def test_report_writes_the_same_files_from_the_folder_alone(tiny_run: Results) -> None:
    names = ("summary.csv", "report.md", "report.html")
    before = {name: (tiny_run.out / name).read_bytes() for name in names}
    for name in names:
        (tiny_run.out / name).unlink()
    report(tiny_run.out)
    assert {name: (tiny_run.out / name).read_bytes() for name in names} == before


@pytest.mark.slow
def test_ray_gives_the_same_samples_after_being_killed_in_the_middle(
    tiny_run: Results, tiny_recipe: Path, tmp_path: Path
) -> None:
    arguments = ["run", tiny_recipe, "--store", tmp_path / "store", "--out", tmp_path / "run", "--workers", "2"]
    for marker in ("problems", "train/"):
        killed = stop_at(marker, signal.SIGKILL, *arguments)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "run" / "samples.parquet"), pd.read_parquet(tiny_run.out / "samples.parquet")
    )


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "local"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
def test_a_scheduler_or_a_closed_terminal_ends_a_run_as_ctrl_c_does(
    stop: signal.Signals, executor: str, tiny_recipe: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    before = {process.pid for process in psutil.process_iter()}
    options = ["--store", store, "--out", tmp_path / "run", "--executor", executor]
    stopped = stop_at("base/seed0", stop, "run", tiny_recipe, *options)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on from there" in stopped.stderr.splitlines()[-1]
    assert "Traceback" not in stopped.stderr
    assert list((store / "leases").iterdir()) == list((store / "tmp").iterdir()) == []
    assert left_of(str(tmp_path), before) == []


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", "local"])
def test_nothing_outlives_a_run_that_is_killed(executor: str, tiny_recipe: Path, tmp_path: Path) -> None:
    before = {process.pid for process in psutil.process_iter()}
    options = ["--store", tmp_path / "store", "--out", tmp_path / "run", "--executor", executor]
    killed = stop_at("base/seed0", signal.SIGKILL, "run", tiny_recipe, *options)
    assert killed.returncode == -signal.SIGKILL
    assert left_of(str(tmp_path), before) == []


def left_of(marker: str, before: set[int], seconds: float = 10.0) -> list[str]:
    """Names of processes that are new and orphans, or of this run by their command line, after at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = []
        for process in psutil.process_iter(["pid", "ppid", "name", "cmdline", "status"]):
            facts = process.info
            ours = facts["name"].startswith(("ray::", "gcs_server", "raylet")) and facts["ppid"] == 1
            named = marker in " ".join(facts["cmdline"] or [])
            if facts["pid"] not in before and facts["status"] != psutil.STATUS_ZOMBIE and (ours or named):
                found.append(facts["name"])
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.slow
def test_ctrl_c_says_that_it_can_be_resumed_and_it_can(tiny_run: Results, tiny_recipe: Path, tmp_path: Path) -> None:
    arguments = ["run", tiny_recipe, "--store", tmp_path / "store", "--out", tmp_path / "run"]
    stopped = stop_at("base/seed0", signal.SIGINT, *arguments)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command goes on from there" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "run" / "samples.parquet"), pd.read_parquet(tiny_run.out / "samples.parquet")
    )


def test_regrade_scores_the_stored_samples_by_another_grader_and_the_report_holds_both(
    tiny_run: Results, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_run.out, tmp_path / "run"))
    before = (folder / "summary.csv").read_bytes()
    done = command("regrade", folder, "--grader", "qwen")
    assert done.returncode == 0, done.stderr
    assert "The same samples under other graders" in done.stdout
    regraded = pd.read_parquet(folder / "regraded-qwen.parquet")
    assert len(regraded) == len(tiny_run.samples) and set(regraded["grader"]) == {"qwen"}
    assert (folder / "summary.csv").read_bytes() == before  # the table stays that of the run's own grader
    assert "rlbench" in (folder / "report.md").read_text() and "qwen" in (folder / "report.html").read_text()
    for grader, message in (("qwenn", "did you mean 'qwen'"), ("rlbench", "graded by it already")):
        wrong = command("regrade", folder, "--grader", grader)
        assert wrong.returncode == 2 and message in wrong.stderr and "Traceback" not in wrong.stderr
    nowhere = command("regrade", tmp_path / "nothing", "--grader", "qwen")
    assert nowhere.returncode == 2 and "no run's folder" in nowhere.stderr
