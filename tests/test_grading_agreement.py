r"""How far the graders agree with people, on cases that lie beside the repository and are no part of it; skipped where
they are absent.

``pytest -s tests/test_grading_agreement.py`` prints the table of docs/grading.md. Cases with a ``convention`` follow
one grader's rule and not mathematics; they are graded for their verdicts' sake and not counted.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlbench.grading.pool import Graded, Grader

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference data at {DATA}")
DOCUMENT = ROOT / "docs" / "grading.md"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return rows("grader_cases.jsonl")


@pytest.fixture(scope="module")
def new_kinds() -> list[dict[str, Any]]:
    """Cases of kinds that the first set has few of. Their notes say why a label is what it is; all of them count."""
    found = rows("grader_cases_2.jsonl")
    return [{**case, "convention": None} for case in found]


def graded(grader: str, cases: list[dict[str, Any]], **options: Any) -> list[Graded]:
    with Grader(grader, limit_s=3.0, workers=2, **options) as pool:
        return pool.grade([(case["gold"], case["output"]) for case in cases])


def disagreements(cases: list[dict[str, Any]], grades: list[Graded]) -> dict[str, Graded]:
    pairs = zip(cases, grades, strict=True)
    return {
        case["id"]: grade
        for case, grade in pairs
        if not case["convention"] and (grade.verdict == "correct") != case["correct"]
    }


def show(title: str, cases: list[dict[str, Any]], grades: list[Graded]) -> None:
    counted = [(case, grade) for case, grade in zip(cases, grades, strict=True) if not case["convention"]]
    wrong = disagreements(cases, grades)
    false_positives = sum(grade.verdict == "correct" for grade in wrong.values())
    verdicts = dict(Counter(grade.verdict for _, grade in counted))
    share = 1 - len(wrong) / len(counted)
    print(
        f"\n{title}: {len(counted) - len(wrong)} of {len(counted)} ({share:.1%}), {false_positives} false positives, "
        f"{verdicts}"
    )


def test_the_grader_agrees_with_the_labels_and_the_document_lists_every_exception(cases: list[dict[str, Any]]) -> None:
    grades = graded("rlbench", cases, reading="final")
    show("rlbench", cases, grades)
    wrong = disagreements(cases, grades)
    counted = sum(not case["convention"] for case in cases)
    assert len(wrong) <= 0.02 * counted
    assert sum(grade.verdict == "correct" for grade in wrong.values()) <= 2
    assert set(wrong) == set(re.findall(r"^\| (gc\d+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert not any(grade.verdict in ("timeout", "error") for grade in grades)


@pytest.mark.parametrize(
    ("grader", "apart"),
    # qwen compares in order, takes letters for choices and what is within 1e-4 for equal; its output is never read as a
    # sentence.
    [("rlbench", set()), ("qwen", {"n010", "n041", "n057", "n083", "n084", "n132"})],
)
def test_the_graders_agree_with_the_labels_on_new_kinds(
    new_kinds: list[dict[str, Any]], grader: str, apart: set[str]
) -> None:
    for reading in ("box", "final"):
        grades = graded(grader, new_kinds, reading=reading)
        show(f"{grader}, new kinds, reading {reading}", new_kinds, grades)
        assert set(disagreements(new_kinds, grades)) == apart
        assert not any(grade.verdict in ("timeout", "error") for grade in grades)


def test_reading_boxes_alone_changes_nothing_where_there_is_a_box(cases: list[dict[str, Any]]) -> None:
    boxed = [case for case in cases if r"\boxed{" in case["output"] and not case["convention"]]
    grades = graded("rlbench", boxed)
    show("rlbench, outputs with a box, reading boxes alone", boxed, grades)
    assert len(disagreements(boxed, grades)) <= 0.03 * len(boxed)


def test_the_grader_of_the_published_cells_agrees_with_what_it_recorded(cases: list[dict[str, Any]]) -> None:
    recorded = [case for case in cases if case["source"].startswith("QwenLM/")]
    grades = graded("qwen", recorded)
    show("qwen, on outputs with the score that Qwen2.5-Math's evaluation recorded", recorded, grades)
    assert len(recorded) == 79
    assert set(disagreements(recorded, grades)) == {"gc0504", "gc0593", "gc0595", "gc0597"}
    full = [case for case in cases if case["kind"] == "full"]
    show("qwen, all outputs of models", full, graded("qwen", full))


def test_cases_built_to_exhaust_a_grader_end_within_the_limit(cases: list[dict[str, Any]]) -> None:
    hard = [case for case in cases if case["resource"]]
    assert len(hard) == 6
    for grader in ("rlbench", "qwen"):
        started = time.monotonic()
        grades = graded(grader, hard)
        assert time.monotonic() - started < 6 * 3.0 + 15
        assert all(grade.verdict != "correct" or case["correct"] for case, grade in zip(hard, grades, strict=True))


@pytest.mark.parametrize("grader", ["rlbench", "qwen"])
@pytest.mark.parametrize("name", ["math500", "minerva_math", "olympiadbench", "aime24", "amc23"])
def test_every_gold_of_the_benchmarks_equals_itself_in_a_box(name: str, grader: str) -> None:
    golds = [str(row["answer"]) for row in rows(f"benchmarks/{name}.jsonl")]
    # Spaces around it keep the pool's own shortcut for equal text from deciding.
    with Grader(grader) as pool:
        rules = pool.spec.rules()
        grades = pool.grade([(gold, rf"Therefore \boxed{{{gold}}}.") for gold in golds])
        assert [gold for gold, grade in zip(golds, grades, strict=True) if grade.verdict != "correct"] == []
    assert [gold for gold in golds if rules.fast(gold, f" {gold} ") != "correct"] == []


@pytest.mark.parametrize("name", ["math500", "minerva_math", "olympiadbench"])
def test_the_gold_of_another_problem_is_not_an_answer(name: str) -> None:
    golds = list(dict.fromkeys(str(row["answer"]) for row in rows(f"benchmarks/{name}.jsonl")))
    cases = list(zip(golds, golds[1:] + golds[:1], strict=True))
    with Grader(workers=2) as pool:
        grades = pool.grade([(gold, rf"\boxed{{{other}}}") for gold, other in cases])
    same = {case for case, grade in zip(cases, grades, strict=True) if grade.verdict == "correct"}
    print(f"\n{name}: {len(same)} of {len(cases)} are one answer: {sorted(same)}")
    assert len(same) <= 2 and not any(grade.verdict in ("timeout", "error") for grade in grades)
