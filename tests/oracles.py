"""TRL's own trainers as oracles: loss and gradients of one optimiser step, theirs by ``Trainer.train`` and ours by
``Learner.step``.

TRL's side is nobody's rewriting of it: the real trainer is built on a tiny model, it tokenises, collates, samples,
scores and accumulates as it does for a user, with a learning rate of 0, and a callback copies the gradients that it
would hand to its optimiser. Each step is two micro-batches of theirs; ours is cut differently, into packed ones. Ours
then gets the same token ids, and nothing else: log-probabilities of the older and the reference policy are the engine's
own.

The trainers that sample take two optimiser steps on the same samples, as TRL does with ``num_iterations = 2``. Before
the second, which is the one compared, all weights are moved, so that ratios are well away from 1. Their temperature is
not 1.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from unittest import mock

import torch
from datasets import Dataset, disable_progress_bars
from tiny_model import tiny_model
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback

from rlbench.objectives import registry
from rlbench.objectives.batch import Loss, Term, TokenBatch
from rlbench.objectives.reduction import as_loss
from rlbench.recipe import TrainingConfig
from rlbench.records import TrainingSequence
from rlbench.tasks.arithmetic_tokenizer import VOCABULARY, build_tokenizer
from rlbench.training.batching import Example, examples_of
from rlbench.training.credit import credit
from rlbench.training.policy import Policy, annotate
from rlbench.training.step import BoundComponent, BoundObjective, Learner

TEMPERATURE = 0.8
MOST_NEW_TOKENS = 12
STOP_IDS = list(range(2, 14))  # many, so that samples of a random model end at unequal lengths
TOKENS_PER_MICROBATCH = 40
CPU = torch.device("cpu")
Objective = Callable[..., Tensor | Loss]


@dataclass(frozen=True)
class Step:
    """An optimiser step of TRL: what it was taken on, and what came of it.

    ``advantages`` has one a sequence; ``stats`` is what TRL logged of the step, ``microbatches`` the number that it was
    taken in. ``moved`` says that the policy was not the one that had sampled any more. The gradient is by parameter,
    before any clipping.
    """

    sequences: Sequence[TrainingSequence]
    loss: float
    gradient: Mapping[str, Tensor]
    advantages: Sequence[float] | None = None
    moved: bool = False
    temperature: float = 1.0
    stats: Mapping[str, float] = field(default_factory=dict)
    microbatches: int = 1


def policy_model() -> PreTrainedModel:
    """The policy as it was when it sampled."""
    model = tiny_model(seed=0)
    model.generation_config.eos_token_id = STOP_IDS
    return model


def reference_model() -> PreTrainedModel:
    """The reference of the losses of pairs: near the policy, as a reference is, so that no loss is out of its
    interesting range.
    """
    return move(tiny_model(seed=0), 0.03, seed=1)


def move(model: PreTrainedModel, scale: float = 0.01, seed: int = 4) -> PreTrainedModel:
    """Change every weight a little; by default so that ratios of tokens are mostly 0.6 to 1.5, and at the most 0.3 and
    3.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


# TRL's side.


class _Capture(TrainerCallback):
    """Copies the gradients before the last optimiser step, and moves the weights at its start; counts its
    micro-batches.
    """

    def __init__(self, moving: bool) -> None:
        self.moving = moving
        self.gradient: dict[str, Tensor] = {}
        self.microbatches = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, model: PreTrainedModel, **kwargs: Any) -> None:
        self.microbatches = 1
        if self.moving and state.global_step == state.max_steps - 1:
            move(model)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.microbatches += 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: PreTrainedModel, **kwargs: Any) -> None:
        self.gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def _arguments(output: str, *, batch: int, steps: int, accumulation: int = 2, **options: Any) -> dict[str, Any]:
    """Everything that must not depend on a default: no learning, no rounding to bfloat16, nothing recomputed, written
    or sent.
    """
    return {
        "output_dir": output,
        "use_cpu": True,
        "bf16": False,
        "fp16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 7,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": steps,
        "learning_rate": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        **options,
    }


def _train(trainer: Trainer, moving: bool = False) -> dict[str, Any]:
    """Train; what a ``Step`` says of the last step but for its data."""
    capture = _Capture(moving)
    trainer.add_callback(capture)
    trainer.train()
    # The entry that sums the run up follows those of the steps.
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    return {"loss": last["loss"], "gradient": capture.gradient, "stats": last, "microbatches": capture.microbatches}


@contextlib.contextmanager
def _quiet() -> Iterator[str]:
    """A folder for what a trainer writes, and none of the warnings about what is chosen on purpose here.

    Where the environment says CI, trainers send nothing about themselves; they read it when they are built.
    """
    disable_progress_bars()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(None),
            warnings.catch_warnings(),
            mock.patch.dict(os.environ, {"CI": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}),
        ):
            warnings.simplefilter("ignore")
            yield folder
    finally:
        logging.disable(before)


def _text(seed: int, words: int) -> str:
    """Words of the vocabulary without its special tokens, which text cannot hold as such."""
    generator = torch.Generator().manual_seed(seed)
    pool = [word for word in VOCABULARY[4:] if word.isalpha()]
    return " ".join(pool[i] for i in torch.randint(len(pool), (words,), generator=generator))


def _pairs() -> Dataset:
    """Eight pairs, prompts of 1 to 8 words, answers of 1 to 11."""
    rows = [
        {
            "prompt": _text(i, 1 + i),
            "chosen": " " + _text(10 + i, 1 + 3 * i % 11),
            "rejected": " " + _text(20 + i, 1 + 5 * (i + 1) % 9),
        }
        for i in range(8)
    ]
    return Dataset.from_list(rows)


@cache
def sft_step(loss_type: str) -> Step:
    """A step of ``SFTTrainer`` on the chosen answers, the loss on completions only."""
    from trl import SFTConfig, SFTTrainer

    with _quiet() as folder:
        data = _pairs().rename_column("chosen", "completion").remove_columns("rejected")
        options = _arguments(
            folder, batch=4, steps=1, loss_type=loss_type, completion_only_loss=True, max_length=None, packing=False
        )
        trainer = SFTTrainer(
            policy_model(), args=SFTConfig(**options), train_dataset=data, processing_class=build_tokenizer()
        )
        found = _train(trainer)
        rows = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    return Step([_labelled(i, ids, labels) for i, (ids, labels) in enumerate(rows)], **found)


@cache
def dpo_step(loss_type: str, beta: float) -> Step:
    """A step of ``DPOTrainer``."""
    from trl import DPOConfig, DPOTrainer

    with _quiet() as folder:
        options = _arguments(folder, batch=4, steps=1, loss_type=loss_type, beta=beta, max_length=None)
        trainer = DPOTrainer(
            policy_model(),
            ref_model=reference_model(),
            args=DPOConfig(**options),
            train_dataset=_pairs(),
            processing_class=build_tokenizer(),
        )
        found = _train(trainer)
        rows = [
            (row["prompt_ids"], row[f"{which}_ids"])
            for row in trainer.train_dataset
            for which in ("chosen", "rejected")
        ]
    return Step(
        [TrainingSequence(i // 2, str(i // 2), *ids, [], float(i % 2 == 0)) for i, ids in enumerate(rows)], **found
    )


@cache
def simpo_step(beta: float, gamma: float) -> Step:
    """A step of the experimental ``CPOTrainer`` as SimPO: its likelihood term off."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    with _quiet() as folder:
        options = _arguments(
            folder, batch=4, steps=1, loss_type="simpo", beta=beta, simpo_gamma=gamma, cpo_alpha=0.0, max_length=100
        )
        options["remove_unused_columns"] = False
        trainer = CPOTrainer(
            policy_model(), args=CPOConfig(**options), train_dataset=_pairs(), processing_class=build_tokenizer()
        )
        found = _train(trainer)
        rows = [
            (row[f"{w}_input_ids"], row[f"{w}_labels"]) for row in trainer.train_dataset for w in ("chosen", "rejected")
        ]
    return Step([_labelled(i // 2, ids, labels, i % 2 == 0) for i, (ids, labels) in enumerate(rows)], **found)


def _labelled(unit: int, ids: list[int], labels: list[int], chosen: bool = True) -> TrainingSequence:
    """A sequence from ids and labels, which are -100 in its prompt."""
    start = sum(label == -100 for label in labels)
    assert labels == [-100] * start + ids[start:]
    return TrainingSequence(unit, str(unit), ids[:start], ids[start:], [], float(chosen))


def reward_of(ids: Sequence[int]) -> float:
    """A reward that looks random: a hash of the tokens, in sixteenths from 0 to 1."""
    return zlib.crc32(bytes(ids)) % 17 / 16


@cache
def sampled_step(kind: str, accumulation: int = 2, **options: Any) -> Step:
    """The second optimiser step of ``GRPOTrainer`` or ``RLOOTrainer`` on samples of four prompts, five each."""
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    make_config, make_trainer = {"grpo": (GRPOConfig, GRPOTrainer), "rloo": (RLOOConfig, RLOOTrainer)}[kind]
    with _quiet() as folder:
        arguments = _arguments(
            folder,
            batch=20 // accumulation,
            steps=2,
            accumulation=accumulation,
            steps_per_generation=accumulation,
            num_iterations=2,
            num_generations=5,
            beta=0.0,
            max_completion_length=MOST_NEW_TOKENS,
            temperature=TEMPERATURE,
            **options,
        )
        trainer = make_trainer(
            policy_model(),
            reward_funcs=lambda completion_ids, **_: [reward_of(ids) for ids in completion_ids],
            args=make_config(**arguments),
            train_dataset=Dataset.from_dict({"prompt": [_text(30 + i, 1 + 2 * i) for i in range(4)]}),
            processing_class=build_tokenizer(),
        )
        found = _train(trainer, moving=True)
        rows = [row for batch in trainer._buffered_inputs for row in _rows_of(batch)]
    sequences = [
        TrainingSequence(i, str(prompt), prompt, ids, [], reward_of(ids)) for i, (prompt, ids, _) in enumerate(rows)
    ]
    return Step(sequences, advantages=[row[2] for row in rows], moved=True, temperature=TEMPERATURE, **found)


def _rows_of(batch: Mapping[str, Tensor]) -> list[tuple[list[int], list[int], float]]:
    """The prompt, the completion and the advantage of each row of a micro-batch of TRL's."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")
    rows = zip(*(batch[name] for name in names), strict=True)
    return [(p[m.bool()].tolist(), c[n.bool()].tolist(), a.item()) for p, m, c, n, a in rows]


# Our side.


def examples_for(step: Step, rows: str) -> list[Example]:
    """The step's sequences with everything that an objective may read of the older and the reference policy, and the
    advantages.
    """
    examples = examples_of(step.sequences, rows)
    for model, name in ((policy_model(), "old_logp"), (reference_model(), "ref_logp")):
        annotate(Policy(model, temperature=step.temperature), examples, {"logp": name}, TOKENS_PER_MICROBATCH, CPU)
    if step.advantages is not None:
        for example, advantage in zip(examples, step.advantages, strict=True):
            example.fields["advantage"] = torch.full((len(example.token_ids),), advantage)
    return examples


def our_step(step: Step, objective: BoundObjective) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient of the engine's step with that objective on the same sequences."""
    examples = examples_for(step, objective.rows)
    model = policy_model()
    policy = Policy(move(model) if step.moved else model, temperature=step.temperature)
    config = TrainingConfig(learning_rate=1e-30, clip_norm=1e30, tokens_per_microbatch=TOKENS_PER_MICROBATCH)
    learner = Learner(
        policy, objective, config, learning_rate=1e-30, steps=1, constant_length=MOST_NEW_TOKENS, device=CPU
    )
    gradient: dict[str, Tensor] = {}

    def capture(*_: Any) -> None:
        gradient.update({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    learner.optimiser.register_step_pre_hook(capture)
    return learner.step(examples, 0)["loss"], gradient


def bound(function: Objective, hyperparameters: Mapping[str, Any]) -> BoundObjective:
    """A decorated function as the engine holds it."""
    attached = function.__rlbench__  # type: ignore[attr-defined]
    return BoundObjective(
        attached["name"], function, hyperparameters, attached["rows"], attached["reads"], attached["reduction"]
    )


def deviation(step: Step, function: Objective, hyperparameters: Mapping[str, Any]) -> float:
    """The larger of the relative errors of loss and gradient; infinite where one is not a number.

    The gradient's error is the norm of the difference over the norm of TRL's, all parameters taken together.
    """
    loss, gradient = our_step(step, bound(function, hyperparameters))
    assert gradient.keys() == step.gradient.keys()
    ours, theirs = (
        nn.utils.parameters_to_vector([g[name] for name in sorted(g)]).double() for g in (gradient, step.gradient)
    )
    errors = abs(loss - step.loss) / abs(step.loss), ((ours - theirs).norm() / theirs.norm()).item()
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


@dataclass(frozen=True)
class Oracle:
    """TRL's step for an objective, and the hyper-parameters that mean the same to ours; called with a function, its
    deviation.
    """

    step: Callable[[], Step]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, function: Objective) -> float:
        return deviation(self.step(), function, self.hyperparameters)


# None of these values is a default, so that no default can hide what was mixed up. TRL's bound for cispo is the weight
# itself, its others are distances from 1.
LOW, HIGH = 0.1, 0.15
BOUNDS = {"clip_low": LOW, "clip_high": HIGH}
CLIP = {"epsilon": LOW, "epsilon_high": HIGH}
ORACLES: dict[str, Callable[[Objective], float]] = {
    "sft": Oracle(partial(sft_step, "nll")),
    "dft": Oracle(partial(sft_step, "dft")),
    "dpo": Oracle(partial(dpo_step, "sigmoid", 0.3), {"beta": 0.3}),
    "hinge": Oracle(partial(dpo_step, "hinge", 0.3), {"beta": 0.3}),
    "ipo": Oracle(partial(dpo_step, "ipo", 0.7), {"beta": 0.7}),
    "simpo": Oracle(partial(simpo_step, 1.5, 0.9), {"beta": 1.5, "gamma": 0.9}),
    "grpo": Oracle(partial(sampled_step, "grpo", loss_type="grpo", scale_rewards="group", **CLIP), BOUNDS),
    "dr_grpo": Oracle(partial(sampled_step, "grpo", loss_type="dr_grpo", scale_rewards="none", **CLIP), BOUNDS),
    "dapo": Oracle(partial(sampled_step, "grpo", loss_type="dapo", scale_rewards="group", **CLIP), BOUNDS),
    "gspo": Oracle(
        partial(
            sampled_step, "grpo", loss_type="grpo", scale_rewards="group", importance_sampling_level="sequence", **CLIP
        ),
        BOUNDS,
    ),
    "cispo": Oracle(
        partial(sampled_step, "grpo", loss_type="cispo", scale_rewards="group", epsilon=LOW, epsilon_high=1.2),
        {"weight_max": 1.2},
    ),
    "rloo": Oracle(partial(sampled_step, "rloo", normalize_advantages=False, **CLIP), BOUNDS),
}


# Advantages, and what else the engine does for an objective.


def advantage_deviation(step: Step, hyperparameters: Mapping[str, Any], function: Callable[..., Any]) -> float:
    """The largest difference between the advantages that TRL gave the sequences of a step and those of an estimator."""
    assert step.advantages is not None
    examples = examples_of(step.sequences, "sequences")
    attached = function.__rlbench__  # type: ignore[attr-defined]
    credit(BoundComponent(attached["name"], function, hyperparameters, attached["reads"]), examples)
    pairs = zip(examples, step.advantages, strict=True)
    errors = [(example.fields["advantage"] - advantage).abs().max().item() for example, advantage in pairs]
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def _advantages_of(name: str, function: Callable[..., Any], **hyperparameters: Any) -> float:
    return advantage_deviation(ORACLES[name].step(), hyperparameters, function)  # type: ignore[attr-defined]


def _group_norm(function: Callable[..., Any]) -> float:
    return max(_advantages_of("grpo", function), _advantages_of("dr_grpo", function, normalise=False))


ADVANTAGE_ORACLES: dict[str, Callable[[Callable[..., Any]], float]] = {
    "group_norm": _group_norm,
    "leave_one_out": partial(_advantages_of, "rloo"),
}
"""By estimator: the largest difference of its advantages from those of TRL's trainers."""


@registry.objective("entropy_bonus", reads=("old_logp", "entropy"), reduction="sequence-mean")
def entropy_bonus(batch: TokenBatch, *, coefficient: float = 0.0) -> Loss:
    """GRPO with a bonus for entropy: a loss of two terms, of which the second has a coefficient and a reduction of its
    own.
    """
    loss = as_loss(registry.load("objective", "grpo")(batch, **BOUNDS))
    return Loss([*loss.terms, Term(-batch.entropy, coefficient, "token-mean")], loss.stats)


# In one micro-batch, because TRL takes the mean entropy of each by itself.
BONUS = Oracle(
    partial(sampled_step, "grpo", accumulation=1, loss_type="grpo", scale_rewards="group", entropy_coef=0.5, **CLIP),
    {"coefficient": 0.5},
)
"""What no registered objective needs and the engine has to do all the same: several terms, and the entropy with its
gradient.
"""
