"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168): word problems of a few steps, for training and test."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, Row, register


def after_hashes(row: Row) -> str | None:
    """The answer column is a solution that ends in ``#### 1,234``."""
    _, hashes, answer = row["answer"].rpartition("####")
    return answer.strip().replace(",", "") or None if hashes else None


register(
    "gsm8k",
    HubSet(
        "openai/gsm8k",
        {"train": "train", "test": "test"},
        after_hashes,
        ("answer",),
        problem="question",
        config="main",
        solution="answer",
        sizes={"train": 7473, "test": 1319},
    ),
)
