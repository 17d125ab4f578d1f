"""A run's folder whose samples somebody else wrote, or damaged: read and graded, or refused by column and row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlbench.records import UserError
from rlbench.running.runner import Results, regrade, report

Values = Callable[[list], list | pa.Array]


def raw(first: str) -> Values:
    """Text that Parquet takes although it is not UTF-8: half of a surrogate pair as bytes."""

    def values(given: list[str | None]) -> pa.Array:
        stored = pa.array(
            [(text or "").encode("utf-8", "surrogatepass") for text in [first, *given[1:]]], type=pa.binary()
        )
        return pa.Array.from_buffers(pa.string(), len(stored), stored.buffers())

    return values


def with_column(folder: Path, name: str, values: Values) -> Path:
    table = pq.read_table(folder / "samples.parquet")
    made = values(table[name].to_pylist())
    column = made if isinstance(made, pa.Array) else pa.array(made, type=table.schema.field(name).type)
    table = table.set_column(table.schema.names.index(name), name, column).replace_schema_metadata(None)
    pq.write_table(table, folder / "samples.parquet")
    return folder


@pytest.fixture
def folder(tiny_run: Results, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.out, tmp_path / "run"))


READ = {
    "empty outputs": ("output", lambda given: [""] * len(given)),
    "control characters": ("output", lambda given: ["\x00\x1b[2J\\boxed{\x07}\u2028\ufffe"] * len(given)),
    "a long output": ("output", lambda given: ["x" * 2_000_000 + "\\boxed{5}", *given[1:]]),
    "no answers": ("answer", lambda given: [None] * len(given)),
    "odd ids": ("problem_id", lambda given: [f"{name}\n\t|<b>\x00" for name in given]),
}


@pytest.mark.parametrize("case", READ)
def test_odd_samples_are_graded_again_and_reported(case: str, folder: Path) -> None:
    samples = pd.read_parquet(with_column(folder, *READ[case]) / "samples.parquet")
    regrade(folder, "qwen")
    graded = pd.read_parquet(folder / "regraded-qwen.parquet")
    assert len(graded) == len(samples) and (folder / "report.html").stat().st_size > 0
    if READ[case][0] == "output" and len(set(samples["output"])) == 1:
        assert set(graded["verdict"]) == {"unparsed"}


TEXT = [
    "method",
    "split",
    "benchmark",
    "problem_id",
    "decoding",
    "output",
    "gold",
    "verdict",
    "grader",
    "finish_reason",
]
REFUSED: dict[str, tuple[str, Values, str]] = {
    **{f"no {name}": (name, lambda given: [*given[:2], None, *given[3:]], "is empty in row 3") for name in TEXT},
    **{
        f"no {name}": (name, lambda given: [None, *given[1:]], "is empty in row 1")
        for name in ("sample_index", "n_tokens")
    },
    **{
        f"damaged {name}": (name, raw("\ud800 \\boxed{5}"), "is damaged: .*UTF8")
        for name in ("output", "gold", "answer")
    },
    "numbers as golds": ("gold", lambda given: pa.array([5] * len(given)), "holds int64; it has to be text"),
    "lists as golds": ("gold", lambda given: pa.array([["5"]] * len(given)), "it has to be text"),
    "bytes as outputs": ("output", lambda given: pa.array([b"5"] * len(given)), "it has to be text"),
    "text as seeds": ("seed", lambda given: pa.array(["a"] * len(given)), "it has to be whole numbers"),
    "another verdict": ("verdict", lambda given: ["great", *given[1:]], "holds 'great'; a verdict is one of correct"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_sample_has_is_refused_by_file_column_and_row(case: str, folder: Path) -> None:
    name, values, message = REFUSED[case]
    with_column(folder, name, values)
    for again in (lambda: regrade(folder, "qwen"), lambda: report(folder)):
        with pytest.raises(UserError, match=message) as caught:
            again()
        assert f"{folder / 'samples.parquet'}: column '{name}'" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_a_run_without_a_sample_is_graded_again_as_such(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "samples.parquet").slice(0, 0), folder / "samples.parquet")
    assert len(regrade(folder, "qwen").samples) == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1"])
def test_samples_that_are_no_parquet_are_refused_in_one_line(content: bytes, folder: Path) -> None:
    (folder / "samples.parquet").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as Parquet") as caught:
        regrade(folder, "qwen")
    assert len(str(caught.value).splitlines()) == 1
