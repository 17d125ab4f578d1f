"""Numbers and foreign texts as people read them: one format each for scores, intervals, tokens, durations and rates.

Whatever comes from outside (a label, an error message, a model's output) goes through ``visible``, ``one_line`` or
``escape`` before it is shown.
"""

from __future__ import annotations

import math
import re
import unicodedata

NONE = "-"


def probability(value: float) -> str:
    """A p-value in two figures, and no smaller than it can be believed."""
    return NONE if _missing(value) else "<0.001" if value < 0.001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def number(value: float) -> str:
    return NONE if _missing(value) else f"{value:.1f}"


def interval(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """``26.5 ± 0.3``, or ``0.0 [0.0, 3.7]`` where the interval was cut at the scale's end; the bare mean without an
    interval.
    """
    if _missing(mean):
        return NONE
    sign = "+" if signed else ""
    # 0.0 and not -0.0 for what rounds to it.
    centre = f"{round(mean, 1) + 0.0:{sign}.1f}"
    if _missing(low) or _missing(high):
        return centre
    if abs((high - mean) - (mean - low)) < 0.1:
        return f"{centre} ± {(high - low) / 2:.1f}"
    return f"{centre} [{low:{sign}.1f}, {high:{sign}.1f}]"


def count(value: float | None) -> str:
    """A number of tokens in three figures: 980, 31.2k, 4.1M."""
    if value is None or math.isnan(value):
        return NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,950 is 1.0M and not 1000k.
        if value >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """A duration: 12.4 s, 3.1 min, 2.6 h."""
    if value is None or math.isnan(value):
        return NONE
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


def rate(value: float | None) -> str:
    """A learning rate as it is written: 5e-4, 0."""
    if value is None or math.isnan(value):
        return NONE
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return "0" if value == 0 else f"{float(mantissa):g}e{int(exponent)}"


def visible(text: str) -> str:
    """The text with its control and formatting characters, which could hide, reorder or run what stands there, as code
    points.
    """
    return "".join(
        f"<U+{ord(c):04X}>" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t\u200c\u200d" else c
        for c in text
    )


def one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def escape(text: str) -> str:
    """Plain words in Markdown, whatever they hold: a label or an error message must not become a link, a tag or another
    column.
    """
    escaped = re.sub(r"([\\`*|\[\]~])", r"\\\1", one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _missing(value: float | None) -> bool:
    # Not by pandas, which commands that answer at once need not wait for.
    return value is None or math.isnan(value)
