"""The documentation's tables are those of ``reports/``, and a report's tables are those of its CSV files."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.recipe import AVERAGE, GREEDY
from rlbench.records import UserError
from rlbench.reporting.table import Table, markdown
from rlbench.reporting.text import interval, number, probability

ROOT = Path(__file__).resolve().parents[1]
REPORTS = sorted(path.parent.name for path in (ROOT / "reports").glob("*/report.md"))
ROUNDING = 0.051  # of a figure with one decimal, and of the four decimals that a CSV file has
ADVICE = "differs from the tables of reports/: run `make readme`"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_tables", ROOT / "scripts" / "report_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_has_the_tables_of_the_reports(script: ModuleType) -> None:
    for path in script.documents():
        text = path.read_text(encoding="utf-8")
        assert script.rewritten(text, path) == text, f"{path.relative_to(ROOT)} {ADVICE}"


def test_every_table_that_is_made_stands_somewhere(script: ModuleType) -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in script.documents())
    assert {name for _, name, _, _ in script.BLOCK.findall(texts)} == set(script.TABLES)
    assert texts.count("<!-- table ") == texts.count("<!-- end of table -->") == len(script.BLOCK.findall(texts))


@pytest.mark.parametrize("name", ["scores", "comparisons", "control", "backends"])
def test_a_figure_changed_by_hand_is_noticed_and_put_right(script: ModuleType, name: str) -> None:
    right = script.rewritten(f"a\n<!-- table {name} -->\n<!-- end of table -->\nb\n", Path("x.md"))
    figures = [match.span() for match in re.finditer(r"\d", right.split("|\n", 2)[2])]
    start = len(right) - len(right.split("|\n", 2)[2])
    for low, high in figures[:: max(1, len(figures) // 20)]:
        old = int(right[start + low : start + high])
        wrong = f"{right[: start + low]}{(old + 1) % 10}{right[start + high :]}"
        assert script.rewritten(wrong, Path("x.md")) == right != wrong


def test_a_marker_that_names_no_table_is_refused(script: ModuleType) -> None:
    with pytest.raises(UserError, match=r"x\.md: table 'scors' is none of .*did you mean 'scores'"):
        script.rewritten("<!-- table scors -->\n<!-- end of table -->", Path("x.md"))
    with pytest.raises(UserError, match=r"reports/nowhere/report\.md does not exist"):
        script.table_of("nowhere", script.MAIN)
    with pytest.raises(UserError, match="has no table 'Nothing'"):
        script.table_of("quickstart", "Nothing")


def figures(cell: str) -> list[float]:
    return [float(figure) for figure in re.findall(r"[-+]?\d+\.\d", cell)]


cells = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=3))
def test_what_the_markdown_writer_writes_is_read_back(script: ModuleType, rows: list[tuple[str, ...]]) -> None:
    lines = markdown(Table("t", ("", "a|b", "<c>"), tuple(rows))).splitlines()
    assert [script.cells_of(line) for line in (lines[0], *lines[2:])] == [("", "a|b", "<c>"), *rows]


@pytest.mark.parametrize("report", REPORTS)
def test_a_reports_scores_are_those_of_its_csv_files(script: ModuleType, report: str) -> None:
    folder = ROOT / "reports" / report
    summary = pd.read_csv(folder / "summary.csv")
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["rows"]
    methods = {row["label"]: row["method"] for row in rows}
    table = script.table_of(report, script.MAIN)
    decoding = table.caption.split()[3].rstrip(",")
    keyed = summary.set_index(["method", "benchmark", "decoding"])
    for cells in table.rows:
        shown = dict(zip(table.columns, cells, strict=True))
        here = keyed.loc[(methods[shown[""]], slice(None), decoding), :].droplevel(["method", "decoding"])
        average = here.loc[AVERAGE]
        written = interval(average["avg_at_k"], average["ci_low"], average["ci_high"])
        assert figures(shown[AVERAGE]) == pytest.approx(figures(written), abs=2 * ROUNDING)
        for benchmark in here.index.intersection(table.columns):
            assert figures(shown[benchmark])[0] == pytest.approx(here.loc[benchmark, "avg_at_k"], abs=ROUNDING)
        if figures(shown.get(GREEDY, "")):
            greedy = keyed.loc[(methods[shown[""]], AVERAGE, GREEDY), "avg_at_k"]
            assert figures(shown[GREEDY])[0] == pytest.approx(greedy, abs=ROUNDING)


@pytest.mark.parametrize("report", [name for name in REPORTS if (ROOT / "reports" / name / "comparisons.csv").exists()])
def test_a_reports_comparisons_are_those_of_its_csv_files(script: ModuleType, report: str) -> None:
    frame = pd.read_csv(ROOT / "reports" / report / "comparisons.csv", keep_default_na=True)
    expected = [
        (
            interval(row["difference"], row["ci_low"], row["ci_high"], signed=True),
            probability(row["p_holm"]),
            number(row["detectable"]),
            row["verdict"],
        )
        for _, row in frame.iterrows()
    ]
    assert [cells[2:] for cells in script.table_of(report, script.COMPARED).rows] == expected
