"""NuminaMath-CoT (Li et al. 2024): 859,494 problems with worked solutions, to train on.

The DFT paper trains on the solutions of the first 100,000 rows, proofs without a boxed answer included: the split
``demonstrations``.
"""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, boxed, register

register(
    "numina_math",
    HubSet(
        "AI-MO/NuminaMath-CoT",
        {"train": "train", "demonstrations": "train"},
        boxed,
        ("solution",),
        solution="solution",
        meta=("source",),
        keep_unanswered=("demonstrations",),
        sizes={"train": 859494, "demonstrations": 859494},
    ),
)
