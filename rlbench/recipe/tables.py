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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSource(Frozen):
    """Where problems come from: ``task:split`` of a registered task, or a path to JSON lines ``{id, problem, answer[,
    solution]}``.

    ``content`` pins what they are: the hash that reports show of a problem set, or its first 12 digits or more.
    """

    source: str
    name: str | None = None
    limit: Positive | None = None
    revision: str | None = None
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = None

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
    """The base model: ``miniature`` (trained by a stage of the graph, one a seed), a Hugging Face
    folder, or a hub id.

    ``strip_prefix`` is taken away from the names of all its tensors, where a wrapper has put it there (``_orig_mod.``
    of ``torch.compile``). ``trust_remote_code`` lets code run that comes with it; by default none ever does.
    """

    source: str
    revision: str | None = None
    strip_prefix: Annotated[str, Field(min_length=1)] | None = None
    trust_remote_code: bool = False
    pretraining: dict[str, Any] = Field(default_factory=dict)


class DataConfig(Frozen):
    """Prompts for rollouts and online methods, and worked solutions for the methods that imitate."""

    prompts: DataSource
    demonstrations: DataSource | None = None
    template: str = "qwen-bare"


class RolloutConfig(Frozen):
    """The bank: ``samples`` completions a prompt, drawn once from the base model and graded once.

    ``drop_truncated`` leaves out completions that the length limit cut off, right or wrong.
    """

    samples: Positive = 4
    temperature: NonNegative = 1.0
    max_new_tokens: Positive = 1024
    drop_truncated: bool = False
    template: str | None = None


class VllmConfig(Frozen):
    """Options of vLLM under its own names; None is its own default.

    ``gpu_memory_utilization`` is the share of the device's memory that it takes, 0.9 by default, of a stage that has a
    fraction of a GPU that fraction of it; ``colocated_memory_utilization`` the same while a policy is trained beside
    it, 0.3 by default.
    """

    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    colocated_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_model_len: Positive | None = None
    max_num_seqs: Positive | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool = True


class SamplingConfig(Frozen):
    """How completions are computed. Part of every fingerprint that samples: other batches round logits otherwise.

    ``engine`` ``auto`` is vLLM where it is installed, and else transformers. With transformers ``batch_rows`` samples
    are decoded together; by default as many as a fixed amount of memory holds (256 MiB, on CUDA 8 GiB). ``vllm`` has
    the options of vLLM. Banks and evaluations of more than ``shard_samples`` completions are sampled in shards of about
    that many, by as many workers as there are; a shard is what is lost where a worker is. ``online_engine`` is that of
    online methods, by default the same.
    """

    engine: Literal["auto", "transformers", "vllm"] = "auto"
    online_engine: Literal["auto", "transformers", "vllm"] | None = None
    shard_samples: Positive = 8192
    batch_rows: Positive | None = None
    vllm: VllmConfig = Field(default_factory=VllmConfig)


class ContaminationConfig(Frozen):
    """The probe of what the base knows by heart: the first ``share`` of each problem's words, which
    it is to complete.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    template: str = "raw"
    max_new_tokens: Positive | None = None


class EvaluationConfig(Frozen):
    """The problem sets that every row is measured on, and how. Decodings are ``greedy`` or ``tX`` with the temperature
    X; the main one, by which checkpoints are chosen and rows compared, is that at temperature 1, else the first named.

    ``clean`` sets are evaluated for every row and stand beside the benchmarks, not in their mean: problems that nobody
    can have known, such as ``arithmetic:clean/10_steps``. ``development`` names problem sets on which choices are made:
    the base's best decoding of ``base_decodings``, and, of so many ``checkpoints`` of a run, the one that is evaluated.
    Without them the former is chosen on the reported problems, and the report says so. ``contamination`` probes how
    much of the benchmarks the base knows by heart. ``grader`` decides what is correct here (rewards and the bank are
    always rlbench's): ``rlbench``, or ``qwen`` for cells that were published so. ``reference`` is a row that every
    other is compared with beside the base, and a difference within ``margin`` points is a tie.
    """

    benchmarks: tuple[DataSource, ...] = Field(min_length=1)
    clean: tuple[DataSource, ...] = ()
    development: tuple[DataSource, ...] = ()
    checkpoints: Positive = 1
    grader: str = "rlbench"
    reference: str | None = None
    contamination: ContaminationConfig | None = None
    margin: Annotated[float, Field(gt=0)] = 1.0
    samples: Positive = 16
    decodings: tuple[str, ...] = Field(default=("t1.0",), min_length=1)
    base_decodings: tuple[str, ...] | None = None
    max_new_tokens: Positive = 4096
    template: str = "qwen-boxed"
    split: Literal["test", "development"] = TEST

    @field_validator("decodings", "base_decodings")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for decoding in value or ():
            temperature_of(decoding)
        return value


class TrainingConfig(Frozen):
    """The optimiser step that all methods share. ``batch_size`` counts units: sequences, or pairs.

    ``refresh_interval`` is for offline objectives with a ratio (PSFT): every so many optimiser steps the old policy
    becomes the policy as it then is. By default it stays the initial model, which drew the bank.
    """

    learning_rate: NonNegative
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Fraction = 0.0
    batch_size: Positive = 64
    epochs: Positive = 1
    max_steps: Positive | None = None
    tokens_per_microbatch: Positive = 4096
    max_length: Positive = 2048
    over_length: Literal["drop", "truncate"] = "truncate"
    gradient_checkpointing: bool = False
    refresh_interval: Positive | None = None


class OnlineConfig(Frozen):
    """The loop that samples from the policy it trains: each step draws a batch and takes ``mini_batches x epochs``
    optimiser steps.

    The policy that samples is brought up to date every ``sync_interval`` steps: 1 is on-policy, more is semi-online.
    Where filters leave fewer than ``prompts_per_step`` prompts of a draw, up to ``refills`` further draws of as many
    other prompts fill the step up (DAPO's dynamic sampling).

    ``importance_cap`` corrects for a sampler that computes otherwise than the trainer: each token's advantage is
    multiplied by the ratio of the trainer's probability to the sampler's, at most this (truncated importance sampling;
    2 is usual). For a loss that is proportional to the token's advantage, as policy gradients and their clipped forms
    are, that weighs the loss itself; objectives that take a sequence's mean advantage see the mean of its tokens'
    weights.
    """

    steps: Positive = 40
    prompts_per_step: Positive = 32
    samples_per_prompt: Positive = 8
    mini_batches: Positive = 1
    epochs: Positive = 1
    sync_interval: Positive = 1
    refills: Annotated[int, Field(ge=0)] = 0
    importance_cap: Annotated[float, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_new_tokens: Positive = 1024


class Component(Frozen):
    """A registered piece by name, with its hyper-parameters: an advantage estimator, a reward, a filter."""

    name: str
    hyperparameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class CriticConfig(Frozen):
    """A value model beside the policy: initialised from the base with a scalar head, with a loss and a learning rate of
    its own.
    """

    objective: str = "value"
    learning_rate: NonNegative
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


class MethodConfig(Frozen):
    """A row: an objective with its data, reward, advantage, filters and training; or a ``checkpoint`` that somebody
    else trained.

    ``checkpoint = "base"`` with a ``template`` is a control: the untrained model under another prompt. ``backend`` is
    who trains: the engine that all rows share, or TRL's trainer of that name on the same data. ``template`` is the
    prompt that this row is evaluated with, by default that of all. ``revision``, ``strip_prefix`` and
    ``trust_remote_code`` are of a checkpoint what those of ``ModelConfig`` are of the base.
    """

    label: str | None = None
    checkpoint: str | None = None
    template: str | None = None
    revision: str | None = None
    strip_prefix: Annotated[str, Field(min_length=1)] | None = None
    trust_remote_code: bool = False
    objective: str | None = None
    data: str | None = None
    backend: Literal["rlbench", "trl"] = "rlbench"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    advantage: Component | None = None
    reward: Component = Component(name="correct")
    filters: tuple[Component, ...] = ()
    critic: CriticConfig | None = None
    reduction: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    online: dict[str, Any] | None = None

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
    cpus_per_stage: Positive = 1
    workers: Positive | None = None


class Recipe(Frozen):
    """A whole comparison, resolved."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    title: str = ""
    notes: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    plugins: tuple[str, ...] = ()
    model: ModelConfig
    data: DataConfig
    rollouts: RolloutConfig = RolloutConfig()
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvaluationConfig
    training: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, MethodConfig]
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    resources: Resources = Resources()

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
