"""Tasks: the registry, sources, the problems stage; and the hub sets, loaded for real from local folders of the hub's
form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlbench.records import Problem, UserError, read_problems
from rlbench.tasks import base
from rlbench.tasks.base import (
    Loaded,
    content_digest,
    describe_source,
    get_task,
    load_source,
    problems_stage,
    task,
    task_names,
)
from rlbench.tasks.hub import SETS, load_hub

LINE = '{"id": "%s", "problem": "1+1?", "answer": "2"}\n'


class Counter:
    """A stage's context, as far as the problems stage uses one."""

    def __init__(self, **unhashed: str) -> None:
        self.counters: dict[str, float] = {}
        self.unhashed = unhashed

    def count(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.counters[name] = self.counters.get(name, 0) + number


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))


# The registry ---------------------------------------------------------------------------------------------------------


def test_every_built_in_task_is_found_under_its_name() -> None:
    for name in task_names():
        assert get_task(name).name == name
        assert get_task(name).default_split in get_task(name).splits


def test_a_registered_function_is_loaded_by_split_with_its_default(registry: None) -> None:
    @task("toy", splits=("train", "test"), version=3, default_split="test")
    def load(split: str, *, limit: int | None = None) -> list[Problem]:
        return [Problem(f"{split}/{i}", "p", str(i)) for i in range(5)][:limit]

    assert [p.id for p in load_source("toy", limit=2)] == ["test/0", "test/1"]
    assert len(load_source("toy:train")) == 5
    assert describe_source("toy", limit=2) == {
        "task": "toy",
        "split": "test",
        "limit": 2,
        "revision": None,
        "version": 3,
    }


def test_a_revision_reaches_the_function_that_takes_one_and_is_refused_elsewhere(registry: None) -> None:
    @task("pinned", splits=("test",))
    def load(split: str, *, limit: int | None = None, revision: str | None = None) -> list[Problem]:
        return [Problem("0", str(revision), "1")]

    assert load_source("pinned", revision="abc")[0].problem == "abc"
    assert describe_source("pinned", revision="abc")["revision"] == "abc"
    with pytest.raises(UserError, match="takes no `revision`"):
        load_source("arithmetic:prompts", revision="abc")


def test_one_name_is_not_registered_for_two_functions(registry: None) -> None:
    task("toy", splits=("a",))(lambda split, *, limit=None: [])
    with pytest.raises(ValueError, match="registered twice"):
        task("toy", splits=("a",))(describe_source)
    with pytest.raises(ValueError, match="default split 'b'"):
        task("toy2", splits=("a",), default_split="b")


def test_two_problems_with_one_id_are_refused(registry: None) -> None:
    task("twins", splits=("a",))(lambda split, *, limit=None: [Problem("0", "p", "1"), Problem("0", "q", "2")])
    with pytest.raises(UserError, match="two problems have one id"):
        load_source("twins")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("math50", "unknown task 'math50' .*did you mean 'math500'"),
        ("gsm8k:tset", "no split 'tset' .*did you mean 'test'.*it has train, test"),
        ("arithmetic:test/step", "did you mean 'test/steps'"),
        ("data/problems.txt", "a local file must end in .jsonl"),
    ],
)
def test_a_wrong_source_is_refused_with_the_nearest_name(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        describe_source(source)


def test_finding_and_describing_tasks_imports_neither_torch_nor_datasets() -> None:
    program = (
        "import sys\nfrom rlbench.tasks.base import *\n"
        "for name in task_names(): describe_source(name)\n"
        "print([m for m in ('torch', 'datasets', 'transformers', 'pandas', 'numpy', 'ray') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        == "[]"
    )


# Sources and the stage ------------------------------------------------------------------------------------------------


def test_a_file_is_described_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(LINE % "a" + LINE % "b")
    described = describe_source(str(path), limit=1)
    assert described.keys() == {"sha256", "limit", "reader"}
    path.write_text(LINE % "a")
    assert describe_source(str(path), limit=1)["sha256"] != described["sha256"]
    with pytest.raises(UserError, match="is a file, so it takes no `revision`"):
        describe_source(str(path), revision="main")
    path.write_text("oops")
    with pytest.raises(UserError, match="line 1: not JSON"):
        describe_source(str(path))


def test_the_stage_writes_a_files_first_problems(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(LINE % "a" + LINE % "b")
    context = Counter(path=str(path))
    problems_stage({"source": describe_source(str(path), limit=1)}, {}, tmp_path, context)
    assert [p.id for p in read_problems(tmp_path / "problems.jsonl")] == ["a"]
    assert context.counters == {"problems": 1}


def test_the_stage_refuses_a_file_that_changed_since_it_was_planned(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(LINE % "a")
    config = {"source": describe_source(str(path))}
    path.write_text(LINE % "b")
    with pytest.raises(UserError, match="has changed since this run was planned"):
        problems_stage(config, {}, tmp_path, Counter(path=str(path)))


def test_a_pinned_set_whose_content_has_changed_is_refused_as_another_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(LINE % "a")
    pinned = content_digest(load_source(str(path)))
    problems_stage({"source": describe_source(str(path), content=pinned[:12])}, {}, tmp_path, Counter(path=str(path)))
    path.write_text(LINE.replace('"2"', '"3"') % "a")
    with pytest.raises(
        UserError, match=r"'p.jsonl' is not the one that is pinned.*a changed benchmark is a different benchmark"
    ):
        problems_stage({"source": describe_source(str(path), content=pinned)}, {}, tmp_path, Counter(path=str(path)))
    path.write_text(
        (LINE % "z").replace("{", '{"level": 3, ')
    )  # neither ids nor what stands beside a problem are its content
    assert content_digest(load_source(str(path))) == pinned
    assert "content" not in describe_source(str(path))


def test_the_stage_writes_the_same_bytes_for_a_task_twice(tmp_path: Path) -> None:
    config = {"source": describe_source("arithmetic:test/steps", limit=20)}
    outputs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        problems_stage(config, {}, tmp_path / name, Counter())
        outputs.append((tmp_path / name / "problems.jsonl").read_bytes())
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == 20


def test_the_stage_counts_dropped_rows_and_refuses_a_source_without_problems(registry: None, tmp_path: Path) -> None:
    task("half", splits=("a",))(lambda split, *, limit=None: Loaded([Problem("0", "p", "1")], dropped=2))
    task("none", splits=("a",))(lambda split, *, limit=None: Loaded([], dropped=3))
    context = Counter()
    problems_stage({"source": describe_source("half")}, {}, tmp_path, context)
    assert context.counters == {"problems": 1, "dropped": 2}
    with pytest.raises(UserError, match=r"no problem that can be used .3 rows dropped"):
        problems_stage({"source": describe_source("none")}, {}, tmp_path, context)


# The hub sets ---------------------------------------------------------------------------------------------------------

BOXED = {
    "problem": "p",
    "solution": r"\boxed{1}, then $\boxed{\frac{1}{2}}$.",
    "source": "olympiads",
    "level": "5",
    "type": "Algebra",
}
PROOF = {**BOXED, "solution": "A proof; nothing is boxed."}
# Rows as the hub has them, and what they are to become: (problem, answer, solution).
ROWS: dict[str, tuple[str, list[dict[str, Any]], tuple[str, str, str | None]]] = {
    "math500": ("test", [{"problem": "p", "answer": r"\frac12 ", "solution": "s", "level": 2}], ("p", r"\frac12", "s")),
    "minerva_math": ("test", [{"question": "p", "answer": "1e-8"}], ("p", "1e-8", None)),
    "olympiadbench": (
        "test",
        [{"id": 1606, "question": "p", "final_answer": [r"$\frac{1}{2}$", "3"], "unit": None, "subfield": "Algebra"}],
        ("p", r"\frac{1}{2}, 3", None),
    ),
    "aime24": (
        "test",
        [{"id": 60, "problem": "p", "solution": "s", "answer": "025", "url": "u", "year": "2024"}],
        ("p", "25", "s"),
    ),
    "aime25": ("test", [{"id": 7, "problem": "p", "answer": 70}], ("p", "70", None)),
    "amc23": ("test", [{"id": 0, "question": "p", "answer": 27.0, "url": "u"}], ("p", "27", None)),
    "gsm8k": ("test", [{"question": "p", "answer": "So 5*5.\n#### 1,234"}], ("p", "1234", "So 5*5.\n#### 1,234")),
    "numina_math": ("train", [BOXED], ("p", r"\frac{1}{2}", BOXED["solution"])),
    "math_train": ("train", [BOXED], ("p", r"\frac{1}{2}", BOXED["solution"])),
}


def hub_folder(folder: Path, name: str, split: str, rows: list[dict[str, Any]], kind: str = "jsonl") -> str:
    """A dataset as its repository on the hub looks: data files, and a card that names the configuration."""
    get_task(name)
    hub = SETS[name]
    file = f"{hub.splits[split]}.{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "jsonl":
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), folder / file)
    files = f"  - split: {hub.splits[split]}\n    path: {file}\n"
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {hub.config or 'default'}\n  data_files:\n{files}---\n"
    )
    return str(folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_hubs_form_become_problems(name: str, kind: str, cache: Path) -> None:
    split, rows, expected = ROWS[name]
    loaded = load_hub(name, SETS[name], split, location=hub_folder(cache / "set", name, split, rows, kind))
    assert loaded.dropped == 0
    (problem,) = loaded.problems
    assert (problem.problem, problem.answer, problem.solution) == expected
    assert problem.id.startswith(name) and problem.id.endswith(f"/{rows[0].get('id', 0)}")
    json.dumps(dict(problem.meta))


def test_every_hub_set_is_tested() -> None:
    for name in task_names():
        get_task(name)  # which registers it
    assert ROWS.keys() == SETS.keys()


def test_limit_takes_the_first_rows_and_then_drops_those_without_an_answer(cache: Path) -> None:
    location = hub_folder(cache / "numina", "numina_math", "train", [BOXED, PROOF, BOXED, PROOF, BOXED])
    loaded = load_hub("numina_math", SETS["numina_math"], "train", limit=4, location=location)
    assert [p.id for p in loaded.problems] == ["numina_math/0", "numina_math/2"] and loaded.dropped == 2
    kept = load_hub("numina_math", SETS["numina_math"], "demonstrations", limit=4, location=location)
    assert [p.answer for p in kept.problems] == [r"\frac{1}{2}", "", r"\frac{1}{2}", ""] and kept.dropped == 0


def test_a_missing_column_is_named_with_those_that_are_there(cache: Path) -> None:
    location = hub_folder(cache / "set", "minerva_math", "test", [{"problem": "p", "answer": "1"}])
    with pytest.raises(UserError, match="has no column 'question', only problem, answer"):
        load_hub("minerva_math", SETS["minerva_math"], "test", location=location)


def test_a_set_that_cannot_be_loaded_is_named_and_a_local_file_offered(cache: Path) -> None:
    get_task("aime24")
    with pytest.raises(
        UserError, match=r"task 'aime24': dataset '.*nowhere' cannot be loaded .*a local JSONL file"
    ) as caught:
        load_hub("aime24", SETS["aime24"], "test", location=str(cache / "nowhere"))
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_an_error_of_one_line() -> None:
    program = (
        "from rlbench.tasks.base import load_source\n"
        "try: load_source('math500', revision='abc')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output.startswith(
        "UserError task 'math500': dataset 'HuggingFaceH4/MATH-500' at revision 'abc' cannot be loaded"
    )
    assert output.count("\n") == 1
