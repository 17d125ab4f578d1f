"""The conformance kit: what holds an objective, an advantage estimator, a reward or a filter to its contract.

For the authors of plug-ins, and for the tests of what is built in. ``python -m rlbench.testing FILE.py`` checks a file,
``check_objective`` a function within a test. The names are loaded on first use, so that a file that cannot be read is
refused before torch is imported.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "check_objective": "kit",
    "check_file": "kit",
    "examine": "kit",
    "examine_all": "kit",
    "Check": "report",
    "ConformanceReport": "report",
    "NotConforming": "report",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
