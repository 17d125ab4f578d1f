"""AIME 2024, both papers: 30 problems with whole numbers from 0 to 999 as answers."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, integer, register

register(
    "aime24",
    HubSet(
        "HuggingFaceH4/aime_2024",
        {"test": "train"},
        integer("answer"),
        ("answer",),
        solution="solution",
        meta=("url", "year"),
        sizes={"test": 30},
    ),
)
