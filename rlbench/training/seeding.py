"""Seeding: every generator of the process, before a stage begins."""

from __future__ import annotations

import random

import numpy as np
import torch


def set_seed(seed: int) -> None:
    """Seed every generator of the process; nothing in a stage is meant to draw from them, and a
    model's own code might.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
