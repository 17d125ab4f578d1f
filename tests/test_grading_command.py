"""``rlbench grade`` and ``rlbench bench grade`` as commands, and the grader ``qwen``."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbench.bench.grade import MIXES, bench_grade, cases
from rlbench.grading import qwen
from rlbench.grading.files import grade_file, read_cases
from rlbench.grading.numbers import Number
from rlbench.grading.pool import Grader
from rlbench.records import UserError


def rlbench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rlbench.cli", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


def write(path: Path, *rows: object) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


MATRIX = r"\begin{pmatrix} 1 \\ 0.5 \end{pmatrix}"
GOOD = {"id": "a", "gold": "1/2", "output": r"\boxed{0.5}"}


def test_a_verdict_a_line_in_the_files_order_and_exit_code_0(tmp_path: Path) -> None:
    rows = [
        GOOD,
        {"id": 2, "gold": 7, "output": "so it must be 7"},
        {"id": "c", "gold": "x+1", "output": r"\boxed{x +\n2}"},
    ]
    path = write(tmp_path / "outputs.jsonl", rows[0], "", *rows[1:], {"id": "d", "gold": "1", "output": ""})
    done = rlbench("grade", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a\tcorrect\t0.5", "2\tunparsed\t", "c\tunparsed\tx +\\n2", "d\tunparsed\t"]
    assert "4 outputs by rlbench" in done.stderr and "1 correct" in done.stderr


def test_json_is_an_object_a_line_and_the_reading_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.jsonl", GOOD, {"id": 2, "gold": 7, "output": "so it must be 7"})
    for options in (["--read", "final"], ["--grader", "qwen"]):
        done = rlbench("grade", str(path), "--json", *options)
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            {"id": "a", "verdict": "correct", "answer": "0.5"},
            {"id": "2", "verdict": "correct", "answer": "7"},
        ]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"id": "b", "output": "5"}, "`gold` is missing"),
        ({"id": "a", "gold": "1", "output": "5"}, "`id` is 'a', already that of line 1"),
        ({"gold": "1", "output": "5"}, "`id` is missing"),
        ({"id": "b", "gold": "1"}, "`output` is missing"),
        ({"id": "b", "gold": " ", "output": "5"}, "empty"),
        ({"id": "b", "gold": "1", "output": 5}, "`output` must be text"),
        ("{", "not JSON"),
        ("[1]", "must be an object"),
        ("[" * 100_000, "not JSON"),
        ({"id": "b", "gold": ["1"], "output": "5"}, "`gold` must be text or a number"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_graded(row: object, part: str, tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.jsonl", GOOD, row)
    with pytest.raises(UserError) as caught:
        list(read_cases(path))
    assert f"{path}, line 2: " in str(caught.value) and part in str(caught.value) and "\n" not in str(caught.value)
    with Grader() as grader, pytest.raises(UserError):
        next(iter(grade_file(path, grader)))


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = write(tmp_path / "outputs.jsonl", GOOD, {"id": "b", "output": "5"})
    for arguments, part in (
        ([str(path)], f"{path}, line 2: `gold` is missing"),
        (["nowhere.jsonl"], "nowhere.jsonl"),
        ([str(path), "--grader", "quen"], "did you mean 'qwen'"),
        ([str(path), "--read", "boxes"], "--read"),
        ([str(path), "--limit-s", "0"], "--limit-s"),
    ):
        done = rlbench("grade", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stdout == "" and part in done.stderr and "Traceback" not in done.stderr


def test_a_file_is_streamed_and_not_held(tmp_path: Path) -> None:
    """A quarter of a gigabyte of outputs is graded in far less memory."""
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for number in range(250):
            file.write(
                json.dumps({"id": number, "gold": "7", "output": "x" * 1_000_000 + rf"\boxed{{{number}}}"}) + "\n"
            )
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from rlbench.grading.files import grade_file\nfrom rlbench.grading.pool import Grader\n"
        "count = sum(grade.verdict == 'correct' for _, grade in grade_file(Path(sys.argv[1]), Grader()))\n"
        # VmHWM is this process's alone; getrusage's peak is also the parent's.
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(count, peak.split()[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, check=True
    )
    correct, kilobytes = map(int, done.stdout.split())
    assert correct == 1 and kilobytes < 160_000


# The benchmark --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", MIXES)
def test_cases_of_a_mix_are_different_and_the_same_each_time(mix: str) -> None:
    made = cases(mix, 400, seed=3)
    assert made == cases(mix, 400, seed=3) != cases(mix, 400, seed=4) and len(set(made)) == 400


def test_the_benchmark_states_what_it_measured() -> None:
    found = bench_grade(["rlbench"], answers=60, workers=1, rounds=1)
    assert [row["mix"] for row in found] == ["plain", "ordinary", "parsed"]
    for row in found:
        assert row["grader"] == "rlbench" and row["answers"] == 60 and row["answers_per_second"] > 0
        assert set(row["verdicts"]) == {"correct", "wrong"} and sum(row["verdicts"].values()) == 60
    assert found[0]["fast_share"] == 1.0 > found[2]["fast_share"]
    with pytest.raises(UserError, match="did you mean 'rlbench'"):
        bench_grade(["rlbensh"])


@pytest.mark.parametrize("mix", MIXES)
def test_what_the_benchmark_grades_is_graded_as_it_was_made(mix: str) -> None:
    """Half of the answers are right; a grader that is fast and wrong would show here."""
    with Grader() as grader:
        verdicts = [grade.verdict for grade in grader.grade(cases(mix, 300, seed=9))]
    assert 100 < verdicts.count("correct") < 200 and verdicts.count("correct") + verdicts.count("wrong") == 300


# qwen -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "output", "verdict", "answer"),
    [
        ("7", r"\boxed{7}", "correct", "7"),
        ("7", r"\boxed{1} or \boxed{7}", "correct", "7"),
        ("7", "it is 3, no, 7", "correct", "7"),
        ("1234", "it is 1,234.", "correct", "1234"),
        ("7", r"7 but \boxed{8}", "wrong", "8"),
        ("7", "nothing", "unparsed", None),
        ("3.14159", r"\boxed{3.1416}", "correct", "3.1416"),
        ("3.14159", r"\boxed{3.15}", "wrong", "3.15"),
        ("0.25", r"\boxed{25}", "correct", "25"),
        ("25", r"\boxed{0.25}", "correct", "0.25"),
        ("25", r"\boxed{2.5}", "wrong", "2.5"),
        ("25", r"\boxed{2500}", "correct", "2500"),
        (r"25\%", r"\boxed{0.25}", "correct", "0.25"),
        (r"\frac{1}{3}", r"\boxed{0.33333}", "correct", "0.33333"),
        ("[0,1]", r"\boxed{(0,1)}", "correct", "(0,1)"),
        ("(1,2)", r"\boxed{(2,1)}", "wrong", "(2,1)"),
        ("A", r"\boxed{\text{(A)}}", "correct", r"\text{(A)}"),
        ("A", r"\boxed{B}", "wrong", "B"),
        ("x=2", r"\boxed{2}", "correct", "2"),
        (r"\sqrt{2}", r"\boxed{1.4142}", "correct", "1.4142"),
        (r"\sin^2 x", r"\boxed{(\sin x)^2}", "correct", r"(\sin x)^2"),
        ("(x+1)^2", r"\boxed{x^2+2x+1}", "correct", "x^2+2x+1"),
        (MATRIX, rf"\boxed{{{MATRIX.replace('0.5', '1/2')}}}", "correct", MATRIX.replace("0.5", "1/2")),
        (r"\text{Evelyn}", r"\boxed{evelyn}", "correct", "evelyn"),
        ("90^\\circ", r"\boxed{90}", "correct", "90"),
    ],
)
def test_qwen_follows_the_published_semantics(gold: str, output: str, verdict: str, answer: str | None) -> None:
    assert qwen.read(output, gold) == answer
    if answer is not None:
        assert qwen.slow(gold, answer) == verdict
        assert qwen.fast(gold, answer) in (None, verdict)


@given(st.fractions(1, 10**6, max_denominator=1000), st.fractions(-2, 2))
def test_qwens_tolerance_is_relative_and_one_in_ten_thousand(value: Fraction, part: Fraction) -> None:
    other = value * (1 + part * qwen.TOLERANCE)
    expected = abs(value - other) <= qwen.TOLERANCE * max(value, other)
    for factor in (1, Fraction(1, 100), 100):
        assert qwen.close(Number(value), Number(other * factor)) == expected


texts = st.one_of(
    st.integers(-999, 999).map(str),
    st.decimals(-99, 99, places=3).map(str),
    st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda f: rf"\frac{{{f[0]}}}{{{f[1]}}}"),
    st.tuples(st.integers(-9, 9), st.integers(2, 9)).map(lambda f: rf"{f[0]}\sqrt{{{f[1]}}}"),
    st.sampled_from(["x+1", "1+x", "2x", r"\pi"]),
)


@settings(max_examples=80, deadline=None)
@given(texts, texts)
def test_qwens_fast_path_says_what_its_slow_one_says(gold: str, answer: str) -> None:
    assert qwen.fast(gold, answer) in (None, qwen.slow(gold, answer))
