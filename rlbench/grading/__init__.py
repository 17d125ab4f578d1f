"""Grading: whether an output's answer says what the gold says. The conventions stand in ``docs/grading.md``."""

from rlbench.grading.registry import DEFAULT, GRADERS, GraderSpec, grader_spec

__all__ = ["DEFAULT", "GRADERS", "GraderSpec", "grader_spec"]
