"""The grader ``rlbench``: exact values, shapes that matter, math-verify for expressions. Conventions:
``docs/grading.md``.
"""

from __future__ import annotations

from rlbench.grading.compare import grade_fast as fast
from rlbench.grading.extract import read_answer as read
from rlbench.grading.extract import read_gold
from rlbench.grading.symbolic import grade_slow as slow

__all__ = ["fast", "read", "read_gold", "slow"]
