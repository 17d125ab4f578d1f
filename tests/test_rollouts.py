"""The rollout bank: what one sample call returns, and the stage from problems and a model folder to Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_model import Context
from transformers import LlamaConfig, LlamaForCausalLM

from rlbench.grading.pool import Grader
from rlbench.models import load_model, load_tokenizer, stop_token_ids
from rlbench.records import Problem, Rollout, UserError, read_records, write_problems
from rlbench.sampling.engine import Completion, Request, SamplingParams, request_seed
from rlbench.sampling.rollouts import rollouts_stage, sample
from rlbench.sampling.transformers_engine import TransformersEngine
from rlbench.tasks.arithmetic_tokenizer import build_tokenizer

TEMPLATE = "<bos>{problem}\n"
PROBLEMS = [Problem(f"p{i}", f"{i}+{i}", str(2 * i)) for i in range(1, 6)]
CONFIG = {
    "samples": 6,
    "temperature": 1.0,
    "max_new_tokens": 24,
    "drop_truncated": False,
    "template": TEMPLATE,
    "seed": 3,
    "dtype": "float32",
    "engine": "transformers",
    "batch_rows": 16,
    "grader": {"name": "rlbench"},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A problem list and a model of random weights. A Llama: transformers gives a folder of type qwen2 Qwen's own
    pre-tokenizer.
    """
    folder, tokenizer = tmp_path_factory.mktemp("inputs"), build_tokenizer()
    (folder / "problems").mkdir()
    write_problems(folder / "problems" / "problems.jsonl", PROBLEMS)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return {"model": folder / "model", "problems": folder / "problems"}


def bank(inputs: dict[str, Path], output: Path, **changes: Any) -> tuple[list[Rollout], dict[str, Any], Context]:
    output.mkdir()
    context = Context()
    rollouts_stage({**CONFIG, **changes}, inputs, output, context)  # type: ignore[arg-type]
    return read_records(output / "rollouts.parquet", Rollout), json.loads((output / "bank.json").read_text()), context


class Written:
    """An engine that writes given completions, whatever the prompt: prompts and seeds can be looked at afterwards."""

    name, context = "written", 100

    def __init__(self, completions: list[Completion]) -> None:
        self.completions, self.requests = completions, []

    def generate(self, requests: list[Request], params: SamplingParams, progress: object = None) -> list[Completion]:
        self.requests = list(requests)
        return self.completions


def test_every_sample_is_a_record_with_its_seed_text_answer_and_reward(inputs: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(inputs["model"])
    outputs = ["1+1=2\n\\boxed{2}<eos>", "\\boxed{3}<eos>", "4", "\\boxed{4}<eos>"]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in outputs]
    finish = ["stop", "stop", "length", "stop"]
    engine = Written([Completion(i, [-0.5] * len(i), f) for i, f in zip(ids, finish, strict=True)])
    with Grader() as grader:
        prompts, params = [[5, 6], [5, 7, 8]], SamplingParams(1.0, 24, ())
        rollouts = sample(engine, tokenizer, grader, PROBLEMS[:2], prompts, params, 2, ("rollouts", 7))
    assert [(r.problem_id, r.sample_index) for r in rollouts] == [("p1", 0), ("p1", 1), ("p2", 0), ("p2", 1)]
    assert [r.verdict for r in rollouts] == ["correct", "wrong", "unparsed", "correct"]
    assert [r.reward for r in rollouts] == [1.0, 0.0, 0.0, 1.0]
    assert [r.answer for r in rollouts] == ["2", "3", None, "4"]
    assert [r.finish_reason for r in rollouts] == finish
    assert (
        [r.token_ids for r in rollouts] == ids
        and rollouts[0].prompt_ids == [5, 6]
        and rollouts[2].prompt_ids == [5, 7, 8]
    )
    assert all("<eos>" not in r.text for r in rollouts)
    assert [r.seed for r in engine.requests] == [
        request_seed("rollouts", 7, p, i) for p in ("p1", "p2") for i in (0, 1)
    ]


def test_samples_of_a_problem_do_not_depend_on_the_other_problems(inputs: dict[str, Path]) -> None:
    model, tokenizer = load_model(inputs["model"]), load_tokenizer(inputs["model"])
    engine, params = (
        TransformersEngine(model, batch_rows=8),
        SamplingParams(1.0, 24, stop_token_ids(model.generation_config, tokenizer)),
    )
    prompts = [
        tokenizer(TEMPLATE.replace("{problem}", p.problem), add_special_tokens=False)["input_ids"] for p in PROBLEMS
    ]
    with Grader() as grader:
        together = sample(engine, tokenizer, grader, PROBLEMS, prompts, params, 4, ("x",))
        alone = sample(engine, tokenizer, grader, PROBLEMS[3:4], prompts[3:4], params, 4, ("x",))
    assert [r.token_ids for r in together[12:16]] == [r.token_ids for r in alone]


@pytest.mark.parametrize(("prompt", "reason"), [([], "is empty"), ([5] * 128, "128 tokens.*context of 128")])
def test_a_prompt_that_cannot_be_continued_names_its_problem(
    inputs: dict[str, Path], prompt: list[int], reason: str
) -> None:
    tokenizer, engine = load_tokenizer(inputs["model"]), TransformersEngine(load_model(inputs["model"]))
    with Grader() as grader, pytest.raises(UserError, match=f"problem 'p2': its prompt .*{reason}"):
        sample(engine, tokenizer, grader, PROBLEMS[:2], [[5], prompt], SamplingParams(1.0, 4, ()), 2, ())


def test_the_stage_writes_the_bank_its_summary_and_its_counts(inputs: dict[str, Path], tmp_path: Path) -> None:
    rollouts, summary, context = bank(inputs, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "rollouts.parquet")
    assert len(rollouts) == len(table) == 30 and list(table.problem_id.unique()) == [p.id for p in PROBLEMS]
    tokens = sum(len(r.token_ids) for r in rollouts)
    assert {key: summary[key] for key in ("prompts", "samples", "tokens", "dropped")} == {
        "prompts": 5,
        "samples": 30,
        "tokens": tokens,
        "dropped": 0,
    }
    correct = [r for r in rollouts if r.verdict == "correct"]
    assert summary["correct"] == len(correct) and summary["correct_rate"] == len(correct) / 30
    assert summary["solved_rate"] == len({r.problem_id for r in correct}) / 5
    assert summary["truncated"] == sum(r.finish_reason == "length" for r in rollouts)
    assert summary["unparsed"] == sum(r.answer is None for r in rollouts)
    assert context.counters["tokens"] == tokens and context.counters["samples"] == 30 and context.seen[-1] == (30, 30)


def test_the_stage_gives_the_same_bytes_again_and_others_for_another_seed(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    files = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        bank(inputs, tmp_path / name, seed=seed)
        files.append((tmp_path / name / "rollouts.parquet").read_bytes())
    assert files[0] == files[1] != files[2]


def test_samples_that_the_limit_cut_off_are_left_out_on_request_and_counted(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    everything, _, _ = bank(inputs, tmp_path / "all")
    kept, summary, context = bank(inputs, tmp_path / "whole", drop_truncated=True)
    assert kept == [r for r in everything if r.finish_reason == "stop"]
    assert 0 < len(kept) < 30 and summary["dropped"] == 30 - len(kept)
    assert summary["samples"] == context.counters["samples"] == 30


def test_a_stop_token_that_the_tokenizer_does_not_have_is_refused(inputs: dict[str, Path]) -> None:
    tokenizer, config = load_tokenizer(inputs["model"]), load_model(inputs["model"]).generation_config
    config.eos_token_id = [tokenizer.eos_token_id, 99_999]
    with pytest.raises(
        UserError, match=r"token 99999 .`eos_token_id`., which its tokenizer of \d+ tokens does not have"
    ):
        stop_token_ids(config, tokenizer)
