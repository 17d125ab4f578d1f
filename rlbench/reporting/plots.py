"""Inline SVG of our own: dots with intervals, one row a method, without a plotting library and without scripts.

A plot is rows of HTML, each a label, a small SVG and a number. Positions inside the SVG are percentages, so a plot
fills whatever width it has while text, dots and lines keep their size; on a phone the label moves above its line.
Colours are CSS variables of the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlbench.recipe import BASE
from rlbench.reporting.text import visible

ROW_HEIGHT = 28


@dataclass(frozen=True)
class Mark:
    """A dot at ``value`` with its interval, filled or hollow."""

    value: float
    low: float = math.nan
    high: float = math.nan
    filled: bool = True


@dataclass(frozen=True)
class PlotRow:
    """One line of a plot. ``family`` chooses its colour: base, demonstrations, rollouts, online, other."""

    label: str
    family: str
    marks: tuple[Mark, ...]


def family_of(data: str | None, *, is_base: bool = False) -> str:
    """The colour class of a row: where its training data come from."""
    if is_base:
        return BASE
    kind = (data or "").split(".")[0]
    return kind if kind in ("demonstrations", "rollouts", "online") else "other"


def dot_plot(
    rows: Sequence[PlotRow],
    *,
    reference: float | None = None,
    caption: str = "",
    axis: tuple[float, float] | None = None,
) -> str:
    """Rows of dots with intervals over one axis, in percent, as HTML with inline SVG. A row without marks stays as an
    empty line.

    Args:
        reference: where a dashed line runs through all rows.
        caption: what the plot shows, for those who cannot see it.
        axis: the axis' ends; by default from 0 to just above the highest value shown.
    """
    least, most = axis or axis_of(rows)
    ticks = _ticks(least, most)
    body = "".join(_row(row, least, most, ticks, reference) for row in rows)
    scale = "".join(f'<text x="{_at(t, least, most)}" y="14" text-anchor="middle">{t:g}</text>' for t in ticks)
    foot = (
        f'<div class="dot-row axis"><span></span><svg height="18" aria-hidden="true">{scale}</svg><span></span></div>'
    )
    return f'<div class="dot-plot" role="img" aria-label="{html.escape(visible(caption))}">{body}{foot}</div>'


def axis_of(rows: Sequence[PlotRow]) -> tuple[float, float]:
    """An axis from 0 that holds every mark and interval of the rows: its end is a multiple of 10, at most 100."""
    shown = [x for row in rows for mark in row.marks for x in (mark.value, mark.high) if math.isfinite(x)]
    return 0.0, min(100.0, 10 * math.ceil(max(shown, default=100.0) / 10 + 0.1))


def _row(row: PlotRow, least: float, most: float, ticks: Sequence[float], reference: float | None) -> str:
    middle = ROW_HEIGHT / 2
    parts = [
        f'<line class="grid" x1="{_at(t, least, most)}" x2="{_at(t, least, most)}" y1="0" y2="{ROW_HEIGHT}"/>'
        for t in ticks
    ]
    if reference is not None and math.isfinite(reference):
        x = _at(reference, least, most)
        parts.append(f'<line class="reference" x1="{x}" x2="{x}" y1="0" y2="{ROW_HEIGHT}"/>')
    marks = [mark for mark in row.marks if math.isfinite(mark.value)]
    # Hollow marks first, so that the filled one lies on top where they meet.
    for mark in sorted(marks, key=lambda mark: mark.filled):
        kind = "filled" if mark.filled else "hollow"
        if math.isfinite(mark.low) and math.isfinite(mark.high):
            parts.append(
                f'<line class="bar {kind}" x1="{_at(mark.low, least, most)}" x2="{_at(mark.high, least, most)}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        parts.append(
            f'<circle class="{kind}" cx="{_at(mark.value, least, most)}" cy="{middle}" r="{5 if mark.filled else 4.5}">'
            f"<title>{html.escape(_words(mark))}</title></circle>"
        )
    number = f"{marks[0].value:.1f}" if marks else "-"
    label = f'<span class="label">{html.escape(visible(row.label))}</span>'
    return (
        f'<div class="dot-row {html.escape(row.family)}">{label}'
        f'<svg height="{ROW_HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
        f'<span class="number">{number}</span></div>'
    )


def _words(mark: Mark) -> str:
    return f"{mark.value:.1f}" + (f" [{mark.low:.1f}, {mark.high:.1f}]" if math.isfinite(mark.low) else "")


def _at(value: float, least: float, most: float) -> str:
    """A place on the axis, in percent of the width with a margin for half a dot at either end."""
    return f"{2 + 96 * (value - least) / (most - least):.2f}%"


def _ticks(least: float, most: float) -> list[float]:
    """Four to six round numbers from one end of the axis to the other."""
    step = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100) if (most - least) / s <= 6)
    first = math.ceil(least / step)
    return [step * i for i in range(first, math.floor(most / step) + 1)]
