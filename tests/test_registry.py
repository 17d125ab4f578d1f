from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    assert (dpo.rows, dpo.reads, dpo.reduction, dpo.hyperparameters) == (
        "pairs",
        ("ref_logp",),
        "pair-mean",
        {"beta": 0.1},
    )
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
    assert {name for name, found in catalogue.objectives.items() if found.uses_advantage} == clipped | {
        "reinforce",
        "dro",
    }


def test_a_plugin_is_described_without_running_and_loads_from_its_text_alone(tmp_path: Path) -> None:
    path = write(tmp_path, PLUGIN)
    found = registry.describe([path]).objectives["spotlight"]
    assert found.hyperparameters == {"gamma": 2.0, "flip": False}
    carried = [{"path": "elsewhere/plugin.py", "source": PLUGIN}]
    function = registry.load("objective", "spotlight", carried)
    assert function.__name__ == "spotlight" and function.__code__.co_filename == "elsewhere/plugin.py"
    assert registry.load("objective", "spotlight", carried) is function


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
    refuse(
        tmp_path, '@objective("sft")\ndef mine(batch):\n    return -batch.logp\n', ":2", "already defined in", "sft.py"
    )


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
def test_what_cannot_be_read_from_the_source_is_refused_with_file_and_line(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    refuse(tmp_path, text, *parts)


def test_reading_what_is_not_declared_is_noted_with_file_and_line_and_refused_by_nobody(tmp_path: Path) -> None:
    path = write(tmp_path, '@objective("a")\ndef f(batch):\n    return batch.ref_logp\n')
    found = registry.describe([path]).objectives["a"]
    assert found.problem == f"{path}:3: objective 'a' reads 'ref_logp' and does not declare it: add it to reads"
    assert not [d.name for d in registry.describe().objectives.values() if d.problem]


def test_a_broken_installed_plugin_keeps_nobody_from_what_does_not_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        (
            '@objective("a")\ndef f(batch): ...\n@objective("a")\ndef g(batch): ...\n',
            (":4", "already defined in", ":2"),
        ),
        ('@objective("a")\ndef f(batch): ...\n@objective("b")\ndef f(batch): ...\n', (":4", "replaces that of line 2")),
        ('@objective("a")\nclass F: ...\n', (":2", "plain function")),
        ("x = 1\n", ("registers nothing", "@objective(...)")),
        ("x = '\0'\n", ("not Python",)),
    ],
)
def test_what_would_be_lost_in_silence_is_refused(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    refuse(tmp_path, text, *parts)


def test_an_installed_plugin_that_cannot_be_imported_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, PLUGIN + "\nraise ValueError('no')\n", "raising_losses.py")
    info = tmp_path / "raising_losses-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: raising-losses\nVersion: 1.0\n", "METADATA")
    write(info, "[rlbench.objectives]\nlosses = raising_losses\n", "entry_points.txt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"{path}:20 failed while it was imported: ValueError: no"):
        registry.load("objective", "spotlight")


def test_a_missing_plugin_is_refused_by_name_and_a_relative_path_with_where_it_is_taken_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plug-in \S+absent\.py: there is no such file$"):
        registry.describe([tmp_path / "absent.py"])
    with pytest.raises(UserError, match=rf"in {Path.cwd()}; a relative path is taken from where rlbench is run"):
        registry.describe(["absent.py"])


def test_a_plugin_named_twice_is_said_so_and_one_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + PLUGIN)
    assert "spotlight" in registry.describe([path]).objectives
    with pytest.raises(UserError, match="is named twice: leave one out"):
        registry.describe([path, path])


@pytest.mark.parametrize(
    "line", ["import beside", "from beside import x", "from beside.deeper import x", "from . import x"]
)
def test_importing_from_beside_a_plugin_is_a_problem_since_no_fingerprint_holds_it(tmp_path: Path, line: str) -> None:
    write(tmp_path, "x = 1\n", "beside.py")
    write(tmp_path, "", "torch_like.py")
    path = write(tmp_path, "import torch, rlbench\n" + PLUGIN + f"\ndef late():\n    {line}\n")
    problem = registry.describe([path]).objectives["spotlight"].problem
    number = path.read_text().splitlines().index(f"    {line}") + 1
    assert (
        problem is not None
        and problem.startswith(f"{path}:{number}: it imports ")
        and "not be in the fingerprint" in problem
    )
    (tmp_path / "other").mkdir()
    alone = write(tmp_path / "other", "import torch, rlbench, json\n" + PLUGIN)
    assert registry.describe([alone]).objectives["spotlight"].problem is None


def test_a_folder_of_modules_beside_a_plugin_counts_and_what_is_installed_may_lie_there(tmp_path: Path) -> None:
    for folder in ("lib", "torch", "statistics"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "x = 1\n", "helpers.py")
    assert (
        registry.describe([write(tmp_path, "import statistics, torch\n" + PLUGIN)]).objectives["spotlight"].problem
        is None
    )
    path = write(tmp_path, "from lib.helpers import x\n" + PLUGIN, "other.py")
    assert "it imports 'lib' from beside it" in str(registry.describe([path]).objectives["spotlight"].problem)


def test_a_working_directory_that_a_plugin_removes_keeps_nobody_else_from_working(tmp_path: Path) -> None:
    text = (
        'import os, tempfile, torch\nfrom rlbench import objective\n@objective("gone")\ndef gone(batch):\n'
        "    torch.set_default_dtype(torch.float64)\n    with tempfile.TemporaryDirectory() as folder:\n        "
        "os.chdir(folder)\n"
        '    return batch\n@objective("fine")\ndef fine(batch):\n    return batch\n'
    )
    path, here = write(tmp_path, text), os.getcwd()
    with pytest.raises(
        UserError, match=r"objective 'gone' \(.*changes the working directory and torch's default dtype"
    ):
        registry.call(registry.load("objective", "gone", [path]), None, {})
    assert registry.call(registry.load("objective", "fine", [path]), 1, {}) == 1
    assert (os.getcwd(), torch.get_default_dtype()) == (here, torch.float32)


def test_what_only_another_function_of_the_file_uses_is_no_part_of_a_source(tmp_path: Path) -> None:
    text = (
        "import math\nimport torch\nimport patches\nA = 1\nB = 2\nC = torch.zeros(1)\n\ndef for_a(x):\n    return x "
        "* A\n\n"
        'def for_b(x):\n    return math.exp(B) * x\n\n@objective("a")\ndef a(batch):\n    return for_a(-batch.logp)\n\n'
        '@objective("b")\ndef b(batch):\n    return for_b(-batch.logp)\n'
    )
    path = write(tmp_path, text)
    first, second = (registry.describe([path]).objectives[name].source for name in "ab")
    assert all(part in first for part in ("A = 1", "def for_a", "def a", "import patches", "import torch", "C = torch"))
    assert not any(part in first for part in ("B = 2", "def for_b", "def b", "import math"))
    assert all(part in second for part in ("B = 2", "def for_b", "import math")) and "A = 1" not in second
    reflective = write(tmp_path, text.replace("return x * A", 'return globals()["for_b"](x)'), "reflective.py")
    assert "def for_b" in registry.describe([reflective]).objectives["a"].source


REACHED = {
    "a class that a base takes note of": (
        "class Kernel:\n    table = {}\n    def __init_subclass__(cls):\n        Kernel.table[cls.__name__] = cls\n"
        "class Square(Kernel):\n    def f(self, x):\n        return x * FACTOR\n",
        'Kernel.table["Sq" + "uare"]().f(batch.logp)',
    ),
    "a class whose body does something": (
        "TABLE = {}\nclass Setup:\n    TABLE['k'] = FACTOR\n",
        "batch.logp * TABLE['k']",
    ),
    "a default that does something": (
        "STATE = {}\ndef helper(x, _=STATE.update(k=FACTOR)):\n    return x\n",
        "batch.logp * STATE['k']",
    ),
    "a name in quotes": (
        "def helper(x):\n    return x * FACTOR\nimport sys\n",
        "getattr(sys, 'x', helper_of('helper'))(batch.logp)",
    ),
    "its own globals": ("def helper(x):\n    return x * FACTOR\n", "a.__globals__['hel' + 'per'](batch.logp)"),
    "a conditional definition": ("if True:\n    def helper(x):\n        return x * FACTOR\n", "helper(batch.logp)"),
    "a name that is bound twice": ("scale = 1\nscale = scale * FACTOR\n", "batch.logp * scale"),
}


@pytest.mark.parametrize("how", REACHED)
def test_an_edit_of_what_a_function_may_reach_is_in_its_source(how: str, tmp_path: Path) -> None:
    before, body = REACHED[how]
    text = before + f'@objective("a")\ndef a(batch):\n    return {body}\n'
    first, second = (
        registry.describe([write(tmp_path, text.replace("FACTOR", number))]).objectives["a"].source for number in "23"
    )
    assert first != second


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("torch.set_default_dtype(torch.float64)", "torch's default dtype"),
        ("torch.set_grad_enabled(False)", "torch's gradient mode"),
        ("os.chdir('/')", "the working directory"),
        ("torch.set_num_threads(torch.get_num_threads() + 1)", "torch's number of threads"),
    ],
)
def test_a_plugin_that_changes_what_all_rows_share_is_refused_and_the_change_undone(
    tmp_path: Path, line: str, what: str
) -> None:
    def shared() -> tuple:
        return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), os.getcwd()

    before = shared()
    at_import = write(tmp_path, f"import os, torch\n{line}\n" + PLUGIN, "at_import.py")
    with pytest.raises(UserError, match=f"plug-in {at_import} changes {what}, which all rows share"):
        registry.load("objective", "spotlight", [at_import])
    assert shared() == before
    decorated = f'@objective("a")\ndef a(batch):\n    {line}\n    return batch\n'
    text = f"import os, torch\nfrom rlbench import objective\n{decorated}"
    when_called = write(tmp_path, text, "when_called.py")
    function = registry.load("objective", "a", [when_called])
    with pytest.raises(UserError, match=rf"objective 'a' \({when_called}:\d\) changes {what}"):
        registry.call(function, None, {})
    assert shared() == before


@pytest.mark.parametrize("line", ["del spotlight", "def spotlight(batch):\n    return -batch.logp", "spotlight = None"])
def test_what_is_not_the_registered_function_any_more_once_the_file_has_run_is_refused(
    tmp_path: Path, line: str
) -> None:
    path = write(tmp_path, PLUGIN + f"\n{line}\n")
    with pytest.raises(
        UserError, match=rf"{path}:\d+: objective 'spotlight': once its file has run, 'spotlight' is something else"
    ):
        registry.load("objective", "spotlight", [path])


def test_an_installed_plugin_is_found_by_its_entry_point_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
