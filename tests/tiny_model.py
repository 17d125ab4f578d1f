"""Models of 30 thousand parameters and sequences for them, shared by the tests of training."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from rlbench.records import TrainingSequence, write_records
from rlbench.tasks.arithmetic_tokenizer import build_tokenizer

VOCABULARY = 110


def tiny_model(seed: int = 0, **overrides: object) -> Qwen2ForCausalLM:
    """A Qwen2 with random weights that are far enough from zero for the distributions to be uneven."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(Qwen2Config(**_shape(**overrides))).eval()


def _shape(**overrides: object) -> dict[str, object]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "tie_word_embeddings": True,
        **overrides,
    }


def write_model(folder: Path, seed: int = 0, **overrides: object) -> Path:
    """A model folder with the arithmetic tokenizer: a Llama, since transformers gives every Qwen2 folder Qwen's own
    tokenizer.
    """
    tokenizer = build_tokenizer()
    shape = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**_shape(**{**shape, **overrides}))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sequences(
    count: int, *, seed: int = 0, group: int = 1, unit: int = 1, sampled: bool = False
) -> list[TrainingSequence]:
    """Random sequences of unequal lengths: ``unit`` neighbours make a unit, ``group`` a group; every other one has
    reward 1.
    """
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        prompt = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 12))]
        completion = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 20))]
        logp = [-draw.random() * 5 for _ in completion] if sampled else []
        rows.append(TrainingSequence(i // unit, f"p{i // group}", prompt, completion, logp, float(i % 2 == 0)))
    return rows


def write_sequences(folder: Path, rows: list[TrainingSequence]) -> Path:
    """A folder as a view writes it."""
    folder.mkdir()
    write_records(folder / "sequences.parquet", TrainingSequence, rows)
    return folder


class Context:
    """A stage context that remembers."""

    device, share = "cpu", 1.0

    def __init__(self, scratch: Path | None = None) -> None:
        if scratch is not None:
            scratch.mkdir()
            self.scratch = scratch
        self.counters: dict[str, float] = {}
        self.notes: list[str] = []
        self.unhashed: dict[str, object] = {}
        self.seen: list[tuple[float, float]] = []

    def reuse(self, key: str, make: Callable[[], object], close: Callable[[object], None]) -> object:
        return make()

    def progress(self, done: float, total: float, note: str = "") -> None:
        self.seen.append((done, total))

    def count(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.counters[name] = self.counters.get(name, 0) + number

    def note(self, text: str) -> None:
        self.notes.append(text)
