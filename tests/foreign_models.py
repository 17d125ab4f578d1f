"""Runs of foreign model folders on two problems, shared by the tests of admission and of saving."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_model import Context, write_model

from rlbench import models
from rlbench.models.link import link
from rlbench.planning.build import build
from rlbench.recipe import recipe_of_model
from rlbench.running.execution import Execution
from rlbench.running.runner import Results, run_plan

PROBLEMS = "".join(
    json.dumps({"id": name, "problem": problem, "answer": answer, "solution": answer}) + "\n"
    for name, problem, answer in (("a", "1+1", "2"), ("b", "2+3", "5"))
)
RECIPE = """
name = "folders"
device = "cpu"
[model]
source = "{base}"
[data]
prompts = {{ source = "{folder}/problems.jsonl", name = "prompts" }}
demonstrations = {{ source = "{folder}/problems.jsonl", name = "demonstrations" }}
template = "bare"
[evaluation]
benchmarks = ["{folder}/problems.jsonl"]
template = "bare"
samples = 1
max_new_tokens = 4
[training]
learning_rate = 1e-3
batch_size = 2
max_length = 64
[methods.sft]
objective = "sft"
data = "demonstrations"
"""


def good_model(folder: Path) -> Path:
    """A model folder that is admitted, with the problems of ``recipe_of`` beside it."""
    (folder / "problems.jsonl").write_text(PROBLEMS)
    return write_model(folder / "good")


def recipe_of(base: Path, good: Path, folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(base=base, folder=good.parent))
    return path


def evaluate(model: Path | str, good: Path, folder: Path, **options: object) -> Results:
    """What ``rlbench evaluate`` does, in this process."""
    recipe = recipe_of_model(
        str(model),
        [str(good.parent / "problems.jsonl")],
        template="bare",
        samples=1,
        max_new_tokens=4,
        device="cpu",
        engine="transformers",
        **options,
    )
    return run_plan(
        build(recipe, "rlbench evaluate"), out=folder / "run", store=folder / "store", execution=Execution("local")
    )


def admitted(model: Path, folder: Path, **config: object) -> Path:
    """The folder as the store would have it."""
    folder.mkdir(parents=True)
    context = Context()
    context.unhashed = {"path": str(model), "name": model.name, "table": "model"}
    link({"sha256": models.content_digest(model), **config}, {}, folder, context)
    return folder
