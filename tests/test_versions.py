"""Golden outputs of every kind of stage: one that changes for the same configuration must have its version raised.

A stage that was done is never done again, so an unnoticed change of code would leave old artifacts standing beside new
ones. When a test here fails on purpose: raise the stage's number in ``rlbench.planning.functions.FUNCTIONS`` and put
the new value here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_model import Context, sequences, write_model, write_sequences
from training_tables import stage_config

from rlbench import views
from rlbench.evaluation import contamination
from rlbench.evaluation import stage as evaluation
from rlbench.models import encode_prompts, load_tokenizer
from rlbench.planning.functions import FUNCTIONS
from rlbench.recipe import OnlineConfig
from rlbench.records import (
    EvalSample,
    Probe,
    Problem,
    Rollout,
    TrainingSequence,
    read_records,
    write_problems,
    write_records,
)
from rlbench.sampling import rollouts
from rlbench.tasks import arithmetic
from rlbench.training import offline, online, pretraining, trl_backend

TEMPLATE = "<bos>{problem}\n"
SAMPLING = {
    "engine": "transformers",
    "batch_rows": 8,
    "dtype": "float32",
    "device": "cpu",
    "grader": {"name": "rlbench"},
}

# Function -> (version, golden). Digests are of what does not depend on a machine's rounding; losses are compared to 0.1
# %.
GOLDEN = {
    "rlbench.sampling.rollouts:rollouts_stage": (1, "80583725ca7db868"),
    "rlbench.contamination:probe": (1, "4ef29abfba764b24"),
    "rlbench.views:build": (2, "1cafadb7b6c10e7a"),
    "rlbench.evaluation:evaluate": (1, "ecdacb8e11dce8fb"),
    "rlbench.training.offline:train": (
        2,
        {
            "dft": [0.041468, 0.030273, 0.033864],
            "iw_sft": [5.299637, 4.966184, 5.139765],
            "dpo": [0.693147, 0.725739],
            "topr": [13.656824, 35.220749, 0.954093],
        },
    ),
    "rlbench.training.trl_backend:train": (
        1,
        {"sft": [5.671106, 5.368159, 5.224933], "grpo": [0.0, 0.763072, 0.091494, -0.121611]},
    ),
    "rlbench.training.online:train": (
        2,
        {"grpo": [0.091494, 0.016856, 0.0, 0.045577], "ppo": [0.258199, -0.138946, -0.530325, 0.545289]},
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems")
    write_problems(folder / "problems.jsonl", arithmetic.load("test/in_domain", limit=4))
    return folder


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def losses(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "training.jsonl").read_text().splitlines()]


def test_every_stage_function_has_a_version_and_the_tasks_own_ones_agree() -> None:
    assert FUNCTIONS["rlbench.training.pretraining:pretrain"].version == pretraining.VERSION
    elsewhere = {
        "rlbench.tasks.base:problems_stage",
        "rlbench.training.pretraining:pretrain",
        "rlbench.models:link",
    }  # in their own tests
    elsewhere |= {
        "rlbench.sampling.rollouts:merge_rollouts",
        "rlbench.evaluation:merge_samples",
    }  # equal to the whole, there
    elsewhere |= {"rlbench.selection:checkpoint", "rlbench.selection:select"}  # they copy files that are given there
    assert set(GOLDEN) == set(FUNCTIONS) - elsewhere
    assert {name: version for name, (version, _) in GOLDEN.items()} == {
        name: FUNCTIONS[name].version for name in GOLDEN
    }


def test_rollouts_give_their_golden_tokens(model: Path, problems: Path, tmp_path: Path) -> None:
    config = {
        "samples": 2,
        "temperature": 1.0,
        "max_new_tokens": 12,
        "drop_truncated": False,
        "template": TEMPLATE,
        "seed": 0,
        **SAMPLING,
    }
    rollouts.rollouts_stage(config, {"model": model, "problems": problems}, tmp_path, Context())
    tokens = [row.token_ids for row in read_records(tmp_path / "rollouts.parquet", Rollout)]
    assert digest(tokens) == GOLDEN["rlbench.sampling.rollouts:rollouts_stage"][1]


def test_evaluation_gives_its_golden_outputs(model: Path, problems: Path, tmp_path: Path) -> None:
    config = {
        "benchmark": "b",
        "split": "test",
        "decoding": "t0.7",
        "temperature": 0.7,
        "samples": 2,
        "max_new_tokens": 12,
        "template": TEMPLATE,
        "seed": 0,
        **SAMPLING,
    }
    evaluation.evaluate(config, {"model": model, "problems": problems}, tmp_path, Context())
    samples = read_records(tmp_path / "samples.parquet", EvalSample)
    found = [(s.problem_id, s.sample_index, s.output, s.verdict, s.n_tokens) for s in samples]
    assert digest(found) == GOLDEN["rlbench.evaluation:evaluate"][1]


def test_probes_give_their_golden_completions(model: Path, problems: Path, tmp_path: Path) -> None:
    config = {"benchmark": "b", "share": 0.6, "max_new_tokens": 12, "template": "<bos>{problem}", **SAMPLING}
    contamination.probe(config, {"model": model, "problems": problems}, tmp_path, Context())
    probes = read_records(tmp_path / "probes.parquet", Probe)
    found = [(p.problem_id, p.rest, p.completion, p.verbatim, p.rouge_l, p.verdict) for p in probes]
    assert digest(found) == GOLDEN["rlbench.contamination:probe"][1]


def test_views_give_their_golden_rows(model: Path, tmp_path: Path) -> None:
    verdicts = ["correct" if i % 3 else "wrong" for i in range(16)]
    rows = [
        Rollout(
            f"p{i // 4}",
            i % 4,
            [1, 5, 6],
            [7 + i, 8, 2],
            [-0.5, -0.25, -1.0],
            "",
            str(i),
            verdict,
            verdict == "correct",
            "stop",
        )
        for i, verdict in enumerate(verdicts)
    ]
    (tmp_path / "bank").mkdir()
    # Of four problems, one is answered from another prompt than the one that was sampled from.
    write_problems(tmp_path / "problems.jsonl", [Problem(f"p{i}", f"{i}+1", "1") for i in range(4)])
    sampled = encode_prompts(load_tokenizer(model), TEMPLATE, [Problem("p0", "0+1", "1")])[0]
    rows = [dataclasses.replace(row, prompt_ids=sampled) if row.problem_id == "p0" else row for row in rows]
    write_records(tmp_path / "bank" / "rollouts.parquet", Rollout, rows)
    found = {}
    for view, anew in (
        ("rollouts.correct", False),
        ("rollouts.pairs", False),
        ("rollouts.groups", False),
        ("rollouts.groups", True),
    ):
        output = tmp_path / f"{view}{anew}"
        output.mkdir()
        config = {"view": view, "options": {}, "template": TEMPLATE, "max_length": 64, "over_length": "drop"}
        inputs = {"model": model, "rollouts": tmp_path / "bank", **({"problems": tmp_path} if anew else {})}
        views.build(config, inputs, output, Context())
        found[output.name] = [
            dataclasses.astuple(row) for row in read_records(output / "sequences.parquet", TrainingSequence)
        ]
    assert digest(found) == GOLDEN["rlbench.views:build"][1]


def offline_losses(name: str, model: Path, folder: Path, train: Callable = offline.train) -> list[float]:
    data = write_sequences(folder / "data", sequences(16, unit=2 if name == "dpo" else 1, sampled=name == "topr"))
    (folder / "out").mkdir()
    train(stage_config(name), {"model": model, "sequences": data}, folder / "out", Context(folder / "scratch"))
    return losses(folder / "out")


def online_losses(name: str, model: Path, problems: Path, folder: Path, train: Callable = online.train) -> list[float]:
    # Rewards at random, for the weights are.
    sizes = OnlineConfig(steps=2, prompts_per_step=2, samples_per_prompt=4, mini_batches=2, max_new_tokens=8)
    critic = {**stage_config("value")["objective"], "learning_rate": 1e-2} if name == "ppo" else None
    config = stage_config(
        name,
        advantage={"name": "gae" if critic else "group_norm", "hyperparameters": {}},
        critic=critic,
        reward={"name": "random", "hyperparameters": {}},
        online=sizes.model_dump(),
        template=TEMPLATE,
        sampling={"engine": "transformers", "batch_rows": 8},
    )
    train(config, {"model": model, "problems": problems}, folder, Context(folder / "scratch"))
    return losses(folder)


@pytest.mark.parametrize("name", ["dft", "iw_sft", "dpo", "topr"])
def test_offline_training_gives_its_golden_losses(name: str, model: Path, tmp_path: Path) -> None:
    assert offline_losses(name, model, tmp_path) == pytest.approx(
        GOLDEN["rlbench.training.offline:train"][1][name], rel=1e-3
    )


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_online_training_gives_its_golden_losses(name: str, model: Path, problems: Path, tmp_path: Path) -> None:
    golden = GOLDEN["rlbench.training.online:train"][1][name]
    assert online_losses(name, model, problems, tmp_path) == pytest.approx(golden, rel=1e-3, abs=1e-5)


def test_training_by_trl_gives_its_golden_losses(model: Path, problems: Path, tmp_path: Path) -> None:
    (tmp_path / "online").mkdir()
    found = {
        "sft": offline_losses("sft", model, tmp_path, trl_backend.train),
        "grpo": online_losses("grpo", model, problems, tmp_path / "online", trl_backend.train),
    }
    for name, golden in GOLDEN["rlbench.training.trl_backend:train"][1].items():
        assert found[name] == pytest.approx(golden, rel=1e-3, abs=1e-5), name
