"""The page of a run: one self-contained HTML file with tables, plots and samples, without scripts or network.

Whatever comes from outside (model outputs, error messages, labels) is escaped: the template escapes every value, and
the page forbids itself scripts and any connection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlbench.analysis.findings import Findings
from rlbench.analysis.results import ScoreTable
from rlbench.analysis.summary import KEYS, SCORE
from rlbench.recipe import AVERAGE, BASE, GREEDY, TEST
from rlbench.reporting import plots, text
from rlbench.reporting.run import Run
from rlbench.reporting.table import Table
from rlbench.reporting.tables import failures

SAMPLE_PROBLEMS = 3
OUTPUT_CHARACTERS = 3000
STAGE_FIELDS = ("name", "fingerprint", "status", "cached", "seconds", "tokens", "peak_memory_bytes")


def page_of(run: Run, shown: Mapping[str, Table]) -> str:
    """The page as HTML. ``shown`` are the tables by name; the template says where each stands."""
    # Imported here so that tables need no template engine.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: text.visible(value) if type(value) is str else value,
    )
    environment.filters |= {"seconds": text.seconds, "tokens": text.count, "bytes": _bytes}
    results, manifest = run.findings.results, run.manifest
    overview, panels = _plots(run.findings)
    families = {plots.family_of(row.data, is_base=row.method == results.base_name) for row in results.rows}
    listed_elsewhere = ("recipe", "command", "problem_sets", "overlaps")
    return environment.get_template("page.html.j2").render(
        recipe=run.recipe["name"],
        title=run.title,
        notes=run.notes,
        deviations=run.deviations,
        command=run.command,
        shown=shown,
        overview=Markup(overview),
        panels=[(name, Markup(svg)) for name, svg in panels],
        families=[family for family in _FAMILY_NAMES if family in families],
        family_names=_FAMILY_NAMES,
        decoding=results.main_decoding,
        split=results.split,
        usual_split=TEST,
        failures=failures(results.rows),
        examples=_examples(results, run.samples, run.problems),
        stages=[{name: stage.get(name) for name in STAGE_FIELDS} for stage in manifest.get("stages", ())],
        provenance=_flat({name: value for name, value in manifest.items() if name not in listed_elsewhere}),
        resolved=json.dumps(run.recipe, indent=1, ensure_ascii=False),
        with_greedy=results.main_decoding != GREEDY and GREEDY in results.decodings,
    )


_FAMILY_NAMES = {
    BASE: "base",
    "demonstrations": "trained on demonstrations",
    "rollouts": "on the base's rollouts",
    "online": "online",
    "other": "other",
}


def _plots(findings: Findings) -> tuple[str, list[tuple[str, str]]]:
    """The plot of ``avg`` with greedy as hollow dots, and one small plot a benchmark, on a common axis."""
    results = findings.results
    if not results.main_decoding:
        return "", []
    both = [(results.main_decoding, True), *([(GREEDY, False)] if results.main_decoding != GREEDY else [])]
    keyed = findings.summary.set_index(list(KEYS))

    def plot(benchmark: str, rows: Sequence[plots.PlotRow], caption: str, **axis: Any) -> str:
        base = _mark(keyed, (results.base_name, benchmark, results.main_decoding)) if results.base_name else None
        return plots.dot_plot(rows, reference=base.value if base else None, caption=caption, **axis)

    caption = f"Mean score of each row: {' and '.join(decoding for decoding, _ in both)}"
    overview = plot(AVERAGE, _plot_rows(results, keyed, AVERAGE, both), caption)
    small = {name: _plot_rows(results, keyed, name, both[:1]) for name in results.benchmarks}
    axis = plots.axis_of([row for panel in small.values() for row in panel])
    panels = {
        name: plot(name, rows, f"Score on {name}, {results.main_decoding}", axis=axis) for name, rows in small.items()
    }
    return overview, list(panels.items())


def _plot_rows(
    results: ScoreTable, keyed: pd.DataFrame, benchmark: str, decodings: Sequence[tuple[str, bool]]
) -> list[plots.PlotRow]:
    """A line per row of the table, with a mark, filled or not, for each decoding under which it has a score."""
    found = []
    for row in results.rows:
        marks = [_mark(keyed, (row.method, benchmark, name), filled=filled) for name, filled in decodings]
        family = plots.family_of(row.data, is_base=row.method == results.base_name)
        found.append(plots.PlotRow(row.label, family, tuple(mark for mark in marks if mark is not None)))
    return found


def _mark(keyed: pd.DataFrame, key: tuple[str, str, str], *, filled: bool = True) -> plots.Mark | None:
    if key not in keyed.index or math.isnan(keyed.loc[key, SCORE[0]]):
        return None
    value, low, high = (float(keyed.loc[key, name]) for name in SCORE)
    return plots.Mark(value, low, high, filled=filled)


def _examples(
    results: ScoreTable, samples: pd.DataFrame, problems: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Outputs of each row, for the first problem of each of the first benchmarks: the first sample of its first seed,
    never chosen.
    """
    here = samples[
        (samples["split"] == results.split)
        & (samples["decoding"] == results.main_decoding)
        & (samples["sample_index"] == 0)
    ]
    examples = []
    for benchmark in results.benchmarks[:SAMPLE_PROBLEMS]:
        answered = here[here["benchmark"] == benchmark]
        if answered.empty:
            continue
        problem = min(answered["problem_id"])
        answered = answered[answered["problem_id"] == problem].sort_values("seed", kind="stable")
        outputs = []
        for row in results.rows:
            own = answered[answered["method"] == row.method]
            if len(own):
                outputs.append({"label": row.label, **_example(own.iloc[0])})
        text, gold = problems.get((benchmark, problem), ""), str(answered["gold"].iloc[0])
        examples.append({"benchmark": benchmark, "problem": problem, "text": text, "gold": gold, "outputs": outputs})
    return examples


def _example(sample: pd.Series) -> dict[str, Any]:
    output = str(sample["output"])
    answer = None if pd.isna(sample["answer"]) else str(sample["answer"])
    return {
        "output": output[:OUTPUT_CHARACTERS],
        "left_out": max(0, len(output) - OUTPUT_CHARACTERS),
        "answer": answer,
        "verdict": sample["verdict"],
        "n_tokens": int(sample["n_tokens"]),
        "seed": None if pd.isna(sample["seed"]) else int(sample["seed"]),
        "truncated": sample["finish_reason"] == "length",
    }


def _flat(manifest: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The values of nested tables as (dotted key, text); lists of anything but plain values are left out."""
    found: list[tuple[str, str]] = []
    for key, value in manifest.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            plain = not any(isinstance(item, (Mapping, list, tuple)) for item in value)
            found += [(f"{prefix}{key}", ", ".join(map(str, value)))] if plain and value else []
        elif value is not None:
            found.append((f"{prefix}{key}", str(value)))
    return found


def _bytes(value: float | None) -> str:
    return (
        "-"
        if value is None or math.isnan(value)
        else f"{value / 2**20:.0f} MiB"
        if value < 2**30
        else f"{value / 2**30:.1f} GiB"
    )
