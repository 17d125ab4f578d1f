"""Minerva Math (Lewkowycz et al. 2022, arXiv:2206.14858): 272 undergraduate problems. Its columns are inferred."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, column, register

register(
    "minerva_math",
    HubSet(
        "math-ai/minervamath",
        {"test": "test"},
        column("answer"),
        ("answer",),
        problem="question",
        sizes={"test": 272},
    ),
)
