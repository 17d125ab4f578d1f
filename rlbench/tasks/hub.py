r"""Problems from the Hugging Face hub: the mechanism; each set is one small file of ``rlbench.tasks.benchmarks``.

Rows are taken in the hub's order, so ``limit`` means the first rows, and a problem's id is the row's own ``id`` column
or its place. Evaluation sets carry gold answers; the training sets have theirs in the last ``\boxed{...}`` of the
solution. ``datasets`` is imported only when something is loaded.

The hub cannot be reached where this was written: ids and splits are those of public code and dataset cards. A missing
column is an error that names the columns that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlbench.grading.boxed import last_boxed
from rlbench.records import Problem, UserError
from rlbench.tasks.base import Loaded, task

Row = Mapping[str, Any]


@dataclass(frozen=True)
class HubSet:
    """One dataset of the hub and how its rows become problems.

    ``splits`` maps our split to the hub's. ``answer`` reads the gold from a row and returns None where the row has
    none, which drops the row; the splits in ``keep_unanswered`` keep it with an empty gold, for training on its
    solution. ``meta`` names further columns to keep.
    """

    location: str
    splits: Mapping[str, str]
    answer: Callable[[Row], str | None]
    columns: tuple[str, ...]
    problem: str = "problem"
    config: str | None = None
    solution: str | None = None
    meta: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    keep_unanswered: tuple[str, ...] = ()


def load_hub(
    name: str,
    hub: HubSet,
    split: str,
    *,
    limit: int | None = None,
    revision: str | None = None,
    location: str | None = None,
) -> Loaded:
    """The first ``limit`` rows of a split as problems; rows without an answer are dropped after that, and counted.

    ``location`` replaces the hub id by anything else that ``datasets.load_dataset`` takes, such as a mirror or a local
    folder.

    Raises:
        UserError: the dataset cannot be had (offline, unknown revision) or lacks a column.
    """
    rows = _rows(name, hub, split, revision, location or hub.location)
    missing = [column for column in (hub.problem, *hub.columns) if column not in rows.column_names]
    if missing:
        raise UserError(
            f"task {name!r}: {location or hub.location} has no column {missing[0]!r}, only "
            f"{', '.join(rows.column_names)}"
        )
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    problems, dropped = [], 0
    prefix = name if len(set(hub.splits.values())) == 1 else f"{name}_{split}"
    for index, row in enumerate(rows):
        answer = hub.answer(row)
        if answer is None and split in hub.keep_unanswered:
            answer = ""
        if answer is None:
            dropped += 1
            continue
        meta = {key: row[key] for key in hub.meta if row.get(key) is not None}
        solution = row.get(hub.solution) if hub.solution else None
        problems.append(Problem(f"{prefix}/{row.get('id', index)}", row[hub.problem], answer, solution, meta))
    return Loaded(problems, dropped)


def _rows(name: str, hub: HubSet, split: str, revision: str | None, location: str) -> Any:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError(f"task {name!r} needs the package datasets, which cannot be imported: {error}") from None
    try:
        return load_dataset(location, hub.config, split=hub.splits[split], revision=revision)
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
    ) as error:  # huggingface_hub's and requests' errors derive from these
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        at = f" at revision {revision!r}" if revision else ""
        raise UserError(
            f"task {name!r}: dataset {location!r}{at} cannot be loaded ({reason}); "
            'a local JSONL file of {"id", "problem", "answer"} lines can be given as the source instead'
        ) from error


def column(name: str) -> Callable[[Row], str | None]:
    """Reads a gold that is text or a number; a whole float (27.0) is written as the integer it is."""

    def read(row: Row) -> str | None:
        value = row[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return None if value is None else str(value).strip() or None

    return read


def integer(name: str) -> Callable[[Row], str | None]:
    """Reads a gold that is a whole number, as text with zeros before it (025) or as a number."""
    return lambda row: None if row[name] is None else str(int(row[name]))


def boxed(row: Row) -> str | None:
    """The last box of the row's solution."""
    return last_boxed(row["solution"])


SETS: dict[str, HubSet] = {}


def register(name: str, hub: HubSet) -> None:
    """Make a set of the hub the task ``name``."""
    SETS[name] = hub

    @task(name, splits=hub.splits, version=1, sizes=hub.sizes)
    def load(split: str, *, limit: int | None = None, revision: str | None = None) -> Loaded:
        return load_hub(name, hub, split, limit=limit, revision=revision)
