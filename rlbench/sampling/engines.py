"""Which engine samples: the one that a stage's configuration names, around a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import generation_config, load_model, load_tokenizer, stop_token_ids
from rlbench.recipe import VllmConfig
from rlbench.sampling.engine import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlbench.graph.stage import StageContext

OPTIONS = ("engine", "version", "dtype", "batch_rows", *VllmConfig.model_fields)
"""The keys of a stage's configuration that decide its engine."""

Opened = tuple[Engine, "PreTrainedTokenizerBase", tuple[int, ...]]


def kept_engine(config: Mapping[str, Any], folder: Path, context: StageContext) -> Opened:
    """As ``open_engine``, kept for the next stage of the same kind in this worker, where a model's benchmarks follow
    each other.
    """
    key = json.dumps([str(folder), context.device, {name: config.get(name) for name in OPTIONS}])
    return context.reuse(
        key, lambda: open_engine(config, folder, context.device, context.share), lambda opened: opened[0].close()
    )


def open_engine(config: Mapping[str, Any], folder: Path, device: str, share: float = 1.0) -> Opened:
    """The engine around a model, the model's tokenizer, and every id that ends a completion.

    Args:
        config: ``engine`` and its options (``batch_rows`` for transformers, those of ``VllmConfig`` for vllm), and
            ``dtype``.
        folder: the model folder.
        device: ``cpu`` or ``cuda``.
        share: how much of the device this process has.

    Raises:
        UserError: the model cannot be loaded, or the engine is not installed.
    """
    tokenizer = load_tokenizer(folder)
    if config["engine"] == "vllm":
        from rlbench.sampling.vllm_engine import VllmEngine

        options = VllmConfig(**{name: config[name] for name in VllmConfig.model_fields if name in config})
        engine: Engine = VllmEngine(folder, dtype=config["dtype"], device=device, options=options, share=share)
        return engine, tokenizer, stop_token_ids(generation_config(folder), tokenizer)
    from rlbench.sampling.transformers_engine import TransformersEngine

    model = load_model(folder, dtype=config["dtype"], device=device)
    return (
        TransformersEngine(model, batch_rows=config["batch_rows"]),
        tokenizer,
        stop_token_ids(model.generation_config, tokenizer),
    )
