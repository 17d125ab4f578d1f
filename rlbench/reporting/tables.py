"""The report's tables: what analysis says, as text cells under headings with notes.

A new table is a function here and a line in ``report.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rlbench.analysis import metrics
from rlbench.analysis.comparisons import flips
from rlbench.analysis.results import RowInfo, base_of
from rlbench.analysis.summary import SCORE
from rlbench.recipe import AVERAGE, GREEDY
from rlbench.reporting.table import Table, wrap
from rlbench.reporting.text import NONE, count, interval, number, probability, rate, seconds
from rlbench.tasks.overlap import WORDS, Overlap


def main_table(
    summary: pd.DataFrame,
    rows: Sequence[RowInfo],
    decoding: str,
    control: pd.DataFrame | None = None,
    clean: Sequence[str] = (),
) -> Table:
    """Rows x benchmarks under one decoding: avg@k, ``avg`` with its 95 % interval, what it gained on the base, greedy,
    and every metric of ``analysis.metrics.METRICS``.

    Args:
        summary: see ``summary.summary_of``.
        decoding: whose scores; empty where nothing was evaluated.
        clean: sets that have a table of their own.
        control: ``sharpening.sharpening``'s frame; with it and under its decoding, the paired difference to the base
            has a column.
    """
    here = summary[summary["decoding"] == decoding].set_index(["method", "benchmark"])
    benchmarks = [name for name in summary["benchmark"].unique() if name not in (AVERAGE, *clean)]
    gains = _gains(control, decoding)
    greedy = _greedy(summary) if decoding != GREEDY else None
    averages = [_row(here, (row.method, AVERAGE)) for row in rows]
    columns: list[tuple[str, list[str]]] = [("", [row.label for row in rows])]
    for name in benchmarks:
        columns.append((name, [number(_value(_row(here, (row.method, name)), "avg_at_k")) for row in rows]))
    columns.append((AVERAGE, [interval(*(_value(average, name) for name in SCORE)) for average in averages]))
    if gains is not None:
        columns.append(("vs base", [gains.get(row.method, NONE) for row in rows]))
    if greedy is not None:
        columns.append((GREEDY, [number(greedy.get(row.method, math.nan)) for row in rows]))
    k = here["k"].dropna()
    of = str(k.iloc[0]) if k.nunique() == 1 else "k"
    for metric in metrics.METRICS:
        cells = [number(_value(average, metric.column)) for average in averages]
        columns.append((metric.heading.format(k=of), cells))
    table = tuple(zip(*(cells for _, cells in columns), strict=True))
    last, base = len(columns) - 1, base_of(rows)
    return Table(
        caption=f"Mean score under {decoding}, in percent" if decoding else "No results",
        columns=tuple(heading for heading, _ in columns),
        rows=table,
        kinds=tuple(
            # A row has failed where none of its cells could be filled.
            "base" if row.method == base else "failed" if set(cells[1:]) <= {NONE} else ""
            for row, cells in zip(rows, table, strict=True)
        ),
        optional=(*((last - i,) for i in range(len(metrics.METRICS))), tuple(range(1, len(benchmarks) + 1))),
        notes=_main_notes(here, rows, with_base=gains is not None),
    )


def _gains(control: pd.DataFrame | None, decoding: str) -> dict[str, str] | None:
    """By row, the difference to the base under the same decoding as text; None where no row has one."""
    if control is None:
        return None
    here = control[control["sampled_decoding"] == decoding]
    if not here["sampled_minus_base"].notna().any():
        return None
    return {str(record["method"]): _spread(record, "sampled_minus_base", signed=True) for _, record in here.iterrows()}


def _greedy(summary: pd.DataFrame) -> pd.Series | None:
    """``avg`` of every row under greedy decoding, by method; None where no row has it."""
    here = summary[(summary["decoding"] == GREEDY) & (summary["benchmark"] == AVERAGE)]
    greedy = here.set_index("method")["avg_at_k"]
    return greedy if greedy.notna().any() else None


def sharpening_table(control: pd.DataFrame, rows: Sequence[RowInfo], cost: str | None = None) -> Table:
    """The sharpening control: each row against the base at its own best decoding, with the verdict that
    ``sharpening.sharpening`` defines. ``cost`` says what the control took.
    """
    sampled = next(iter(control["sampled_decoding"].dropna()), "sampled")
    labels = {row.method: row.label for row in rows}
    base = base_of(rows)
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
            f"vs best: against the base at its best decoding, {best}, {_spread(first, 'base_best')}, chosen on "
            f"{first['chosen_on']}.",
            "ability: above the base's best, sampled or greedy (5 %, Holm over the two). sharpening: above the base "
            "under the same decoding only. neither: neither is shown, which with few seeds may be want of power. Each "
            "row is judged by itself.",
            *([cost] if cost else []),
        )
    return Table("Ability or sharpening?", columns, table, kinds, frozenset({0, 5}), notes=notes)


def clean_table(summary: pd.DataFrame, rows: Sequence[RowInfo], decoding: str | None, clean: Sequence[str]) -> Table:
    """Rows x clean sets under one decoding, with 95 % intervals."""
    here = summary[summary["decoding"] == decoding].set_index(["method", "benchmark"])
    table, kinds = [], []
    for row in rows:
        found = [_row(here, (row.method, name)) for name in clean]
        table.append((row.label, *(interval(*(_value(f, name) for name in SCORE)) for f in found)))
        kinds.append("base" if row.method == base_of(rows) else "")
    note = (
        "Sets that no model can have read before they were published; they do not count in avg. A gain on the "
        "benchmarks that is not there on any of these may be memory."
    )
    return Table(f"Clean sets under {decoding}, in percent", ("", *clean), tuple(table), tuple(kinds), notes=(note,))


def comparison_table(frame: pd.DataFrame, rows: Sequence[RowInfo], margin: float) -> Table:
    """Every comparison of ``comparisons.comparisons`` with its verdict."""
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
        "Differences in avg, paired by problem, by seed, and by the random numbers of the samples; p is two-sided, by "
        "Holm's method over all comparisons here. detectable: the smallest true difference that a comparison with this "
        "noise finds in four of five cases.",
        f"better, worse: p below 5 %. tied: not that, and the 90 % interval lies within {margin:g} "
        f"point{'s' * (margin != 1)} of 0. underpowered: neither; more seeds or problems would tell.",
    ]
    noise = frame["training_noise"].dropna()
    if len(noise) and not noise.all():
        notes.append(
            "Where there is one seed or one model, the interval has no training noise in it: another seed may turn "
            "the verdict."
        )
    columns = ("", "against", "difference", "p", "detectable", "verdict")
    kinds = tuple("failed" if record[5] == NONE else "" for record in table)
    return Table("Better or worse?", columns, table, kinds, frozenset({0, 1, 5}), notes=tuple(notes))


def coverage_table(frame: pd.DataFrame, rows: Sequence[RowInfo], decoding: str | None) -> Table:
    """pass@k over k, see ``summary.coverage``."""
    wide = frame.pivot(index="method", columns="k", values="pass_at_k") if len(frame) else pd.DataFrame()
    wide = wide.reindex([row.method for row in rows])
    table = tuple((row.label, *map(number, wide.loc[row.method])) for row in rows)
    notes = (
        "The unbiased estimate of the chance that one of k samples is correct (Chen et al. 2021), mean over "
        "benchmarks.",
    )
    columns = ("", *(f"pass@{k}" for k in wide.columns))
    kinds = tuple("base" if row.method == base_of(rows) else "" for row in rows)
    return Table(f"One of k samples correct, under {decoding}, in percent", columns, table, kinds, notes=notes)


def contamination_table(frame: pd.DataFrame) -> Table:
    """Completions by the base of problems that it saw a part of, see ``contamination.contamination``."""
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
        f"The base sees {share} of each problem's words and goes on greedily. verbatim: the rest word by word, with "
        "Wilson's 95 % interval; rest: its words in order (ROUGE-L); answered: the right answer to a question that "
        "was not asked in full; score: with the whole problem.",
        "Problems of few stock sentences can be completed without ever having been read, so a rate means something "
        "beside that of sets that nobody can have read: a base far above it has seen these problems, and its scores on "
        "them measure memory too.",
    )
    return Table(
        "Contamination: does the base know the problems by heart? (%)",
        ("", "problems", "verbatim", "rest", "answered", "score"),
        table,
        notes=notes,
    )


def selection_table(rows: Sequence[RowInfo]) -> Table:
    """The checkpoint that each row was evaluated with, and how good all were on the development sets."""
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
    note = (
        "Scores of all checkpoints, the last at the right, under the main decoding on the development sets; of "
        "equals the earlier is taken. Only the chosen one was evaluated on the test sets, once."
    )
    columns = ("", "seed", "chosen", "scores")
    return Table("Checkpoints, chosen on development sets", columns, table, text=frozenset({0, 2, 3}), notes=(note,))


def grader_table(frame: pd.DataFrame, rows: Sequence[RowInfo], differing: Mapping[str, int], samples: int) -> Table:
    """avg of every row under each grader with its rank, see ``comparisons.graded_by``, and which rows change places."""
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
        "content is a hash of texts and golds: scores on sets with another one are of another benchmark. `content` of "
        "a recipe pins it."
    )
    notes = (note, *(_overlap_notes(overlaps) if overlaps is not None else ()))
    return Table("Problem sets", ("", "split", "problems", "content"), table, text=frozenset({0, 1, 3}), notes=notes)


def overlap_table(found: Sequence[Overlap]) -> Table:
    """Problems that sets share and should not, see ``rlbench.tasks.overlap``."""
    table = tuple((o.one, o.other, o.what, f"{o.count} of {o.of}", "; ".join(o.examples)) for o in found)
    note = (
        "Texts are the same where nothing but case, space, LaTeX spacing, sentence punctuation and Unicode's forms "
        f"differ. A score on problems that were trained on measures memory; {WORDS} words in a row are the measure of "
        "near-duplicates of Brown et al. 2020, stock phrases left out."
    )
    columns = ("", "with", "in common", "problems", "for instance")
    return Table("Problems that sets share", columns, table, text=frozenset({0, 1, 2, 4}), notes=(note,))


def _overlap_notes(overlaps: Mapping[str, Any]) -> list[str]:
    """Which sets were compared, and what was not looked for."""
    told = "the next table says what they share"
    if not overlaps["found"]:
        told = "no problem of a set is in one that is trained or chosen on, and no gold contradicts another"
    notes = [f"Compared: {', '.join(overlaps['compared'])}; {told}."]
    if overlaps["generated"]:
        notes.append(
            f"Splits of {', '.join(overlaps['generated'])} are made of the same sentences, so between them only whole "
            "problems were compared, and not words in a row."
        )
    return notes


def cost_table(rows: Sequence[RowInfo], scores: pd.DataFrame, decoding: str | None) -> Table:
    """Costs of each row, a mean over its seeds: tokens sampled and trained, seconds, and how long its outputs are."""
    lengths = scores[scores["decoding"] == decoding].groupby("method")[metrics.LENGTH.column].mean()
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
            f"The bank is sampled once from the base ({count(max(bank))} tokens) and charged in full to each of its "
            f"users."
        )
    if bank or own:
        notes.append(
            f"Sampled in all, for one seed, the bank counted once: {count(sum(own) + max(bank, default=0))} tokens."
        )
    columns = ("", "objective", "data", "rate", "trained", "sampled", "from bank", "training", "output")
    kinds = tuple("base" if row.method == base_of(rows) else "" for row in rows)
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


def with_failures(text: str, rows: Sequence[RowInfo], width: int) -> str:
    """A text of at most ``width`` columns with the reasons of failed rows below it."""
    lines = wrap([f"{label}: {reason}" for label, reason in failures(rows)], width)
    return text + "".join(f"{line}\n" for line in lines)


def _main_notes(here: pd.DataFrame, rows: Sequence[RowInfo], with_base: bool) -> tuple[str, ...]:
    average = (
        here[here.index.get_level_values("benchmark") == AVERAGE].dropna(subset=["avg_at_k"]).droplevel("benchmark")
    )
    if average.empty:
        return ()
    seeds, k = average["n_seeds"].max(), average["k"].dropna()
    problems = average["n_problems"].max()
    samples = f"{k.iloc[0]} sample{'s' if k.iloc[0] > 1 else ''} each, " if k.nunique() == 1 else ""
    taken = f"{problems} problems, {samples}{seeds} seed{'s' if seeds > 1 else ''}; avg is the unweighted mean."
    covers = (
        f"95 % intervals for new {'seeds and new problems.' if seeds > 1 else 'problems, training noise not included.'}"
    )
    paired = " vs base: paired by problem, and by seed where the base has them." if with_base else ""
    in_percent = "; ".join(metric.note for metric in metrics.METRICS if metric.percent)
    others = "".join(f"; {metric.note}" for metric in metrics.METRICS if not metric.percent)
    notes = [f"{taken} {covers}{paired}", f"{in_percent} (all in %){others}."]
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


def _row(frame: pd.DataFrame, key: tuple[str, str]) -> pd.Series | None:
    return frame.loc[key] if key in frame.index else None


def _value(row: pd.Series | None, name: str) -> float:
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


def _spread(record: pd.Series | dict[str, float], name: str, *, signed: bool = False) -> str:
    return interval(record[name], record[f"{name}_low"], record[f"{name}_high"], signed=signed)
