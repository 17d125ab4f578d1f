"""Configurations of training stages as the planner would write them, and readings of their outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlbench.objectives import registry
from rlbench.recipe import TrainingConfig


def table(name: str, plugins: tuple[Path, ...] = (), **hyperparameters: Any) -> dict[str, Any]:
    catalogue = registry.describe(plugins)
    found = catalogue.find(name, "objective")
    return {
        "name": name,
        "hyperparameters": catalogue.resolve(name, "objective", hyperparameters),
        "rows": found.rows,
        "reads": list(found.reads),
        "reduction": found.reduction,
    }


def offline_config(name: str, **training: Any) -> dict[str, Any]:
    chosen = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 2, "tokens_per_microbatch": 100, **training}
    return {
        "objective": table(name),
        "training": chosen,
        "seed": 0,
        "dtype": "float32",
        "advantage": None,
        "filters": [],
    }


def online_config(name: str, **changes: Any) -> dict[str, Any]:
    """Rewards are drawn at random, because a model of random weights never answers."""
    chosen = {
        "objective": table(name),
        "seed": 0,
        "dtype": "float32",
        "filters": [],
        "critic": None,
        "training": {"learning_rate": 1e-3, "tokens_per_microbatch": 200, "max_length": 64},
        "online": {"steps": 2, "prompts_per_step": 4, "samples_per_prompt": 4, "mini_batches": 2, "max_new_tokens": 12},
        "reward": {"name": "random", "hyperparameters": {}},
        "advantage": {"name": "group_norm", "hyperparameters": {}},
        "template": "<bos>{problem}\n",
        "sampling": {"engine": "transformers", "batch_rows": 16},
    }
    for key, value in changes.items():
        both = isinstance(chosen.get(key), dict) and isinstance(value, dict) and key in ("training", "online")
        chosen[key] = {**chosen[key], **value} if both else value
    return chosen


def stage_config(name: str, **options: object) -> dict:
    described = registry.describe().find(name, "objective")
    objective = {
        "name": name,
        "hyperparameters": described.hyperparameters,
        "rows": described.rows,
        "reads": list(described.reads),
    }
    config = TrainingConfig(learning_rate=1e-2, batch_size=4, max_steps=3).model_dump()
    return {
        "objective": {**objective, "reduction": described.reduction},
        "training": config,
        "seed": 0,
        "dtype": "float32",
        "advantage": None,
        "filters": [],
        "critic": None,
        "reward": {"name": "correct", "hyperparameters": {}},
        "online": None,
        **options,
    }


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "training.jsonl").read_text().splitlines()]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()
