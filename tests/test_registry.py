from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rlbench.objectives import registry
from rlbench.records import UserError

PLUGIN = '''
"""A plug-in."""
from rlbench import TokenBatch, objective
from rlbench.objectives import stop_gradient

STRENGTH = 2.0

def helper(x):
    return x * STRENGTH

@objective("spotlight", rows="sequences", reduction="token-mean")
def spotlight(batch: TokenBatch, *, gamma: float = 2.0, flip: bool = False):
    """Focal loss."""
    return helper(-stop_gradient(1 - batch.logp.exp()) ** gamma * batch.logp)

@objective("other")
def other(batch):
    return -batch.logp
'''


def write(folder: Path, text: str, name: str = "plugin.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refuse(folder: Path, text: str, *parts: str) -> None:
    path = write(folder, text)
    with pytest.raises(UserError) as caught:
        registry.describe([path])
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_describing_everything_built_in_imports_no_torch() -> None:
    code = "import sys; from rlbench.objectives import registry; registry.describe(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_built_in_objectives_are_described_as_their_source_says() -> None:
    dpo = registry.describe().objectives["dpo"]
    assert (dpo.rows, dpo.reads, dpo.reduction, dpo.hyperparameters) == ("pairs", ("ref_logp",), "pair-mean", {"beta": 0.1})
    assert dpo.path.read_text().splitlines()[dpo.line - 1].startswith("def dpo(")
    assert "2305.18290" in dpo.docstring


def test_every_built_in_function_loads_and_carries_what_was_read_of_it() -> None:
    catalogue = registry.describe()
    for kind in ("objective", "advantage", "reward", "filter"):
        assert catalogue.of(kind)
        for name, description in catalogue.of(kind).items():
            attached = registry.load(kind, name).__rlbench__
            assert (attached["kind"], attached["name"]) == (kind, name)
            assert tuple(attached.get("reads", ())) == description.reads
            assert description.docstring


def test_objectives_that_read_the_advantage_say_so() -> None:
    catalogue = registry.describe()
    clipped = {"ppo", "reinforce_pp", "grpo", "dr_grpo", "dapo", "gspo", "rloo", "cispo"}
    assert {name for name, found in catalogue.objectives.items() if found.uses_advantage} == clipped | {"reinforce", "dro"}


def test_a_plugin_is_described_without_running_and_loads_from_its_text_alone(tmp_path: Path) -> None:
    path = write(tmp_path, PLUGIN)
    found = registry.describe([path]).objectives["spotlight"]
    assert found.hyperparameters == {"gamma": 2.0, "flip": False}
    function = registry.load("objective", "spotlight", [{"path": "elsewhere/plugin.py", "source": PLUGIN}])
    assert function.__name__ == "spotlight"
    assert registry.load("objective", "spotlight", [path]) is function


def test_a_plugin_that_would_fail_to_run_is_still_described_and_fails_by_name_when_loaded(tmp_path: Path) -> None:
    path = write(tmp_path, "import nowhere_to_be_found\n" + PLUGIN)
    registry.describe([path])
    with pytest.raises(UserError, match="nowhere_to_be_found"):
        registry.load("objective", "spotlight", [path])


def test_adding_a_function_to_a_file_changes_the_source_of_no_other(tmp_path: Path) -> None:
    before = registry.describe([write(tmp_path, PLUGIN)]).objectives["spotlight"].source
    more = PLUGIN + '\n@objective("third")\ndef third(batch):\n    return batch.logp\n'
    assert registry.describe([write(tmp_path, more)]).objectives["spotlight"].source == before
    assert "STRENGTH" in before and "helper" in before and "other" not in before


def test_a_registered_function_that_another_one_calls_is_in_its_source(tmp_path: Path) -> None:
    text = PLUGIN + '\n@objective("third")\ndef third(batch):\n    return spotlight(batch)\n'
    assert "def spotlight" in registry.describe([write(tmp_path, text)]).objectives["third"].source


def test_hyperparameters_given_stand_over_defaults() -> None:
    catalogue = registry.describe()
    assert catalogue.resolve("grpo", "objective", {"clip_high": 0.28}) == {"clip_low": 0.2, "clip_high": 0.28}
    beta = catalogue.resolve("dpo", "objective", {"beta": 1})["beta"]
    assert beta == 1.0 and type(beta) is float


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("grop", {}, "did you mean 'grpo'"),
        ("dpo", {"bta": 1.0}, "did you mean 'beta'"),
        ("sft", {"beta": 1.0}, "it has: none"),
        ("dpo", {"beta": "high"}, "is a float such as 0.1, not 'high'"),
        ("dpo", {"beta": True}, "is a float such as 0.1, not True"),
    ],
)
def test_unknown_names_keys_and_types_are_refused_by_name(name: str, given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        registry.describe().resolve(name, "objective", given)


def test_a_name_that_is_taken_is_refused_with_both_places(tmp_path: Path) -> None:
    refuse(tmp_path, '@objective("sft")\ndef mine(batch):\n    return -batch.logp\n', ":2", "already defined in", "sft.py")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('@objective("a")\ndef f(batch, beta=0.1): ...', (":2", "one positional parameter")),
        ('@objective("a")\ndef f(batch, **rest): ...', ("one positional parameter",)),
        ('@objective("a")\ndef f(batch, *, beta): ...', ("'beta' needs a default",)),
        ('B = 1\n@objective("a")\ndef f(batch, *, beta=B): ...', (":3", "has to be a literal, not 'B'")),
        ('@objective("a", reads=("ref_lgp",))\ndef f(batch): ...', ("did you mean 'ref_logp'",)),
        ('@objective("a", reads="ref_logp")\ndef f(batch): ...', ("tuple of field names",)),
        ('@objective("a", reduction="mean")\ndef f(batch): ...', ("token-mean",)),
        ('@objective("a", rows="triples")\ndef f(batch): ...', ("sequences, pairs, groups",)),
        ('@objective("a", row="pairs")\ndef f(batch): ...', ("did you mean 'rows'",)),
        ('N = "a"\n@objective(N)\ndef f(batch): ...', ("'name' has to be a literal",)),
        ("@objective()\ndef f(batch): ...", ("by a string",)),
        ("def f(:", (":1", "not Python")),
    ],
)
def test_what_cannot_be_read_from_the_source_is_refused_with_file_and_line(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    refuse(tmp_path, text, *parts)


def test_reading_what_is_not_declared_is_noted_with_file_and_line_and_refused_by_nobody(tmp_path: Path) -> None:
    path = write(tmp_path, '@objective("a")\ndef f(batch):\n    return batch.ref_logp\n')
    found = registry.describe([path]).objectives["a"]
    assert found.problem == f"{path}:3: objective 'a' reads 'ref_logp' and does not declare it: add it to reads"
    assert not [d.name for d in registry.describe().objectives.values() if d.problem]


def test_a_broken_installed_plugin_keeps_nobody_from_what_does_not_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "def f(:", "broken_losses.py")
    info = tmp_path / "broken_losses-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: broken-losses\nVersion: 1.0\n", "METADATA")
    write(info, "[rlbench.objectives]\nlosses = broken_losses\nmore = absent_losses\n", "entry_points.txt")
    monkeypatch.syspath_prepend(tmp_path)
    catalogue = registry.describe()
    assert "sft" in catalogue.objectives
    with pytest.raises(UserError, match=r"(?s)'absent_losses' is not there.*broken_losses\.py:1: not Python"):
        catalogue.find("mine", "objective")


def test_what_a_function_raises_names_it_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, PLUGIN + '\n@objective("third")\ndef third(batch):\n    return helper(None)\n')
    with pytest.raises(UserError, match=rf"objective 'third' \({path}:9\): TypeError"):
        registry.call(registry.load("objective", "third", [path]), None, {})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('@objective("a")\ndef f(batch): ...\n@objective("a")\ndef g(batch): ...\n', (":4", "already defined in", ":2")),
        ('@objective("a")\ndef f(batch): ...\n@objective("b")\ndef f(batch): ...\n', (":4", "replaces that of line 2")),
        ('@objective("a")\nclass F: ...\n', (":2", "plain function")),
        ("x = 1\n", ("registers nothing", "@objective(...)")),
        ("x = '\0'\n", ("not Python",)),
    ],
)
def test_what_would_be_lost_in_silence_is_refused(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    refuse(tmp_path, text, *parts)


def test_an_installed_plugin_that_cannot_be_imported_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, PLUGIN + "\nraise ValueError('no')\n", "raising_losses.py")
    info = tmp_path / "raising_losses-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: raising-losses\nVersion: 1.0\n", "METADATA")
    write(info, "[rlbench.objectives]\nlosses = raising_losses\n", "entry_points.txt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"{path}:20 failed while it was imported: ValueError: no"):
        registry.load("objective", "spotlight")


def test_a_missing_plugin_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.py"):
        registry.describe([tmp_path / "absent.py"])


def test_an_installed_plugin_is_found_by_its_entry_point_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package").mkdir()
    write(tmp_path / "some_package", "raise RuntimeError('imported')", "__init__.py")
    write(tmp_path / "some_package", PLUGIN, "losses.py")
    info = tmp_path / "some_package-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n", "METADATA")
    write(info, "[rlbench.objectives]\nlosses = some_package.losses\n", "entry_points.txt")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.describe().objectives["spotlight"]
    assert (found.module, found.path) == ("some_package.losses", tmp_path / "some_package" / "losses.py")
    assert "some_package" not in sys.modules
