"""Objectives, advantage estimators, rewards and filters: pure functions of a batch of tokens or of a rollout, one idea
a file.

What an author of an objective needs is named here and imported on first use, so that importing this package needs no
torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "objective": "registry",
    "advantage": "registry",
    "reward": "registry",
    "row_filter": "registry",
    "TokenBatch": "batch",
    "stop_gradient": "batch",
    "bounded_ratio": "batch",
    "Loss": "batch",
    "Term": "batch",
    "Credit": "advantages",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
