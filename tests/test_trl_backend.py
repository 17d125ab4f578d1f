from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import Context, sequences, write_model, write_sequences
from tokenizers.processors import TemplateProcessing
from training_tables import lines, offline_config, online_config, table, weights

from rlbench import models
from rlbench.grading.pool import Grader
from rlbench.recipe import TrainingConfig
from rlbench.records import Problem, StageFailure, TrainingSequence, read_problems, write_problems
from rlbench.training import offline, trl_backend
from rlbench.training.policy import Policy
from rlbench.training.step import BoundObjective, Learner, schedule_factor
from rlbench.training.trl_support import differences, refuse


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems")
    write_problems(
        folder / "problems.jsonl", [Problem(f"p{i}", f"{i} + {i % 7}", str(i + i % 7)) for i in range(2, 14)]
    )
    return folder


def rows_for(name: str, count: int = 16) -> list[TrainingSequence]:
    rows = sequences(count, unit=2 if name == "dpo" else 1)
    if name != "dpo":
        return rows
    return [dataclasses.replace(row, prompt_ids=rows[i - i % 2].prompt_ids) for i, row in enumerate(rows)]


def run(
    folder: Path, inputs: dict[str, Path], config: dict[str, Any], train: Any = trl_backend.train, plugins: Any = ()
) -> tuple[Path, Context]:
    number = len(list(folder.iterdir()))
    output, context = folder / f"out{number}", Context(folder / f"scratch{number}")
    context.unhashed["plugins"] = list(plugins)
    output.mkdir()
    train(config, inputs, output, context)
    return output, context


def distance(first: Path, second: Path, start: Path) -> float:
    """How far two trained models are apart, relative to how far the first moved from where both began."""
    a, b, c = (load_file(folder / "model.safetensors") for folder in (first, second, start))
    apart = torch.cat([(a[name] - b[name]).flatten() for name in a])
    return float(apart.norm() / torch.cat([(a[name] - c[name]).flatten() for name in a]).norm())


@pytest.mark.parametrize("budget", [100_000, 150], ids=["whole", "accumulated"])
@pytest.mark.parametrize("name", ["sft", "dft", "dpo"])
def test_on_full_batches_trl_and_the_engine_train_the_same_model(
    name: str, budget: int, tmp_path: Path, base: Path
) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for(name))}
    settings = offline_config(
        name, batch_size=16, epochs=3, schedule="constant", weight_decay=0.3, tokens_per_microbatch=budget
    )
    ours, _ = run(tmp_path, inputs, settings, offline.train)
    theirs, context = run(tmp_path, inputs, settings)
    log, expected = lines(theirs), lines(ours)
    assert distance(ours, theirs, base) < 1e-4
    for key in ("loss", "grad_norm", "learning_rate", *(("margin",) if name == "dpo" else ())):
        assert [line[key] for line in log] == pytest.approx([line[key] for line in expected], rel=1e-5), key
    for key in ("step", "tokens", "sequences"):
        assert [line[key] for line in log] == [line[key] for line in expected], key
    assert context.counters == {"tokens": sum(line["tokens"] for line in expected), "steps": 3}
    assert context.seen[-1] == (3, 3)
    assert sorted(file.name for file in ours.iterdir()) == sorted(file.name for file in theirs.iterdir())
    for file in ("config.json", "generation_config.json", "tokenizer_config.json"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file


NOTED = """
import json
from rlbench import reward

@reward("noted")
def noted(rollout):
    value = float(sum(rollout.token_ids) % 2)
    with open({path!r}, "a") as file:
        file.write(json.dumps([rollout.problem_id, rollout.prompt_ids, rollout.token_ids, value]) + "\\n")
    return value
"""


@pytest.mark.parametrize(
    ("reduction", "normalise", "budget"),
    [("sequence-mean", True, 10_000), ("token-mean", True, 200), ("constant", False, 200)],
)
def test_one_online_step_of_grpo_is_the_engines_step_on_the_same_samples(
    reduction: str, normalise: bool, budget: int, tmp_path: Path, base: Path, problems: Path
) -> None:
    notes = tmp_path / "samples.jsonl"
    plugin = {"path": "noted.py", "source": NOTED.format(path=str(notes))}
    settings = online_config(
        "grpo",
        online={"steps": 1, "mini_batches": 1},
        training={"tokens_per_microbatch": budget, "schedule": "constant", "eps": 1e-3},
        reward={"name": "noted", "hyperparameters": {}},
        advantage={"name": "group_norm", "hyperparameters": {"normalise": normalise}},
    )
    # That eps is large, because a first step of Adam is the sign of the gradient where the gradient is mere rounding.
    settings["objective"]["reduction"] = reduction
    theirs, _ = run(tmp_path, {"model": base, "problems": problems}, settings, plugins=[plugin])
    samples = [json.loads(line) for line in notes.read_text().splitlines()]
    assert len(samples) == 16
    rows = [TrainingSequence(i, group, prompt, ids, [], value) for i, (group, prompt, ids, value) in enumerate(samples)]
    training = {
        **settings["training"],
        "batch_size": 16,
        "max_length": 12,
    }  # the constant of the reduction is offline the longest row
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows)}
    ours, _ = run(tmp_path, inputs, {**settings, "training": training, "online": None}, offline.train)
    assert distance(ours, theirs, base) < 1e-4
    assert lines(theirs)[0]["grad_norm"] == pytest.approx(lines(ours)[0]["grad_norm"], rel=1e-4)
    assert lines(theirs)[0]["loss"] == pytest.approx(lines(ours)[0]["loss"], abs=1e-6)


def test_grpo_takes_its_optimiser_steps_and_says_what_it_sampled(tmp_path: Path, base: Path, problems: Path) -> None:
    settings = online_config("grpo", online={"epochs": 2})
    output, context = run(tmp_path, {"model": base, "problems": problems}, settings)
    log = lines(output)
    assert [(line["step"], line["online_step"]) for line in log] == [(i + 1, 1 + i // 4) for i in range(8)]
    keys = {
        "loss",
        "grad_norm",
        "learning_rate",
        "tokens",
        "sequences",
        "reward",
        "correct",
        "response_tokens",
        "truncated",
        "entropy",
    }
    assert all(line.keys() >= keys for line in log)
    assert all(line["sequences"] == 8 for line in log)
    assert log[2]["clip_fraction"] > 0  # by the second epoch the policy has left the one that sampled
    assert context.counters["samples"] == 32 and context.counters["steps"] == 8
    assert context.counters["tokens"] == sum(line["tokens"] for line in log) == 2 * context.counters["sampled_tokens"]
    assert weights(output) != weights(base)
    models.load_model(output)


def test_grpo_starts_from_the_prompts_of_the_other_rows_whatever_the_tokenizer_adds(
    tmp_path: Path, problems: Path
) -> None:
    folders = [write_model(tmp_path / name) for name in ("plain", "adding")]
    tokenizer = models.load_tokenizer(folders[1])
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    tokenizer.save_pretrained(folders[1])
    assert models.load_tokenizer(folders[1])("1 + 1").input_ids[0] == bos[1]
    settings = online_config("grpo", online={"steps": 1})
    trained = [run(tmp_path, {"model": folder, "problems": problems}, settings)[0] for folder in folders]
    assert weights(trained[0]) == weights(trained[1])


@pytest.mark.parametrize("name", ["sft", "dpo", "grpo"])
def test_two_runs_give_the_same_bytes_also_after_one_that_failed(
    name: str, tmp_path: Path, base: Path, problems: Path
) -> None:
    if name == "grpo":
        inputs, settings = {"model": base, "problems": problems}, online_config(name)
    else:
        inputs, settings = (
            {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for(name, 12))},
            offline_config(name),
        )
    first, _ = run(tmp_path, inputs, settings)
    with pytest.raises(StageFailure, match=r"objective '\w+' by TRL"):
        run(tmp_path, inputs, {**settings, "training": {**settings["training"], "learning_rate": 1e30}})
    second, _ = run(tmp_path, inputs, settings)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_a_loss_that_is_not_finite_fails_the_stage_by_step(tmp_path: Path, base: Path) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft"))}
    with pytest.raises(
        StageFailure, match=r"objective 'sft' by TRL: the (loss|gradient norm) became (nan|inf) at step 2 of 8"
    ):
        run(tmp_path, inputs, offline_config("sft", learning_rate=1e30))


@pytest.mark.parametrize("learning_rate", [1e3, 1e12, 1e38])
def test_a_policy_that_breaks_before_it_samples_again_fails_the_stage_by_step(
    learning_rate: float, tmp_path: Path, base: Path, problems: Path
) -> None:
    settings = online_config("grpo", online={"mini_batches": 1}, training={"learning_rate": learning_rate})
    with pytest.raises(
        StageFailure, match=r"objective 'grpo' by TRL: the (loss|gradient norm) became (nan|inf) at step 2 of 2"
    ):
        run(tmp_path, {"model": base, "problems": problems}, settings)


def test_zero_learning_rate_leaves_the_weights_as_they_are(tmp_path: Path, base: Path) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft"))}
    output, _ = run(tmp_path, inputs, offline_config("sft", learning_rate=0.0, weight_decay=0.1))
    before, after = load_file(base / "model.safetensors"), load_file(output / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_no_row_is_cut_however_long_it_is(name: str, tmp_path: Path, base: Path) -> None:
    rows = [dataclasses.replace(row, token_ids=row.token_ids * 60) for row in rows_for(name, 4)]
    assert max(len(row.token_ids) for row in rows) > 1024  # where TRL cuts by default
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows)}
    settings = offline_config(name, epochs=1, learning_rate=0.0, max_length=16)
    ours, theirs = (lines(run(tmp_path, inputs, settings, train)[0]) for train in (offline.train, trl_backend.train))
    assert theirs[0]["tokens"] == sum(len(row.token_ids) for row in rows)
    assert theirs[0]["loss"] == pytest.approx(ours[0]["loss"], rel=1e-4)


def test_epochs_steps_and_schedules_are_counted_as_in_the_engine(tmp_path: Path, base: Path) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft", 10))}
    for changes in (
        {"schedule": "cosine"},
        {"schedule": "linear", "max_steps": 4},
        {"schedule": "linear", "max_steps": 100},
    ):
        settings = offline_config("sft", **changes)
        ours, theirs = (
            lines(run(tmp_path, inputs, settings, train)[0]) for train in (offline.train, trl_backend.train)
        )
        for key in ("step", "sequences"):
            assert [line[key] for line in theirs] == [line[key] for line in ours], (changes, key)
        assert [line["learning_rate"] for line in theirs] == pytest.approx([line["learning_rate"] for line in ours]), (
            changes
        )
    warm = [line["learning_rate"] for line in lines(run(tmp_path, inputs, offline_config("sft", warmup=0.5))[0])]
    rates = [1e-3 * schedule_factor(step, 6, "cosine", 0.5) for step in range(6)]
    assert warm == pytest.approx([0.0, *rates[:2], *rates[3:]])  # one step behind in the warm-up, level after it


def test_bfloat16_and_checkpointing_train_and_save_as_the_engine_does(tmp_path: Path, base: Path) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft"))}
    settings = {**offline_config("sft", batch_size=16, gradient_checkpointing=True), "dtype": "bfloat16"}
    (ours, _), (theirs, _) = (run(tmp_path, inputs, settings, train) for train in (offline.train, trl_backend.train))
    assert {weight.dtype for weight in load_file(theirs / "model.safetensors").values()} == {torch.bfloat16}
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    assert [line["loss"] for line in lines(theirs)] == pytest.approx([line["loss"] for line in lines(ours)], rel=1e-2)
    exact = lines(run(tmp_path, inputs, {**settings, "dtype": "float32"})[0])
    assert lines(theirs)[0]["loss"] != exact[0]["loss"]  # the precision of one run is not that of the next


def test_what_decays_is_what_decays_in_the_engine(tmp_path: Path, base: Path) -> None:
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft"))}
    settings = offline_config("sft", weight_decay=0.3)
    models_ = [models.load_model(base) for _ in range(2)]
    trainer: Any = trl_backend.offline_trainer(settings, inputs, models_[0], Context(tmp_path / "scratch"))
    learner = Learner(
        Policy(models_[1]),
        BoundObjective.load(settings["objective"], ()),
        TrainingConfig.model_validate(settings["training"]),
        learning_rate=1e-3,
        steps=1,
        constant_length=1,
        device=torch.device("cpu"),
    )
    decays = []
    for model, optimiser in zip(models_, (trainer.create_optimizer(), learner.optimiser), strict=True):
        decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
        decays.append({name: decay[id(parameter)] for name, parameter in model.named_parameters()})
    assert decays[0] == decays[1] and set(decays[0].values()) == {0.0, 0.3}


def test_nothing_is_printed_and_nothing_written_beside_the_output(
    tmp_path: Path,
    problems: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = write_model(tmp_path / "base")
    told = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(
        json.dumps({**told, "bos_token_id": 5})
    )  # not the tokenizer's: a reason to warn
    inputs = {"model": base, "sequences": write_sequences(tmp_path / "in", rows_for("sft"))}
    (tmp_path / "cwd").mkdir()
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(
        logging.getLogger("transformers"), "propagate", True
    )  # its handler writes to where pytest does not look
    capfd.readouterr()
    _, offline_context = run(tmp_path / "runs", inputs, offline_config("sft"))
    _, online_context = run(tmp_path / "runs", {"model": base, "problems": problems}, online_config("grpo"))
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert logging.getLogger("transformers").level != logging.ERROR  # what was silenced is put back
    assert not list((tmp_path / "cwd").iterdir())
    for context in (offline_context, online_context):
        assert not [path for path in context.scratch.rglob("*") if path.is_file()]


def test_what_is_left_to_train_on_is_checked(tmp_path: Path, base: Path, problems: Path) -> None:
    with pytest.raises(StageFailure, match="no row to train on"):
        run(tmp_path, {"model": base, "sequences": write_sequences(tmp_path / "none", [])}, offline_config("sft"))
    with pytest.raises(StageFailure, match="pair 0 differ in their prompts"):
        run(
            tmp_path,
            {"model": base, "sequences": write_sequences(tmp_path / "odd", sequences(4, unit=2))},
            offline_config("dpo"),
        )
    with pytest.raises(StageFailure, match="prompts_per_step is 13 and there are 12"):
        run(tmp_path, {"model": base, "problems": problems}, online_config("grpo", online={"prompts_per_step": 13}))
    with pytest.raises(StageFailure, match="backend trl trains sft, dft, dpo, grpo, not iw_sft"):
        run(tmp_path, {"model": base}, offline_config("iw_sft"))


def test_prompts_without_room_for_an_answer_are_left_out(tmp_path: Path, base: Path, problems: Path) -> None:
    settings = online_config("grpo", online={"steps": 1})
    prompts = models.encode_prompts(
        models.load_tokenizer(base), settings["template"], read_problems(problems / "problems.jsonl")
    )
    longest = max(map(len, prompts))
    fitting = sum(len(ids) < longest for ids in prompts)
    assert 4 <= fitting < 12
    settings["training"]["max_length"] = longest
    _, context = run(tmp_path, {"model": base, "problems": problems}, settings)
    assert context.counters["dropped_prompts"] == 12 - fitting


def test_how_grpo_samples_and_clips_is_what_the_recipe_says(tmp_path: Path, problems: Path) -> None:
    base = write_model(tmp_path / "base")
    tokenizer = models.load_tokenizer(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.save_pretrained(base)
    settings = online_config("grpo", online={"temperature": 0.7})
    settings["objective"]["hyperparameters"] = {"clip_low": 0.1, "clip_high": 0.3}
    inputs, model = {"model": base, "problems": problems}, models.load_model(base)
    with Grader() as grader:
        trainer: Any = trl_backend.online_trainer(settings, inputs, model, Context(tmp_path / "scratch"), grader)
    assert (trainer.epsilon_low, trainer.epsilon_high, trainer.beta) == (0.1, 0.3, 0.0)
    assert set(trainer.eos_token_ids) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    sampling = trainer.generation_config
    assert (trainer.temperature, sampling.temperature, sampling.max_new_tokens) == (0.7, 0.7, 12)
    assert (sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty) == (0, 1.0, None, 1.0)


def test_a_micro_batch_divides_the_step_and_fits_the_budget() -> None:
    assert trl_backend.micro_batch_size(16, longest=10, token_budget=100) == 8
    assert trl_backend.micro_batch_size(16, longest=10, token_budget=1000) == 16
    assert trl_backend.micro_batch_size(16, longest=10, token_budget=5) == 1
    assert trl_backend.micro_batch_size(12, longest=10, token_budget=50) == 4


# What the planner asks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"), [("sft", "rollouts.correct"), ("dft", "demonstrations"), ("dpo", "rollouts.pairs")]
)
def test_offline_methods_that_trl_has_are_let_through(name: str, data: str) -> None:
    assert refuse(offline_config(name), data) is None


@pytest.mark.parametrize("reduction", ["sequence-mean", "token-mean", "constant"])
def test_grpo_is_let_through_in_trls_three_reductions(reduction: str) -> None:
    settings = online_config("grpo")
    settings["objective"]["reduction"] = reduction
    assert refuse(settings, "online") is None


@pytest.mark.parametrize(
    ("settings", "data", "reason"),
    [
        (lambda: online_config("ppo"), "online", "no PPO: it was removed after 1.12"),
        (lambda: offline_config("iw_sft"), "demonstrations", "trains sft, dft, dpo, grpo, not iw_sft"),
        (
            lambda: offline_config("grpo"),
            "rollouts.groups",
            "samples for itself, so its data is online, not rollouts.groups",
        ),
        (lambda: online_config("sft"), "online", "TRL's sft does not sample, not online"),
        (
            lambda: {**offline_config("sft"), "objective": {**table("sft"), "reduction": "constant"}},
            "demonstrations",
            "token-mean, not by const",
        ),
        (
            lambda: {**offline_config("sft"), "filters": [{"name": "positive"}]},
            "demonstrations",
            "no filters, here 'positive'",
        ),
        (lambda: online_config("grpo", critic=table("value")), "online", "no critic"),
        (lambda: offline_config("sft", refresh_interval=2), "demonstrations", "no training.refresh_interval"),
        (lambda: online_config("grpo", advantage=None), "online", "computes the advantage group_norm, not none"),
        (lambda: online_config("grpo", advantage={"name": "leave_one_out"}), "online", "group_norm, not leave_one_out"),
        (
            lambda: online_config("grpo", advantage={"name": "group_norm", "hyperparameters": {"eps": 0.1}}),
            "online",
            "eps = 0.0001, not 0.1",
        ),
        (lambda: online_config("grpo", online={"sync_interval": 2}), "online", "sync_interval is 1, not 2"),
        (lambda: online_config("grpo", online={"importance_cap": 2.0}), "online", "no online.importance_cap"),
        (lambda: online_config("grpo", online={"refills": 3}), "online", "refills is 0, not 3"),
        (lambda: online_config("grpo", online={"samples_per_prompt": 1}), "online", "samples_per_prompt of at least 2"),
        (
            lambda: online_config("grpo", online={"mini_batches": 3}),
            "online",
            "16 samples do not divide by online.mini_batches = 3",
        ),
    ],
)
def test_what_trl_cannot_do_is_refused_with_its_reason(settings: Any, data: str, reason: str) -> None:
    found = refuse(settings(), data)
    assert found is not None and reason in found and "\n" not in found


def test_a_row_can_say_what_trl_takes_otherwise() -> None:
    assert differences(offline_config("sft"), "demonstrations") == (
        "trained by TRL's trainer, the order of the data that of its sampler",
    )
    assert any("learning rate 0" in note for note in differences(offline_config("sft", warmup=0.1), "demonstrations"))
    assert any("mean of means" in note for note in differences(offline_config("dpo"), "rollouts.pairs"))
    online = online_config("grpo")
    assert any("batch_rows" in note for note in differences(online, "online"))
    online["objective"]["reduction"] = "token-mean"
    assert any("denominator" in note for note in differences(online, "online"))


def test_the_planner_can_ask_without_torch_and_trl() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'trl', 'transformers', 'datasets'): sys.modules[name] = None\n"
        "from rlbench.training.trl_support import refuse\n"
        "print(refuse({'objective': {'name': 'ppo'}}, 'online'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "no PPO" in done.stdout, done.stderr
