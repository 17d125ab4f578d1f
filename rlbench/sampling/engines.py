"""Which engine samples: the one that a stage's configuration names, around a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import generation_config, load_model, load_tokenizer, stop_token_ids
from rlbench.recipe import VllmConfig
from rlbench.sampling.engine import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPTIONS = ("engine", "version", "dtype", "batch_rows", *VllmConfig.model_fields)
"""The keys of a stage's configuration that decide its engine."""


def open_engine(config: Mapping[str, Any], folder: Path, device: str) -> tuple[Engine, PreTrainedTokenizerBase, tuple[int, ...]]:
    """The engine around a model, the model's tokenizer, and every id that ends a completion.

    Args:
        config: ``engine`` and its options (``batch_rows`` for transformers, those of ``VllmConfig`` for vllm), and ``dtype``.
        folder: the model folder.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: the model cannot be loaded, or the engine is not installed.
    """
    tokenizer = load_tokenizer(folder)
    if config["engine"] == "vllm":
        from rlbench.sampling.vllm_engine import VllmEngine

        options = VllmConfig(**{name: config[name] for name in VllmConfig.model_fields})
        engine: Engine = VllmEngine(folder, dtype=config["dtype"], device=device, options=options)
        return engine, tokenizer, stop_token_ids(generation_config(folder), tokenizer)
    from rlbench.sampling.transformers_engine import TransformersEngine

    model = load_model(folder, dtype=config["dtype"], device=device)
    return TransformersEngine(model, batch_rows=config["batch_rows"]), tokenizer, stop_token_ids(model.generation_config, tokenizer)
