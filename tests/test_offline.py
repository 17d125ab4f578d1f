from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny_model import Context, sequences, tiny_model, write_model, write_sequences
from training_tables import lines, offline_config, table, weights

from rlbench import models
from rlbench.objectives.reduction import Totals
from rlbench.recipe import TrainingConfig
from rlbench.records import StageFailure, TrainingSequence
from rlbench.training import offline
from rlbench.training.batching import examples_of, pack
from rlbench.training.policy import Policy
from rlbench.training.step import BoundObjective, Learner, schedule_factor

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "base")


def run(
    folder: Path,
    base: Path,
    rows: list[TrainingSequence],
    config: dict[str, Any],
    plugins: list[dict[str, str]] | None = None,
) -> tuple[Path, Context]:
    number = len(list(folder.iterdir()))
    output, context = folder / f"out{number}", Context()
    context.unhashed["plugins"] = plugins or []
    output.mkdir()
    offline.train(config, {"model": base, "sequences": write_sequences(folder / f"in{number}", rows)}, output, context)
    return output, context


def test_training_lowers_the_loss_and_writes_a_model_with_its_log(tmp_path: Path, base: Path) -> None:
    rows = sequences(10)
    output, context = run(tmp_path, base, rows, offline_config("sft", epochs=8, learning_rate=5e-3))
    log = lines(output)
    assert len(log) == 24 and [line["step"] for line in log] == list(range(1, 25))
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert context.counters == {"tokens": 8 * sum(len(row.token_ids) for row in rows), "steps": 24}
    assert context.seen[-1] == (24, 24)
    summary = json.loads((output / "training.json").read_text())
    assert summary["steps"] == 24 and summary["sequences"] == 80 and summary["final_loss"] == log[-1]["loss"]
    assert models.load_tokenizer(output).eos_token_id == models.load_tokenizer(base).eos_token_id
    models.load_model(output)
    assert "rlbench_packed" not in (output / "config.json").read_text()


def test_two_runs_give_the_same_bytes(tmp_path: Path, base: Path) -> None:
    first, second = (run(tmp_path, base, sequences(10), offline_config("dft"))[0] for _ in range(2))
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_zero_learning_rate_leaves_the_bytes_of_the_weights(tmp_path: Path, base: Path) -> None:
    output, _ = run(tmp_path, base, sequences(6), offline_config("sft", learning_rate=0.0, weight_decay=0.1))
    assert weights(output) == weights(base)
    changed, _ = run(tmp_path, base, sequences(6), offline_config("sft", learning_rate=1e-5))
    assert weights(changed) != weights(base)


def test_seeds_give_other_orders(tmp_path: Path, base: Path) -> None:
    first, second = (run(tmp_path, base, sequences(10), {**offline_config("sft"), "seed": seed})[0] for seed in (0, 1))
    assert lines(first)[0]["loss"] != lines(second)[0]["loss"]


def test_dpo_starts_at_ln_2_and_keeps_its_reference(tmp_path: Path, base: Path) -> None:
    output, _ = run(tmp_path, base, sequences(12, unit=2), offline_config("dpo", epochs=4))
    log = lines(output)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert log[0]["sequences"] == 8  # four pairs
    assert log[-1]["margin"] > log[0]["margin"] and log[-1]["loss"] < math.log(2)


def test_the_old_policy_of_offline_grpo_is_the_initial_one_and_its_steps_leave_it_behind(
    tmp_path: Path, base: Path
) -> None:
    settings = {**offline_config("grpo"), "advantage": {"name": "group_norm", "hyperparameters": {"eps": 1e-4}}}
    rows = sequences(8, group=4, sampled=True)
    output, _ = run(tmp_path, base, rows, settings)
    assert abs(lines(output)[0]["kl"]) < 1e-6  # the values stored with the samples are not the model's own
    assert lines(output)[1]["kl"] > 1e-4


def test_the_old_policy_is_the_initial_one_unless_it_is_refreshed(tmp_path: Path, base: Path) -> None:
    settings = {
        **offline_config("grpo", epochs=3, learning_rate=3e-3),
        "advantage": {"name": "group_norm", "hyperparameters": {"eps": 1e-4}},
    }
    kl = {}
    for interval in (None, 1, 2):
        settings["training"] = {**settings["training"], "refresh_interval": interval}
        kl[interval] = [line["kl"] for line in lines(run(tmp_path, base, sequences(8, group=4), settings)[0])]
    assert [abs(value) < 1e-6 for value in kl[None]] == [True] + [False] * 5
    assert [abs(value) < 1e-6 for value in kl[1]] == [True] * 6
    assert [abs(value) < 1e-6 for value in kl[2]] == [True, False] * 3


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (
            "filters",
            "@row_filter('f')\ndef f(batch):\n    return batch.reward\n",
            r"filter 'f' \(x.py:2\) has to return a bool for each",
        ),
        (
            "advantage",
            "@advantage('f')\ndef f(batch):\n    return batch.reward[:1]\n",
            r"'f' \(x.py:2\): its advantage is \(1,\)",
        ),
        (
            "advantage",
            "@advantage('f')\ndef f(batch):\n    return batch.reward / 0\n",
            r"'f' \(x.py:2\): its advantage is not finite",
        ),
        (
            "advantage",
            "@advantage('f')\ndef f(batch):\n    return None\n",
            r"'f' \(x.py:2\): its advantage is NoneType",
        ),
    ],
)
def test_what_a_plugin_must_not_return_is_refused_with_file_and_line(
    kind: str, text: str, reason: str, tmp_path: Path, base: Path
) -> None:
    component = {"name": "f", "hyperparameters": {}}
    settings = {**offline_config("sft"), kind: [component] if kind == "filters" else component}
    plugin = {"path": "x.py", "source": "from rlbench import advantage, row_filter\n" + text}
    with pytest.raises(StageFailure, match=reason):
        run(tmp_path, base, sequences(4), settings, plugins=[plugin])


def test_filters_drop_rows_and_leaving_none_fails(tmp_path: Path, base: Path) -> None:
    settings = {
        **offline_config("sft", epochs=1, batch_size=100),
        "filters": [{"name": "positive", "hyperparameters": {}}],
    }
    output, _ = run(tmp_path, base, sequences(10), settings)
    assert lines(output)[0]["sequences"] == 5
    losers = [row for row in sequences(10) if row.reward == 0]
    with pytest.raises(StageFailure, match="no row to train on"):
        run(tmp_path, base, losers, settings)


def test_an_estimator_that_needs_a_critic_fails_by_name(tmp_path: Path, base: Path) -> None:
    settings = {**offline_config("grpo"), "advantage": {"name": "gae", "hyperparameters": {}}}
    with pytest.raises(StageFailure, match="'old_value' is read"):
        run(tmp_path, base, sequences(4, sampled=True), settings)


def test_a_loss_that_is_not_finite_fails_the_stage_by_step(tmp_path: Path, base: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from rlbench import objective\n@objective('broken')\ndef broken(batch):\n    return -batch.logp / 0.0\n"
    )
    settings = {**offline_config("sft"), "objective": table("broken", (plugin,))}
    (tmp_path / "runs").mkdir()
    with pytest.raises(StageFailure, match=r"objective 'broken' \(x.py:2\): the loss became inf at step 1 of 6"):
        run(tmp_path / "runs", base, sequences(10), settings, plugins=[{"path": "x.py", "source": plugin.read_text()}])


def test_a_statistic_takes_the_place_of_nothing_that_the_engine_logs(tmp_path: Path, base: Path) -> None:
    text = (
        "from rlbench import Loss, Term, objective\n@objective('mine')\ndef mine(batch):\n"
        "    return Loss([Term(-batch.logp)], {'loss': batch.logp * 0 + 7, 'seven': batch.logp.detach() * 0 + 7})\n"
    )
    plugin = tmp_path / "plugin.py"
    plugin.write_text(text)
    (tmp_path / "runs").mkdir()
    settings = {**offline_config("sft"), "objective": table("mine", (plugin,))}
    output, _ = run(tmp_path / "runs", base, sequences(4), settings, plugins=[{"path": "x.py", "source": text}])
    plain, _ = run(tmp_path / "runs", base, sequences(4), offline_config("sft"))
    assert [line["loss"] for line in lines(output)] == [line["loss"] for line in lines(plain)]
    assert lines(output)[0]["seven"] == 7


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path, base: Path) -> None:
    first, second = (
        run(tmp_path, base, sequences(6), offline_config("sft", gradient_checkpointing=flag))[0]
        for flag in (False, True)
    )
    assert [line["loss"] for line in lines(first)] == pytest.approx([line["loss"] for line in lines(second)], rel=1e-5)


def gradient(
    objective: BoundObjective, rows: list[TrainingSequence], budget: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    examples = examples_of(rows, objective.rows)
    policy = Policy(tiny_model(initializer_range=0.05).to(dtype))
    for example in examples:
        example.fields.update({name: torch.full((len(example.token_ids),), -3.0) for name in ("ref_logp", "old_logp")})
        example.fields["advantage"] = torch.full((len(example.token_ids),), example.reward - 0.4)
    settings = TrainingConfig(learning_rate=0.0, tokens_per_microbatch=budget)
    learner = Learner(policy, objective, settings, learning_rate=0.0, steps=1, constant_length=20, device=CPU)
    learner.accumulate(examples, Totals(sum(len(e.token_ids) for e in examples), len(examples), 20))
    return torch.cat([p.grad.flatten() for p in learner.parameters])


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        ("sft", "token-mean"),
        ("dft", "sequence-mean"),
        ("iw_sft", "constant"),
        ("grpo", "sequence-mean-token-sum"),
        ("dpo", "pair-mean"),
    ],
)
def test_the_gradient_does_not_depend_on_the_micro_batch(name: str, reduction: str) -> None:
    objective = BoundObjective.load({**table(name), "reduction": reduction}, ())
    rows = sequences(16, unit=2)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-9)):
        whole = gradient(objective, rows, 100_000, dtype)
        for budget in (1, 60):
            assert (gradient(objective, rows, budget, dtype) - whole).norm() <= tolerance * whole.norm()


def test_schedules_rise_to_one_and_fall_towards_zero() -> None:
    cosine = [schedule_factor(step, 10, "cosine", 0.2) for step in range(10)]
    assert cosine[:3] == [0.5, 1.0, 1.0]
    assert cosine[6] == pytest.approx(0.5) and 0 < cosine[9] < 0.05
    assert cosine[1:] == sorted(cosine[1:], reverse=True)
    assert [schedule_factor(step, 4, "linear", 0.0) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert {schedule_factor(step, 4, "constant", 0.0) for step in range(4)} == {1.0}
    assert schedule_factor(0, 1, "cosine", 1.0) == 1.0


def test_norms_and_biases_do_not_decay() -> None:
    learner = Learner(
        Policy(tiny_model()),
        BoundObjective.load(table("sft"), ()),
        TrainingConfig(learning_rate=0.1, weight_decay=0.3),
        learning_rate=0.1,
        steps=1,
        constant_length=1,
        device=CPU,
    )
    decay = {id(p): group["weight_decay"] for group in learner.optimiser.param_groups for p in group["params"]}
    for name, parameter in learner.network.module.named_parameters():
        assert decay[id(parameter)] == (0.0 if "norm" in name or name.endswith("bias") else 0.3), name


def _rank(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        rows = sequences(7)
        learner = Learner(
            Policy(tiny_model(initializer_range=0.05)),
            BoundObjective.load(table("sft"), ()),
            TrainingConfig(learning_rate=0.0),
            learning_rate=0.0,
            steps=1,
            constant_length=1,
            device=CPU,
        )
        examples = examples_of(rows[:5] if rank == 0 else rows[5:], "sequences")
        totals = Totals(sum(len(e.token_ids) for e in examples), len(examples)).over_ranks(CPU)
        loss, _ = learner.accumulate(examples, totals)
        torch.save((loss, torch.cat([p.grad.flatten() for p in learner.parameters])), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_ranks_with_unequal_shares_have_the_gradient_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = torch.multiprocessing.get_context("spawn").Process(target=_rank, args=(1, port, str(tmp_path)))
    other.start()
    _rank(0, port, str(tmp_path))
    other.join()
    whole = gradient(BoundObjective.load(table("sft"), ()), sequences(7), 100_000)
    for rank in range(2):
        loss, found = torch.load(tmp_path / f"{rank}.pt")
        assert (found - whole).norm() <= 1e-6 * whole.norm()
        assert math.isfinite(loss)


def test_initial_log_probabilities_are_stored_where_they_are_read() -> None:
    policy, examples = Policy(tiny_model()), examples_of(sequences(3, sampled=True), "sequences")
    offline.add_initial_logp(policy, examples, ("ref_logp", "old_logp"), 100)
    expected = policy.outputs(pack(examples))["logp"].detach()
    for name in ("ref_logp", "old_logp"):  # both the trainer's own, though a sampler's are there
        torch.testing.assert_close(pack(examples).fields[name], expected)
    assert not torch.allclose(pack(examples).fields["sampler_logp"], expected)
