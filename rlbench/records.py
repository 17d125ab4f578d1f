"""Records that flow between stages: problems, rollouts, training sequences, evaluation samples; and the two ways things
go wrong.

Every other module may import this one; it imports none of them. Records are plain frozen dataclasses and travel as
Parquet (or JSON lines for problems), so that any artifact can be opened with pandas and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Verdict = Literal["correct", "wrong", "unparsed", "timeout", "error"]
FinishReason = Literal["stop", "length"]


class UserError(Exception):
    """Bad input. The message is one line that names the key, the file and the line where there is one, and what would
    be right.

    The command line prints it without a traceback and exits with code 2.
    """


class StageFailure(Exception):
    """A stage that cannot succeed however often it is tried (a NaN loss, no correct rollout): its reason fills the
    row's cell.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """A suggestion to append to an error, or nothing: `` (did you mean 'sft'?)``."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer, and a worked solution where the task has one."""

    id: str
    problem: str
    answer: str
    solution: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One graded sample of a policy: ids as sampled, never re-tokenised.

    ``token_ids`` is the completion with its stop token, if one was emitted; ``sampler_logp`` holds one value in nats
    for each of them, under the distribution that was sampled from (temperature included). ``reward`` is 1 for a correct
    answer, else 0.
    """

    problem_id: str
    sample_index: int
    prompt_ids: list[int]
    token_ids: list[int]
    sampler_logp: list[float]
    text: str
    answer: str | None
    verdict: Verdict
    reward: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """One sequence to train on. Sequences with one ``unit`` are never separated: a pair is two of them, the chosen one
    first.

    ``group`` names the prompt that the sequence answers. ``sampler_logp`` is empty where no sampler produced the
    tokens.
    """

    unit: int
    group: str
    prompt_ids: list[int]
    token_ids: list[int]
    sampler_logp: list[float]
    reward: float


@dataclass(frozen=True, slots=True)
class EvalSample:
    """One evaluation sample of one model, as it stands in ``samples.parquet`` (which adds the
    columns method and seed).
    """

    split: str
    benchmark: str
    problem_id: str
    decoding: str
    sample_index: int
    output: str
    answer: str | None
    gold: str
    verdict: Verdict
    grader: str
    finish_reason: FinishReason
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A model's completion of a problem of which it saw only the first ``share`` of its words, see
    ``rlbench.evaluation.contamination``.

    ``verbatim`` says whether its completion begins with the rest, ``rouge_l`` is the share of the rest's words in it in
    order, and ``verdict`` is of the answer that it gave to the whole problem.
    """

    benchmark: str
    problem_id: str
    share: float
    rest: str
    completion: str
    verbatim: bool
    rouge_l: float
    verdict: Verdict


Record = TypeVar("Record", bound="DataclassInstance")


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for problem in problems:
            file.write(json.dumps(dataclasses.asdict(problem), ensure_ascii=False) + "\n")


def read_problems(path: Path, shard: Sequence[int] = (0, 1)) -> list[Problem]:
    """Read what ``write_problems`` wrote, or of n contiguous parts of like size the i-th alone (``shard`` is i from 0,
    and n).
    """
    index, parts = shard
    with path.open(encoding="utf-8") as file:
        count = sum(1 for _ in file) if parts > 1 else 0
        file.seek(0)
        lines = islice(file, count * index // parts, count * (index + 1) // parts) if parts > 1 else file
        return [Problem(**json.loads(line)) for line in lines]


def stream_problems(path: Path) -> Iterator[Problem]:
    """Read what ``write_problems`` wrote, one problem at a time."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Problem(**json.loads(line))


def _arrow_schema(kind: type[DataclassInstance]) -> Any:
    import pyarrow as pa

    types = {
        "int": pa.int64(),
        "float": pa.float64(),
        "str": pa.string(),
        "str | None": pa.string(),
        "list[int]": pa.list_(pa.int32()),
        "list[float]": pa.list_(pa.float32()),
        "Verdict": pa.string(),
        "FinishReason": pa.string(),
        "bool": pa.bool_(),
    }
    return pa.schema([(f.name, types[str(f.type)]) for f in dataclasses.fields(kind)])


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Write records of one kind as Parquet; the same records give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f.name for f in dataclasses.fields(kind)]
    rows = list(records)
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    pq.write_table(pa.table(columns, schema=_arrow_schema(kind)), path, compression="zstd")


def join_records(sources: Iterable[Path], path: Path, kind: type[DataclassInstance]) -> int:
    """Write the records of several files as one, in order, never holding more than a row group of them; returns how
    many there are.
    """
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, _arrow_schema(kind), compression="zstd") as writer:
        for source in map(pq.ParquetFile, sources):
            with source:
                count += source.metadata.num_rows
                for number in range(source.num_row_groups):
                    writer.write_table(source.read_row_group(number))
    return count


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Read what ``write_records`` wrote."""
    import pyarrow.parquet as pq

    return [kind(**row) for row in pq.read_table(path).to_pylist()]
