"""The report's tables: made once as text cells, printed as Markdown, as a plain table for a terminal, or by the page as
HTML.
"""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlbench.analysis.results import AVERAGE, GREEDY, RowInfo, flips
from rlbench.recipe import temperature_of
from rlbench.tasks.overlap import WORDS, Overlap

NONE = "-"


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


def main_decoding(summary: pd.DataFrame) -> str | None:
    """The decoding of the main table, of those that every row has: t1.0 if it is one, else the hottest."""
    methods = summary.groupby("decoding")["method"].nunique()
    decodings = sorted(methods[methods == methods.max()].index, key=temperature_of, reverse=True)
    return "t1.0" if "t1.0" in decodings else next(iter(decodings), None)


def main_table(
    summary: pd.DataFrame,
    rows: Sequence[RowInfo],
    decoding: str | None = None,
    control: pd.DataFrame | None = None,
    clean: Sequence[str] = (),
) -> Table:
    """Rows x benchmarks under one decoding: avg@k, ``avg`` with its 95 % interval, what it gained on the base, greedy,
    pass@k, maj@k.

    Beside every score stand the shares of outputs that were cut off, that held no answer, and that could not be graded,
    and their length.

    Args:
        summary: see ``frames.summary_of``.
        decoding: ``main_decoding`` by default.
        clean: sets that have a table of their own.
        control: ``frames.sharpening``'s frame; with it and under its decoding, the paired difference to the base has a
            column.
    """
    decoding = decoding or main_decoding(summary) or ""
    here = summary[summary["decoding"] == decoding].set_index(["method", "benchmark"])
    greedy = summary[(summary["decoding"] == GREEDY) & (summary["benchmark"] == AVERAGE)].set_index("method")[
        "avg_at_k"
    ]
    benchmarks = [name for name in summary["benchmark"].unique() if name not in (AVERAGE, *clean)]
    k = here["k"].dropna()
    with_greedy = decoding != GREEDY and greedy.notna().any()
    gains = control[control["sampled_decoding"] == decoding].set_index("method") if control is not None else None
    with_base = gains is not None and gains["sampled_minus_base"].notna().any()
    columns = ["", *benchmarks, AVERAGE]
    columns += ["vs base"] if with_base else []
    columns += ["greedy"] if with_greedy else []
    of = str(k.iloc[0]) if k.nunique() == 1 else "k"
    columns += [f"pass@{of}", f"maj@{of}", "cut off", "unparsed", "ungraded", "length"]
    last = len(columns)
    optional = (
        (last - 1,),
        (last - 2,),
        (last - 3,),
        (last - 4,),
        (last - 5,),
        (last - 6,),
        tuple(range(1, len(benchmarks) + 1)),
    )
    base = _base(rows)
    table, kinds = [], []
    for row in rows:
        average = _row(here, (row.method, AVERAGE))
        cells = [row.label, *(number(_value(_row(here, (row.method, name)), "avg_at_k")) for name in benchmarks)]
        cells.append(interval(_value(average, "avg_at_k"), _value(average, "ci_low"), _value(average, "ci_high")))
        if with_base and gains is not None:
            cells.append(
                _spread(gains.loc[row.method], "sampled_minus_base", signed=True) if row.method in gains.index else NONE
            )
        if with_greedy:
            cells.append(number(greedy.get(row.method, math.nan)))
        names = ("pass_at_k", "maj_at_k", "truncation_rate", "unparsed_rate", "ungraded_rate", "n_tokens")
        cells += [number(_value(average, name)) for name in names]
        table.append(tuple(cells))
        # A row has failed where none of its cells could be filled.
        kinds.append("base" if row.method == base else "failed" if all(cell == NONE for cell in cells[1:]) else "")
    caption = f"Mean score under {decoding}, in percent" if decoding else "No results"
    notes = _main_notes(here, rows, with_base)
    return Table(caption, tuple(columns), tuple(table), tuple(kinds), optional=optional, notes=notes)


def sharpening_table(
    control: pd.DataFrame, rows: Sequence[RowInfo], decoding: str | None = None, cost: str | None = None
) -> Table:
    """The sharpening control: each row against the base at its own best decoding, with the verdict that
    ``frames.sharpening`` defines.

    ``decoding`` heads the sampled columns; by default the control's own. ``cost`` says what the control took.
    """
    sampled = decoding or next(iter(control["sampled_decoding"].dropna()), "sampled")
    labels = {row.method: row.label for row in rows}
    base = _base(rows)
    best = next(iter(control["base_best_decoding"].dropna()), None)
    table = tuple(
        (
            labels[record["method"]],
            _spread(record, "sampled"),
            _spread(record, "greedy"),
            _spread(record, "sampled_minus_best", signed=True),
            _spread(record, "greedy_minus_best", signed=True),
            str(record["verdict"]),
        )
        for record in control.to_dict("records")
    )
    kinds = tuple(
        "base" if method == base else "failed" if math.isnan(score) else ""
        for method, score in zip(control["method"], control["sampled"], strict=True)
    )
    columns = ("", sampled, GREEDY, f"{sampled} vs best", "greedy vs best", "verdict")
    if best is None:
        notes: tuple[str, ...] = ("No control: the base was not evaluated under two decodings or more.",)
    else:
        first = control[control["base_best"].notna()].iloc[0]
        notes = (
            f"vs best: against the base at its best decoding, {best}, {_spread(first, 'base_best')}, chosen on {first['chosen_on']}.",
            "ability: above the base's best, sampled or greedy (5 %, Holm over the two). sharpening: above the base under the same "
            "decoding only. neither: neither is shown, which with few seeds may be want of power. Each row is judged by itself.",
            *([cost] if cost else []),
        )
    return Table("Ability or sharpening?", columns, table, kinds, frozenset({0, 5}), notes=notes)


def clean_table(summary: pd.DataFrame, rows: Sequence[RowInfo], decoding: str | None, clean: Sequence[str]) -> Table:
    """Rows x clean sets under one decoding, with 95 % intervals."""
    here = summary[summary["decoding"] == decoding].set_index(["method", "benchmark"])
    table, kinds = [], []
    for row in rows:
        found = [_row(here, (row.method, name)) for name in clean]
        table.append(
            (row.label, *(interval(*(_value(f, name) for name in ("avg_at_k", "ci_low", "ci_high"))) for f in found))
        )
        kinds.append("base" if row.method == _base(rows) else "")
    note = "Sets that no model can have read before they were published; they do not count in avg. A gain on the benchmarks that is not "
    note += "there on any of these may be memory."
    return Table(f"Clean sets under {decoding}, in percent", ("", *clean), tuple(table), tuple(kinds), notes=(note,))


def comparison_table(frame: pd.DataFrame, rows: Sequence[RowInfo], margin: float) -> Table:
    """Every comparison of ``frames.comparisons`` with its verdict."""
    labels = {row.method: row.label for row in rows}
    table = tuple(
        (
            labels[record["method"]],
            labels[record["reference"]],
            interval(record["difference"], record["ci_low"], record["ci_high"], signed=True),
            probability(record["p_holm"]),
            number(record["detectable"]),
            str(record["verdict"]),
        )
        for record in frame.to_dict("records")
    )
    notes = [
        "Differences in avg, paired by problem, by seed, and by the random numbers of the samples; p is two-sided, by Holm's method over "
        "all comparisons here. detectable: the smallest true difference that a comparison with this noise finds in four of five cases.",
        f"better, worse: p below 5 %. tied: not that, and the 90 % interval lies within {margin:g} point{'s' * (margin != 1)} of 0. "
        "underpowered: neither; more seeds or problems would tell.",
    ]
    noise = frame["training_noise"].dropna()
    if len(noise) and not noise.all():
        notes.append(
            "Where there is one seed or one model, the interval has no training noise in it: another seed may turn the verdict."
        )
    columns = ("", "against", "difference", "p", "detectable", "verdict")
    kinds = tuple("failed" if record[5] == NONE else "" for record in table)
    return Table("Better or worse?", columns, table, kinds, frozenset({0, 1, 5}), notes=tuple(notes))


def coverage_table(frame: pd.DataFrame, rows: Sequence[RowInfo], decoding: str | None) -> Table:
    """pass@k over k, see ``frames.coverage``."""
    wide = frame.pivot(index="method", columns="k", values="pass_at_k") if len(frame) else pd.DataFrame()
    wide = wide.reindex([row.method for row in rows])
    table = tuple((row.label, *map(number, wide.loc[row.method])) for row in rows)
    notes = (
        "The unbiased estimate of the chance that one of k samples is correct (Chen et al. 2021), mean over benchmarks.",
    )
    columns = ("", *(f"pass@{k}" for k in wide.columns))
    kinds = tuple("base" if row.method == _base(rows) else "" for row in rows)
    return Table(f"One of k samples correct, under {decoding}, in percent", columns, table, kinds, notes=notes)


def contamination_table(frame: pd.DataFrame) -> Table:
    """What the base makes of problems that it saw a part of, see ``frames.contamination``."""
    table = tuple(
        (
            str(record["benchmark"]),
            str(record["problems"]),
            interval(record["verbatim"], record["low"], record["high"]),
            number(record["rouge_l"]),
            number(record["correct"]),
            number(record["score"]),
        )
        for record in frame.to_dict("records")
    )
    share = f"{frame['share'].iloc[0]:.0%}" if len(frame) else "a part"
    notes = (
        f"The base sees {share} of each problem's words and goes on greedily. verbatim: the rest word by word, with Wilson's 95 % "
        "interval; rest: its words in order (ROUGE-L); answered: the right answer to a question that was not asked in full; score: with "
        "the whole problem.",
        "Problems of few stock sentences can be completed without ever having been read, so a rate means something beside that of sets "
        "that nobody can have read: a base far above it has seen these problems, and its scores on them measure memory too.",
    )
    return Table(
        "Contamination: does the base know the problems by heart? (%)",
        ("", "problems", "verbatim", "rest", "answered", "score"),
        table,
        notes=notes,
    )


def selection_table(rows: Sequence[RowInfo]) -> Table:
    """Which of its checkpoints each row was evaluated with, and how good all were on the development sets."""
    table = tuple(
        (
            row.label,
            seed,
            f"{found['chosen']} of {len(found['scores'])}",
            "  ".join(number(score) for score in found["scores"]),
        )
        for row in rows
        for seed, found in row.selection.items()
        if found is not None
    )
    note = "Scores of all checkpoints, the last at the right, under the main decoding on the development sets; of equals the earlier is "
    note += "taken. Only the chosen one was evaluated on the test sets, once."
    columns = ("", "seed", "chosen", "scores")
    return Table("Checkpoints, chosen on development sets", columns, table, text=frozenset({0, 2, 3}), notes=(note,))


def grader_table(frame: pd.DataFrame, rows: Sequence[RowInfo], differing: Mapping[str, int], samples: int) -> Table:
    """avg of every row under each grader with its rank, see ``frames.graded_by``, and which rows change places."""
    names = list(dict.fromkeys(frame["grader"]))
    by = frame.set_index(["method", "grader"])
    labels = {row.method: row.label for row in rows}
    cells = []
    for row in rows:
        found = [by.loc[row.method, name] if (row.method, name) in by.index else None for name in names]
        pairs = [(NONE, NONE) if one is None else (number(one["avg"]), f"{one['rank']:.0f}") for one in found]
        cells.append((row.label, *(text for pair in pairs for text in pair)))
    notes = [
        f"{name} gives {count:,} of {samples:,} samples another verdict than {names[0]}."
        for name, count in differing.items()
    ]
    for name in names[1:]:
        pairs = flips(frame, names[0], name)
        shown = "; ".join(f"{labels[a]} above {labels[b]} by {names[0]}, below by {name}" for a, b in pairs)
        notes.append(
            f"Ranks that flip: {shown}." if pairs else f"No two rows change places between {names[0]} and {name}."
        )
    columns = ("", *(text for name in names for text in (name, "rank")))
    return Table("The same samples under other graders", columns, tuple(cells), notes=tuple(notes))


def problem_set_table(sets: Sequence[Mapping[str, Any]], overlaps: Mapping[str, Any] | None = None) -> Table:
    """The problem sets by content: a changed benchmark is another benchmark. ``overlaps`` is of the manifest."""
    table = tuple((str(s["name"]), str(s["split"]), str(s["problems"]), str(s["content"])[:12]) for s in sets)
    note = (
        "content is a hash of texts and golds: scores on sets with another one are of another benchmark. `content` of a "
        "recipe pins it."
    )
    notes = (note, *(_overlap_notes(overlaps) if overlaps is not None else ()))
    return Table("Problem sets", ("", "split", "problems", "content"), table, text=frozenset({0, 1, 3}), notes=notes)


def overlap_table(found: Sequence[Overlap]) -> Table:
    """Problems that sets share and should not, see ``rlbench.tasks.overlap``."""
    table = tuple((o.one, o.other, o.what, f"{o.count} of {o.of}", "; ".join(o.examples)) for o in found)
    note = (
        "Texts are the same where nothing but case, space, LaTeX spacing, sentence punctuation and Unicode's forms differ. "
        f"A score on problems that were trained on measures memory; {WORDS} words in a row are the measure of "
        "near-duplicates of Brown et al. 2020, stock phrases left out."
    )
    columns = ("", "with", "in common", "problems", "for instance")
    return Table("Problems that sets share", columns, table, text=frozenset({0, 1, 2, 4}), notes=(note,))


def _overlap_notes(overlaps: Mapping[str, Any]) -> list[str]:
    """Which sets were compared, and what was not looked for."""
    found = (
        "the next table says what they share" if overlaps["found"] else "no problem of one is in another, and no gold "
    )
    found += "" if overlaps["found"] else "contradicts another"
    notes = [f"Compared with each other and with what is trained on: {', '.join(overlaps['compared'])}; {found}."]
    if overlaps["generated"]:
        notes.append(
            f"Splits of {', '.join(overlaps['generated'])} are made of the same sentences, so between them only whole "
            "problems were compared."
        )
    return notes


def cost_table(rows: Sequence[RowInfo], scores: pd.DataFrame, decoding: str | None) -> Table:
    """What each row took, a mean over its seeds: tokens sampled and trained, seconds, and how long its outputs are."""
    lengths = scores[scores["decoding"] == decoding].groupby("method")["n_tokens"].mean()
    table = tuple(
        (
            row.label,
            row.objective or NONE,
            row.data or NONE,
            rate(row.learning_rate),
            count(row.train_tokens),
            count(row.sampled_tokens),
            count(row.bank_tokens),
            seconds(row.train_seconds),
            number(lengths.get(row.method, math.nan)),
        )
        for row in rows
    )
    bank = [row.bank_tokens for row in rows if row.bank_tokens]
    own = [row.sampled_tokens for row in rows if row.sampled_tokens]
    notes = ["Means over seeds; tokens trained count every epoch."]
    if bank:
        notes.append(
            f"The bank is sampled once from the base ({count(max(bank))} tokens) and charged in full to each of its users."
        )
    if bank or own:
        notes.append(
            f"Sampled in all, for one seed, the bank counted once: {count(sum(own) + max(bank, default=0))} tokens."
        )
    columns = ("", "objective", "data", "rate", "trained", "sampled", "from bank", "training", "output")
    kinds = tuple("base" if row.method == _base(rows) else "" for row in rows)
    return Table("Costs: tokens and seconds", columns, table, kinds, frozenset({0, 1, 2}), notes=tuple(notes))


def failures(rows: Sequence[RowInfo]) -> list[tuple[str, str]]:
    """(label, why) of every row that lacks all or some of its seeds; seeds with the same reason share a line."""
    found = []
    for row in rows:
        by_reason: dict[str, list[str]] = {}
        for seed, reason in row.reasons_by_seed.items():
            by_reason.setdefault(reason, []).append("every seed" if seed is None else f"seed {seed}")
        if row.reason is not None and not by_reason:
            found.append((row.label, row.reason))
        found += [(row.label, f"{', '.join(seeds)}: {reason}") for reason, seeds in by_reason.items()]
    return found


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
    return "\n".join([table.caption, rule, line(table.columns), rule, *body, rule, *_wrap(notes, width)]) + "\n"


def terminal_table(
    summary: pd.DataFrame,
    rows: Sequence[RowInfo],
    *,
    decoding: str | None = None,
    control: pd.DataFrame | None = None,
    width: int = 110,
    clean: Sequence[str] = (),
) -> str:
    """The main table as plain text of at most ``width`` columns, with the reasons of failed rows below it."""
    text = plain(main_table(summary, rows, decoding, control, clean), width)
    return text + "".join(
        f"{line}\n" for line in _wrap([f"{label}: {reason}" for label, reason in failures(rows)], width)
    )


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
    if value is None or _missing(value):
        return NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,950 is 1.0M and not 1000k.
        if value >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """A duration: 12.4 s, 3.1 min, 2.6 h."""
    if value is None or _missing(value):
        return NONE
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


def rate(value: float | None) -> str:
    """A learning rate as it is written: 5e-4, 0."""
    if value is None or _missing(value):
        return NONE
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return "0" if value == 0 else f"{float(mantissa):g}e{int(exponent)}"


def _main_notes(here: pd.DataFrame, rows: Sequence[RowInfo], with_base: bool) -> tuple[str, ...]:
    average = (
        here[here.index.get_level_values("benchmark") == AVERAGE].dropna(subset=["avg_at_k"]).droplevel("benchmark")
    )
    if average.empty:
        return ()
    seeds, k = average["n_seeds"].max(), average["k"].dropna()
    samples = f"{k.iloc[0]} sample{'s' if k.iloc[0] > 1 else ''} each, " if k.nunique() == 1 else ""
    taken = f"{average['n_problems'].max()} problems, {samples}{seeds} seed{'s' if seeds > 1 else ''}; avg is the unweighted mean."
    covers = (
        f"95 % intervals for new {'seeds and new problems.' if seeds > 1 else 'problems, training noise not included.'}"
    )
    paired = " vs base: paired by problem, and by seed where the base has them." if with_base else ""
    outputs = "pass: any of the samples correct; maj: the answer given most often; cut off: outputs that hit the token limit; unparsed: "
    outputs += "without an answer that can be read; ungraded: the grader hit its limits or failed, counted as not correct (all in %); "
    notes = [f"{taken} {covers}{paired}", f"{outputs}length in tokens."]
    fewer = [row for row in rows if row.method in average.index and average["n_seeds"][row.method] < seeds]
    # A row that lacks seeds for no reason is one model that serves all of them.
    lacking, single = [row for row in fewer if row.reasons_by_seed], [row for row in fewer if not row.reasons_by_seed]
    if lacking:
        notes.append(
            "Fewer seeds: " + ", ".join(f"{row.label} {average['n_seeds'][row.method]}" for row in lacking) + "."
        )
    if single:
        notes.append(
            "One model for all seeds, its interval for new problems only: "
            + ", ".join(row.label for row in single)
            + "."
        )
    return tuple(notes)


def _base(rows: Sequence[RowInfo]) -> str | None:
    return next(
        (row.method for row in rows if row.is_base), next((row.method for row in rows if row.method == "base"), None)
    )


def _row(frame: pd.DataFrame, key: tuple[str, str]) -> pd.Series | None:
    return frame.loc[key] if key in frame.index else None


def _value(row: pd.Series | None, name: str) -> float:
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


def _missing(value: float) -> bool:
    return bool(pd.isna(value))


def _spread(record: pd.Series | dict[str, float], name: str, *, signed: bool = False) -> str:
    return interval(record[name], record[f"{name}_low"], record[f"{name}_high"], signed=signed)


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


def _wrap(notes: Sequence[str], width: int) -> list[str]:
    return [
        line
        for note in notes
        for line in textwrap.wrap(one_line(note), width, subsequent_indent="  ", break_long_words=False)
    ]
