"""Recipes: what is read, merged, overridden, expanded, and how each mistake is named."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import ANY

import pytest

from rlbench.recipe import EvaluationConfig, MethodConfig, TrainingConfig, load_recipe
from rlbench.recipe.keys import Key, keys
from rlbench.records import UserError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
QUICKSTART = RECIPES / "quickstart.toml"


def error(*overrides: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(QUICKSTART, overrides, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_loads(path: Path) -> None:
    assert load_recipe(path).methods


def test_set_overrides_nested_keys_with_toml_values_and_plain_text() -> None:
    recipe = load_recipe(
        QUICKSTART, ["rollouts.samples=8", "methods.dpo.hyperparameters.beta=0.3", "data.template=bare", "seeds=[3, 4]"]
    )
    assert recipe.rollouts.samples == 8
    assert recipe.methods["dpo"].hyperparameters["beta"] == 0.3
    assert recipe.data.template == "bare"
    assert recipe.seeds == (3, 4)


def test_only_keeps_the_named_methods_in_the_recipes_order() -> None:
    assert list(load_recipe(QUICKSTART, only=["grpo", "sft"]).methods) == ["sft", "grpo"]


def test_a_methods_training_keys_stand_over_the_shared_ones() -> None:
    recipe = load_recipe(QUICKSTART)
    assert recipe.training_of(recipe.methods["dpo"]).epochs == 1
    assert recipe.training_of(recipe.methods["sft"]).epochs == 2


def test_extends_merges_tables_and_replaces_values(tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text(f'extends = "{QUICKSTART}"\nname = "child"\nseeds = [7]\n[rollouts]\nsamples = 2\n')
    recipe = load_recipe(child)
    assert (recipe.name, recipe.seeds, recipe.rollouts.samples, recipe.rollouts.max_new_tokens) == (
        "child",
        (7,),
        2,
        128,
    )


def test_a_sweep_gives_each_method_each_value() -> None:
    recipe = load_recipe(RECIPES / "quickstart_tuning.toml")
    names = [name for name in recipe.methods if name.startswith("dpo@")]
    rates = [recipe.training_of(recipe.methods[name]).learning_rate for name in names]
    assert len(rates) == 4
    grids = {
        tuple(recipe.training_of(m).learning_rate for n, m in recipe.methods.items() if n.split("@")[0] == method)
        for method in {name.split("@")[0] for name in recipe.methods}
    }
    assert grids == {tuple(rates)}, "every method must have the same grid"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("rollouts.sample=4", ["`rollouts.sample`", "did you mean 'samples'"]),
        ("trainings=1", ["`trainings`", "did you mean 'training'"]),
        ("methods.sft.objektive=1", ["`methods.sft.objektive`", "did you mean 'objective'"]),
        (
            "methods.sft.training.learning_rat=1e-4",
            ["`methods.sft.training.learning_rat`", "did you mean 'learning_rate'"],
        ),
        ("rollouts.samples=many", ["`rollouts.samples`", "integer", "'many'"]),
        ("rollouts.samples=0", ["`rollouts.samples`", "greater than 0"]),
        ("evaluation.decodings=['warm']", ["'warm'", "greedy"]),
        ("methods.ppo.online.stepz=3", ["`methods.ppo.online.stepz`", "did you mean 'steps'"]),
        ("methods.new.data=online", ["`methods.new`", "objective or a checkpoint"]),
        ("seeds=[]", ["`seeds`"]),
        ("rollouts", ["key=value"]),
        ("name.first=1", ["'name' is a value"]),
    ],
)
def test_a_mistake_is_named_in_one_line(override: str, parts: list[str]) -> None:
    message = error(override)
    assert all(part in message for part in parts), message


def test_an_unknown_method_in_only_suggests_the_nearest() -> None:
    assert "did you mean 'grpo'" in error(only=["gpro"])


def test_a_missing_recipe_suggests_the_nearest_file() -> None:
    with pytest.raises(UserError, match=r"does not exist \(did you mean '.*quickstart.toml'\?\)"):
        load_recipe(RECIPES / "quikstart.toml")


@pytest.mark.parametrize(
    ("text", "part"),
    [("name = ", "not TOML"), ('extends = "self.toml"', "circle"), ("extends = 3", "path or name of one recipe")],
)
def test_broken_files_are_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "self.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=part):
        load_recipe(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("")
    with pytest.raises(UserError, match="`name` is missing"):
        load_recipe(path)


def test_every_key_is_documented_with_the_values_it_takes_and_its_default() -> None:
    listed = {key.key: key for key in keys()}
    assert all(key.description.endswith(".") for key in listed.values())
    assert listed["evaluation.samples"] == Key("evaluation.samples", "whole number above 0", 16, False, ANY)
    assert listed["model.trust_remote_code"].default is False and listed["data.prompts"].required
    assert listed["training.warmup"].values == "number from 0 up to 1" and listed["training.warmup"].default == 0.0
    assert listed["methods.NAME.reward"].default == "correct"
    assert listed["evaluation.clean"].description.endswith("Its keys are those of data.prompts.")


def test_the_listed_keys_are_those_that_a_recipe_may_have() -> None:
    """What is listed below a table is what the table takes, and nothing else."""
    for table, fields in (
        ("evaluation", EvaluationConfig),
        ("training", TrainingConfig),
        ("methods.NAME", MethodConfig),
    ):
        depth = table.count(".") + 1
        below = [key.key.split(".") for key in keys() if key.key.startswith(f"{table}.")]
        assert list(dict.fromkeys(parts[depth] for parts in below)) == list(fields.model_fields)
