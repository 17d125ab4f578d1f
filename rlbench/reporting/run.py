"""A run's folder as it lies on the disk: its samples, read and checked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlbench.analysis.results import SAMPLE_COLUMNS
from rlbench.records import UserError


def read_samples(path: Path) -> pd.DataFrame:
    """Read a run's ``samples.parquet``.

    Raises:
        UserError: there is no such file, or columns are missing from it.
    """
    try:
        samples = pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a run's folder holds its samples.parquet") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None
    missing = [name for name in SAMPLE_COLUMNS if name not in samples.columns]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; the columns are {', '.join(SAMPLE_COLUMNS)}")
    return samples.astype({"seed": "Int64"})
