"""A table of text cells and its writers: Markdown, and plain text for a terminal. Every table that rlbench prints or
publishes is one of these; the page writes them as HTML.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rlbench.reporting.text import escape, one_line


@dataclass(frozen=True)
class Table:
    """Text cells under headings.

    ``kinds`` says of each row whether it is "base", "failed" or ""; ``text`` which columns are words; ``optional``
    which groups of columns may be left out where there is no room, the first group first.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...] = ()
    text: frozenset[int] = frozenset({0})
    optional: tuple[tuple[int, ...], ...] = ()
    notes: tuple[str, ...] = ()


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, its columns padded to line up in plain text too."""
    cells = [[escape(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.columns))]
    lines = [
        "| "
        + " | ".join(
            _pad(cell, width, i in table.text) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) if i in table.text else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    notes = [f"\n{escape(note)}" for note in table.notes]
    return "\n".join([lines[0], rule, *lines[1:], *notes]) + "\n"


def plain(table: Table, width: int = 110) -> str:
    """The table for a terminal. Where it is wider than ``width``, headings are cut, then optional columns left out, and
    a note says so.
    """
    kept, cut = list(range(len(table.columns))), max((len(c) for c in table.columns), default=0)
    while _width(table, kept, cut) > width and cut > 7:
        cut -= 1
    left_out: list[str] = []
    for group in table.optional:
        if _width(table, kept, cut) > width:
            left_out += [table.columns[i] for i in group]
            kept = [i for i in kept if i not in group]
    widths = _widths(table, kept, cut)

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            _pad(_shorten(one_line(row[i]), w), w, i in table.text) for i, w in zip(kept, widths, strict=True)
        ).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(kept) - 1))
    notes = [*table.notes, *([f"Not shown for want of width: {', '.join(left_out)}."] if left_out else [])]
    body = [line(row) for row in table.rows]
    return "\n".join([table.caption, rule, line(table.columns), rule, *body, rule, *wrap(notes, width)]) + "\n"


def _pad(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _widths(table: Table, kept: Sequence[int], cut: int) -> list[int]:
    """The columns' widths: of their cells, and of their headings up to ``cut``; labels stop at 32."""
    widths = [max(min(len(table.columns[i]), cut), *(len(row[i]) for row in table.rows), 1) for i in kept]
    return [min(widths[0], 32), *widths[1:]] if widths else []


def _width(table: Table, kept: Sequence[int], cut: int) -> int:
    return sum(_widths(table, kept, cut)) + 2 * (len(kept) - 1)


def wrap(notes: Sequence[str], width: int) -> list[str]:
    return [
        line
        for note in notes
        for line in textwrap.wrap(one_line(note), width, subsequent_indent="  ", break_long_words=False)
    ]
