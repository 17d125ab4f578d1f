"""From samples to summary.csv, report.md and report.html, on small sets of samples made here."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.analysis import metrics
from rlbench.analysis.comparisons import comparisons, flips, graded_by
from rlbench.analysis.contamination import contamination
from rlbench.analysis.results import SAMPLE_COLUMNS, RowInfo, ScoreTable
from rlbench.analysis.sharpening import control_cost, sharpening
from rlbench.analysis.summary import coverage, metric_columns, scores_of, summary_columns, summary_of
from rlbench.recipe import main_decoding
from rlbench.records import UserError
from rlbench.reporting import plots, tables, text
from rlbench.reporting.report import Report, terminal_text, write_report
from rlbench.reporting.run import SAMPLE_KEYS, Run, read_samples
from rlbench.reporting.table import Table, markdown

SEEDS = (0, 1, 2)
ROWS = [RowInfo("base", "Base"), RowInfo("sft", "SFT", "sft", "demonstrations")]


def cell(method, seed, benchmark, decoding, correct, *, split="test", **changes):
    """Samples of one method under one seed; ``correct`` is problems x samples."""
    return [
        {
            "method": method,
            "seed": seed,
            "split": split,
            "benchmark": benchmark,
            "problem_id": f"p{p}",
            "decoding": decoding,
            "sample_index": k,
            "output": f"so \\boxed{{{int(right)}}}",
            "answer": str(int(right)),
            "gold": "1",
            "verdict": "correct" if right else "wrong",
            "grader": "math-verify",
            "finish_reason": "stop",
            "n_tokens": 10,
            **changes,
        }
        for p, problem in enumerate(correct)
        for k, right in enumerate(problem)
    ]


def frame(*cells):
    return pd.DataFrame([row for rows in cells for row in rows], columns=list(SAMPLE_COLUMNS)).astype({"seed": "Int64"})


def drawn(chances, *, decodings, problems=60, samples=8, benchmarks=("a", "b"), seeds=SEEDS):
    """Samples of methods whose chance of being right is ``chances[method][decoding]`` on every problem."""
    rng = np.random.default_rng(0)
    return frame(
        *(
            cell(
                method,
                seed,
                benchmark,
                decoding,
                rng.random((problems, 1 if decoding == "greedy" else samples)) < chances[method][decoding],
            )
            for method in chances
            for seed in seeds
            for benchmark in benchmarks
            for decoding in decodings
            if decoding in chances[method]
        )
    )


def summarise(samples, rows, seeds, **grid):
    return summary_of(ScoreTable(samples, rows, seeds, **grid))


def run_of(samples, rows, *, seeds=SEEDS, recipe=None, evaluation=None, probes=None, regraded=None, **manifest):
    """A run as its folder would have it."""
    listed = [{**dataclasses.asdict(row), "reasons_by_seed": {}} for row in rows]
    for entry, row in zip(listed, rows, strict=True):
        entry["reasons_by_seed"] = {"null" if s is None else str(s): why for s, why in row.reasons_by_seed.items()}
    default = {"name": "r", "title": "", "notes": [], "deviations": [], "seeds": list(seeds)}
    resolved = {**default, **(recipe or {}), "evaluation": evaluation or {}}
    return Run({"recipe": resolved, "rows": listed, "stages": [], **manifest}, samples, probes, regraded or {})


def reported(out, samples, rows, **options) -> tuple[Run, Report]:
    run = run_of(samples, rows, **options)
    return run, write_report(run, out)


def cell_of(summary, method, benchmark, decoding="t1.0"):
    here = summary[(summary.method == method) & (summary.benchmark == benchmark) & (summary.decoding == decoding)]
    assert len(here) == 1
    return here.iloc[0]


@pytest.fixture(scope="module")
def typical():
    chances = {
        "base": {"t1.0": 0.3, "t0.5": 0.5, "greedy": 0.4},
        "sft": {"t1.0": 0.45, "greedy": 0.5},
        "rft": {"t1.0": 0.7, "greedy": 0.6},
    }
    return drawn(chances, decodings=("t1.0", "t0.5", "greedy"))


TYPICAL_ROWS = [
    *ROWS,
    RowInfo("rft", "RFT", "sft", "rollouts.correct", train_tokens=312_000, bank_tokens=198_000, learning_rate=5e-4),
    RowInfo("ppo", "PPO", "ppo", "online", reason="no finite loss", sampled_tokens=50_000),
]


def test_the_summary_has_the_stable_columns_in_a_stable_order(typical):
    summary = summarise(typical, TYPICAL_ROWS, SEEDS)
    assert list(summary.columns) == metric_columns() and metric_columns()[: len(summary_columns())] == summary_columns()
    shuffled = summarise(typical.sample(frac=1, random_state=0), TYPICAL_ROWS, SEEDS, benchmarks=("a", "b"))
    pd.testing.assert_frame_equal(summary, shuffled)
    assert list(summary.method.unique()) == ["base", "sft", "rft", "ppo"]
    assert list(summary.benchmark.unique()) == ["a", "b", "avg"]
    assert list(summary[summary.method == "base"].decoding[:3]) == ["t1.0", "t0.5", "greedy"]
    assert list(summary[(summary.method == "sft") & (summary.benchmark == "a")].decoding) == ["t1.0", "greedy"]


def test_scores_are_percent_by_hand():
    samples = frame(
        cell("base", 0, "a", "t1.0", [[1, 0], [0, 0]]),
        cell("base", 1, "a", "t1.0", [[1, 1], [0, 1]]),
        cell("base", 0, "b", "t1.0", [[0, 0]] * 3, verdict="unparsed", finish_reason="length"),
        cell("base", 1, "b", "t1.0", [[0, 0]] * 3),
    )
    summary = summarise(samples, ROWS[:1], SEEDS)
    a, b, average = (cell_of(summary, "base", name) for name in ("a", "b", "avg"))
    assert (a.avg_at_k, a.pass_at_k, a.n_seeds, a.n_problems, a.k) == (50, 75, 2, 2, 2)
    assert (b.avg_at_k, b.truncation_rate, b.unparsed_rate) == (0, 50, 50)
    assert (average.avg_at_k, average.pass_at_k, average.truncation_rate, average.n_problems) == (25, 37.5, 25, 5)
    assert b.ci_low == 0 and b.ci_high > 0
    per_seed = scores_of(ScoreTable(samples, ROWS, SEEDS))
    assert per_seed[per_seed.benchmark == "a"].avg_at_k.tolist() == [25, 75]


def test_one_model_that_serves_all_seeds_has_a_null_seed_and_is_paired_with_each(typical):
    base = typical[(typical.method == "base") & (typical.seed == 0)].assign(seed=pd.NA)
    samples = pd.concat([base, typical[typical.method != "base"]]).astype({"seed": "Int64"})
    results = ScoreTable(samples, TYPICAL_ROWS, SEEDS)
    assert results.estimate("base", "avg", "t1.0").n_seeds == 1
    assert any(
        note.endswith("for new problems only: Base.")
        for note in tables.main_table(summary_of(results), TYPICAL_ROWS, results.main_decoding).notes
    )
    difference = results.difference("rft", "t1.0", "base", "t0.5")
    assert difference.n_seeds == 3 and difference.includes_training_noise
    assert difference.mean == pytest.approx(
        results.estimate("rft", "avg", "t1.0").mean - results.estimate("base", "avg", "t0.5").mean
    )


def test_a_failed_row_stands_there_with_empty_cells(typical, tmp_path):
    reported(tmp_path, typical, TYPICAL_ROWS)
    lines = [line for line in (tmp_path / "summary.csv").read_text().splitlines() if line.startswith("ppo,")]
    assert "ppo,avg,t1.0,,,,,,,,," in lines and len(lines) == 6
    assert all(re.fullmatch(r"ppo,\w+,[\w.]+,{9}", line) for line in lines)


def test_rows_stand_empty_even_where_nothing_was_evaluated():
    summary = summarise(frame(), ROWS, SEEDS, benchmarks=("a",), decodings=("t1.0",))
    assert len(summary) == 4 and summary.avg_at_k.isna().all() and summary.n_seeds.isna().all()
    assert summarise(frame(), ROWS, SEEDS).empty


def test_avg_is_empty_where_a_benchmark_is_missing():
    samples = frame(
        *(cell(method, 0, name, "t1.0", [[1], [0]]) for method, name in (("base", "a"), ("base", "b"), ("sft", "a")))
    )
    summary = summarise(samples, ROWS, SEEDS)
    assert cell_of(summary, "sft", "a").avg_at_k == 50
    assert np.isnan(cell_of(summary, "sft", "b").avg_at_k) and np.isnan(cell_of(summary, "sft", "avg").avg_at_k)


def test_avg_is_over_the_seeds_that_have_every_benchmark():
    samples = frame(
        *(cell("base", seed, "a", "t1.0", [[seed], [0]]) for seed in (0, 1)), cell("base", 1, "b", "t1.0", [[1], [1]])
    )
    assert cell_of(summarise(samples, ROWS, SEEDS), "base", "avg")[["n_seeds", "avg_at_k"]].tolist() == [1, 75]


def test_greedy_alone_is_one_sample():
    summary = summarise(frame(cell("base", 0, "a", "greedy", [[1], [0]])), ROWS[:1], SEEDS)
    assert cell_of(summary, "base", "a", "greedy")[["k", "avg_at_k", "pass_at_k"]].tolist() == [1, 50, 50]


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (cell("base", 0, "a", "t1.0", [[1], [0]]), "twice"),
        (cell("base", 1, "a", "t1.0", [[1], [0], [1]]), "not every seed has every problem"),
        (cell("base", 1, "a", "t1.0", [[1, 1], [0, 0]]), "not every seed has every problem"),
        (cell("base", None, "a", "t1.0", [[1], [0]]), "some have a seed and some have none"),
    ],
)
def test_samples_that_contradict_themselves_are_refused(second, complaint):
    with pytest.raises(UserError, match=f"'base'.*{complaint}"):
        summarise(frame(cell("base", 0, "a", "t1.0", [[1], [0]]), second), ROWS, SEEDS)


def test_reading_samples_names_what_is_wrong(tmp_path, typical):
    with pytest.raises(UserError, match="does not exist"):
        read_samples(tmp_path / "samples.parquet")
    typical.drop(columns="verdict").to_parquet(tmp_path / "samples.parquet")
    with pytest.raises(UserError, match="'verdict' is missing"):
        read_samples(tmp_path / "samples.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match="cannot be read"):
        read_samples(tmp_path / "text.parquet")
    typical.to_parquet(tmp_path / "samples.parquet")
    pd.testing.assert_frame_equal(
        summarise(read_samples(tmp_path / "samples.parquet"), ROWS, SEEDS), summarise(typical, ROWS, SEEDS)
    )


def test_the_control_tells_ability_from_sharpening(typical):
    control = sharpening(ScoreTable(typical, TYPICAL_ROWS, SEEDS)).set_index("method")
    # SFT is above the base at temperature 1, and no better than the base at temperature 0.5.
    assert control.verdict.to_dict() == {"base": "-", "sft": "sharpening", "rft": "ability", "ppo": "-"}
    assert control.base_best_decoding.unique().tolist() == ["t0.5"] and control.chosen_on.unique().tolist() == [
        "the same problems"
    ]
    assert control.sampled_minus_best["rft"] == pytest.approx(control.sampled["rft"] - control.base_best["rft"])


def test_a_row_that_is_the_base_again_is_neither(typical):
    again = typical[(typical.method == "base") & (typical.decoding != "t0.5")].assign(method="sft")
    control = sharpening(ScoreTable(pd.concat([typical[typical.method == "base"], again]), ROWS, SEEDS)).set_index(
        "method"
    )
    assert control.verdict["sft"] == "neither" and control.sampled_minus_base["sft"] == 0


def test_a_greedy_gain_alone_is_ability():
    samples = drawn(
        {"base": {"t1.0": 0.3, "greedy": 0.4}, "sft": {"t1.0": 0.3, "greedy": 0.8}}, decodings=("t1.0", "greedy")
    )
    assert sharpening(ScoreTable(samples, ROWS, SEEDS)).verdict.tolist() == ["-", "ability"]


def test_without_a_second_decoding_of_the_base_there_is_no_verdict():
    samples = drawn({"base": {"t1.0": 0.3}, "sft": {"t1.0": 0.8}}, decodings=("t1.0",))
    control = sharpening(ScoreTable(samples, ROWS, SEEDS))
    assert control.verdict.tolist() == ["-", "-"] and control.sampled_minus_base[1] > 40
    assert "No control" in tables.sharpening_table(control, ROWS).notes[0]


def test_a_decoding_that_only_the_base_has_is_not_the_main_one(typical):
    samples = typical[(typical.method == "base") | (typical.decoding != "t1.0")]
    results = ScoreTable(samples, ROWS, SEEDS, decodings=("greedy",))
    summary, control = summarise(samples, ROWS, SEEDS, decodings=("greedy",)), sharpening(results)
    assert results.main_decoding == "greedy"
    table = tables.main_table(summary, ROWS, results.main_decoding, control)
    assert "under greedy" in table.caption and "vs base" in table.columns and "greedy" not in table.columns


def test_the_bases_decoding_is_chosen_on_development_sets_where_there_are_some(typical):
    base = typical[typical.method == "base"]
    # On the development problems greedy is best, though on the test problems t0.5 is.
    greedy = base.decoding == "greedy"
    development = base.assign(split="development", verdict=np.where(greedy, "correct", base.verdict))
    control = sharpening(ScoreTable(pd.concat([typical, development]), TYPICAL_ROWS, SEEDS))
    assert control.base_best_decoding[0] == "greedy" and control.chosen_on[0] == "development"


def test_development_runs_are_reported_as_such(tmp_path, typical):
    samples = typical.assign(split="development")
    run, report = reported(tmp_path, samples, TYPICAL_ROWS)
    assert cell_of(run.findings.summary, "sft", "avg").n_seeds == 3
    assert "development split" in report.page_path.read_text()


@pytest.mark.parametrize("width", [120, 100, 80])
def test_the_terminal_table_keeps_to_its_width_and_names_every_row(typical, width):
    rows = [
        *TYPICAL_ROWS[:-1],
        RowInfo("ppo", "A very long label for proximal policy optimisation", reason="no finite loss\nat step 3"),
    ]
    names = ("in_domain_and_more", "other_wording", "steps", "two_digits", "additions", "fractions", "geometry")
    samples = pd.concat([typical[typical.benchmark == "a"].assign(benchmark=name) for name in names])
    shown = terminal_text(run_of(samples, rows), width).split("Better or worse?")[0]
    assert max(map(len, shown.splitlines())) <= width
    assert all(row.label[:20] in shown for row in rows) and "no finite loss at step 3" in shown and "avg" in shown


def test_markdown_holds_whatever_a_label_holds():
    table = Table("t", ("", "a|b"), (("<b>x</b> | `y`\n[z](http://w)", "1.0"),))
    lines = markdown(table).splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert lines[2] == r"| &lt;b&gt;x&lt;/b&gt; \| \`y\` \[z\](http://w) |  1.0 |"


def test_numbers_are_written_as_people_write_them():
    assert [text.count(x) for x in (None, 0, 980, 31_200, 999_960, 4_120_000, 2.5e9)] == [
        "-",
        "0",
        "980",
        "31.2k",
        "1M",
        "4.12M",
        "2.5G",
    ]
    assert [text.seconds(x) for x in (None, 12.44, 119, 186, 9360)] == ["-", "12.4 s", "119.0 s", "3.1 min", "2.6 h"]
    assert [text.rate(x) for x in (None, 0.0, 5e-4, 1e-6, 2.5e-5)] == ["-", "0", "5e-4", "1e-6", "2.5e-5"]
    assert text.interval(26.5, 26.2, 26.8) == "26.5 ± 0.3"
    assert text.interval(0.0, 0.0, 3.7) == "0.0 [0.0, 3.7]"
    assert text.interval(-0.01, -1.01, 0.99, signed=True) == "+0.0 ± 1.0"
    assert text.interval(5.0, np.nan, np.nan) == "5.0" and text.interval(np.nan, np.nan, np.nan) == "-"


def test_failed_seeds_are_told_with_their_reasons():
    rows = [
        RowInfo("a", "A", reason="whole row"),
        RowInfo("b", "B", reasons_by_seed={0: "nan", 2: "nan", 1: "killed"}),
        RowInfo("c", "C", reason="none", reasons_by_seed={None: "no checkpoint"}),
        RowInfo("d", "D"),
    ]
    told = [
        ("A", "whole row"),
        ("B", "seed 0, seed 2: nan"),
        ("B", "seed 1: killed"),
        ("C", "every seed: no checkpoint"),
    ]
    assert tables.failures(rows) == told


def test_the_bank_is_charged_to_each_user_and_counted_once(typical):
    rows = [*TYPICAL_ROWS, RowInfo("dpo", "DPO", "dpo", "rollouts.pairs", bank_tokens=198_000)]
    table = tables.cost_table(rows, scores_of(ScoreTable(typical, rows, SEEDS)), "t1.0")
    bank = table.columns.index("from bank")
    assert [row[bank] for row in table.rows] == ["-", "-", "198k", "-", "198k"]
    assert any("248k" in note for note in table.notes)


class Tags(HTMLParser):
    """Collects tags and attributes, and holds that every tag is closed."""

    void = ("meta", "line", "br")

    def __init__(self):
        super().__init__()
        self.names, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m \u202eabc \ud800 {{ 7 * 7 }}"


def test_the_page_is_safe_whatever_a_model_wrote(tmp_path, typical):
    sampled = HOSTILE.replace("\ud800", "")  # which Parquet cannot hold
    samples = typical.assign(output=sampled, answer=sampled, gold=sampled)
    rows = [RowInfo("base", HOSTILE), *TYPICAL_ROWS[1:3], RowInfo("ppo", "PPO", reason=HOSTILE)]
    stated = {"title": HOSTILE, "notes": [HOSTILE], "deviations": [HOSTILE]}
    facts = {"command": HOSTILE, "x": HOSTILE, "stages": [{"name": HOSTILE, "fingerprint": "f"}]}
    run, report = reported(tmp_path, samples, rows, recipe=stated, examples=[("a", "p0", HOSTILE)], **facts)
    page = report.page_path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and not {"script", "img", "iframe", "link", "a"} & set(tags.names)
    assert not [name for name in tags.attributes if name.startswith("on") or name in ("src", "href")]
    for shown in (page, report.markdown_path.read_text(encoding="utf-8"), terminal_text(run, 110)):
        assert "{{ 7 * 7 }}" in shown and "U+202E" in shown and not {"\u202e", "\x1b", "\ud800"} & set(shown)
    assert "<script" not in report.markdown_path.read_text(encoding="utf-8").split("## Made by")[0]


def test_the_page_needs_no_network_and_no_script(tmp_path, typical):
    page = reported(tmp_path, typical, TYPICAL_ROWS)[1].page_path.read_text()
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    assert "default-src 'none'" in page and "width=device-width" in page and "prefers-color-scheme: dark" in page


def test_the_page_tells_all_of_it(tmp_path, typical):
    stage = {
        "name": "train/sft/seed0",
        "fingerprint": "ab" * 32,
        "status": "done",
        "cached": True,
        "seconds": 12.0,
        "tokens": 1000,
    }
    stated = {"name": "quick", "title": "A title", "notes": ["a note"], "deviations": ["a deviation"]}
    _, report = reported(
        tmp_path,
        typical,
        TYPICAL_ROWS,
        recipe={**stated, "training": {"batch": 64}},
        command="rlbench run quick.toml",
        examples=[["a", "p0", "What is 1?"]],
        lists=[["a list of lists"]],
        versions={"torch": "2.13.0"},
        stages=[{**stage, "peak_memory_bytes": 2**30, "versions": {}}],
    )
    page, listed = report.page_path.read_text(), report.markdown_path.read_text()
    for said in (
        "A title",
        "a note",
        "a deviation",
        "rlbench run quick.toml",
        "no finite loss",
        "sharpening",
        "RFT",
        "198k",
    ):
        assert said in page and said in listed
    assert "a list of lists" not in page
    assert "&#34;batch&#34;: 64" in page
    for said in (
        "What is 1?",
        "train/sft/seed0",
        "abababababab",
        "versions.torch",
        "2.13.0",
        "cached",
        "1.0 GiB",
        "so \\boxed{",
    ):
        assert said in page


def test_the_same_run_gives_the_same_bytes(tmp_path, typical):
    written = []
    for name in ("x", "y"):
        _, report = reported(tmp_path / name, typical, TYPICAL_ROWS)
        written.append([path.read_bytes() for path in dataclasses.astuple(report)])
    assert written[0] == written[1]


def test_a_run_in_which_everything_failed_still_has_a_report(tmp_path):
    rows = [RowInfo("base", "Base", reason="could not be read"), RowInfo("sft", "SFT", reason="no base")]
    for grid in ({}, {"benchmarks": ("a", "b"), "evaluation": {"decodings": ("t1.0", "greedy")}}):
        run, report = reported(tmp_path, frame(), rows, **grid)
        for shown in (report.page_path.read_text(), report.markdown_path.read_text(), terminal_text(run, 110)):
            assert "could not be read" in shown and "no base" in shown


def test_long_outputs_are_cut_and_say_so(tmp_path, typical):
    samples = typical.assign(output="x" * 5000)
    page = reported(tmp_path, samples, TYPICAL_ROWS)[1].page_path.read_text()
    assert "2000 more characters" in page and "x" * 3001 not in page


def test_a_plot_places_marks_on_its_axis():
    rows = [
        plots.PlotRow("A", "online", (plots.Mark(50.0, 40.0, 60.0), plots.Mark(100.0, filled=False))),
        plots.PlotRow("B", "base", ()),
    ]
    svg = plots.dot_plot(rows, reference=0.0, axis=(0.0, 100.0))
    assert 'class="filled" cx="50.00%"' in svg and 'class="hollow" cx="98.00%"' in svg
    assert 'class="bar filled" x1="40.40%" x2="59.60%"' in svg and 'class="reference" x1="2.00%"' in svg
    assert svg.count('class="dot-row') == 3


@pytest.mark.parametrize(("highest", "end"), [(0.0, 10), (38.0, 40), (40.0, 50), (99.0, 100), (100.0, 100)])
def test_the_axis_ends_above_what_it_shows(highest, end):
    assert plots.axis_of([plots.PlotRow("A", "base", (plots.Mark(highest, 0.0, highest),))]) == (0.0, end)


def test_reporting_never_imports_torch():
    heavy = "{'torch', 'transformers', 'ray'}"
    code = f"import sys, rlbench.reporting.report, rlbench.analysis.findings; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Comparisons, other metrics, other graders ----------------------------------------------------------------------------


def test_every_row_is_compared_with_the_base_and_a_reference_with_one_correction_over_all(typical):
    results = ScoreTable(typical, TYPICAL_ROWS, SEEDS)
    alone, both = comparisons(results), comparisons(results, "sft")
    assert list(zip(both.method, both.reference, strict=True)) == [
        ("sft", "base"),
        ("rft", "base"),
        ("ppo", "base"),
        ("rft", "sft"),
        ("ppo", "sft"),
    ]
    of = both.set_index(["method", "reference"])
    assert of.loc[("rft", "base"), "verdict"] == "better" and of.loc[("ppo", "base"), "verdict"] == "-"
    assert of.loc[("rft", "base"), "difference"] == pytest.approx(
        results.difference("rft", "t1.0", "base", "t1.0").mean
    )
    known = both.p_holm.notna()
    assert (both.p_holm[known] >= both.p_value[known]).all()
    # Three comparisons stand in the wider family and two in the narrower one.
    smallest = both.p_value.idxmin()
    assert both.p_holm[smallest] == pytest.approx(min(1, 3 * both.p_value[smallest]))
    assert alone.p_holm.min() == pytest.approx(min(1, 2 * alone.p_value.min()))
    assert (both.detectable[known] > 0).all()
    pd.testing.assert_frame_equal(comparisons(results, "left out by --only"), alone)


def test_with_one_seed_the_comparisons_say_that_no_training_noise_is_in_them(typical):
    one = ScoreTable(typical[typical.seed == 0], TYPICAL_ROWS, (0,))
    table = tables.comparison_table(comparisons(one), TYPICAL_ROWS, 1.0)
    assert any("no training noise" in note for note in table.notes)
    several = tables.comparison_table(comparisons(ScoreTable(typical, TYPICAL_ROWS, SEEDS)), TYPICAL_ROWS, 1.0)
    assert not any("no training noise" in note for note in several.notes)


def test_coverage_goes_from_avg_to_any_of_all(typical):
    results = ScoreTable(typical, TYPICAL_ROWS, SEEDS)
    found = coverage(results).set_index(["method", "k"])["pass_at_k"]
    summary = summary_of(results)
    for method in ("base", "sft", "rft"):
        row = cell_of(summary, method, "avg")
        assert found[method, 1] == pytest.approx(row.avg_at_k, abs=1e-3)
        assert found[method, 8] == pytest.approx(row.pass_at_k, abs=1e-3)
        assert found[method].is_monotonic_increasing and list(found[method].index) == [1, 2, 4, 8]


def test_beside_a_score_stand_the_majority_and_what_could_not_be_graded():
    rows = cell("base", 0, "a", "t1.0", [[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    for sample in rows[6:]:
        sample.update(verdict="timeout", answer=None, n_tokens=40)
    found = cell_of(summarise(frame(rows), ROWS[:1], (0,)), "base", "a")
    assert found.maj_at_k == pytest.approx(100 / 3, abs=1e-3)  # the first problem alone
    assert found.ungraded_rate == pytest.approx(100 / 3, abs=1e-3) and found.n_tokens == pytest.approx(20)


def test_the_bases_decoding_is_chosen_on_development_sets_of_other_names():
    chances = {"base": {"t1.0": 0.3, "t0.5": 0.6}, "sft": {"t1.0": 0.5}}
    test = drawn(chances, decodings=("t1.0", "t0.5"))
    opposite = drawn({"base": {"t1.0": 0.9, "t0.5": 0.2}}, decodings=("t1.0", "t0.5"), benchmarks=("other",)).assign(
        split="development"
    )
    control = sharpening(ScoreTable(pd.concat([test, opposite], ignore_index=True), ROWS, SEEDS))
    assert set(control.base_best_decoding) == {"t1.0"} and set(control.chosen_on) == {"development"}
    assert set(sharpening(ScoreTable(test, ROWS, SEEDS)).base_best_decoding) == {"t0.5"}


def test_the_controls_cost_is_what_the_main_table_has_no_use_for(typical):
    results = ScoreTable(typical, TYPICAL_ROWS, SEEDS)
    extra = typical[typical.decoding != "t1.0"]
    assert control_cost(results, typical).startswith(
        f"The control took {len(extra):,} of {len(typical):,} evaluation samples"
    )


def test_ranks_that_flip_between_graders_are_named(typical, tmp_path):
    # The other grader finds every output of SFT right and none of RFT's.
    verdicts = typical.method.map({"sft": "correct", "rft": "wrong"}).fillna(typical.verdict)
    other = pd.DataFrame({"verdict": verdicts, "answer": typical.answer})
    scores, differing = graded_by(ScoreTable(typical, TYPICAL_ROWS, SEEDS), typical, {"lenient": other})
    assert flips(scores, "math-verify", "lenient") == [("rft", "base"), ("rft", "sft")]
    assert differing == {"lenient": (verdicts != typical.verdict).sum()}
    reported(tmp_path, typical, TYPICAL_ROWS, regraded={"lenient": other})
    assert "RFT above SFT by math-verify, below by lenient" in (tmp_path / "report.md").read_text()
    same = graded_by(ScoreTable(typical, TYPICAL_ROWS, SEEDS), typical, {"same": typical[["verdict", "answer"]]})[0]
    assert flips(same, "math-verify", "same") == []


def test_contamination_is_a_share_with_its_interval_beside_the_score(typical, tmp_path):
    probes = pd.DataFrame(
        [
            {
                "seed": s,
                "benchmark": "a",
                "problem_id": f"p{p}",
                "share": 0.6,
                "rest": "r",
                "completion": "c",
                "verbatim": p < 30,
                "rouge_l": 0.5,
                "verdict": "correct" if p < 6 else "unparsed",
            }
            for s in SEEDS
            for p in range(60)
        ]
    )
    found = contamination(ScoreTable(typical, TYPICAL_ROWS, SEEDS), probes).iloc[0]
    assert (found.problems, found.verbatim, found.rouge_l, found.correct) == (60, 50.0, 50.0, 10.0)
    assert found.low == pytest.approx(37.7, abs=0.1) and found.high == pytest.approx(
        62.3, abs=0.1
    )  # of 60 problems, not of 180 probes
    reported(tmp_path, typical, TYPICAL_ROWS, probes=probes)
    for name in ("report.md", "report.html"):
        assert "Contamination" in (tmp_path / name).read_text()


# One place for a metric -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [True, False])
@pytest.mark.parametrize("in_summary", [True, False])
@pytest.mark.parametrize("place", [0, -1])
def test_a_new_metric_is_one_entry_and_stands_everywhere(typical, tmp_path, monkeypatch, percent, in_summary, place):
    new = metrics.Metric(
        column="first_try",
        heading="first of {k}",
        note="first: the sample drawn first is correct",
        of=lambda samples: samples.correct[..., 0],
        percent=percent,
        in_summary=in_summary,
    )
    position = place % (len(metrics.METRICS) + 1)
    listed = (*metrics.METRICS[:position], new, *metrics.METRICS[position:])
    monkeypatch.setattr(metrics, "METRICS", listed)
    run, report = reported(tmp_path, typical, TYPICAL_ROWS)
    found = run.findings
    chosen = typical[(typical.method == "rft") & (typical.decoding == "t1.0") & (typical.sample_index == 0)]
    expected = (chosen.verdict == "correct").mean() * (100 if percent else 1)
    assert cell_of(found.summary, "rft", "avg").first_try == pytest.approx(expected, abs=1e-4)
    per_seed = found.scores[(found.scores.method == "rft") & (found.scores.decoding == "t1.0")]
    assert per_seed.first_try.mean() == pytest.approx(expected)
    written = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in ("summary", "metrics")}
    assert cell_of(written["metrics"], "rft", "avg").first_try == pytest.approx(expected, abs=1e-4)
    assert ("first_try" in written["summary"]) == in_summary
    for shown in (report.page_path.read_text(), report.markdown_path.read_text(), terminal_text(run, 300)):
        assert "first of 8" in shown and new.note in shown and text.number(expected) in shown
    notes = tables.main_table(found.summary, TYPICAL_ROWS, "t1.0").notes[1]
    assert (notes.index(new.note) < notes.index("all in %")) == percent


# What a folder holds --------------------------------------------------------------------------------------------------


def stored(folder, run):
    """The run's folder."""
    (folder / "manifest.json").write_text(json.dumps(run.manifest))
    run.samples.to_parquet(folder / "samples.parquet", index=False)
    for name, verdicts in run.regraded.items():
        verdicts.to_parquet(folder / f"regraded-{name}.parquet", index=False)
    return folder


def test_a_run_read_from_its_folder_gives_the_same_report(tmp_path, typical):
    rows = [*TYPICAL_ROWS[:-1], RowInfo("ppo", "PPO", reasons_by_seed={0: "nan", 2: "killed"})]
    run = run_of(typical, rows, regraded={"other": typical[[*SAMPLE_KEYS, "verdict", "answer"]]})
    (tmp_path / "folder").mkdir()
    read = Run.load(stored(tmp_path / "folder", run))
    assert read.rows == run.rows and read.failures == {("ppo", 0): "nan", ("ppo", 2): "killed"}
    written = [dataclasses.astuple(write_report(r, tmp_path / name)) for r, name in ((run, "x"), (read, "y"))]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


@pytest.mark.parametrize("change", ["fewer", "another order", "another seed", "no verdicts"])
def test_verdicts_of_other_samples_are_refused(tmp_path, typical, change):
    verdicts = typical[[*SAMPLE_KEYS, "verdict", "answer"]]
    verdicts = {
        "fewer": verdicts[1:],
        "another order": verdicts[::-1],
        "another seed": verdicts.assign(seed=verdicts.seed + 1),
        "no verdicts": verdicts[SAMPLE_KEYS],
    }[change]
    folder = stored(tmp_path, run_of(typical, TYPICAL_ROWS, regraded={"old": verdicts}))
    with pytest.raises(UserError, match=r"regraded-old\.parquet holds verdicts of other samples"):
        Run.load(folder)


# Which decoding is the main one ---------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["t1.0", "t1", "t0.5", "t0.70", "t2.0", "greedy"]), min_size=1, unique=True))
def test_every_room_has_the_same_main_decoding(decodings):
    results = ScoreTable(frame(), ROWS, SEEDS, decodings=decodings)
    hot = [name for name in decodings if name in ("t1.0", "t1")]
    assert results.main_decoding == main_decoding(decodings) == (hot or decodings)[0]
