"""A run as its folder has it: manifest, samples, probes and other graders' verdicts, read and checked in one place.

Whoever makes something of a finished run (a report, a comparison of runs) starts from ``Run.load``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from rlbench.analysis.findings import Findings, analyse
from rlbench.analysis.intervals import MARGIN
from rlbench.analysis.metrics import UNGRADED
from rlbench.analysis.results import SAMPLE_COLUMNS, RowInfo, ScoreTable
from rlbench.records import UserError, Verdict
from rlbench.tasks.overlap import Overlap

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST, SAMPLES, PROBES, REGRADED = "manifest.json", "samples.parquet", "probes.parquet", "regraded-"
SAMPLE_KEYS = ["method", "seed", "split", "benchmark", "problem_id", "decoding", "sample_index"]
LIBRARIES_THAT_DECIDE = ("torch", "transformers", "math-verify")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        manifest: what was asked, what every stage took, and where everything came from; see ``running.manifest``.
        samples: its evaluation samples, with ``results.SAMPLE_COLUMNS``.
        probes: contamination probes of the base, fields of ``records.Probe`` with their ``seed``; None without any.
        regraded: by grader, verdicts and answers of the same samples, in their order.
    """

    manifest: Mapping[str, Any]
    samples: pd.DataFrame
    probes: pd.DataFrame | None = None
    regraded: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run's folder.

        Raises:
            UserError: the folder is no run's, or a file of it cannot be read.
        """
        manifest = read_manifest(folder)
        if not (folder / SAMPLES).exists():
            raise UserError(f"{folder} has no {SAMPLES}, which its report is made of")
        samples, probes = read_samples(folder / SAMPLES), folder / PROBES
        return cls(
            manifest=manifest,
            samples=samples,
            probes=_parquet(probes) if probes.exists() else None,
            regraded={
                path.stem.removeprefix(REGRADED): _regraded(path, samples)
                for path in sorted(folder.glob(f"{REGRADED}*.parquet"))
            },
        )

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe, resolved, as plain tables."""
        return self.manifest["recipe"]

    @property
    def title(self) -> str:
        """The recipe's title, else its name."""
        return self.recipe["title"] or self.recipe["name"]

    @property
    def command(self) -> str:
        """The command line that made it; empty where none is known."""
        return self.manifest.get("command", "")

    @property
    def problems(self) -> dict[tuple[str, str], str]:
        """Texts of problems by benchmark and problem id, of those whose outputs are shown."""
        return {(benchmark, problem): text for benchmark, problem, text in self.manifest.get("examples", [])}

    @cached_property
    def rows(self) -> tuple[RowInfo, ...]:
        """The table's rows, in its order."""
        known = {field.name for field in dataclasses.fields(RowInfo)}
        return tuple(
            RowInfo(
                **{key: value for key, value in row.items() if key in known and key != "reasons_by_seed"},
                reasons_by_seed={
                    None if seed == "null" else int(seed): reason
                    for seed, reason in row.get("reasons_by_seed", {}).items()
                },
            )
            for row in self.manifest["rows"]
        )

    @property
    def failures(self) -> dict[tuple[str, int | None], str]:
        """Reasons of empty cells, by row and seed; the seed is None where one model serves all of them."""
        return {(row.method, seed): reason for row in self.rows for seed, reason in row.reasons_by_seed.items()}

    @property
    def clean(self) -> Sequence[str]:
        """The sets that stand beside the benchmarks and do not count in their mean."""
        return self.manifest.get("clean", ())

    @cached_property
    def findings(self) -> Findings:
        """Everything that a report says of it. Raises UserError where the samples contradict themselves."""
        evaluation = self.recipe["evaluation"]
        results = ScoreTable(
            self.samples,
            self.rows,
            self.recipe["seeds"],
            benchmarks=self.manifest.get("benchmarks"),
            decodings=evaluation.get("decodings"),
            clean=self.clean,
        )
        return analyse(
            results,
            self.samples,
            reference=evaluation.get("reference"),
            margin=evaluation.get("margin", MARGIN),
            probes=self.probes,
            regraded=self.regraded,
        )

    @property
    def notes(self) -> list[str]:
        """The recipe's notes, those of stages, and what a reader has to know of the samples."""
        found = [*self.recipe["notes"], *self.manifest.get("notes", ())]
        ungraded = int(self.samples["verdict"].isin(UNGRADED).sum())
        if ungraded:
            found.append(
                f"{ungraded} of {len(self.samples)} samples could not be graded (time-out or crash of the grader) and "
                "count as not correct."
            )
        shared = self.manifest["overlaps"]["found"] if "overlaps" in self.manifest else []
        found += [f"{Overlap(**one).summary}." for one in shared]
        decisive = ("train", "evaluate", "rollouts")
        stages = [stage for stage in self.manifest["stages"] if stage["name"].split("/")[0] in decisive]
        for library in LIBRARIES_THAT_DECIDE:
            versions = sorted({stage["versions"][library] for stage in stages if library in stage.get("versions", {})})
            if len(versions) > 1:
                listed = ", ".join(versions)
                found.append(f"Stages of this table were made with different versions of {library}: {listed}.")
        return found

    @property
    def deviations(self) -> list[str]:
        """The recipe's deviations, and what single rows do otherwise than all others: a line for each difference."""
        labels: dict[str, list[str]] = {}
        for row in self.manifest["rows"]:
            for text in row.get("deviations", ()):
                labels.setdefault(text, []).append(row["label"])
        return [*self.recipe["deviations"], *(f"{', '.join(having)}: {text}" for text, having in labels.items())]


def read_manifest(folder: Path) -> dict[str, Any]:
    """A run's ``manifest.json``.

    Raises:
        UserError: there is none, or it is no run's.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is no run's folder: it has no {MANIFEST}; runs are under runs/ unless --out said otherwise"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or not {"recipe", "rows", "stages"} <= manifest.keys():
        raise UserError(f"{path} is no run's manifest: it lacks recipe, rows or stages")
    return manifest


def read_samples(path: Path) -> pd.DataFrame:
    """Read a run's ``samples.parquet``.

    Raises:
        UserError: there is no such file, columns are missing from it, or one holds what no sample has; names the row.
    """
    samples = _parquet(path)
    missing = [name for name in SAMPLE_COLUMNS if name not in samples.columns]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; the columns are {', '.join(SAMPLE_COLUMNS)}")
    for name in SAMPLE_COLUMNS:
        _check_column(samples[name], f"{path}: column {name!r}")
    return samples.astype({"seed": "Int64"})


def _check_column(column: pd.Series, where: str) -> None:
    """Refuse a column of another type than it has, with nothing where something has to be, or with other verdicts."""
    is_number = column.name in ("seed", "sample_index", "n_tokens")
    expected = pd.api.types.is_numeric_dtype if is_number else pd.api.types.is_string_dtype
    unknown = column.isna()
    if not expected(column.dropna()) and not unknown.all():
        raise UserError(f"{where} holds {column.dtype}; it has to be {'whole numbers' if is_number else 'text'}")
    if column.name not in ("seed", "answer") and unknown.any():
        raise UserError(f"{where} is empty in row {int(unknown.to_numpy().argmax()) + 1}; every sample has one")
    if column.name == "verdict" and not (known := column.isin(get_args(Verdict))).all():
        found = column[~known].iloc[0]
        raise UserError(f"{where} holds {str(found)[:40]!r}; a verdict is one of {', '.join(get_args(Verdict))}")


def _check_stored(column: pa.ChunkedArray, where: str) -> None:
    """Refuse text that is not UTF-8 here, and not where somebody looks at it."""
    try:
        column.validate(full=True)
    except ValueError as error:
        raise UserError(f"{where} is damaged: {error}") from None


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        for name in table.column_names:
            _check_stored(table[name], f"{path}: column {name!r}")
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a run's folder holds its {SAMPLES}") from None
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None


def _regraded(path: Path, samples: pd.DataFrame) -> pd.DataFrame:
    """Another grader's verdicts, which belong to the samples by their order: it has to be that of these samples."""
    graded = _parquet(path)
    missing = [name for name in (*SAMPLE_KEYS, "verdict", "answer") if name not in graded.columns]
    if missing or not graded[SAMPLE_KEYS].astype({"seed": "Int64"}).equals(samples[SAMPLE_KEYS]):
        raise UserError(f"{path} holds verdicts of other samples than {SAMPLES}: remove it, or `rlbench regrade` anew")
    return graded
