"""MATH-500 (Lightman et al. 2023, arXiv:2305.20050): 500 problems of MATH's test set."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, column, register

register(
    "math500",
    HubSet(
        "HuggingFaceH4/MATH-500",
        {"test": "test"},
        column("answer"),
        ("answer",),
        solution="solution",
        meta=("subject", "level", "unique_id"),
        sizes={"test": 500},
    ),
)
