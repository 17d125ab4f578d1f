"""The training set of MATH (Hendrycks et al. 2021, arXiv:2103.03874), with worked solutions."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, boxed, register

register(
    "math_train",
    HubSet(
        "DigitalLearningGmbH/MATH-lighteval",
        {"train": "train"},
        boxed,
        ("solution",),
        solution="solution",
        meta=("level", "type"),
        sizes={"train": 7500},
    ),
)
