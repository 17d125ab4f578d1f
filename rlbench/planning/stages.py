"""Stages of a recipe: one method a kind of stage, each stage made once. A new kind of stage is one more method here.

Seedless stages are shared by all seeds, the bank by all offline methods of a base model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rlbench import models
from rlbench.grading import DEFAULT, grader_spec
from rlbench.graph.stage import Requirements, Stage
from rlbench.models.admission import Options, inspect
from rlbench.planning.engines import device_of, sampling_engine, version_of
from rlbench.planning.functions import FUNCTIONS, LINK
from rlbench.planning.methods import Methods
from rlbench.planning.prompts import marker_warnings, prompts
from rlbench.recipe import (
    DEVELOPMENT,
    GREEDY,
    MINIATURE,
    DataSource,
    MethodConfig,
    ModelConfig,
    OnlineConfig,
    Recipe,
    main_decoding,
    temperature_of,
)
from rlbench.records import UserError, nearest
from rlbench.tasks import arithmetic
from rlbench.tasks.base import describe_source, expected_rows
from rlbench.training import trl_support

SHARED_SEED = 0  # of what all seeds share: the bank, the pairs and the evaluation of one model that serves all seeds

# Keys of training that online methods have no use for: their part is played by `online`.
OFFLINE_ONLY = ("batch_size", "epochs", "max_steps", "over_length", "refresh_interval")


class Stages:
    """The stages of one recipe. Asking twice gives the same object.

    ``seed`` is a suite seed; where one base serves all seeds, stages that rest on the base alone ignore it.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.device = device_of(recipe.device)
        self.methods = Methods(recipe)
        named = prompts(recipe)
        self.templates = {prompt.value: prompt.text for prompt in named}
        self.warnings = marker_warnings(named)
        self.per_seed_base = recipe.model.source == MINIATURE
        self.base_seeds: tuple[int | None, ...] = recipe.seeds if self.per_seed_base else (None,)
        self._grader = grader_spec(DEFAULT).identity()
        self._made: dict[str, Stage] = {}
        # What is asked for again and again is worked out once.
        self.problems = cache(self._problems)
        self.base = cache(self._base)
        self.link = cache(self._link)
        self.bank = cache(self._bank)
        self._size = cache(self._size_of)

    # Data and base models ---------------------------------------------------------------------------------------------

    def _problems(self, source: DataSource) -> Stage:
        """A problem set, loaded and checked."""
        described = describe_source(source.source, limit=source.limit, revision=source.revision, content=source.content)
        name, unhashed = source.source, {}
        if source.is_file:
            name, unhashed = source.label, {"path": str(Path(source.source).resolve())}
        function = "rlbench.tasks.base:problems_stage"
        return self._stage(f"problems/{name}", function, {"source": described}, holds_model=False, unhashed=unhashed)

    def _base(self, seed: int | None) -> Stage:
        """The base model: the miniature of a seed, or the recipe's model, which serves all seeds."""
        model = self.recipe.model
        if not self.per_seed_base:
            return self.link(model.source, model.revision, options_of(model, "model"))
        if model.strip_prefix or model.trust_remote_code:
            raise UserError("`model`: strip_prefix and trust_remote_code are for a model that is not trained here")
        from rlbench.training.pretraining import PretrainingConfig

        config = dataclasses.asdict(PretrainingConfig.resolve(self.recipe.model.pretraining))
        # Only the held-out problems: of the one-step ones there are too few to learn them without those of prompts
        # and demonstrations.
        held_out = [DataSource(source=f"arithmetic:{split}") for split in arithmetic.HELD_OUT]
        excluded = {
            f"exclude_{source.source.partition(':')[2].replace('/', '_')}": self.problems(source) for source in held_out
        }
        function = "rlbench.training.pretraining:pretrain"
        return self._stage(f"base/seed{seed}", function, {**config, "seed": seed}, excluded)

    def _link(self, source: str, revision: str | None, options: Options) -> Stage:
        """Somebody's model, a folder or a hub id, and what the recipe says of it beside."""
        config, unhashed = describe_model(source, revision, options), {"table": options.table}
        if "sha256" in config:
            unhashed |= {"path": str(Path(source).expanduser().resolve()), "name": source}
        return self._stage(f"model/{Path(source).name}", LINK, config, holds_model=False, unhashed=unhashed)

    # Rollouts, views, training ----------------------------------------------------------------------------------------

    def _bank(self, seed: int | None) -> Stage:
        """The bank of the base of ``seed``."""
        options = self.recipe.rollouts
        config = {
            **options.model_dump(exclude={"template"}),
            "template": self.templates[options.template or self.recipe.data.template],
            "seed": self._seed_of_base(seed),
            **self._sampling(),
        }
        inputs = {"model": self.base_of(seed), "problems": self.problems(self.recipe.data.prompts)}
        functions = ("rlbench.sampling.rollouts:rollouts_stage", "rlbench.sampling.rollouts:merge_rollouts")
        return self._sampled(f"rollouts{self._suffix(seed)}", functions, config, inputs)

    def view(self, data: str, method: MethodConfig, seed: int) -> Stage:
        """The training rows of an offline method."""
        training = self.recipe.training_of(method)
        config = {
            "view": data,
            "options": {"seed": self._seed_of_base(seed)} if data == "rollouts.pairs" else {},
            "template": self.templates[self.recipe.data.template],
            "max_length": training.max_length,
            "over_length": training.over_length,
        }
        inputs = {"model": self.base_of(seed)}
        if data == "demonstrations":
            if self.recipe.data.demonstrations is None:
                raise UserError("`data.demonstrations` is missing, and a method trains on demonstrations")
            inputs["problems"] = self.problems(self.recipe.data.demonstrations)
        else:
            inputs |= {"rollouts": self.bank_of(seed), "problems": self.problems(self.recipe.data.prompts)}
        return self._stage(f"view/{data}{self._suffix(seed)}", "rlbench.views:build", config, inputs, holds_model=False)

    def train(self, name: str, method: MethodConfig, seed: int) -> Stage:
        """The training of a method at a seed."""
        config = {
            **self.methods.resolve(name, method),
            "seed": seed,
            "dtype": self.recipe.dtype,
            "device": self.device,
            "online": None,
        }
        if self.recipe.evaluation.checkpoints > 1:
            config["checkpoints"] = self.recipe.evaluation.checkpoints
        if method.data == "online":
            config |= self._online(method)
            function = "rlbench.training.online:train"
            inputs = {"model": self.base_of(seed), "problems": self.problems(self.recipe.data.prompts)}
        else:
            config["training"] = self.recipe.training_of(method).model_dump(mode="json")
            function = "rlbench.training.offline:train"
            inputs = {"model": self.base_of(seed), "sequences": self.view(str(method.data), method, seed)}
        if method.backend == "trl":
            if (reason := trl_support.refuse(config, str(method.data))) is not None:
                raise UserError(f"`methods.{name}.backend`: {reason}")
            config["trl"], function = version_of("trl"), "rlbench.training.trl_backend:train"
            if config["trl"] is None:
                raise UserError(f"`methods.{name}.backend`: trl is not installed; pip install trl")
        unhashed = {"plugins": self.methods.plugins_of(method)}
        return self._stage(f"train/{name}/seed{seed}", function, config, inputs, unhashed=unhashed)

    def _online(self, method: MethodConfig) -> dict[str, Any]:
        """The tables of an online method's training. An unset importance_cap stands in no fingerprint."""
        training = self.recipe.training_of(method).model_dump(mode="json")
        online = OnlineConfig.model_validate(method.online).model_dump(mode="json")
        by_trl = method.backend == "trl"
        return {
            "training": {key: value for key, value in training.items() if key not in OFFLINE_ONLY},
            "online": {k: value for k, value in online.items() if k != "importance_cap" or value is not None},
            "template": self.templates[self.recipe.data.template],
            "sampling": sampling_engine(self.recipe.sampling, colocated=True, by_trl=by_trl),
            "grader": self._grader,
        }

    # Evaluation -------------------------------------------------------------------------------------------------------

    def selected(self, name: str, seed: int, trained: Stage) -> Stage:
        """The best of a run's checkpoints on the development sets, where there are several."""
        options, where = self.recipe.evaluation, f"{name}/seed{seed}"
        if options.checkpoints == 1:
            return trained
        inputs, decoding = {}, main_decoding(options.decodings)
        template = self.recipe.methods[name].template
        for number in range(1, options.checkpoints + 1):
            function = "rlbench.selection:checkpoint"
            model = self._stage(
                f"checkpoint/{where}/{number}", function, {"number": number}, {"trained": trained}, holds_model=False
            )
            inputs[f"checkpoint{number}"] = model
            for place, problems in enumerate(options.development, start=1):
                inputs[f"evaluation{number}_{place}"] = self.evaluation(
                    f"{name}@{number}", model, seed, problems, decoding, template, split=DEVELOPMENT
                )
        config = {
            "checkpoints": options.checkpoints,
            "benchmarks": [source.label for source in options.development],
            "decoding": decoding,
        }
        return self._stage(f"select/{where}", "rlbench.selection:select", config, inputs, holds_model=False)

    def evaluations(
        self,
        name: str,
        model: Stage,
        seed: int | None,
        sources: Iterable[DataSource],
        decodings: Iterable[str],
        template: str | None,
        *,
        split: str,
    ) -> dict[tuple[str, str], Stage]:
        """The evaluations of a model by (benchmark, decoding)."""
        sources = tuple(sources)
        return {
            (source.label, decoding): self.evaluation(name, model, seed, source, decoding, template, split=split)
            for decoding in decodings
            for source in sources
        }

    def evaluation(
        self,
        name: str,
        model: Stage,
        seed: int | None,
        source: DataSource,
        decoding: str,
        template: str | None,
        *,
        split: str,
    ) -> Stage:
        """One model on one problem set under one decoding."""
        options = self.recipe.evaluation
        config = {
            "benchmark": source.label,
            "split": split,
            "decoding": decoding,
            "temperature": temperature_of(decoding),
            "samples": 1 if decoding == GREEDY else options.samples,
            "max_new_tokens": options.max_new_tokens,
            "template": self.templates[template or options.template],
            "seed": SHARED_SEED if seed is None else seed,
            **self._sampling(),
            "grader": grader_spec(options.grader).identity(),
        }
        where = "" if seed is None else f"/seed{seed}"
        inputs = {"model": model, "problems": self.problems(source)}
        functions = ("rlbench.evaluation:evaluate", "rlbench.evaluation:merge_samples")
        label = source.label if split == options.split else f"{split}-{source.label}"
        return self._sampled(f"evaluate/{name}{where}/{label}/{decoding}", functions, config, inputs)

    def probe(self, seed: int | None, benchmark: DataSource) -> Stage:
        """The contamination probe of a base on a benchmark; the recipe asks for probes."""
        options = self.recipe.evaluation
        assert options.contamination is not None
        config = {
            "benchmark": benchmark.label,
            "share": options.contamination.share,
            "template": self.templates[options.contamination.template],
            "max_new_tokens": options.contamination.max_new_tokens or options.max_new_tokens,
            **self._sampling(),
            "grader": grader_spec(options.grader).identity(),
        }
        inputs = {"model": self.base_of(seed), "problems": self.problems(benchmark)}
        name = f"probe{'' if seed is None else f'/seed{seed}'}/{benchmark.label}"
        return self._stage(name, "rlbench.contamination:probe", config, inputs)

    # What they share --------------------------------------------------------------------------------------------------

    def base_of(self, seed: int | None) -> Stage:
        """The base that serves a seed."""
        return self.base(seed if self.per_seed_base else None)

    def bank_of(self, seed: int | None) -> Stage:
        """The bank that serves a seed."""
        return self.bank(seed if self.per_seed_base else None)

    def _seed_of_base(self, seed: int | None) -> int:
        return seed if self.per_seed_base and seed is not None else SHARED_SEED

    def _suffix(self, seed: int | None) -> str:
        return f"/seed{seed}" if self.per_seed_base else ""

    def _sampling(self) -> dict[str, Any]:
        """The keys that decide a model's samples beside what is asked, and who grades them."""
        engine = sampling_engine(self.recipe.sampling)
        return {**engine, "dtype": self.recipe.dtype, "device": self.device, "grader": self._grader}

    def _sampled(
        self, name: str, functions: tuple[str, str], config: Mapping[str, Any], inputs: Mapping[str, Stage]
    ) -> Stage:
        """A stage that samples; where that is more than a shard, its shards and the stage that puts them together.

        ``functions`` are those of the two. How many shards there are follows from the recipe alone, never from the
        machines at hand.
        """
        one, merge = functions
        size = self._size(inputs["problems"])
        count = max(1, min(size, -(-size * config["samples"] // self.recipe.sampling.shard_samples)))
        if count == 1:
            return self._stage(name, one, config, inputs)
        shards = {
            f"shard{n}": self._stage(f"{name}/shard{n}of{count}", one, {**config, "shard": [n - 1, count]}, inputs)
            for n in range(1, count + 1)
        }
        return self._stage(name, merge, {**config, "shards": count}, {**inputs, **shards}, holds_model=False)

    def _size_of(self, problems: Stage) -> int:
        """The number of problems of a set; 0 where nobody knows it beforehand."""
        return expected_rows(problems.config["source"], problems.unhashed) or 0

    def _stage(
        self,
        name: str,
        function: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Stage] | None = None,
        *,
        holds_model: bool = True,
        unhashed: Mapping[str, Any] | None = None,
    ) -> Stage:
        resources = self.recipe.resources
        gpus = (resources.gpus_per_stage or 1.0) if holds_model and self.device == "cuda" else 0.0
        stage = Stage(
            name,
            function,
            FUNCTIONS[function].version,
            config,
            inputs or {},
            Requirements(cpus=resources.cpus_per_stage, gpus=gpus, holds_model=holds_model),
            unhashed or {},
            FUNCTIONS[function].path,
        )
        try:
            return self._made.setdefault(stage.fingerprint, stage)
        except TypeError as error:  # infinite or not a number, where only the registry knows the key
            raise UserError(f"{error}") from None


def options_of(foreign: ModelConfig | MethodConfig, table: str) -> Options:
    """The options that a ``table`` of the recipe gives for the foreign model that it names."""
    return Options(foreign.strip_prefix, foreign.trust_remote_code, table)


def describe_model(source: str, revision: str | None, options: Options) -> dict[str, Any]:
    """A model for a fingerprint: ``{sha256}`` of a local folder's content, or ``{source, revision}`` of a hub id; and
    what the recipe says of it, where it does.

    Raises:
        UserError: a local folder that is not there, or whose files show that it cannot be admitted.
    """
    said = {"strip_prefix": options.strip_prefix, "trust_remote_code": options.trust_remote_code}
    more = {key: value for key, value in said.items() if value}
    folder = Path(source).expanduser()
    beside = folder.parent.is_dir() and folder.parent != Path(".")
    looks_local = source.startswith((".", "/", "~")) or folder.exists() or beside or source.count("/") != 1
    if not looks_local:
        return {"source": source, "revision": revision, **more}
    if revision is not None:
        raise UserError(f"model {source!r} is a folder, so it takes no `revision`; its content is what is hashed")
    if not folder.is_dir():
        others = [MINIATURE, *(str(path) for path in folder.parent.glob("*") if path.is_dir())]
        raise UserError(
            f"model {source!r}: there is no such folder{nearest(source, others)}; a hub id is written owner/name"
        )
    inspect(folder, source, options)
    return {"sha256": models.content_digest(folder), **more}
