"""The recipes that come with the package: found by name from any folder, never in place of a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rlbench.cli.main import cli
from rlbench.recipe import load_recipe
from rlbench.recipe.packaged import packaged
from rlbench.records import UserError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_recipe_of_the_repository_is_packaged_once() -> None:
    assert sorted(packaged()) == NAMES
    assert all(path.samefile(RECIPES / path.name) for path in packaged().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_packaged_recipe(name: str) -> None:
    assert load_recipe(name) == load_recipe(RECIPES / f"{name}.toml")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_that_name_hides_nothing_and_a_file_is_taken_first(name: str, elsewhere: Path) -> None:
    (elsewhere / name).mkdir()
    assert load_recipe(name) == load_recipe(RECIPES / f"{name}.toml")
    (elsewhere / name).rmdir()
    (elsewhere / name).write_text(f'extends = "{RECIPES / name}.toml"\ntitle = "mine"\n')
    assert load_recipe(name).title == "mine"


def test_a_recipe_extends_a_packaged_one_by_name_and_a_neighbour_comes_first(elsewhere: Path) -> None:
    folder = elsewhere / "deeper"
    folder.mkdir()
    (folder / "child.toml").write_text('extends = "quickstart"\nname = "child"\n')
    assert list(load_recipe(folder / "child.toml").methods) == list(load_recipe("quickstart").methods)
    (folder / "quickstart").write_text(f'extends = "{RECIPES / "quickstart.toml"}"\nseeds = [9]\n')
    assert load_recipe(folder / "child.toml").seeds == (9,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong", ["{}.toml", "recipes/{}.toml", "/absent/folder/of/some/length/{}.toml", "sub/{}", "{}x"]
)
def test_what_is_not_there_is_refused_with_the_name_that_was_meant(name: str, wrong: str) -> None:
    with pytest.raises(UserError, match=r"^recipe .* does not exist") as caught:
        load_recipe(wrong.format(name))
    assert f"(did you mean {name!r}?)" in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_like_none_is_told_where_names_stand() -> None:
    with pytest.raises(UserError, match="`rlbench recipes` lists"):
        load_recipe("zzz")


def test_a_mistake_in_an_override_names_the_recipe_as_it_was_written() -> None:
    with pytest.raises(UserError, match=r"^quickstart: unknown key `rollouts.sample`"):
        load_recipe("quickstart", ["rollouts.sample=3"])


def test_a_recipe_that_extends_what_is_not_there_is_named(elsewhere: Path) -> None:
    (elsewhere / "child.toml").write_text('extends = "quikstart"\n')
    with pytest.raises(UserError, match=r"^child.toml: `extends`: recipe quikstart does not exist .*'quickstart'"):
        load_recipe("child.toml")


def test_the_command_lists_names_that_the_other_commands_take() -> None:
    listed = CliRunner().invoke(cli, ["recipes"], standalone_mode=False).output
    assert [line.split()[0] for line in listed.splitlines()] == NAMES
    assert all(load_recipe(line.split()[0]).title == line.split(maxsplit=1)[1] for line in listed.splitlines())
