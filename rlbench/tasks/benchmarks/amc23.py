"""AMC 12 of 2023: 40 problems whose answers are numbers. Its columns are inferred."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, column, register

register(
    "amc23",
    HubSet(
        "math-ai/amc23",
        {"test": "test"},
        column("answer"),
        ("answer",),
        problem="question",
        meta=("url",),
        sizes={"test": 40},
    ),
)
