"""The machine as one process of ours may use it."""

from __future__ import annotations

import sys


def single_thread_environment() -> dict[str, str]:
    """Environment of a process that runs stages: one thread of mathematics each (more of them on shared cores spin),
    and no telemetry.

    It must be set before torch is imported; where torch is imported already, this sets its number of threads too.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
