"""Tables of the documentation that are copies of a report's: taken from ``reports/`` and written between their markers.

    python scripts/report_tables.py           # rewrite README.md and docs/ (make readme)
    python scripts/report_tables.py --check   # exit 1, naming the file, where one differs

A table stands between ``<!-- table NAME -->`` and ``<!-- end of table -->`` in any Markdown file of the documentation,
with those of its report's notes that hold figures; NAME is a key of ``TABLES``, where one is added.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rlbench.recipe import AVERAGE, GREEDY
from rlbench.records import UserError, nearest
from rlbench.reporting.table import Table, markdown

ROOT = Path(__file__).resolve().parents[1]
MAIN, COMPARED, CONTROL = "Mean score", "Better or worse?", "Ability or sharpening?"
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
# What README's table has no room for; the report has it.
BESIDE_THE_SCORE = ("cut off", "unparsed", "ungraded", "length")


def table_of(report: str, caption: str) -> Table:
    """The table of ``reports/REPORT/report.md`` whose heading begins with ``caption``.

    Raises:
        UserError: there is no such report, or no such table in it.
    """
    path = ROOT / "reports" / report / "report.md"
    if not path.is_file():
        raise UserError(f"{path.relative_to(ROOT)} does not exist")
    sections = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = next((text for text in sections if text.startswith(caption)), "")
    lines = [line for line in section.splitlines() if line.startswith("|")]
    others = [line for line in section.splitlines()[1:] if line and not line.startswith("|")]
    if len(lines) < 3:
        raise UserError(f"{path.relative_to(ROOT)} has no table {caption!r}")
    columns, rule, *rows = (cells_of(line) for line in lines)
    return Table(
        caption=section.splitlines()[0],
        columns=columns,
        rows=tuple(rows),
        text=frozenset(i for i, cell in enumerate(rule) if not cell.endswith(":")),
        notes=tuple(plain_text(line) for line in others),
    )


def plain_text(text: str) -> str:
    """A piece of Markdown that a report has written, without its escapes."""
    return html.unescape(re.sub(r"\\(.)", r"\1", text)).strip()


def cells_of(line: str) -> tuple[str, ...]:
    """A line of a Markdown table as its cells' plain text."""
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return tuple(plain_text(cell) for cell in cells)


def without(table: Table, columns: tuple[str, ...]) -> Table:
    """The table less the columns of these headings, of those that it has."""
    kept = [i for i, name in enumerate(table.columns) if name not in columns]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        text=frozenset(kept.index(i) for i in table.text if i in kept),
    )


def scores() -> Table:
    """The quickstart's scores."""
    return replace(without(table_of("quickstart", MAIN), BESIDE_THE_SCORE), notes=())


def comparisons() -> Table:
    """The quickstart's comparisons with its reference, which are those that are not with the base."""
    table = table_of("quickstart", COMPARED)
    base, against = table_of("quickstart", MAIN).rows[0][0], table.columns.index("against")
    return replace(table, rows=tuple(row for row in table.rows if row[against] != base), notes=())


def control() -> Table:
    """The quickstart's sharpening control, and what the base's best decoding is."""
    table = table_of("quickstart", CONTROL)
    return replace(table, notes=table.notes[:1])


def backends() -> Table:
    """Each row of the zoo that TRL trained beside the same method's own row."""
    table = table_of("objective_zoo", MAIN)
    average, greedy = table.columns.index(AVERAGE), table.columns.index(GREEDY)
    decoding = table.caption.removeprefix(f"{MAIN} under ").partition(",")[0]
    by_label = {row[0]: row for row in table.rows}
    pairs = [(by_label[name], row) for row in table.rows if (name := row[0].removesuffix(" by TRL")) != row[0]]
    columns = [f"{who}, {under}" for under in (decoding, GREEDY) for who in ("rlbench", "TRL")]
    return Table(
        caption="rlbench and TRL",
        columns=("", *columns),
        rows=tuple((own[0], own[average], trl[average], own[greedy], trl[greedy]) for own, trl in pairs),
    )


TABLES: dict[str, Callable[[], Table]] = {
    "scores": scores,
    "comparisons": comparisons,
    "control": control,
    "backends": backends,
}


def rewritten(text: str, path: Path) -> str:
    """The text of a documentation file with every marked table as the reports have it now.

    Raises:
        UserError: a marker names no table, or a table's report is not there.
    """

    def block(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise UserError(f"{path}: table {name!r} is none of {', '.join(TABLES)}{nearest(name, TABLES)}")
        return f"{match[1]}{markdown(TABLES[name]())}{match[4]}"

    return BLOCK.sub(block, text)


def documents() -> Iterator[Path]:
    """Every Markdown file that may hold a table: README.md, and those of docs/."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


def main(arguments: list[str]) -> int:
    """Rewrite, or with --check compare; returns the exit code."""
    stale = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (new := rewritten(text, path.relative_to(ROOT))) != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        said = "differs from reports/: run `make readme`" if "--check" in arguments else "rewritten"
        print(f"{name}: {said}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
