"""OlympiadBench (He et al. 2024, arXiv:2402.14008), English open-ended mathematics without images.

674 rows; the file that the DFT paper evaluates on has 675.
"""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, Row, register


def joined(row: Row) -> str | None:
    """Final answers are a list, each in dollars; several become one comma-separated answer."""
    return ", ".join(_undollar(answer) for answer in row["final_answer"] or ()) or None


def _undollar(text: str) -> str:
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "$" and "$" not in text[1:-1] else text


register(
    "olympiadbench",
    HubSet(
        "Hothan/OlympiadBench",
        {"test": "train"},
        joined,
        ("final_answer",),
        problem="question",
        config="OE_TO_maths_en_COMP",
        meta=("is_multiple_answer", "unit", "answer_type", "error", "subfield"),
        sizes={"test": 674},
    ),
)
