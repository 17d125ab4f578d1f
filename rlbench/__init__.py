"""rlbench: which objective should I post-train with?

The public names are loaded on first use, so that importing the package, and planning a run, needs neither torch nor
Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "objective": "rlbench.objectives.registry",
    "TokenBatch": "rlbench.objectives.batch",
    "Loss": "rlbench.objectives.batch",
    "Term": "rlbench.objectives.batch",
    "stop_gradient": "rlbench.objectives.batch",
    "bounded_ratio": "rlbench.objectives.batch",
    "Credit": "rlbench.objectives.advantages",
    "advantage": "rlbench.objectives.registry",
    "reward": "rlbench.objectives.registry",
    "row_filter": "rlbench.objectives.registry",
    "check_objective": "rlbench.testing",
    "load_recipe": "rlbench.recipe",
    "run": "rlbench.running.runner",
    "Results": "rlbench.running.runner",
}
__all__ = [*_HOMES, "__version__"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rlbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
