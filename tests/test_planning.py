"""The graph that a recipe becomes: what is shared, what a change re-runs, and what is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import write_model

from rlbench.objectives import registry
from rlbench.planning.build import build
from rlbench.planning.engines import engine_of
from rlbench.planning.estimate import detectable_effect, estimate, totals
from rlbench.planning.rows import Plan
from rlbench.recipe import DEVELOPMENT, load_recipe, main_decoding
from rlbench.records import UserError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def plan(*overrides: str, recipe: str = "quickstart.toml", **options: object) -> Plan:
    return build(load_recipe(RECIPES / recipe, overrides, **options))  # type: ignore[arg-type]


def fingerprints(planned: Plan, kind: str = "") -> dict[str, str]:
    return {stage.name: stage.fingerprint for stage in planned.stages if stage.name.startswith(kind)}


def changed(before: Plan, after: Plan) -> set[str]:
    known = set(fingerprints(before).values())
    return {name for name, fingerprint in fingerprints(after).items() if fingerprint not in known}


def test_each_seed_has_one_base_and_one_bank_for_all_offline_methods() -> None:
    planned = plan()
    assert len(fingerprints(planned, "base")) == 2
    assert len(fingerprints(planned, "rollouts")) == 2
    for seed in (0, 1):
        banks = {row.bank.fingerprint for row in planned.rows if row.seed == seed and row.bank is not None}
        users = [row.method for row in planned.rows if row.seed == seed and row.bank is not None]
        assert len(banks) == 1
        assert users == ["rft", "dft_rollouts", "dpo"]


def test_a_base_that_serves_all_seeds_is_sampled_once(tmp_path: Path) -> None:
    write_model(tmp_path)
    planned = plan(f"model.source={tmp_path}", "evaluation.template=bare", "data.template=bare")
    assert len(fingerprints(planned, "rollouts")) == 1
    assert [row.seed for row in planned.rows if row.method == "base"] == [None]
    assert len(fingerprints(planned, "train/sft")) == 2


@pytest.mark.parametrize(
    ("decodings", "main"),
    [
        (["t1.0", "greedy"], "t1.0"),
        (["greedy", "t1.0"], "t1.0"),
        (["t0.6", "greedy", "t1"], "t1"),
        (["t0.6", "greedy"], "t0.6"),
        (["greedy", "t0.6"], "greedy"),
        (["greedy"], "greedy"),
    ],
)
def test_checkpoints_are_chosen_under_the_decoding_that_the_report_compares_by(decodings: list[str], main: str) -> None:
    named = [f"evaluation.decodings={decodings!r}", "evaluation.checkpoints=2"]
    planned = plan(*named, 'evaluation.development=["arithmetic:development/steps"]', only=["sft"], seeds=[0])
    assert main_decoding(planned.recipe.evaluation.decodings) == main
    chosen = next(stage for stage in planned.stages if stage.name == "select/sft/seed0")
    assert chosen.config["decoding"] == main
    read = {stage.config["decoding"] for name, stage in chosen.inputs.items() if name.startswith("evaluation")}
    assert read == {main}
    held_out = [stage for stage in planned.stages if stage.config.get("split") == DEVELOPMENT and "sft@" in stage.name]
    assert {stage.config["decoding"] for stage in held_out} == {main}


def test_one_more_method_adds_only_its_own_stages() -> None:
    new = changed(
        plan(), plan('methods.focus={objective="dft", data="rollouts.correct", training={learning_rate=1e-3}}')
    )
    assert new
    assert all(name.startswith(("train/focus/", "evaluate/focus/")) for name in new)


def test_a_hyper_parameter_re_runs_its_row_alone() -> None:
    new = changed(plan(), plan("methods.dpo.hyperparameters.beta=0.3"))
    assert new
    assert all("/dpo/" in name for name in new)


def test_resources_labels_and_names_re_run_nothing() -> None:
    assert not changed(
        plan(), plan("resources.workers=7", "methods.sft.label=Supervised", "title=Another", "name=another")
    )


def test_a_new_benchmark_re_runs_only_its_own_evaluations() -> None:
    extra = 'evaluation.benchmarks=["arithmetic:test/in_domain", "arithmetic:clean/6_steps"]'
    new = changed(plan(), plan(extra))
    assert new and all("/6_steps/" in name or name.startswith("problems/") for name in new)


def test_an_unused_plugin_re_runs_nothing_and_an_edited_one_its_own_row(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text('''from rlbench import objective

@objective("mine")
def mine(batch, *, power: float = 2.0):
    """A loss."""
    return -batch.logp * power
''')
    uses = (f'plugins=["{plugin}"]', 'methods.mine={objective="mine", data="demonstrations"}')
    assert not changed(plan(), plan(uses[0]))
    before = plan(*uses)
    assert {name.split("/")[1] for name in changed(plan(), before)} == {"mine"}
    plugin.write_text(plugin.read_text().replace("* power", "/ power"))
    assert {name.split("/")[1] for name in changed(before, plan(*uses))} == {"mine"}


def test_the_base_is_measured_under_every_decoding_of_the_rows() -> None:
    methods = "methods={sft={objective='sft', data='demonstrations'}}"
    planned = plan('evaluation.decodings=["t0.6"]', "evaluation.reference=sft", methods)
    base = next(row for row in planned.rows if row.method == "base")
    assert {decoding for _, decoding in base.evaluations} == {"t0.6", "t1.0", "t0.7", "t0.5", "greedy"}


def test_evaluation_seeds_do_not_depend_on_the_method() -> None:
    configs = {
        json.dumps({**stage.config}, sort_keys=True)
        for stage in plan().stages
        if stage.name.endswith("seed0/steps/t1.0")
    }
    assert len(configs) == 1


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("methods.sft.objective=sff",), ["`methods.sft.objective`", "'sff'", "did you mean 'sft'"]),
        (("methods.dpo.hyperparameters.betta=1",), ["`methods.dpo.hyperparameters`", "'betta'", "did you mean 'beta'"]),
        (("methods.dpo.hyperparameters.beta=high",), ["methods.dpo", "beta"]),
        (("methods.sft.data=demonstration",), ["methods.sft.data", "did you mean 'demonstrations'"]),
        (("methods.dpo.data=rollouts.correct",), ["methods.dpo.data", "pairs"]),
        (("methods.sft.data=rollouts.pairs",), ["methods.sft.data", "sequences"]),
        (('methods.x={objective="grpo", data="rollouts.groups"}',), ["methods.x.advantage", "group_norm"]),
        (('methods.x={objective="ppo", data="online", advantage="gae", online={}}',), ["methods.x.critic"]),
        (("methods.sft.reduction=mean",), ["methods.sft.reduction", "token-mean"]),
        (("data.template=miniatur",), ["did you mean 'miniature'"]),
        (("data.prompts=arithmetic:prompt",), ["'prompt'", "did you mean 'prompts'"]),
        (("data.prompts=aritmetic",), ["did you mean 'arithmetic'"]),
        (("data.prompts=missing.jsonl",), ["missing.jsonl"]),
        (("model.source=./nowhere",), ["./nowhere", "no such folder"]),
        (("model.pretraining.token=5",), ["token", "tokens"]),
        (("plugins=['nowhere.py']",), ["nowhere.py"]),
        (("methods.base={objective='sft', data='demonstrations'}",), ["methods.base"]),
        (("evaluation.benchmarks=['arithmetic:test/steps', 'arithmetic:development/steps']",), ["'steps'", "name"]),
        (("evaluation.benchmarks=[{source='arithmetic:test/steps', name='avg'}]",), ["'avg'", "name"]),
        (("evaluation.decodings=[]",), ["`evaluation.decodings`"]),
        (("evaluation.decodings=['tinf']",), ["'tinf'", "greedy"]),
        (("methods.sft.training.learning_rate=inf",), ["`methods.sft.training.learning_rate`", "finite"]),
        (("methods.dpo.hyperparameters.beta=nan",), ["methods.dpo", "beta", "finite"]),
        (("model.pretraining.learning_rate=inf",), ["base/seed0"]),
        (("model.pretraining.habits=3",), ["habits"]),
        (("methods.dpo.reduction=token-mean",), ["methods.dpo.reduction", "pairs"]),
        (("methods.sft.critic={learning_rate=1e-3}",), ["methods.sft.critic", "online"]),
        (("training.betas=[2, 3]",), ["betas"]),
        (("methods.sfft.training.learning_rate=1e-3",), ["`methods.sfft`", "did you mean 'sft'"]),
        (("methods={}",), ["`methods`", "at least one"]),
        (("seeds=[0, 0]",), ["`seeds`", "each once"]),
        (("model.source=minature",), ["did you mean 'miniature'"]),
        (('methods.ppo.backend="trl"',), ["methods.ppo.backend", "no PPO"]),
        (('methods.iw_sft.backend="trl"',), ["methods.iw_sft.backend", "not iw_sft"]),
        (('methods.sft.backend="tlr"',), ["methods.sft.backend", "'trl'"]),
        (('methods.ppo.objective="value"',), ["methods.ppo.objective", "critic"]),
        (
            ('methods.x={objective="grpo", data="rollouts.groups", advantage="gae"}',),
            ["methods.x.data", 'data = "online"'],
        ),
        (
            ('methods.x={objective="topr", data="rollouts.groups"}', "rollouts.temperature=0.7"),
            ["old_logp", "rollouts.temperature = 0.7"],
        ),
        (("methods.grpo.advantage=group_nrm",), ["`methods.grpo.advantage`", "did you mean 'group_norm'"]),
        (("methods.grpo.filters=['positve']",), ["`methods.grpo.filters`", "did you mean 'positive'"]),
        (("methods.grpo.reward=corect",), ["`methods.grpo.reward`", "did you mean 'correct'"]),
        (("methods.ppo.critic.objective=valu",), ["`methods.ppo.critic.objective`", "did you mean 'value'"]),
        (("methods.ppo.critic.objective=dft",), ["`methods.ppo.critic.objective`", "'dft' does not read `value`"]),
        (("sampling.engine=vlm",), ["`sampling.engine`", "'vllm'"]),
        (("sampling.vllm.max_num_seq=4",), ["`sampling.vllm.max_num_seq`", "did you mean 'max_num_seqs'"]),
        (("sampling.vllm.gpu_memory_utilization=1.5",), ["`sampling.vllm.gpu_memory_utilization`", "1"]),
        (("methods.sft.training.refresh_interval=4",), ["methods.sft.training.refresh_interval", "old_logp"]),
        (("methods.grpo.training.refresh_interval=4",), ["methods.grpo.training.refresh_interval", "offline"]),
        (("methods.grpo.online.refills=2",), ["methods.grpo.online.refills", "mixed_groups"]),
        (
            ("methods.grpo.online.importance_cap=0.5",),
            ["methods.grpo.online.importance_cap", "greater than or equal to 1"],
        ),
        (
            ('methods.x={objective="sft", data="online", online={importance_cap=2.0}}',),
            ["x.online.importance_cap", "'sft' reads none"],
        ),
        (("sampling.shard_samples=0",), ["`sampling.shard_samples`", "greater than 0"]),
        (("methods.grpo.online.sync_interval=0",), ["methods.grpo.online.sync_interval", "greater than 0"]),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_before_anything_runs(
    overrides: tuple[str, ...], parts: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        plan(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("kind", "field", "data"),
    [
        ("advantage", "entropy", "online"),
        ("row_filter", "value", "online"),
        ("row_filter", "old_value", "online"),
        ("advantage", "sampler_logp", "demonstrations"),
        ("row_filter", "ref_logp", "rollouts.groups"),
    ],
)
def test_what_is_not_there_when_an_estimator_or_a_filter_is_called_is_refused_by_name(
    kind: str, field: str, data: str, tmp_path: Path
) -> None:
    plugin = tmp_path / "early.py"
    decorated = f'@{kind}("early", reads=("{field}",))\ndef early(batch):\n    return batch.{field}\n'
    plugin.write_text(f"from rlbench import {kind}\n{decorated}")
    key, value = ("advantage", '"early"') if kind == "advantage" else ("filters", '["early"]')
    row = f'methods.x={{objective="sft", data="{data}", {key}={value}{", online={}" if data == "online" else ""}}}'
    with pytest.raises(
        UserError, match=rf"^`methods\.x\.{key}`: 'early' reads {field}, which is not there when it is called"
    ):
        plan(f'plugins=["{plugin}"]', row)


def test_the_engine_is_vllm_where_it_is_installed_and_transformers_else_and_the_version_is_in_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def engines(version: str | None, engine: str) -> set[str]:
        monkeypatch.setattr("rlbench.planning.engines.vllm_version", lambda: version)
        stages = plan(f"sampling.engine={engine}").stages
        return {str(engine_of(stage.config)) for stage in stages if stage.kind in ("rollouts", "evaluate")}

    assert engines(None, "auto") == engines("0.32.0", "transformers") == {"transformers"}
    assert engines("0.32.0", "auto") == engines("0.32.0", "vllm") == {"vllm 0.32.0"}
    fingerprint = plan("sampling.engine=vllm").fingerprint
    monkeypatch.setattr("rlbench.planning.engines.vllm_version", lambda: "0.31.0")
    assert plan("sampling.engine=vllm").fingerprint != fingerprint
    overrides = [
        "sampling.engine=vllm",
        "sampling.vllm.gpu_memory_utilization=0.8",
        "sampling.vllm.colocated_memory_utilization=0.2",
    ]
    stages = {stage.name: stage for stage in plan(*overrides).stages}
    assert engine_of(stages["train/grpo/seed0"].config) == "vllm 0.31.0"
    shares = [stages[name].config for name in ("rollouts/seed0",)] + [stages["train/grpo/seed0"].config["sampling"]]
    assert [config["gpu_memory_utilization"] for config in shares] == [0.8, 0.2]
    monkeypatch.setattr("rlbench.planning.engines.vllm_version", lambda: None)
    with pytest.raises(UserError, match=r"^`sampling\.engine`: vllm is not installed"):
        plan("sampling.engine=vllm")


def test_an_error_of_a_key_names_the_recipes_file() -> None:
    path = RECIPES / "quickstart.toml"
    with pytest.raises(UserError, match=rf"^{path}: `methods\.sft\.objective`: unknown objective"):
        build(load_recipe(path, ["methods.sft.objective=sff"]), path)


def test_the_zoo_has_a_row_for_every_objective_and_shares_the_quickstarts_stages() -> None:
    zoo = plan(recipe="objective_zoo.toml")
    used = {stage.config["objective"]["name"] for stage in zoo.stages if stage.kind == "train"}
    used |= {stage.config["critic"]["name"] for stage in zoo.stages if stage.kind == "train" and stage.config["critic"]}
    assert used == set(registry.describe().objectives)
    assert {stage.fingerprint for stage in plan().stages} <= {stage.fingerprint for stage in zoo.stages}
    for seed in (0, 1):
        assert len({row.bank.fingerprint for row in zoo.rows if row.seed == seed and row.bank is not None}) == 1


def test_the_readme_names_every_objective() -> None:
    text = (RECIPES.parent / "README.md").read_text(encoding="utf-8")
    assert not [name for name in registry.describe().objectives if f"`{name}`" not in text]


def test_a_row_by_trl_has_the_same_data_and_a_training_stage_of_its_own() -> None:
    planned = plan('methods.trl={objective="sft", data="demonstrations", backend="trl", training={learning_rate=1e-3}}')
    ours, theirs = (next(s for s in planned.stages if s.name == f"train/{name}/seed0") for name in ("sft", "trl"))
    assert {name: stage.fingerprint for name, stage in ours.inputs.items()} == {
        name: s.fingerprint for name, s in theirs.inputs.items()
    }
    assert theirs.function == "rlbench.training.trl_backend:train" and ours.fingerprint != theirs.fingerprint
    assert {**ours.config, "trl": theirs.config["trl"]} == theirs.config and theirs.config["trl"]


def test_an_objective_of_the_samplers_log_probabilities_is_refused_on_demonstrations(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    decorated = '@objective("mine", reads=("sampler_logp",))\ndef mine(batch):\n    return -batch.sampler_logp\n'
    text = f"from rlbench import objective\n{decorated}"
    plugin.write_text(text)
    with pytest.raises(UserError, match="nobody sampled demonstrations"):
        plan(f'plugins=["{plugin}"]', 'methods.mine={objective="mine", data="demonstrations"}')


def test_a_plugin_that_reads_what_it_does_not_declare_is_warned_of_and_the_rest_is_planned(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        'from rlbench import objective\n@objective("mine")\ndef mine(batch):\n    return -batch.ref_logp\n'
    )
    planned = plan(f'plugins=["{plugin}"]', 'methods.mine={objective="mine", data="demonstrations"}')
    (warning,) = planned.warnings
    assert f"{plugin}:4: objective 'mine' reads 'ref_logp'" in warning and "methods.mine" in warning
    assert plan().warnings == ()


def test_a_plan_can_tell_smaller_differences_with_more_seeds_and_says_nothing_where_a_size_is_unknown() -> None:
    def effect(*overrides: str) -> float | None:
        return detectable_effect(plan(*overrides))

    two, five = effect("seeds=[0, 1]"), effect("seeds=[0, 1, 2, 3, 4]")
    assert two is not None and five is not None and 0 < five < two
    assert effect("evaluation.samples=64", "seeds=[0, 1]") < two
    assert effect('evaluation.benchmarks=[{source="arithmetic:test/steps", limit=1}]') is None


def test_the_papers_recipe_resolves_offline_with_its_generations() -> None:
    planned = plan(recipe="dft_vs_rl.toml")
    trained = ["sft", "dpo", "rft", "ppo", "grpo", "iw_sft", "dft"]
    assert [row.method for row in planned.rows if row.seed in (None, 0)] == [
        "base",
        "base_bare",
        "base_few_shot",
        *trained,
    ]
    by_kind = {
        kind: sum(estimate(s)["generations"] for s in planned.stages if s.kind == kind)
        for kind in ("rollouts", "evaluate")
    }
    assert by_kind["rollouts"] == 400_000
    problems = 500 + 272 + 674 + 30 + 40 + 4 * 100  # the paper's file of OlympiadBench has one more; and the clean sets
    base, development = (3 * 16 + 1) * problems, (3 * 16 + 1) * 500
    assert by_kind["evaluate"] == base + development + (2 + 7 * 3) * 17 * problems
    assert totals(planned, set())["trained_tokens"] > 10**7
    dft = next(stage for stage in planned.stages if stage.name == "train/dft/seed0").config["training"]
    assert (dft["learning_rate"], dft["batch_size"], dft["warmup"], dft["max_length"]) == (5e-5, 256, 0.1, 2048)
