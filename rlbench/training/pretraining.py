"""The stage that trains the miniature base: a 0.3M-parameter Llama on arithmetic documents, from random weights, on one
CPU thread.

The documents, their order and the initial weights follow from the seed, so a suite's seeds have bases of their own.
What a document's solution looks like is a declared knob (``PretrainingConfig.habits``);
docs/decisions/miniature-base.md says how the defaults were found.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import quiet
from rlbench.records import Problem, StageFailure, UserError, nearest, read_problems
from rlbench.tasks import arithmetic
from rlbench.tasks.arithmetic_documents import FORMS, HABITS, draw_documents, seeded
from rlbench.tasks.arithmetic_tokenizer import VOCABULARY, build_tokenizer

if TYPE_CHECKING:
    import random

    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from rlbench.graph.stage import StageContext

VERSION = 1

_SNAPSHOT_SECONDS = 30.0
_POOL = 64  # optimiser steps whose documents are sorted by length together


def _default_habits() -> dict[str, dict[str, float]]:
    return {
        "expression": {"direct": 0.50, "leap": 0.0, "steps": 0.23, "checked": 0.09, "prose": 0.18},
        "story": {"direct": 0.22, "leap": 0.0, "steps": 0.44, "checked": 0.14, "prose": 0.20},
        "let": {"direct": 0.38, "leap": 0.0, "steps": 0.35, "checked": 0.09, "prose": 0.18},
    }


@dataclass(frozen=True)
class PretrainingConfig:
    """Every knob of the miniature base.

    Attributes:
        tokens: size of the training data, prompts included.
        habits: for each problem form the weights of the kinds of solution; ``direct`` jumps to the answer, ``leap``
            does two steps at once.
        merged_steps: probability that a prose solution does a step together with the next one.
        lengths: numbers of steps to choose from; 4 or 5 for ``long_share`` of the problems.
        two_digit_share: share of problems with operands 10-30.
        rare_wording_share: share of problems in the wording of the benchmark ``wording``.
        prompt_weight: weight of a prompt token's loss, where a solution token has 1.
        batch_tokens: tokens of an optimiser step, padding included.
        learning_rate: reached after ``warmup_steps``, flat until ``flat_share`` of all steps, then a cosine to
            ``final_share`` of it.
        clip_norm: largest norm of the gradient.
    """

    tokens: int = 3_100_000
    habits: dict[str, dict[str, float]] = field(default_factory=_default_habits)
    merged_steps: float = 0.10
    lengths: tuple[int, ...] = (1, 1, 2, 2, 3)
    long_share: float = 0.08
    two_digit_share: float = 0.15
    rare_wording_share: float = 0.06
    prompt_weight: float = 0.1
    batch_tokens: int = 1024
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    flat_share: float = 0.30
    final_share: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    hidden_size: int = 96
    layers: int = 3
    heads: int = 3
    key_value_heads: int = 1
    intermediate_size: int = 256
    context: int = 256
    initial_std: float = 0.05

    @classmethod
    def resolve(cls, overrides: Mapping[str, Any]) -> PretrainingConfig:
        """The defaults with some knobs replaced; ``habits`` is replaced form by form.

        Raises:
            UserError: a key is not a knob or its value no such number, or weights name a form or a habit that does not
                exist.
        """
        _refuse_unknown("pretraining", overrides, [knob.name for knob in dataclasses.fields(cls)])
        for key, value in overrides.items():
            default = getattr(cls(), key)
            if isinstance(default, int | float) and (
                isinstance(value, bool) or not isinstance(value, int | type(default)) or value < 0
            ):
                raise UserError(
                    f"pretraining.{key}: {value!r} is not "
                    f"{'a whole number' if isinstance(default, int) else 'a number'} of at least 0"
                )
        habits = overrides.get("habits", {})
        if not isinstance(habits, Mapping) or not all(isinstance(weights, Mapping) for weights in habits.values()):
            raise UserError(
                "pretraining.habits: a table of weights for each form, such as habits.story = { direct = 1.0 }"
            )
        _refuse_unknown("pretraining.habits", habits, FORMS)
        for form, weights in habits.items():
            _refuse_unknown(f"pretraining.habits.{form}", weights, HABITS)
            if any(isinstance(weight, bool) or not isinstance(weight, int | float) for weight in weights.values()):
                raise UserError(f"pretraining.habits.{form}: weights are numbers")
            if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
                raise UserError(f"pretraining.habits.{form}: weights are at least 0 and at least one is above")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
        values["habits"] = {**_default_habits(), **{form: dict(weights) for form, weights in habits.items()}}
        return cls(**values)


def _refuse_unknown(place: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise UserError(f"{place}: unknown key {key!r}{nearest(key, known)}; it has {', '.join(sorted(known))}")


def pretrain(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """Train the base and write it as a Hugging Face folder; the same config and inputs give the same bytes, resumed or
    not.

    Args:
        config: the knobs of ``PretrainingConfig``, those left out at their defaults, and ``seed``.
        inputs: any folders named ``exclude_*`` with arithmetic problems to keep out of the documents, beside all
            held-out ones.
        output: where weights, configuration and tokenizer go.
        context: takes progress and the count of tokens; a snapshot about every 30 seconds lies in its scratch folder.

    Raises:
        UserError: a knob or an excluded problem is wrong; see ``PretrainingConfig.resolve`` and
        ``excluded_expressions``. StageFailure: the loss is no longer a number.
    """
    import torch

    settings = PretrainingConfig.resolve({key: value for key, value in config.items() if key != "seed"})
    tokenizer = build_tokenizer()
    batches = build_batches(settings, config["seed"], excluded_expressions(inputs), tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # another number of threads would add up in another order
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seeded("pretraining", "weights", config["seed"]).random() * 2**53))
            model = build_model(settings, tokenizer)
        _train(model, batches, settings, context)
    finally:
        torch.set_num_threads(threads)
    quiet()
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def excluded_expressions(inputs: Mapping[str, Path]) -> frozenset[str]:
    """The expressions of all held-out problems and of those in the input folders named ``exclude_*``.

    Raises:
        UserError: a problem among them is not one of the arithmetic task.
    """
    excluded = set(arithmetic.held_out())
    for name in sorted(inputs):
        if name.startswith("exclude_"):
            excluded.update(_expression(problem, name) for problem in read_problems(inputs[name] / "problems.jsonl"))
    return frozenset(excluded)


def _expression(problem: Problem, source: str) -> str:
    if "expression" not in problem.meta:
        raise UserError(
            f"{source}: problem {problem.id!r} has no meta.expression, which the problems of the task arithmetic have"
        )
    return problem.meta["expression"]


def build_model(settings: PretrainingConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights from torch's generator, in float32.

    Not a Qwen2, though nothing but the bias of its projections tells the two apart at this size: ``AutoTokenizer`` of
    transformers 5 forces every model of type qwen2 into Qwen's own pre-tokenizer, whatever ``tokenizer.json`` says, and
    silently drops most of our words.
    """
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.key_value_heads,
            intermediate_size=settings.intermediate_size,
            max_position_embeddings=settings.context,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            rms_norm_eps=1e-6,
            initializer_range=settings.initial_std,
            dtype="float32",
            **ids,
        )
    )
    model.generation_config = GenerationConfig(**ids)
    return model


# ---- data ------------------------------------------------------------------------------------------------------------

Document = tuple[list[int], int]  # token ids with <bos> and <eos>, and how many of them are the prompt


def documents(
    settings: PretrainingConfig, seed: int, exclude: Collection[str], tokenizer: PreTrainedTokenizerFast
) -> Iterator[Document]:
    """Documents until they reach ``settings.tokens``, encoded as the template of the miniature encodes problems and
    solutions.
    """
    drawn = draw_documents(
        seeded("pretraining", "documents", seed),
        habits=settings.habits,
        merged_steps=settings.merged_steps,
        lengths=settings.lengths,
        long_share=settings.long_share,
        two_digit_share=settings.two_digit_share,
        rare_wording_share=settings.rare_wording_share,
        exclude=exclude,
    )
    total = 0
    while True:
        texts = [next(drawn) for _ in range(2048)]
        encoded = tokenizer(
            [part for problem, solution in texts for part in (f"<bos>{problem}\n", f"{solution}<eos>")]
        ).input_ids
        for prompt, solution in zip(encoded[::2], encoded[1::2], strict=True):
            yield prompt + solution, len(prompt)
            total += len(prompt) + len(solution)
            if total >= settings.tokens:
                return


def build_batches(
    settings: PretrainingConfig, seed: int, exclude: Collection[str], tokenizer: PreTrainedTokenizerFast
) -> list[list[Document]]:
    """The documents of every optimiser step: of like length within a step, in random order over steps."""
    everything = list(documents(settings, seed, exclude, tokenizer))
    mean = sum(len(ids) for ids, _ in everything) / len(everything)
    size = max(1, int(_POOL * settings.batch_tokens / mean))
    rng = seeded("pretraining", "order", seed)
    batches: list[list[Document]] = []
    for begin in range(0, len(everything), size):
        pool: list[list[Document]] = [[]]
        for document in sorted(everything[begin : begin + size], key=lambda document: len(document[0])):
            if pool[-1] and (len(pool[-1]) + 1) * len(document[0]) > settings.batch_tokens:
                pool.append([])
            pool[-1].append(document)
        batches.extend(_shuffled(rng, pool))
    return batches


def _shuffled(rng: random.Random, items: list[list[Document]]) -> Iterator[list[Document]]:
    remaining = list(items)
    while remaining:
        yield remaining.pop(int(rng.random() * len(remaining)))


def _tensors(batch: list[Document], prompt_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids [B, L] and the loss weight of predicting each of them [B, L]: 0 for padding and the first."""
    import torch

    length = max(len(tokens) for tokens, _ in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.int64)
    weights = torch.zeros(len(batch), length)
    for row, (tokens, prompt) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, 1:prompt] = prompt_weight
        weights[row, prompt : len(tokens)] = 1.0
    return ids, weights


# ---- training --------------------------------------------------------------------------------------------------------


def learning_rate(settings: PretrainingConfig, step: int, steps: int) -> float:
    """The learning rate of step 0 .. steps-1: linear warm-up, flat, cosine."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    flat = settings.flat_share * steps
    if step < flat:
        return settings.learning_rate
    wave = 0.5 * (1 + math.cos(math.pi * (step - flat) / (steps - flat)))
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * wave)


def _train(
    model: LlamaForCausalLM, batches: list[list[Document]], settings: PretrainingConfig, context: StageContext
) -> None:
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    snapshot = context.scratch / "pretraining.pt"
    first = _resume(snapshot, model, optimizer)
    parameters, saved = list(model.parameters()), time.monotonic()
    model.train()
    for step in range(first, len(batches)):
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step, len(batches))
        loss = _loss(model, *_tensors(batches[step], settings.prompt_weight))
        if not loss.isfinite():
            raise StageFailure(
                f"the loss of pre-training is {loss.item()} at step {step + 1}; the learning rate is "
                f"{settings.learning_rate}"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        context.progress(step + 1, len(batches))
        if time.monotonic() - saved > _SNAPSHOT_SECONDS:
            _save_snapshot(snapshot, model, optimizer, step + 1)
            saved = time.monotonic()
    context.count(tokens=sum(len(ids) for batch in batches for ids, _ in batch))
    model.eval()


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean of the tokens' cross-entropy, in nats.

    There is no attention mask: a causal model's real tokens never see the padding to their right.
    """
    import torch

    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    counted = weights[:, 1:] > 0
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), ids[:, 1:][counted], reduction="none")
    weight = weights[:, 1:][counted]
    return (losses * weight).sum() / weight.sum()


def _save_snapshot(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int) -> None:
    import torch

    beside = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, beside)
    os.replace(beside, path)


def _resume(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    """Load the snapshot, if there is one; return the step to go on with."""
    import torch

    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
