"""The stage that has TRL train: its own trainers on the token ids that our engine would train on.

A row with ``backend = "trl"`` stands beside a row of the engine and differs in nothing but who computed it, so that one
sees whether two implementations of a method agree. The loss, the optimiser step and, online, the sampling and the
advantages are TRL's. Ours are the data, the rewards, the initial model and the form of what is written.

What is TRL's own, and so not as in the engine:
- The order of the data is that of TRL's sampler (a permutation from the seed), online the draws of transformers'
``generate`` too.
- Sequences are padded, and a micro-batch is a fixed number of them: the largest part of a step that fits
  ``tokens_per_microbatch`` if all were as long as the longest.
- In the warm-up the learning rate is one step behind the engine's: 0 at the first step. After it the schedules are
equal.
- Losses are normalised over the whole optimiser step, as in the engine, but for two cases. DPO takes the mean of its
  micro-batches' means, which differs where what is left of an epoch does not divide evenly. And GRPO's token-mean with
  several mini-batches divides by the step's mean number of tokens a mini-batch.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read once, when the hub's library is first imported

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from rlbench import models
from rlbench.grading.pool import Grader
from rlbench.recipe import OnlineConfig, TrainingConfig
from rlbench.records import Problem, Rollout, StageFailure, TrainingSequence, read_records
from rlbench.sampling.transformers_engine import TransformersEngine
from rlbench.training.batching import examples_of
from rlbench.training.online import fitting_prompts, reward_of, sampling_stats
from rlbench.training.output import write_log
from rlbench.training.policy import prepare
from rlbench.training.seeding import set_seed
from rlbench.training.step import BoundComponent
from rlbench.training.trl_support import REDUCTIONS, refuse

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rlbench.graph.stage import StageContext

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
RENAMED = {
    "entropy": "entropy",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "clip_ratio/region_mean": "clip_fraction",
}
"""Further entries of TRL's log that stand in ours, under the engine's names."""


def train(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """Train a copy of ``inputs["model"]`` by TRL on ``inputs["sequences"]``, or for grpo on its own samples of
    ``inputs["problems"]``.

    Args:
        config: as ``offline.train`` takes it, for grpo as ``online.train`` does.
        inputs: ``model``, a model folder, and ``sequences`` with ``sequences.parquet`` or ``problems`` with
            ``problems.jsonl``.
        output: gets the model folder, ``training.jsonl`` (one line an optimiser step) and ``training.json`` (the sums).
        context: takes progress; counts ``tokens`` (trained, each epoch anew) and ``steps``, online also ``samples`` and
            ``sampled_tokens``. TRL's own folder, which it leaves empty, is made in its scratch folder.

    Raises: StageFailure: TRL cannot train this (see ``trl_support.refuse``), no row is left, there are fewer problems
        than a step draws, or
            the loss or the gradient is not finite.
    """
    data = (
        "online"
        if config.get("online")
        else "rollouts.pairs"
        if config["objective"]["rows"] == "pairs"
        else "demonstrations"
    )
    if (reason := refuse(config, data)) is not None:
        raise StageFailure(reason)
    set_seed(config["seed"])
    with silence(), contextlib.ExitStack() as stack:
        model = models.load_model(inputs["model"], device=context.device)
        prepare(model, checkpointing=False)  # no dropout; checkpointing is the trainer's to switch on
        found = copy.deepcopy(model.config), copy.deepcopy(model.generation_config)
        trainer: _SFT | _DPO | _GRPO
        if data == "online":
            trainer = online_trainer(config, inputs, model, context, stack.enter_context(Grader()))
        else:
            trainer = offline_trainer(config, inputs, model, context)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    write_log(output, trainer.recorder.lines)
    model.config, model.generation_config = found  # TRL writes its own padding token and the like into them
    models.save_model(model.to(getattr(torch, config["dtype"])).cpu().eval(), inputs["model"], output)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Only errors are reported by the libraries for a while, and no warnings; a run has messages of its own."""
    logger = logging.getLogger("trl")
    level, verbosity = logger.level, transformers_logging.get_verbosity()
    logger.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        transformers_logging.set_verbosity(verbosity)


# The trainers ---------------------------------------------------------------------------------------------------------


class Recorder(TrainerCallback):
    """One line an optimiser step: what TRL logs of it under the engine's names, what it trained on, and ``shared``
    (online).
    """

    def __init__(self, what: str, steps: int, context: StageContext) -> None:
        self.what, self.steps, self.context = what, steps, context
        self.lines: list[dict[str, Any]] = []
        self.shared: dict[str, Any] = {}
        self.tokens: torch.Tensor | int = 0
        self.sequences = 0

    def add(self, inputs: Mapping[str, Any]) -> None:
        """Take note of a micro-batch whose loss is computed: labels or a mask [B, L], not 0 or -100 where a token is
        trained.
        """
        mask = inputs["labels"][:, 1:] != -100 if "labels" in inputs else inputs["completion_mask"]
        self.tokens = self.tokens + mask.sum()
        self.sequences += len(mask)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Write the line of a step; StageFailure where its loss or gradient is not finite."""
        if logs is None or "loss" not in logs:  # the trainer's closing summary
            return
        number = state.global_step
        for name, value in (("loss", logs["loss"]), ("gradient norm", logs["grad_norm"])):
            if not math.isfinite(value):
                raise StageFailure(f"{self.what} by TRL: the {name} became {value} at step {number} of {self.steps}")
        line = {"step": number, **{name: logs[name] for name in ("loss", "grad_norm", "learning_rate")}}
        line |= {"tokens": int(self.tokens), "sequences": self.sequences}
        line |= {ours: logs[theirs] for theirs, ours in RENAMED.items() if theirs in logs}
        self.lines.append({**line, **self.shared})
        self.context.count(tokens=line["tokens"], steps=1)
        self.context.progress(number, self.steps, f"loss {line['loss']:.4f}")
        self.tokens, self.sequences = 0, 0


class _Recorded:
    """An addition to each of TRL's trainers: it shows the recorder what it trains on, and sends nothing to anybody."""

    recorder: Recorder

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        self.recorder.add(inputs)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]  # a trainer's

    def _send_telemetry(self) -> None:
        pass


class _SFT(_Recorded, SFTTrainer):
    pass


class _DPO(_Recorded, DPOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset  # token ids as the collator takes them, where TRL would have text to tokenise


class _GRPO(_Recorded, GRPOTrainer):
    prompt_ids: Mapping[str, list[int]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # The ids that all other rows start from: TRL would let the tokenizer add its special tokens once more.
        return [list(self.prompt_ids[prompt]) for prompt in prompts], None, {}


# Offline --------------------------------------------------------------------------------------------------------------


def offline_trainer(
    config: Mapping[str, Any], inputs: Mapping[str, Path], model: PreTrainedModel, context: StageContext
) -> _SFT | _DPO:
    """TRL's trainer of sft, dft or dpo on the rows of ``inputs["sequences"]``, which it takes as they are, whatever
    their length.
    """
    training = TrainingConfig.model_validate(config["training"])
    objective = config["objective"]
    sequences = read_records(inputs["sequences"] / "sequences.parquet", TrainingSequence)
    if not sequences:
        raise StageFailure("there is no row to train on")
    examples_of(sequences, objective["rows"])  # which refuses what is empty, and pairs that are none
    pairs = objective["rows"] == "pairs"
    rows = pair_rows(sequences) if pairs else labelled_rows(sequences)
    longest = max(len(row.prompt_ids) + len(row.token_ids) for row in sequences)
    batch = min(training.batch_size, len(rows))
    steps = training.epochs * -(-len(rows) // batch)
    recorder = Recorder(f"objective {objective['name']!r}", min(steps, training.max_steps or steps), context)
    micro = micro_batch_size(batch, longest * (2 if pairs else 1), training.tokens_per_microbatch)
    loss_type = REDUCTIONS[objective["name"]][objective["reduction"]]
    shared: dict[str, Any] = {
        "model": model,
        "train_dataset": Dataset.from_list(rows),
        "callbacks": [recorder],
        "processing_class": models.load_tokenizer(inputs["model"]),
    }
    arguments = {**common_arguments(config, training, recorder.steps, batch, micro, context), "max_length": None}
    trainer: _SFT | _DPO
    if pairs:
        reference = models.load_model(
            inputs["model"], device=context.device
        )  # else TRL loads one by the path that the model came from
        prepare(reference, checkpointing=False)
        settings = one_device(DPOConfig(**arguments, loss_type=[loss_type], beta=objective["hyperparameters"]["beta"]))
        trainer = _DPO(ref_model=reference.eval(), args=settings, **shared)
    else:
        prepared: dict[str, Any] = {
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "packing": False,
            "padding_free": False,
        }
        trainer = _SFT(args=one_device(SFTConfig(**arguments, loss_type=loss_type, **prepared)), **shared)
    trainer.recorder = recorder
    return trainer


def labelled_rows(sequences: Sequence[TrainingSequence]) -> list[dict[str, list[int]]]:
    """Rows as TRL's collator takes them: ids, and labels that are -100 where nothing is trained."""
    return [
        {"input_ids": [*row.prompt_ids, *row.token_ids], "labels": [-100] * len(row.prompt_ids) + list(row.token_ids)}
        for row in sequences
    ]


def pair_rows(sequences: Sequence[TrainingSequence]) -> list[dict[str, list[int]]]:
    """Pairs as TRL's collator takes them, from neighbours of which the first is the chosen one.

    Raises:
        StageFailure: the two answer different prompts.
    """
    rows = []
    for chosen, rejected in zip(sequences[0::2], sequences[1::2], strict=True):
        if chosen.unit != rejected.unit or list(chosen.prompt_ids) != list(rejected.prompt_ids):
            raise StageFailure(
                f"TRL trains on two answers to one prompt, and those of pair {chosen.unit} differ in their prompts"
            )
        rows.append(
            {"prompt_ids": chosen.prompt_ids, "chosen_ids": chosen.token_ids, "rejected_ids": rejected.token_ids}
        )
    return rows


def micro_batch_size(batch: int, longest: int, token_budget: int) -> int:
    """The largest divisor of ``batch`` whose rows fit the budget if each has ``longest`` tokens; at least 1."""
    return max(
        size for size in range(1, batch + 1) if batch % size == 0 and (size == 1 or size * longest <= token_budget)
    )


def common_arguments(
    config: Mapping[str, Any], training: TrainingConfig, steps: int, batch: int, micro: int, context: StageContext
) -> dict[str, Any]:
    """A ``TrainingConfig`` in TRL's words: ``batch`` rows an optimiser step, ``micro`` at a time.

    Weights and biases of norms, and biases, do not decay in transformers either; it knows them by name, the engine by
    their shape.
    """
    return {
        "output_dir": str(context.scratch / "trl"),
        "seed": config["seed"],
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": batch // micro,
        "optim": "adamw_torch_fused",
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "adam_beta1": training.betas[0],
        "adam_beta2": training.betas[1],
        "adam_epsilon": training.eps,
        "max_grad_norm": training.clip_norm,
        "lr_scheduler_type": SCHEDULES[training.schedule],
        "warmup_steps": math.ceil(training.warmup * steps),
        "bf16": config["dtype"] == "bfloat16",
        "use_cpu": context.device == "cpu",
        "gradient_checkpointing": training.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def one_device(arguments: Any) -> Any:
    """The arguments with one GPU of those that this process sees; TRL refuses to spread over
    several from one process.
    """
    if arguments.device.type == "cuda":  # asking for it counts the GPUs
        arguments._n_gpu = 1
    return arguments


# Online ---------------------------------------------------------------------------------------------------------------


def online_trainer(
    config: Mapping[str, Any], inputs: Mapping[str, Path], model: PreTrainedModel, context: StageContext, grader: Grader
) -> _GRPO:
    """TRL's trainer of grpo on the prompts of ``inputs["problems"]``, with our rewards.

    TRL's generation step is our online step, its iterations our epochs. The samples of a step are shuffled and cut into
    mini-batches, as the engine does.
    """
    training, online = TrainingConfig.model_validate(config["training"]), OnlineConfig.model_validate(config["online"])
    tokenizer = models.load_tokenizer(inputs["model"])
    model.generation_config.eos_token_id = list(models.stop_token_ids(model.generation_config, tokenizer))
    room = TransformersEngine(
        model, context=training.max_length
    ).context  # the bound of the rows that the engine trains
    problems, prompts = fitting_prompts(config, inputs, tokenizer, room, context)
    if len(problems) < online.prompts_per_step:
        raise StageFailure(
            f"online.prompts_per_step is {online.prompts_per_step} and there are {len(problems)} prompts; it is at "
            "most their number"
        )
    samples = online.prompts_per_step * online.samples_per_prompt
    batch = samples // online.mini_batches
    micro = micro_batch_size(batch, max(map(len, prompts)) + online.max_new_tokens, training.tokens_per_microbatch)
    updates = online.mini_batches * online.epochs
    recorder = Recorder("objective 'grpo'", online.steps * updates, context)
    scorer = Scorer(config, problems, prompts, model.generation_config.eos_token_id, recorder, grader)
    arguments = common_arguments(config, training, recorder.steps, batch, micro, context)
    hyperparameters = config["objective"]["hyperparameters"]
    settings = GRPOConfig(
        **arguments,
        loss_type=REDUCTIONS["grpo"][config["objective"]["reduction"]],
        beta=0.0,
        epsilon=hyperparameters["clip_low"],
        epsilon_high=hyperparameters["clip_high"],
        num_generations=online.samples_per_prompt,
        steps_per_generation=samples // micro,
        num_iterations=online.epochs,
        max_completion_length=online.max_new_tokens,
        temperature=online.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        scale_rewards="group" if config["advantage"]["hyperparameters"].get("normalise", True) else "none",
        mask_truncated_completions=False,
        remove_unused_columns=False,
        # Logits that are not finite are not for the sampler to fail on, on a GPU beyond repair: the loss of what it
        # drew is not either.
        generation_kwargs={"remove_invalid_values": True},
    )
    template = models.template_text(tokenizer, config["template"])
    texts = [template.replace("{problem}", problem.problem) for problem in problems]
    trainer = _GRPO(
        model=model,
        args=one_device(settings),
        reward_funcs=scorer.rewards,
        callbacks=[recorder],
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": texts, "index": list(range(len(texts)))}),
    )
    trainer.recorder, trainer.prompt_ids = recorder, dict(zip(texts, prompts, strict=True))
    return trainer


class Scorer:
    """Our reward as a reward function of TRL's: it makes graded rollouts of what TRL sampled, each call one online
    step.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        problems: Sequence[Problem],
        prompts: Sequence[list[int]],
        stop_ids: Sequence[int],
        recorder: Recorder,
        grader: Grader,
    ) -> None:
        self.reward = BoundComponent.load("reward", config["reward"], recorder.context.unhashed.get("plugins", ()))
        self.samples = config["online"]["samples_per_prompt"]
        self.problems, self.prompts, self.stop_ids = problems, prompts, frozenset(stop_ids)
        self.recorder, self.grader = recorder, grader
        self.calls = 0

    def rewards(
        self, completions: list[str], completion_ids: list[list[int]], index: list[int], **_: Any
    ) -> list[float | None]:
        """One reward a completion; those of a prompt are neighbours."""
        graded = self.grader.grade(
            [(self.problems[i].answer, text) for i, text in zip(index, completions, strict=True)]
        )
        rollouts = [
            Rollout(
                problem_id=self.problems[i].id,
                sample_index=place % self.samples,
                prompt_ids=list(self.prompts[i]),
                token_ids=ids,
                sampler_logp=[],
                text=text,
                answer=grade.answer,
                verdict=grade.verdict,
                reward=1.0 if grade.verdict == "correct" else 0.0,
                finish_reason="stop" if ids[-1] in self.stop_ids else "length",
            )
            for place, (i, text, ids, grade) in enumerate(zip(index, completions, completion_ids, graded, strict=True))
        ]
        rewards = [reward_of(self.reward, rollout) for rollout in rollouts]
        self.calls += 1
        self.recorder.shared = {"online_step": self.calls, **sampling_stats(rollouts, rewards)}
        self.recorder.context.count(samples=len(rollouts), sampled_tokens=sum(len(ids) for ids in completion_ids))
        return [*rewards]
