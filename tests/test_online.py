from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import Context, write_model
from training_tables import online_config, table

from rlbench import models
from rlbench.grading.pool import Grader
from rlbench.objectives import registry
from rlbench.objectives.batch import TokenBatch
from rlbench.objectives.reduction import as_loss
from rlbench.records import Problem, Rollout, StageFailure, write_problems
from rlbench.training import online
from rlbench.training.batching import Example
from rlbench.training.online import OnlineLoop, correct_advantages, explained_variance, prompt_order, sampling_stats
from rlbench.training.sampler import mismatch
from rlbench.training.step import BoundComponent

LINE = {
    "step",
    "online_step",
    "loss",
    "grad_norm",
    "learning_rate",
    "tokens",
    "sequences",
    "reward",
    "response_tokens",
    "entropy",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    problems = [Problem(f"p{i}", f"{i} + {i % 7}", str(i + i % 7)) for i in range(2, 14)]
    (folder / "problems").mkdir()
    write_problems(folder / "problems" / "problems.jsonl", problems)
    return {"model": write_model(folder / "model"), "problems": folder / "problems"}


def ppo_config(**changes: Any) -> dict[str, Any]:
    critic = {**table("value"), "learning_rate": 3e-3}
    return online_config("ppo", **{"advantage": {"name": "gae", "hyperparameters": {}}, "critic": critic, **changes})


def run(output: Path, inputs: dict[str, Path], config: dict[str, Any]) -> tuple[list[dict[str, Any]], Context]:
    output.mkdir()
    context = Context()
    online.train(config, inputs, output, context)
    return [json.loads(line) for line in (output / "training.jsonl").read_text().splitlines()], context


def test_grpo_writes_a_model_and_one_line_an_optimiser_step(tmp_path: Path, inputs: dict[str, Path]) -> None:
    log, context = run(tmp_path / "out", inputs, online_config("grpo"))
    assert [(line["step"], line["online_step"]) for line in log] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert all(line.keys() >= LINE for line in log)
    assert log[0]["sampler_mismatch"] < 1e-4
    assert (
        log[0]["kl"] == pytest.approx(0.0, abs=1e-7) and log[1]["kl"] > 0
    )  # the first update starts at the old policy
    assert log[0]["sequences"] + log[1]["sequences"] == 16
    assert context.counters["samples"] == 32 and context.counters["steps"] == 4
    assert context.counters["tokens"] == sum(line["tokens"] for line in log) == context.counters["sampled_tokens"]
    assert context.seen[-1] == (2, 2)
    models.load_model(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != (inputs["model"] / "model.safetensors").read_bytes()


def test_ppo_trains_a_critic_beside_the_policy(tmp_path: Path, inputs: dict[str, Path]) -> None:
    log, _ = run(tmp_path / "out", inputs, ppo_config(online={"steps": 3}))
    assert {"critic_loss", "critic_grad_norm", "value_clip_fraction", "explained_variance", "clip_fraction"} <= set(
        log[0]
    )
    assert log[0]["critic_learning_rate"] == pytest.approx(3e-3)
    assert log[0]["explained_variance"] == pytest.approx(0.0)  # a critic that says 0 everywhere explains nothing
    assert all(line["critic_grad_norm"] > 0 for line in log)


@pytest.mark.parametrize("make", [lambda: online_config("grpo"), ppo_config])
def test_two_runs_give_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], make: Any) -> None:
    for name in ("first", "second"):
        run(tmp_path / name, inputs, make())
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_zero_learning_rate_leaves_the_bytes_of_the_weights(tmp_path: Path, inputs: dict[str, Path]) -> None:
    run(tmp_path / "out", inputs, ppo_config(training={"learning_rate": 0.0}))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (inputs["model"] / "model.safetensors").read_bytes()


def test_a_step_whose_samples_are_all_filtered_is_logged_and_skipped(inputs: dict[str, Path]) -> None:
    never = {"name": "random", "hyperparameters": {"probability": 0.0, "salt": 0}}
    settings = online_config("grpo", reward=never, filters=[{"name": "mixed_groups", "hyperparameters": {}}])
    with Grader() as grader:
        loop = OnlineLoop(settings, inputs, Context(), grader)
        before = [p.clone() for p in loop.policy.module.parameters()]
        (line,) = loop.step(0)
    assert (line["online_step"], line["loss"], line["kept"]) == (1, None, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, loop.policy.module.parameters(), strict=True))


def test_a_run_whose_filters_keep_nothing_in_any_step_fails(tmp_path: Path, inputs: dict[str, Path]) -> None:
    never = {"name": "random", "hyperparameters": {"probability": 0.0, "salt": 0}}
    with pytest.raises(StageFailure, match="no row to train on in any step"):
        run(
            tmp_path / "out",
            inputs,
            online_config("grpo", reward=never, filters=[{"name": "mixed_groups", "hyperparameters": {}}]),
        )


def test_semi_online_samples_from_a_policy_that_is_refreshed_now_and_then(inputs: dict[str, Path]) -> None:
    settings = online_config(
        "grpo", training={"learning_rate": 1e-2}, online={"steps": 4, "mini_batches": 1, "sync_interval": 2}
    )
    with Grader() as grader:
        loop = OnlineLoop(settings, inputs, Context(), grader)
        lines = [loop.step(step)[0] for step in range(4)]
    # The ratio is taken against what sampled: it is 1 after a refresh, and not in the step that follows.
    assert [abs(line["kl"]) < 1e-6 for line in lines] == [True, False, True, False]
    assert all(line["sampler_mismatch"] < 1e-4 for line in lines)


def test_refills_draw_other_prompts_until_the_step_is_full(inputs: dict[str, Path]) -> None:
    rare = {"name": "random", "hyperparameters": {"probability": 0.2, "salt": 4}}
    mixed = [{"name": "mixed_groups", "hyperparameters": {}}]
    found = {}
    for refills in (0, 1, 5):
        settings = online_config("grpo", reward=rare, filters=mixed, online={"refills": refills, "prompts_per_step": 4})
        with Grader() as grader:
            context = Context()
            loop = OnlineLoop(settings, inputs, context, grader)
            examples, line = loop._collect(0)
        kept = {example.group for example in examples}
        assert len(examples) == 4 * len(kept) and [example.unit for example in examples] == list(range(len(examples)))
        assert line["kept"] == len(examples) / context.counters["samples"]
        assert context.counters["samples"] == 16 * line["draws"]
        found[refills] = (len(kept), line["draws"])
    assert found[0][0] < found[1][0] < found[5][0] == 4  # the salt was chosen for a first draw that leaves room
    assert found[0][1] == 1 and found[1][1] == 2 and found[5][1] == 3  # twelve problems are three draws of four


def test_refills_repeat_no_prompt_of_their_step(inputs: dict[str, Path]) -> None:
    with Grader() as grader:
        loop = OnlineLoop(online_config("grpo", online={"refills": 9}), inputs, Context(), grader)
        drawn = [int(i) for indices in loop._draws_of(1) for i in indices]
    assert sorted(drawn) == list(range(12))


@pytest.mark.parametrize("value", ["None", "float('nan')", "'much'"])
def test_a_reward_that_is_no_finite_number_is_refused_with_file_and_line(value: str, inputs: dict[str, Path]) -> None:
    context = Context()
    text = f"from rlbench import reward\n@reward('mine')\ndef mine(rollout):\n    return {value}\n"
    context.unhashed["plugins"] = [{"path": "x.py", "source": text}]
    with (
        Grader() as grader,
        pytest.raises(StageFailure, match=r"reward 'mine' \(x.py:2\) has to return a finite number"),
    ):
        OnlineLoop(online_config("grpo", reward={"name": "mine", "hyperparameters": {}}), inputs, context, grader).step(
            0
        )


def test_a_reference_is_the_policy_as_it_was_before_training(inputs: dict[str, Path]) -> None:
    settings = online_config(
        "grpo", objective={**table("grpo"), "reads": ["old_logp", "ref_logp"]}, training={"learning_rate": 1e-2}
    )
    with Grader() as grader:
        loop = OnlineLoop(settings, inputs, Context(), grader)
        before = [p.clone() for p in loop.initial_policy.module.parameters()]
        loop.step(0)
        assert all(torch.equal(a, b) for a, b in zip(before, loop.initial_policy.module.parameters(), strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(before, loop.policy.module.parameters(), strict=True))


def test_methods_of_like_sizes_sample_the_same_at_first(inputs: dict[str, Path]) -> None:
    drawn = []
    for settings in (online_config("grpo"), ppo_config()):
        with Grader() as grader:
            loop = OnlineLoop(settings, inputs, Context(), grader)
            drawn.append(loop._draw(0, loop.order[0]))
    assert drawn[0] == drawn[1]


def test_bfloat16_samples_and_trains_in_the_same_precision(tmp_path: Path, inputs: dict[str, Path]) -> None:
    log, _ = run(tmp_path / "out", inputs, ppo_config(dtype="bfloat16", online={"steps": 1}))
    assert log[0]["sampler_mismatch"] < 0.05
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}


def test_what_cannot_be_trained_online_is_refused_by_name(inputs: dict[str, Path]) -> None:
    with Grader() as grader:
        with pytest.raises(StageFailure, match="'dpo' takes pairs"):
            OnlineLoop(online_config("dpo"), inputs, Context(), grader)
        with pytest.raises(StageFailure, match="prompts_per_step is 13 and there are 12"):
            OnlineLoop(online_config("grpo", online={"prompts_per_step": 13}), inputs, Context(), grader)
        with pytest.raises(StageFailure, match="a critic needs an advantage estimator that makes returns"):
            OnlineLoop(
                ppo_config(advantage={"name": "group_norm", "hyperparameters": {}}), inputs, Context(), grader
            ).step(0)


def test_every_step_draws_other_prompts_until_an_epoch_is_over() -> None:
    order = prompt_order(10, 3, 7, seed=0)
    assert [len(set(step.tolist())) for step in order] == [3] * 7
    for epoch in (order[:3], order[3:6]):
        assert len({int(i) for step in epoch for i in step}) == 9
    assert [step.tolist() for step in prompt_order(10, 3, 2, seed=0)] == [step.tolist() for step in order[:2]]
    assert order[0].tolist() != prompt_order(10, 3, 1, seed=1)[0].tolist()


def test_statistics_of_samples_and_of_the_critic() -> None:
    def rollout(verdict: str, length: int, finish: str) -> Rollout:
        return Rollout("p", 0, [1], [2] * length, [-1.0] * length, "", None, verdict, 0.0, finish)  # type: ignore[arg-type]

    stats = sampling_stats([rollout("correct", 2, "stop"), rollout("wrong", 4, "length")], [0.5, 1.0])
    assert stats == {"reward": 0.75, "correct": 0.5, "response_tokens": 3.0, "truncated": 0.5}
    assert explained_variance(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert explained_variance(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])) is None


def test_a_reward_that_changes_its_rollout_changes_nothing_that_is_trained_on() -> None:
    rollout = Rollout("p", 0, [1, 2], [3, 4], [-0.5, -0.5], "", "4", "correct", 1.0, "stop")

    def greedy(given: Rollout) -> float:
        given.token_ids.clear()
        given.prompt_ids[0] = 9
        return 2.0

    assert online.reward_of(BoundComponent("greedy", greedy, {}, ()), rollout) == 2.0
    assert (rollout.prompt_ids, rollout.token_ids) == ([1, 2], [3, 4])


def test_the_mismatch_is_the_mean_the_greatest_and_a_divergence_that_is_never_negative() -> None:
    torch.manual_seed(0)
    trainer, sampler = (torch.log_softmax(torch.randn(2000, 50), dim=-1) for _ in range(2))
    sampler = torch.log_softmax(trainer + 0.3 * sampler, dim=-1)
    drawn = torch.multinomial(sampler.exp(), 200, replacement=True)
    found = mismatch(trainer.gather(1, drawn).flatten(), sampler.gather(1, drawn).flatten())
    exact = (sampler.exp() * (sampler - trainer)).sum(dim=-1).mean().item()
    assert found["sampler_kl"] == pytest.approx(exact, rel=0.02)
    difference = torch.tensor([0.5, -0.25, 0.0])
    small = mismatch(difference, torch.zeros(3))
    assert (small["sampler_mismatch"], small["sampler_mismatch_max"]) == (0.25, 0.5)
    assert mismatch(torch.zeros(3), torch.zeros(3)) == {
        "sampler_mismatch": 0.0,
        "sampler_mismatch_max": 0.0,
        "sampler_kl": 0.0,
    }


def test_the_correction_weighs_each_tokens_advantage_by_its_truncated_ratio() -> None:
    fields = {"old_logp": torch.tensor([-1.0, -1.0, -3.0]), "sampler_logp": torch.tensor([-1.0, -2.0, -2.0])}
    example = Example(
        torch.arange(3).numpy(),
        torch.arange(3).numpy(),
        0,
        0,
        1.0,
        {**fields, "advantage": torch.tensor([2.0, 2.0, -1.0])},
    )
    stats = correct_advantages([example], 2.0)
    assert example.fields["advantage"].tolist() == pytest.approx([2.0, 4.0, -(2.718281828**-1)])
    assert stats == pytest.approx({"importance_weight": (1 + 2 + 2.718281828**-1) / 3, "importance_capped": 1 / 3})


@pytest.mark.parametrize("name", ["grpo", "ppo", "cispo", "reinforce", "dapo"])
def test_of_a_policy_gradient_a_weighted_advantage_is_a_weighted_loss(name: str) -> None:
    torch.manual_seed(0)
    logp, old = -torch.rand(12), -torch.rand(12)
    advantage, weight = torch.randn(12), 2 * torch.rand(12)

    def loss(advantage: torch.Tensor) -> torch.Tensor:
        fields = {"logp": logp, "old_logp": old, "sampler_logp": old, "ref_logp": old, "advantage": advantage}
        batch = TokenBatch.from_lengths([4, 4, 4], reward=[1.0] * 3, **fields)
        hyperparameters = registry.describe().find(name, "objective").hyperparameters
        return as_loss(registry.call(registry.load("objective", name), batch, hyperparameters)).terms[0].values

    assert torch.allclose(loss(weight * advantage), weight * loss(advantage), atol=1e-6)


def test_a_sampler_that_agrees_is_corrected_by_nothing_but_rounding(tmp_path: Path, inputs: dict[str, Path]) -> None:
    plain, _ = run(tmp_path / "plain", inputs, online_config("grpo"))
    corrected, _ = run(tmp_path / "corrected", inputs, online_config("grpo", online={"importance_cap": 2.0}))
    assert [line["loss"] for line in corrected] == pytest.approx([line["loss"] for line in plain], abs=1e-5)
    assert all(line["importance_weight"] == pytest.approx(1.0, abs=1e-4) for line in corrected)
    assert all(line["sampler_mismatch"] <= line["sampler_mismatch_max"] < 1e-4 for line in plain)
