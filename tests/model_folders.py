"""Model folders as a run meets them: a recipe on one, and one taken into the store."""

from __future__ import annotations

from pathlib import Path

from tiny_model import Context

from rlbench import models
from rlbench.models.link import link

PROBLEMS = '{"id": "a", "problem": "1+1", "answer": "2"}\n{"id": "b", "problem": "2+3", "answer": "5"}\n'
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


def recipe_of(base: Path, good: Path, folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(base=base, folder=good.parent))
    return path


def admitted(model: Path, folder: Path, **config: object) -> Path:
    """The folder as the store would have it."""
    folder.mkdir(parents=True)
    context = Context()
    context.unhashed = {"path": str(model), "name": model.name, "table": "model"}
    link({"sha256": models.content_digest(model), **config}, {}, folder, context)
    return folder
