r"""Mathematics from the Hugging Face hub: five evaluation sets, GSM8K, and two training sets with worked solutions.

Each task is one ``HubSet``: where it is, which columns hold what. Rows are taken in the hub's order, so ``limit`` means the first
rows, and a problem's id is the row's own ``id`` column or its place. Evaluation sets carry gold answers; the training sets have
theirs in the last ``\boxed{...}`` of the solution. ``datasets`` is imported only when something is loaded.

The hub cannot be reached where this was written: ids and splits are those of public code and dataset cards, the columns of
``minerva_math`` and ``amc23`` are inferred. A missing column is an error that names the columns that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlbench.boxed import last_boxed
from rlbench.records import Problem, UserError
from rlbench.tasks.base import Loaded, task

Row = Mapping[str, Any]


@dataclass(frozen=True)
class HubSet:
    """One dataset of the hub and how its rows become problems.

    ``splits`` maps our split to the hub's. ``answer`` reads the gold from a row and returns None where the row has none, which
    drops the row; the splits in ``keep_unanswered`` keep it with an empty gold, for training on its solution. ``meta`` names
    further columns to keep.
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
    name: str, hub: HubSet, split: str, *, limit: int | None = None, revision: str | None = None, location: str | None = None
) -> Loaded:
    """The first ``limit`` rows of a split as problems; rows without an answer are dropped after that, and counted.

    ``location`` replaces the hub id by anything else that ``datasets.load_dataset`` takes, such as a mirror or a local folder.

    Raises:
        UserError: the dataset cannot be had (offline, unknown revision) or lacks a column.
    """
    rows = _rows(name, hub, split, revision, location or hub.location)
    missing = [column for column in (hub.problem, *hub.columns) if column not in rows.column_names]
    if missing:
        raise UserError(f"task {name!r}: {location or hub.location} has no column {missing[0]!r}, only {', '.join(rows.column_names)}")
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
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # huggingface_hub's and requests' errors derive from these
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        at = f" at revision {revision!r}" if revision else ""
        raise UserError(
            f"task {name!r}: dataset {location!r}{at} cannot be loaded ({reason}); "
            'a local JSONL file of {"id", "problem", "answer"} lines can be given as the source instead'
        ) from error


def _column(name: str) -> Callable[[Row], str | None]:
    """Reads a gold that is text or a number; a whole float (27.0) is written as the integer it is."""

    def read(row: Row) -> str | None:
        value = row[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return None if value is None else str(value).strip() or None

    return read


def _integer(row: Row) -> str | None:
    """AIME's answers are zero-padded to three digits; 025 is 25."""
    return str(int(row["answer"]))


def _after_hashes(row: Row) -> str | None:
    """GSM8K's answer ends in ``#### 1,234``."""
    _, hashes, answer = row["answer"].rpartition("####")
    return answer.strip().replace(",", "") or None if hashes else None


def _joined(row: Row) -> str | None:
    """OlympiadBench lists its final answers, each in dollars; several become one comma-separated answer."""
    return ", ".join(_undollar(answer) for answer in row["final_answer"] or ()) or None


def _undollar(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "$" and "$" not in text[1:-1] else text


def _boxed(row: Row) -> str | None:
    return last_boxed(row["solution"])


HUB: dict[str, HubSet] = {
    "math500": HubSet(
        "HuggingFaceH4/MATH-500", {"test": "test"}, _column("answer"), ("answer",), solution="solution",
        meta=("subject", "level", "unique_id"),
        sizes={"test": 500},
    ),
    "minerva_math": HubSet(
        "math-ai/minervamath", {"test": "test"}, _column("answer"), ("answer",), problem="question", sizes={"test": 272}
    ),
    # 674 rows; the file that the DFT paper evaluates on has 675.
    "olympiadbench": HubSet(
        "Hothan/OlympiadBench", {"test": "train"}, _joined, ("final_answer",), problem="question", config="OE_TO_maths_en_COMP",
        meta=("is_multiple_answer", "unit", "answer_type", "error", "subfield"),
        sizes={"test": 674},
    ),
    "aime24": HubSet(
        "HuggingFaceH4/aime_2024", {"test": "train"}, _integer, ("answer",), solution="solution", meta=("url", "year"), sizes={"test": 30}
    ),
    "amc23": HubSet(
        "math-ai/amc23", {"test": "test"}, _column("answer"), ("answer",), problem="question", meta=("url",), sizes={"test": 40}
    ),
    "gsm8k": HubSet(
        "openai/gsm8k", {"train": "train", "test": "test"}, _after_hashes, ("answer",), problem="question", config="main",
        solution="answer", sizes={"train": 7473, "test": 1319},
    ),
    # The DFT paper trains on the solutions of the first 100,000 rows, proofs without a boxed answer included: `demonstrations`.
    "numina_math": HubSet(
        "AI-MO/NuminaMath-CoT", {"train": "train", "demonstrations": "train"}, _boxed, ("solution",), solution="solution",
        meta=("source",), keep_unanswered=("demonstrations",),
        sizes={"train": 859494, "demonstrations": 859494},
    ),
    "math_train": HubSet(
        "DigitalLearningGmbH/MATH-lighteval", {"train": "train"}, _boxed, ("solution",), solution="solution", meta=("level", "type"),
        sizes={"train": 7500},
    ),
}  # fmt: skip


def _register(name: str, hub: HubSet) -> None:
    @task(name, splits=hub.splits, version=1, sizes=hub.sizes)
    def load(split: str, *, limit: int | None = None, revision: str | None = None) -> Loaded:
        return load_hub(name, hub, split, limit=limit, revision=revision)


for _name, _hub in HUB.items():
    _register(_name, _hub)
