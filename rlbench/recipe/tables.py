"""Tables of a recipe as frozen models: every key that a recipe may have, its type and its default.

Which hyper-parameters an objective has is not known here: planning checks those against the registry.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlbench.recipe.names import TEST, temperature_of

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Frozen(BaseModel):
    """A part of a recipe: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class DataSource(Frozen):
    """Where problems come from, as a table or, with the source alone, as text."""

    source: str
    """`task:split` of a registered task, or a path to JSON lines `{id, problem, answer[, solution]}`."""
    name: str | None = None
    """How it is called in tables; by default the file's stem or the last part of the split."""
    limit: Positive | None = None
    """How many problems, from the first; by default all."""
    revision: str | None = None
    """Of a set on the hub: branch, tag or commit."""
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = None
    """Pins what the problems are: the hash that reports show of a problem set, or its first 12 digits or more."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """The name under which the source stands in tables: its own, else the file's stem or the last part of
        task:split.
        """
        if self.name:
            return self.name
        return Path(self.source).stem if self.is_file else self.source.rsplit(":", 1)[-1].rsplit("/", 1)[-1]

    @property
    def is_file(self) -> bool:
        return self.source.endswith((".jsonl", ".json"))


class ModelConfig(Frozen):
    """The base model that every method starts from."""

    source: str
    """`miniature` (trained by a stage of the graph, one a seed), a Hugging Face folder, or a hub id."""
    revision: str | None = None
    """Of a hub id: branch, tag or commit."""
    strip_prefix: Annotated[str, Field(min_length=1)] | None = None
    """Taken away from the names of all its tensors, where a wrapper has put it there (`_orig_mod.` of
    `torch.compile`).
    """
    trust_remote_code: bool = False
    """Lets code run that comes with the model; by default none ever does."""
    pretraining: dict[str, Any] = Field(default_factory=dict)
    """Of the miniature: keys of its pre-training, over their defaults."""


class DataConfig(Frozen):
    """Prompts for rollouts and online methods, and worked solutions for the methods that imitate."""

    prompts: DataSource
    """The problems of rollouts and online methods."""
    demonstrations: DataSource | None = None
    """Problems with worked solutions, for the methods that imitate."""
    template: str = "qwen-bare"
    """The prompt that is trained on, and sampled with where `rollouts.template` says nothing else.

    As every `template`: a name, a text with `{problem}` in it, a file of one, or `chat` for the tokenizer's own.
    """


class RolloutConfig(Frozen):
    """The bank: completions of the base model, drawn once and graded once."""

    samples: Positive = 4
    """Completions a prompt."""
    temperature: NonNegative = 1.0
    """They are drawn at; offline objectives with a ratio need 1."""
    max_new_tokens: Positive = 1024
    """The longest completion, in tokens."""
    drop_truncated: bool = False
    """Leaves out completions that the length limit cut off, right or wrong."""
    template: str | None = None
    """The prompt that is sampled with; by default `data.template`."""


class VllmConfig(Frozen):
    """Options of vLLM under its own names; without a value its own default holds."""

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the device's memory that it takes, 0.9 by default; of a stage that has a fraction of a GPU
    that fraction of it.
    """
    colocated_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The same while a policy is trained beside it, 0.3 by default."""
    max_model_len: Positive | None = None
    """The longest prompt with its completion, in tokens."""
    max_num_seqs: Positive | None = None
    """How many sequences are decoded together."""
    enforce_eager: bool = False
    """Runs without CUDA graphs."""
    enable_prefix_caching: bool = True
    """Shares the cache of equal beginnings of prompts."""


class SamplingConfig(Frozen):
    """How completions are computed. Part of every fingerprint that samples: other batches round logits
    otherwise.
    """

    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """Who samples banks and evaluations; `auto` is vLLM where it is installed, and else transformers."""
    online_engine: Literal["auto", "transformers", "vllm"] | None = None
    """Who samples for online methods; by default the same."""
    shard_samples: Positive = 8192
    """Banks and evaluations of more completions are sampled in shards of about so many, by as many workers as
    there are; a shard is what is lost where a worker is.
    """
    batch_rows: Positive | None = None
    """With transformers, how many samples are decoded together; by default as many as a fixed amount of memory
    holds (256 MiB, on CUDA 8 GiB).
    """
    vllm: VllmConfig = Field(default_factory=VllmConfig)
    """Options of vLLM."""


class ContaminationConfig(Frozen):
    """The probe of what the base knows by heart: it is shown the beginning of each problem and is to complete
    it.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Of each problem's words, how many it is shown."""
    template: str = "raw"
    """The prompt around them."""
    max_new_tokens: Positive | None = None
    """The longest completion, in tokens; by default that of the evaluation."""


class EvaluationConfig(Frozen):
    """The evaluation of every row. Decodings are `greedy` or `tX` with the temperature X."""

    benchmarks: tuple[DataSource, ...] = Field(min_length=1)
    """The problem sets of the table; `avg` is the unweighted mean over them."""
    clean: tuple[DataSource, ...] = ()
    """Problem sets that stand beside the benchmarks and not in their mean: problems that nobody can have known,
    such as `arithmetic:clean/10_steps`.
    """
    development: tuple[DataSource, ...] = ()
    """Problem sets on which choices are made: the base's best decoding, and the checkpoint that is evaluated.
    Without them the former is chosen on the reported problems, and the report says so.
    """
    checkpoints: Positive = 1
    """How many of a training are kept; the best on the development sets is evaluated."""
    grader: str = "rlbench"
    """Who decides what is correct here (rewards and the bank are always rlbench's): `rlbench`, or `qwen` for
    cells that were published so.
    """
    reference: str | None = None
    """A row that every other is compared with beside the base."""
    contamination: ContaminationConfig | None = None
    """The probe of what the base knows by heart; by default there is none."""
    margin: Annotated[float, Field(gt=0)] = 1.0
    """A difference within so many points is a tie."""
    samples: Positive = 16
    """Completions a problem, but for greedy decoding, which has one."""
    decodings: tuple[str, ...] = Field(default=("t1.0",), min_length=1)
    """The decodings of every row. The main one, by which checkpoints are chosen and rows compared, is that at
    temperature 1, else the first.
    """
    base_decodings: tuple[str, ...] | None = None
    """What the base is evaluated under beside: the best is what training has to beat."""
    max_new_tokens: Positive = 4096
    """The longest completion, in tokens."""
    template: str = "qwen-boxed"
    """The prompt that rows are evaluated with."""
    split: Literal["test", "development"] = TEST
    """What the problem sets are; `development` marks a run on which choices are made."""

    @field_validator("decodings", "base_decodings")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for decoding in value or ():
            temperature_of(decoding)
        return value


class TrainingConfig(Frozen):
    """The optimiser step that all methods share. A method's own `training` table stands over it."""

    learning_rate: NonNegative
    """The peak rate of AdamW."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Of AdamW."""
    eps: NonNegative = 1e-8
    """Of AdamW."""
    weight_decay: NonNegative = 0.01
    """Of AdamW, decoupled."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """The greatest norm of a step's gradient; a greater one is scaled down to it."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Of the learning rate, after the warm-up down to 0 (`cosine`, `linear`) or as it is (`constant`)."""
    warmup: Fraction = 0.0
    """The share of all steps in which the rate rises from 0."""
    batch_size: Positive = 64
    """Units of an optimiser step: sequences, or pairs."""
    epochs: Positive = 1
    """How often each unit is trained on."""
    max_steps: Positive | None = None
    """Ends the training after so many optimiser steps."""
    tokens_per_microbatch: Positive = 4096
    """How many tokens go through the model at once; the gradient does not depend on it beyond rounding."""
    max_length: Positive = 2048
    """The longest sequence, prompt included, in tokens."""
    over_length: Literal["drop", "truncate"] = "truncate"
    """What becomes of longer ones: left out, or cut on the right."""
    gradient_checkpointing: bool = False
    """Saves memory by computing activations twice."""
    refresh_interval: Positive | None = None
    """For offline objectives with a ratio (PSFT): every so many optimiser steps the old policy becomes the
    policy as it then is. By default it stays the initial model, which drew the bank.
    """


class OnlineConfig(Frozen):
    """The loop that samples from the policy it trains: each step draws a batch and takes `mini_batches x
    epochs` optimiser steps.
    """

    steps: Positive = 40
    """How often a batch is drawn."""
    prompts_per_step: Positive = 32
    """Prompts of a batch."""
    samples_per_prompt: Positive = 8
    """Completions of each prompt."""
    mini_batches: Positive = 1
    """Parts of a batch, an optimiser step each."""
    epochs: Positive = 1
    """How often a batch is trained on."""
    sync_interval: Positive = 1
    """The policy that samples is brought up to date every so many steps: 1 is on-policy, more is semi-online."""
    refills: Annotated[int, Field(ge=0)] = 0
    """Where filters leave fewer than `prompts_per_step` prompts of a draw, up to so many further draws of other
    prompts fill the step up (DAPO's dynamic sampling).
    """
    importance_cap: Annotated[float, Field(ge=1)] | None = None
    """Corrects for a sampler that computes otherwise than the trainer: each token's advantage is multiplied by
    the ratio of the trainer's probability to the sampler's, at most this (truncated importance sampling; 2 is
    usual). For a loss that is proportional to the token's advantage, as policy gradients and their clipped forms
    are, that weighs the loss itself; objectives that take a sequence's mean advantage see the mean of its
    tokens' weights.
    """
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Completions are drawn at."""
    max_new_tokens: Positive = 1024
    """The longest completion, in tokens."""


class Component(Frozen):
    """A registered piece by name, with its hyper-parameters: an advantage estimator, a reward, a filter."""

    name: str
    """Under which it is registered."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """Its keyword arguments, over their defaults."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class CriticConfig(Frozen):
    """A value model beside the policy: initialised from the base with a scalar head, with a loss and a learning rate of
    its own.
    """

    objective: str = "value"
    """Its loss."""
    learning_rate: NonNegative
    """The peak rate of its optimiser."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of its loss, over their defaults."""


class MethodConfig(Frozen):
    """A row: an objective with its data, reward, advantage, filters and training; or a `checkpoint` that
    somebody else trained.
    """

    label: str | None = None
    """How the row is called in tables."""
    checkpoint: str | None = None
    """A folder or hub id that is evaluated and not trained; `base` with a `template` is a control, the untrained
    model under another prompt.
    """
    template: str | None = None
    """The prompt that this row is evaluated with; by default that of all."""
    revision: str | None = None
    """Of a checkpoint on the hub: branch, tag or commit."""
    strip_prefix: Annotated[str, Field(min_length=1)] | None = None
    """Of a checkpoint: as `model.strip_prefix`."""
    trust_remote_code: bool = False
    """Of a checkpoint: as `model.trust_remote_code`."""
    objective: str | None = None
    """The loss, by the name under which it is registered; `rlbench objectives` lists them."""
    data: str | None = None
    """What is trained on: `demonstrations`, `rollouts.correct`, `rollouts.pairs`, `rollouts.groups` or `online`."""
    backend: Literal["rlbench", "trl"] = "rlbench"
    """Who trains: the engine that all rows share, or TRL's trainer of that name on the same data."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the objective, over their defaults."""
    advantage: Component | None = None
    """The estimator, for objectives that read an advantage."""
    reward: Component = Component(name="correct")
    """What a sample is worth, for online methods."""
    filters: tuple[Component, ...] = ()
    """What leaves rows out before training, in this order."""
    critic: CriticConfig | None = None
    """The value model, for what reads values."""
    reduction: str | None = None
    """How the losses of a step become one number; by default the objective's own."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that this row has otherwise."""
    online: dict[str, Any] | None = None
    """The sampling loop, with data = `online`."""

    @model_validator(mode="after")
    def _one_source(self) -> MethodConfig:
        if (self.checkpoint is None) == (self.objective is None):
            raise ValueError("a method names either an objective or a checkpoint")
        if self.checkpoint in (None, "base") and (self.strip_prefix or self.trust_remote_code):
            raise ValueError("strip_prefix and trust_remote_code are for a checkpoint; the base has those of `model`")
        if self.objective is not None and self.data is None:
            names = "demonstrations, rollouts.correct, rollouts.pairs, rollouts.groups or online"
            raise ValueError(f"a method with an objective names its data: {names}")
        if (self.data == "online") != (self.online is not None):
            raise ValueError('data = "online" and a table `online` belong together')
        return self


class Resources(Frozen):
    """Where and how stages run. Never part of a fingerprint."""

    gpus_per_stage: NonNegative = 0
    """GPUs of a training or sampling stage, a fraction shares one; on CUDA 1 by default."""
    cpus_per_stage: Positive = 1
    """Cores of a stage."""
    workers: Positive | None = None
    """How many stages run at once; by default the machine's cores."""


class Recipe(Frozen):
    """A whole comparison, resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """Of the run's folder, in small letters, digits, `_`, `.` and `-`."""
    title: str = ""
    """Over the report."""
    notes: tuple[str, ...] = ()
    """Sentences that stand in the report."""
    deviations: tuple[str, ...] = ()
    """What differs from the experiment that the recipe is after, a sentence each."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Every method is trained once for each."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA where there is a GPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights while sampling, and of the matrix products while training."""
    plugins: tuple[str, ...] = ()
    """Files that register objectives, advantages, rewards or filters."""
    model: ModelConfig
    """The base model."""
    data: DataConfig
    """What is trained on."""
    rollouts: RolloutConfig = RolloutConfig()
    """The bank."""
    sampling: SamplingConfig = SamplingConfig()
    """How completions are computed."""
    evaluation: EvaluationConfig
    """What every row is measured on."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of the optimiser step, for all methods."""
    methods: dict[str, MethodConfig]
    """The rows, by name."""
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Every trained method once for each combination of these values, by key: `{"training.learning_rate" =
    [1e-4, 1e-3]}`.
    """
    resources: Resources = Resources()
    """Where and how stages run; never part of a fingerprint."""

    @field_validator("seeds")
    @classmethod
    def _unique(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0 or max(value) >= 2**31:
            raise ValueError("seeds are whole numbers from 0 to 2147483647, each once")
        return value

    @field_validator("methods")
    @classmethod
    def _some(cls, value: dict[str, MethodConfig]) -> dict[str, MethodConfig]:
        if not value:
            raise ValueError("name at least one method; --only base runs the base alone")
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@=,+-]*", name):
                raise ValueError(
                    f"method {name!r}: a name is letters, digits, _, . and -, since it stands in names of stages"
                )
        return value

    def training_of(self, method: MethodConfig) -> TrainingConfig:
        """The shared training table with the method's own keys over it."""
        return TrainingConfig.model_validate({**self.training, **method.training})
