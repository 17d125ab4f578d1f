"""The report of a run: its tables chosen and put in order, and the files they are written to.

``summary.csv``, ``metrics.csv`` and ``comparisons.csv`` hold the numbers, ``report.md`` and ``report.html`` show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlbench.analysis.summary import summary_columns
from rlbench.reporting import tables
from rlbench.reporting.page import page_of
from rlbench.reporting.run import Run
from rlbench.reporting.table import Table, markdown, plain
from rlbench.reporting.text import escape, one_line
from rlbench.tasks.overlap import Overlap


@dataclass(frozen=True)
class Report:
    """The files that ``write_report`` wrote."""

    summary_path: Path
    metrics_path: Path
    comparisons_path: Path
    markdown_path: Path
    page_path: Path


def write_report(run: Run, out: Path) -> Report:
    """Write the report of a run into the folder ``out``, which is made where it is not there.

    ``metrics.csv`` has the rows of ``summary.csv`` with more columns. The same run gives the same bytes.

    Raises:
        UserError: the samples contradict themselves.
    """
    findings, shown = run.findings, tables_of(run)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(
        summary_path=out / "summary.csv",
        metrics_path=out / "metrics.csv",
        comparisons_path=out / "comparisons.csv",
        markdown_path=out / "report.md",
        page_path=out / "report.html",
    )
    findings.summary[summary_columns()].to_csv(report.summary_path, index=False, lineterminator="\n")
    findings.summary.to_csv(report.metrics_path, index=False, lineterminator="\n")
    findings.compared.to_csv(report.comparisons_path, index=False, lineterminator="\n", float_format="%.6g")
    for path, text in ((report.markdown_path, _markdown(run, shown)), (report.page_path, page_of(run, shown))):
        path.write_text(text, encoding="utf-8", newline="\n")
    return report


def tables_of(run: Run) -> dict[str, Table]:
    """The report's tables by name, in the order of ``report.md``; one that has nothing to say is not there."""
    found, rows, manifest = run.findings, run.rows, run.manifest
    decoding, overlaps = found.results.main_decoding, manifest.get("overlaps")
    scores = found.scores[found.scores["benchmark"].isin(found.results.benchmarks)]
    shown: dict[str, Table | None] = {
        "main": tables.main_table(found.summary, rows, decoding, found.control, run.clean),
        "clean": tables.clean_table(found.summary, rows, decoding, run.clean) if run.clean else None,
        "compared": tables.comparison_table(found.compared, rows, found.margin) if len(found.compared) else None,
        "control": tables.sharpening_table(found.control, rows, found.control_cost),
        "coverage": tables.coverage_table(found.coverage, rows, decoding),
        "contamination": tables.contamination_table(found.contamination) if found.contamination is not None else None,
        "graders": tables.grader_table(found.graded, rows, found.differing, found.n_samples)
        if found.graded is not None and len(found.graded)
        else None,
        "selection": tables.selection_table(rows) if any(row.selection for row in rows) else None,
        "costs": tables.cost_table(rows, scores, decoding),
        "problem_sets": tables.problem_set_table(sets, overlaps) if (sets := manifest.get("problem_sets")) else None,
        "overlaps": tables.overlap_table([Overlap(**one) for one in overlaps["found"]])
        if overlaps and overlaps["found"]
        else None,
    }
    return {name: table for name, table in shown.items() if table is not None}


def terminal_text(run: Run, width: int) -> str:
    """The text that a command prints of a run, in ``width`` columns: scores with the reasons of failed rows,
    comparisons, the sharpening control.
    """
    found, rows = run.findings, run.rows
    parts = [tables.main_table(found.summary, rows, found.results.main_decoding, found.control, run.clean)]
    texts = [tables.with_failures(plain(parts[0], width), rows, width)]
    if len(found.compared):
        texts.append(plain(tables.comparison_table(found.compared, rows, found.margin), width))
    texts.append(plain(tables.sharpening_table(found.control, rows), width))
    return "\n".join(texts)


def _markdown(run: Run, shown: Mapping[str, Table]) -> str:
    parts = [f"# {escape(run.title)}\n", *(f"{escape(note)}\n" for note in run.notes)]
    parts += [f"## {table.caption}\n\n{markdown(table)}" for table in shown.values()]
    missing = [f"- {escape(label)}: {escape(reason)}" for label, reason in tables.failures(run.rows)]
    deviations = [f"- {escape(text)}" for text in run.deviations]
    for heading, lines in (("Missing results", missing), ("Deviations", deviations)):
        parts += [f"## {heading}\n\n" + "\n".join(lines) + "\n"] if lines else []
    # Indented and not fenced, so that no command can end the block.
    parts += [f"## Made by\n\n    {one_line(run.command)}\n"] if run.command else []
    return "\n".join(parts)
