from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from sampling_oracle import GREEDY, naive, prompts_of, requests_of
from tiny_model import tiny_model

from rlbench.bench.generate import available, bench_generate
from rlbench.bench.yardstick import GenerateEngine
from rlbench.cli.main import cli
from rlbench.planning.build import build
from rlbench.recipe import load_recipe
from rlbench.records import UserError
from rlbench.running.runner import Results
from rlbench.sampling.engine import SamplingParams

KEYS = {
    "engine",
    "device",
    "tokens_per_second",
    "tokens_per_cpu_second",
    "first_token_seconds",
    "peak_memory_bytes",
    "tokens",
    "rounds",
}


def test_the_yardstick_is_generate_and_counts_what_is_emitted_up_to_the_stop() -> None:
    model = tiny_model()
    prompts = prompts_of([3, 40, 17, 17, 5])
    found = GenerateEngine(model).generate(requests_of(prompts, 2), GREEDY)
    assert [completion.token_ids for completion in found[::2]] == [naive(model, prompt, GREEDY) for prompt in prompts]
    assert [a.token_ids for a in found[::2]] == [b.token_ids for b in found[1::2]]
    torch.manual_seed(0)
    sampled = GenerateEngine(model).generate(requests_of(prompts, 3), SamplingParams(1.0, 20, (7, 8)))
    assert all((c.token_ids[-1] in (7, 8)) == (c.finish_reason == "stop") for c in sampled)
    assert not any(set(c.token_ids[:-1]) & {7, 8} for c in sampled)


def test_an_engine_that_is_none_and_a_recipe_without_a_bank_are_refused(tiny_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--engine 'vlm': engines are transformers, vllm, generate.*did you mean 'vllm'"
    ):
        bench_generate(build(load_recipe(tiny_recipe)), tmp_path, ["vlm"])
    with pytest.raises(UserError, match="samples no bank"):
        bench_generate(build(load_recipe(tiny_recipe, only=["sft"])), tmp_path)


@pytest.mark.slow
def test_engines_take_turns_on_the_recipes_prompts_and_the_figures_are_json(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path
) -> None:
    sizes = ["--prompts", "8", "--samples", "2", "--rounds", "2", "--engine", "transformers", "--engine", "generate"]
    line = ["bench", "generate", str(tiny_recipe), "--store", str(tiny_store), *sizes, "--json"]
    result = CliRunner().invoke(cli, line, standalone_mode=False)
    assert result.exception is None, result.output
    found = json.loads(result.stdout)
    assert [row["engine"] for row in found] == ["transformers", "generate"] and set(available()) >= {
        "transformers",
        "generate",
    }
    for row in found:
        assert row.keys() == KEYS and (row["device"], row["rounds"]) == ("cpu", 2)
        assert all(row[key] > 0 for key in KEYS - {"engine", "device"})
    said = [line.strip() for line in result.stderr.splitlines() if "round" in line]
    assert said == [f"round {number} of 2: {name}" for number in (1, 2) for name in ("transformers", "generate")]


@pytest.mark.slow
def test_pools_of_workers_take_turns_on_one_bank_and_the_figures_are_json(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path
) -> None:
    sizes = ["--prompts", "8", "--samples", "4", "--shards", "2", "--rounds", "1", "--workers", "1,2"]
    line = ["bench", "workers", str(tiny_recipe), "--store", str(tiny_store), *sizes, "--json"]
    result = CliRunner().invoke(cli, line, standalone_mode=False)
    assert result.exception is None, result.output
    found = json.loads(result.stdout)
    of = [(row["workers"], row["shards"], row["engine"], row["rounds"]) for row in found]
    assert of == [(1, 2, "transformers", 1), (2, 2, "transformers", 1)]
    assert found[0]["tokens"] == found[1]["tokens"] > 0 and all(
        row["tokens_per_second"] > 0 and row["seconds"] > 0 for row in found
    )
    wrong = CliRunner().invoke(cli, ["bench", "workers", str(tiny_recipe), "--workers", "1,x"], standalone_mode=False)
    assert "--workers '1,x'" in str(wrong.exception)
