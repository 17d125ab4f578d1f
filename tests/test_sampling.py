"""Sampling: our loop against ``model.generate``, draws that depend on nothing but seed and logits, and a model left as
it was.
"""

from __future__ import annotations

import math
import random
from itertools import accumulate

import numpy as np
import pytest
import torch
from sampling_oracle import GREEDY, STOP, naive, prompts_of, requests_of, teacher_forced
from tiny_model import VOCABULARY, tiny_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from rlbench.records import StageFailure, UserError
from rlbench.sampling import cache as cache_module
from rlbench.sampling import transformers_engine
from rlbench.sampling.engine import SamplingParams, request_seed, uniforms
from rlbench.sampling.transformers_engine import TransformersEngine, default_batch_rows, draw

SAMPLED = SamplingParams(temperature=1.0, max_new_tokens=40, stop_ids=(7, 8, 9))
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
ROPE = {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128}


def model_of(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    made = {
        "qwen2, tied": lambda: tiny_model(),
        "qwen2, untied": lambda: tiny_model(tie_word_embeddings=False),
        "qwen2, eager": lambda: tiny_model(attn_implementation="eager"),
        "qwen2, sliding window in one layer": lambda: tiny_model(
            use_sliding_window=True, sliding_window=9, max_window_layers=1
        ),
        "llama, one head a key": lambda: LlamaForCausalLM(LlamaConfig(**{**ROPE, "num_key_value_heads": 4})),
        "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**ROPE, sliding_window=11)),
        "gpt2, learned positions": lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.3)
        ),
    }
    return made[kind]().eval()


KINDS = [
    "qwen2, tied",
    "qwen2, untied",
    "qwen2, eager",
    "qwen2, sliding window in one layer",
    "llama, one head a key",
    "mistral, sliding window",
    "gpt2, learned positions",
]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_generate_of_one_prompt_at_a_time(kind: str) -> None:
    model = model_of(kind)
    prompts = prompts_of([3, 60, 17, 1, 33, 17, 5, 44, 2, 28])
    completions = TransformersEngine(model, batch_rows=7).generate(requests_of(prompts), GREEDY)
    assert [completion.token_ids for completion in completions] == [naive(model, prompt, GREEDY) for prompt in prompts]


def test_rows_end_at_different_times_and_say_why() -> None:
    model = tiny_model()
    completions = TransformersEngine(model, batch_rows=32).generate(
        requests_of(prompts_of([4, 9, 20, 30]), 16), SAMPLED
    )
    lengths = {len(completion.token_ids) for completion in completions}
    assert len(lengths) > 10 and max(lengths) == SAMPLED.max_new_tokens
    for completion in completions:
        assert len(completion.logps) == len(completion.token_ids)
        assert not set(completion.token_ids[:-1]) & set(SAMPLED.stop_ids)
        stopped = completion.token_ids[-1] in SAMPLED.stop_ids
        assert completion.finish_reason == ("stop" if stopped else "length")
        assert stopped or len(completion.token_ids) == SAMPLED.max_new_tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_log_probabilities_are_those_of_a_pass_over_the_whole_sequence(kind: str, temperature: float) -> None:
    model = model_of(kind)
    requests = requests_of(prompts_of([3, 50, 21, 8]), 6)
    params = SamplingParams(temperature, 30, STOP)
    for request, completion in zip(
        requests, TransformersEngine(model, batch_rows=16).generate(requests, params), strict=True
    ):
        assert torch.allclose(
            torch.tensor(completion.logps), teacher_forced(model, request, completion, temperature), atol=1e-5, rtol=0
        )


def test_the_same_requests_give_the_same_bytes_in_any_order() -> None:
    model = tiny_model()
    requests = requests_of(prompts_of([4, 9, 30, 30, 12]), 8)
    engine = TransformersEngine(model, batch_rows=16)
    first = engine.generate(requests, SAMPLED)
    assert engine.generate(requests, SAMPLED) == first
    order = list(range(len(requests)))
    random.Random(1).shuffle(order)
    again = engine.generate([requests[i] for i in order], SAMPLED)
    assert [again[order.index(i)] for i in range(len(requests))] == first


def test_a_draw_hardly_depends_on_who_shares_its_batch() -> None:
    model = tiny_model()
    requests = requests_of(prompts_of([4, 9, 30, 30, 12, 50, 2, 17]), 25)
    whole = TransformersEngine(model, batch_rows=256).generate(requests, SAMPLED)
    parts = TransformersEngine(model, batch_rows=3).generate(requests[:100], SAMPLED)
    parts += TransformersEngine(model, batch_rows=50).generate(requests[100:], SAMPLED)
    same = sum(a.token_ids == b.token_ids for a, b in zip(whole, parts, strict=True))
    assert same >= 0.99 * len(requests)


def test_cutting_the_prefill_and_growing_the_cache_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    requests = requests_of(prompts_of([4, 9, 30, 30, 12, 50, 2, 17]), 4)
    whole = TransformersEngine(model, batch_rows=32).generate(requests, SAMPLED)
    monkeypatch.setattr(transformers_engine, "PREFILL_TOKENS", 40)
    monkeypatch.setattr(cache_module, "GROWTH", 4)
    parts = TransformersEngine(model, batch_rows=32).generate(requests, SAMPLED)
    assert [c.token_ids for c in whole] == [c.token_ids for c in parts]


def test_each_prompt_is_read_once_for_all_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    read: list[int] = []
    original = model.forward

    def counting(input_ids: torch.Tensor, **options: object) -> object:
        if input_ids.shape[1] > 1:
            read.append(input_ids.shape[0])
        return original(input_ids=input_ids, **options)

    prompts = prompts_of([6, 6, 11])
    interleaved = requests_of(prompts, 4)[::3] + requests_of(prompts, 4)[1::3] + requests_of(prompts, 4)[2::3]
    monkeypatch.setattr(model, "forward", counting)
    TransformersEngine(model, batch_rows=64).generate(interleaved, SAMPLED)
    assert sum(read) == 3


def test_a_completion_never_leaves_the_context() -> None:
    model = tiny_model(max_position_embeddings=24)
    requests = requests_of(prompts_of([20, 23, 4]), 4)
    params = SamplingParams(1.0, 100, ())
    completions = TransformersEngine(model).generate(requests, params)
    assert [len(r.prompt_ids) + len(c.token_ids) for r, c in zip(requests, completions, strict=True)] == [24] * 12
    assert {completion.finish_reason for completion in completions} == {"length"}
    assert len(TransformersEngine(model, context=22).generate(requests[:1], params)[0].token_ids) == 2


@pytest.mark.parametrize(("length", "message"), [(0, "empty prompt"), (128, "128 tokens")])
def test_a_prompt_that_cannot_be_continued_is_refused_by_name(length: int, message: str) -> None:
    with pytest.raises(UserError, match=f"request 1 has .*{message}"):
        TransformersEngine(tiny_model()).generate(requests_of(prompts_of([3, length])), GREEDY)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_fail_the_stage(temperature: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[3] = math.nan
    with pytest.raises(StageFailure, match="logits are not finite"):
        TransformersEngine(model).generate(requests_of(prompts_of([3, 9])), SamplingParams(temperature, 9, STOP))


def test_the_model_is_left_as_it_was_found_and_can_be_trained_on() -> None:
    model = tiny_model(attention_dropout=0.5).train()
    model.model.layers[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    engine, requests = TransformersEngine(model), requests_of(prompts_of([5, 12]), 4)
    first = engine.generate(requests, GREEDY)
    assert first == engine.generate(requests, GREEDY)  # no dropout while sampling
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.config._attn_implementation == "sdpa" and torch.is_grad_enabled()
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad.sign()
    model.eval()
    assert [c.token_ids for c in engine.generate(requests, GREEDY)] == [
        naive(model, r.prompt_ids, GREEDY) for r in requests
    ]


def test_the_model_is_put_back_when_sampling_fails() -> None:
    model = tiny_model().train()
    with pytest.raises(RuntimeError, match="stop here"), transformers_engine.serving(model):
        assert not model.training and model.config._attn_implementation == cache_module.ATTENTION
        raise RuntimeError("stop here")
    assert model.training and model.config._attn_implementation == "sdpa" and torch.is_grad_enabled()


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_samples_with_close_log_probabilities(autocast: bool) -> None:
    model = tiny_model() if autocast else tiny_model().bfloat16()
    requests = requests_of(prompts_of([3, 40, 12]), 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        completions = TransformersEngine(model).generate(requests, SAMPLED)
        for request, completion in zip(requests, completions, strict=True):
            error = torch.tensor(completion.logps) - teacher_forced(model, request, completion, 1.0)
            assert error.abs().mean() < 0.05


def test_progress_counts_requests() -> None:
    seen: list[tuple[int, int, int]] = []
    engine = TransformersEngine(tiny_model(), batch_rows=4)
    found = engine.generate(requests_of(prompts_of([3, 5, 7]), 3), GREEDY, lambda *now: seen.append(now))
    assert [now[:2] for now in seen] == [(4, 9), (8, 9), (9, 9)]
    assert [tokens for _, _, tokens in seen] == list(
        accumulate(sum(len(c.token_ids) for c in found[i : i + 4]) for i in (0, 4, 8))
    )
    assert TransformersEngine(tiny_model()).generate([], GREEDY) == []


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, -math.inf, 0.0, 1.0, -math.inf])
    rows = 40_000
    for temperature in (0.5, 1.0, 2.0):
        numbers = torch.from_numpy(uniforms([request_seed("draws")], rows)[0])
        token, logp = draw(logits.expand(rows, -1), temperature, numbers)
        expected = (logits / temperature).softmax(-1)
        assert torch.allclose(torch.bincount(token, minlength=5) / rows, expected, atol=4 * 0.5 / rows**0.5)
        assert torch.allclose(logp.exp(), expected[token], atol=1e-6)


def test_a_draw_inverts_the_cumulative_distribution_and_never_takes_the_impossible() -> None:
    logits = torch.tensor([-math.inf, 0.5, 0.25, 0.25, 0.0, -math.inf]).log().tolist()
    rows = torch.tensor([[-math.inf, *logits[1:5], -math.inf]])
    edges = [0.0, 0.4999, 0.5, 0.7499, 0.75, 1 - 2**-53]
    token, _ = draw(rows.expand(len(edges), -1), 1.0, torch.tensor(edges, dtype=torch.float64))
    assert token.tolist() == [1, 1, 2, 2, 3, 3]


def test_the_random_numbers_of_a_request_are_its_own() -> None:
    seeds = [request_seed("a", i) for i in range(4)]
    numbers = uniforms(seeds, 50)
    assert np.array_equal(uniforms(seeds[2:3], 20)[0], numbers[2, :20])
    assert numbers.min() >= 0 and numbers.max() < 1 and len(np.unique(numbers)) == 200


def test_seeds_do_not_collide_by_concatenation_and_never_change() -> None:
    assert request_seed("rollouts", 0, "p1", 3) == 5576508316657758632
    assert (
        len(
            {
                request_seed("ab", "c"),
                request_seed("a", "bc"),
                request_seed("a", "b", "c"),
                request_seed("1"),
                request_seed(1),
            }
        )
        == 5
    )
    with pytest.raises(TypeError, match="strings and integers"):
        request_seed(1.5)  # type: ignore[arg-type]


def test_the_default_batch_depends_on_the_length_and_is_bounded() -> None:
    model = tiny_model()
    assert default_batch_rows(model, 64) == transformers_engine.MOST_ROWS
    assert 1 <= default_batch_rows(model, 10**9) < default_batch_rows(model, 10**5) < transformers_engine.MOST_ROWS


@pytest.mark.parametrize("values", [{"temperature": -1.0}, {"temperature": math.nan}, {"max_new_tokens": 0}])
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SamplingParams(**{"temperature": 1.0, "max_new_tokens": 4, "stop_ids": (), **values})
