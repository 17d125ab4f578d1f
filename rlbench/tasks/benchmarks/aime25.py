"""AIME 2025, both papers: 30 problems, held after Qwen2.5-Math was released. Its columns are inferred."""

from __future__ import annotations

from rlbench.tasks.hub import HubSet, integer, register

register("aime25", HubSet("math-ai/aime25", {"test": "test"}, integer("answer"), ("answer",), sizes={"test": 30}))
