"""The report of a run: ``summary.csv``, ``report.md`` and ``report.html``, one self-contained page without scripts or
network.

Whatever comes from outside (model outputs, error messages, labels) is escaped: the template escapes every value, and
the page forbids itself scripts and any connection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlbench.analysis.intervals import MARGIN
from rlbench.analysis.results import (
    AVERAGE,
    GREEDY,
    SUMMARY_COLUMNS,
    Results,
    RowInfo,
    comparisons,
    contamination,
    control_cost,
    coverage,
    graded_by,
    scores_of,
    sharpening,
    summary_of,
)
from rlbench.reporting import plots, tables
from rlbench.tasks.overlap import Overlap

SAMPLE_PROBLEMS = 3
OUTPUT_CHARACTERS = 3000


@dataclass(frozen=True)
class Report:
    """What ``write_report`` wrote, and the frames behind it. ``text`` is the main table for a
    terminal of 110 columns.
    """

    summary: pd.DataFrame
    scores: pd.DataFrame
    control: pd.DataFrame
    compared: pd.DataFrame
    text: str
    summary_path: Path
    markdown_path: Path
    page_path: Path


def write_report(
    out: Path,
    *,
    samples: pd.DataFrame,
    rows: Sequence[RowInfo],
    seeds: Sequence[int],
    recipe_name: str,
    title: str = "",
    notes: Sequence[str] = (),
    deviations: Sequence[str] = (),
    manifest: Mapping[str, Any] | None = None,
    command: str = "",
    benchmarks: Sequence[str] | None = None,
    decodings: Sequence[str] | None = None,
    problems: Mapping[tuple[str, str], str] | None = None,
    probes: pd.DataFrame | None = None,
    problem_sets: Sequence[Mapping[str, Any]] = (),
    overlaps: Mapping[str, Any] | None = None,
    reference: str | None = None,
    margin: float = MARGIN,
    regraded: Mapping[str, pd.DataFrame] | None = None,
    clean: Sequence[str] = (),
) -> Report:
    """Write ``summary.csv``, ``metrics.csv`` (the same rows with more columns), ``comparisons.csv``, ``report.md`` and
    ``report.html``.

    The same arguments give the same bytes.

    Args:
        samples: the run's evaluation samples, ``frames.SAMPLE_COLUMNS``.
        rows, seeds, benchmarks, decodings, clean: see ``frames.Results``; these let rows that failed stand with empty
            cells even if nothing at all was evaluated.
        manifest: the run's manifest; its ``stages`` become a table, its ``recipe`` stands there as JSON, its other
            plain values are listed.
        command: the command line that makes the report again.
        problems: texts of problems by (benchmark, problem id), shown above the sample outputs.
        probes: contamination probes of the base, fields of ``records.Probe`` with their ``seed``.
        problem_sets: tables ``{name, split, problems, content}`` of what was evaluated on.
        overlaps: what the sets share and which were compared, as the manifest has it; None where nobody looked.
        reference, margin: see ``frames.comparisons``.
        regraded: verdicts and answers of the same samples by other graders, see ``frames.graded_by``.

    Raises:
        UserError: the samples contradict themselves.
    """
    results = Results(samples, rows, seeds, benchmarks=benchmarks, decodings=decodings, clean=clean)
    summary, scores, control = summary_of(results), scores_of(results), sharpening(results)
    compared, shared = comparisons(results, reference, margin), overlaps["found"] if overlaps else ()
    shown = {
        "main": tables.main_table(summary, rows, results.primary, control, clean),
        "clean": tables.clean_table(summary, rows, results.primary, clean) if clean else None,
        "compared": tables.comparison_table(compared, rows, margin) if len(compared) else None,
        "control": tables.sharpening_table(
            control, rows, cost=control_cost(results, samples) if len(samples) else None
        ),
        "coverage": tables.coverage_table(coverage(results), rows, results.primary),
        "contamination": tables.contamination_table(contamination(results, probes)) if probes is not None else None,
        "graders": tables.grader_table(*_regraded(results, samples, regraded)) if regraded else None,
        "selection": tables.selection_table(rows) if any(row.selection for row in rows) else None,
        "costs": tables.cost_table(rows, scores[scores["benchmark"].isin(results.benchmarks)], results.primary),
        "problem_sets": tables.problem_set_table(problem_sets, overlaps) if problem_sets else None,
        "overlaps": tables.overlap_table([Overlap(**one) for one in shared]) if shared else None,
    }
    shown = {name: table for name, table in shown.items() if table is not None}
    out.mkdir(parents=True, exist_ok=True)
    report = Report(
        summary,
        scores,
        control,
        compared,
        tables.terminal_table(summary, rows, decoding=results.primary, control=control, clean=clean),
        out / "summary.csv",
        out / "report.md",
        out / "report.html",
    )
    summary[list(SUMMARY_COLUMNS)].to_csv(report.summary_path, index=False, lineterminator="\n")
    summary.to_csv(out / "metrics.csv", index=False, lineterminator="\n")
    compared.to_csv(out / "comparisons.csv", index=False, lineterminator="\n", float_format="%.6g")
    facts = {
        "title": title or recipe_name,
        "recipe": recipe_name,
        "notes": notes,
        "deviations": deviations,
        "command": command,
    }
    page = _page(facts, shown, results, summary, samples, manifest or {}, problems or {})
    for path, text in ((report.markdown_path, _markdown(facts, shown, rows)), (report.page_path, page)):
        path.write_text(text, encoding="utf-8", newline="\n")
    return report


def _regraded(results: Results, samples: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> tuple[Any, ...]:
    frame, differing = graded_by(results, samples, others)
    return frame, results.rows, differing, len(samples)


def _markdown(facts: Mapping[str, Any], shown: Mapping[str, tables.Table], rows: Sequence[RowInfo]) -> str:
    parts = [f"# {tables.escape(facts['title'])}\n", *(f"{tables.escape(note)}\n" for note in facts["notes"])]
    parts += [f"## {table.caption}\n\n{tables.markdown(table)}" for table in shown.values()]
    missing = [f"- {tables.escape(label)}: {tables.escape(reason)}" for label, reason in tables.failures(rows)]
    deviations = [f"- {tables.escape(text)}" for text in facts["deviations"]]
    for heading, lines in (("Missing results", missing), ("Deviations", deviations)):
        parts += [f"## {heading}\n\n" + "\n".join(lines) + "\n"] if lines else []
    # Indented and not fenced, so that no command can end the block.
    parts += [f"## Made by\n\n    {tables.one_line(facts['command'])}\n"] if facts["command"] else []
    return "\n".join(parts)


def _page(
    facts: Mapping[str, Any],
    shown: Mapping[str, tables.Table],
    results: Results,
    summary: pd.DataFrame,
    samples: pd.DataFrame,
    manifest: Mapping[str, Any],
    problems: Mapping[tuple[str, str], str],
) -> str:
    # Imported here so that the frames and tables need no template engine.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: tables.visible(value) if type(value) is str else value,
    )
    environment.filters |= {"seconds": tables.seconds, "tokens": tables.count, "bytes": _bytes}
    overview, panels = _plots(results, summary)
    stages = [
        {
            name: stage.get(name)
            for name in ("name", "fingerprint", "status", "cached", "seconds", "tokens", "peak_memory_bytes")
        }
        for stage in manifest.get("stages", ())
    ]
    return environment.get_template("page.html.j2").render(
        facts,
        shown=shown,
        overview=Markup(overview),
        panels=[(name, Markup(svg)) for name, svg in panels],
        families=sorted(
            {plots.family_of(row.data, is_base=row.method == results.base_name) for row in results.rows},
            key=_FAMILIES.index,
        ),
        family_names=dict(zip(_FAMILIES, _FAMILY_NAMES, strict=True)),
        primary=results.primary,
        split=results.split,
        failures=tables.failures(results.rows),
        examples=_examples(results, samples, problems),
        stages=stages,
        provenance=_flat(
            {
                name: value
                for name, value in manifest.items()
                if name not in ("recipe", "command", "problem_sets", "overlaps")
            }
        ),
        resolved=json.dumps(manifest["recipe"], indent=1, ensure_ascii=False) if "recipe" in manifest else "",
        with_greedy=results.primary != GREEDY and GREEDY in results.decodings,
    )


_FAMILIES = ("base", "demonstrations", "rollouts", "online", "other")
_FAMILY_NAMES = ("base", "trained on demonstrations", "on the base's rollouts", "online", "other")


def _plots(results: Results, summary: pd.DataFrame) -> tuple[str, list[tuple[str, str]]]:
    """The plot of ``avg`` with greedy as hollow dots, and one small plot a benchmark, on a common axis."""
    if results.primary is None:
        return "", []
    keyed = summary.set_index(["method", "benchmark", "decoding"])

    def mark(method: str, benchmark: str, decoding: str, *, filled: bool) -> plots.Mark | None:
        key = (method, benchmark, decoding)
        if key not in keyed.index or math.isnan(keyed.loc[key, "avg_at_k"]):
            return None
        return plots.Mark(*(float(keyed.loc[key, name]) for name in ("avg_at_k", "ci_low", "ci_high")), filled=filled)

    def lines(benchmark: str, decodings: Sequence[tuple[str, bool]]) -> list[plots.PlotRow]:
        return [
            plots.PlotRow(
                row.label,
                plots.family_of(row.data, is_base=row.method == results.base_name),
                tuple(m for d, filled in decodings if (m := mark(row.method, benchmark, d, filled=filled))),
            )
            for row in results.rows
        ]

    def reference(benchmark: str) -> float | None:
        base = mark(results.base_name, benchmark, str(results.primary), filled=True) if results.base_name else None
        return base.value if base else None

    both = [(results.primary, True), *([(GREEDY, False)] if results.primary != GREEDY else [])]
    caption = f"Mean score of each row: {' and '.join(decoding for decoding, _ in both)}"
    overview = plots.dot_plot(lines(AVERAGE, both), reference=reference(AVERAGE), caption=caption)
    small = {name: lines(name, both[:1]) for name in results.benchmarks}
    axis = plots.axis_of([row for panel in small.values() for row in panel])
    panels = [
        (
            name,
            plots.dot_plot(rows, reference=reference(name), caption=f"Score on {name}, {results.primary}", axis=axis),
        )
        for name, rows in small.items()
    ]
    return overview, panels


def _examples(results: Results, samples: pd.DataFrame, problems: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """What each row wrote, for the first problem of each of the first benchmarks: the first sample of its first seed,
    never chosen.
    """
    here = samples[
        (samples["split"] == results.split) & (samples["decoding"] == results.primary) & (samples["sample_index"] == 0)
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
