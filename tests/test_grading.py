r"""Grading: the last box, plain numbers, math-verify behind worker processes that can be killed, and how far it agrees with people.

The last part reads cases and benchmarks that lie beside the repository and are not part of it; it is skipped where they are absent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.boxed import last_boxed
from rlbench.grading.pool import Graded, Grader
from rlbench.grading.verify import MAX_ANSWER, extract_answer, grade_parsed, grade_plain
from rlbench.records import UserError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference data at {DATA}")
TOWER = r"\boxed{9^{9^{9^{9}}}}"


# Extraction ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} or rather \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{x \mid x > 1\right.}", r"\left\{x \mid x > 1\right."),
        (r"\boxed{a \\ {b}}", r"a \\ {b}"),
        (r"\boxed 5", "5"),
        (r"$\boxed 12$.", "12"),
        (r"is \boxed 12.5.", "12.5"),
        (r"\boxed {7}", "7"),
        (r"\fbox{9}", "9"),
        (r"\\boxed{7}", "7"),
        (r"} } \boxed{1}", "1"),
        (r"\boxed{a = \boxed{3}}", "3"),
        (r"\boxed{3} then \boxed{4", "3"),
        (r"Put it within \boxed{}. \boxed{3} as in \boxed{}", "3"),
        (r"\boxed{\text{if } x}", r"\text{if } x"),
        (r"\boxedx{7}", None),
        (r"\boxed", None),
        (r"\boxed{a\}", None),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_the_answer_is_the_last_box_that_closes_and_holds_something(output: str, answer: str | None) -> None:
    assert extract_answer(output) == answer


nested = st.recursive(
    st.text("ab1+ ^_", max_size=5), lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "x".join(parts) + "}")
)


@given(nested.filter(lambda text: text.strip()), st.text("ab{ }\\", max_size=10), nested)
def test_any_balanced_content_is_found_again_whatever_stands_around_it(content: str, before: str, after: str) -> None:
    escaped = before + (" " if before.endswith("\\") else "")
    assert last_boxed(f"{escaped}\\boxed{{{content}}}{after}") == content.strip()


@given(st.text("\\boxedfbx{} 5a"))
def test_no_text_breaks_the_extraction(text: str) -> None:
    found = last_boxed(text)
    assert found is None or (found == found.strip() and found in text)


@pytest.mark.parametrize(
    "output",
    [
        r"\boxed{" * 10_000,
        r"\boxed{" * 10_000 + "1" * 3000 + "}" * 10_000,
        r"\boxed{" + "{" * 10_000 + "x" + "}" * 10_000 + "}",
        "x" * 1_000_000,
        "\\" * 500_000 + r"\boxed{",
        r"\boxed" * 100_000,
        r"\boxed{" + "1" * 1_000_000 + "}",
    ],
    ids=["open", "nested_boxes", "nested_braces", "long", "backslashes", "commands", "long_answer"],
)
def test_extraction_is_linear_and_long_answers_are_none(output: str) -> None:
    started = time.process_time()
    assert extract_answer(output) is None
    assert time.process_time() - started < 1.0


def test_an_answer_of_the_longest_length_is_still_one() -> None:
    assert extract_answer(r"\boxed{" + "1" * MAX_ANSWER + "}") == "1" * MAX_ANSWER


# Plain numbers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("7", "7", "correct"), ("7", "8", "wrong"), ("025", "25", "correct"), ("-3", "3", "wrong"), ("+3", "3", "correct"),
        ("1,234", "1234", "correct"), ("1,234,567.5", "1234567.50", "correct"), ("$7$", "7.0", "correct"), ("7", r"$8$", "wrong"),
        ("0.5", "0.50", "correct"), ("1.6", "1.7", "wrong"), ("12345678901234567890", "12345678901234567891", "wrong"),
        ("1.6", "1.60000001", None), ("1,22", "1.22", None), ("1,2345", "12345", None), ("1/2", "0.5", None), ("7", "7%", None),
        ("7", "", None), ("x", "x", None), ("7", "٧", None), ("7", "7 ", "correct"), ("7", "1e1", None),
    ],
)  # fmt: skip
def test_plain_numbers_are_decided_and_nothing_else(gold: str, answer: str, verdict: str | None) -> None:
    assert grade_plain(gold, answer) == verdict


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_are_equal_as_integers_with_or_without_commas(left: int, right: int) -> None:
    assert grade_plain(f"{left:,}", str(left)) == "correct"
    assert grade_plain(str(left), f"{right:,}") == ("correct" if left == right else "wrong")


@given(st.decimals(-1000, 1000, places=3), st.decimals(-1000, 1000, places=2))
def test_decimals_are_never_right_and_wrong_at_once(left: Decimal, right: Decimal) -> None:
    verdict = grade_plain(str(left), str(right))
    assert verdict == "correct" if left == right else verdict != "correct"


# math-verify, in this process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"\frac{1}{2}", "0.5", "correct"), (r"\frac{1}{2}", r"\dfrac12", "correct"), (r"\frac{1}{2}", "0.6", "wrong"),
        (r"(3, \frac{\pi}{2})", r"\left(3,\pi/2\right)", "correct"), (r"2\sqrt{2}", r"\sqrt{8}", "correct"),
        (r"x^2+2x+1", "(x+1)^2", "correct"),
        (r"\{1,2\}", r"\{2,1\}", "correct"), ("1.6", "1.60000001", "correct"), ("42", "42 because geometry proves it", "unparsed"),
    ],
)  # fmt: skip
def test_math_verify_decides_the_rest(gold: str, answer: str, verdict: str) -> None:
    assert grade_parsed(gold, answer) == verdict


# The pool -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(limit_s=2.5) as made:
        yield made


def test_plain_cases_need_no_worker() -> None:
    grader = Grader()
    long = "9" * 3000
    cases = [("7", r"\boxed{7}"), ("7", r"\boxed{8}"), ("7", "7"), (r"\frac12 ", r"\boxed{\frac12}")]
    cases += [("7", rf"\boxed{{{long}}}"), (long, rf"\boxed{{{long}}}")]
    assert grader.grade(cases) == [
        Graded("correct", "7"), Graded("wrong", "8"), Graded("unparsed", None), Graded("correct", r"\frac12"),
        Graded("unparsed", None), Graded("correct", long),
    ]  # fmt: skip
    assert grader._idle == [] and grader.grade([]) == []


def test_a_batch_keeps_its_order_whatever_happens_to_its_members(grader: Grader) -> None:
    half = r"\frac{1}{2}"
    cases = [(half, r"\boxed{0.5}"), ("5", TOWER), ("", ""), ("5", r"\boxed{5}"), (half, r"\boxed{\frac{2}{6}}"), (half, r"\boxed{0.5}")]
    assert [g.verdict for g in grader.grade(cases)] == ["correct", "timeout", "unparsed", "correct", "wrong", "correct"]


def test_a_verdict_is_remembered_but_not_that_there_was_none() -> None:
    with Grader(limit_s=1.0) as grader:
        half, hangs = (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}"), ("5", TOWER)
        first = grader.grade([half, hangs])
        assert [graded.verdict for graded in first] == ["correct", "timeout"]
        grader.close()
        assert grader.grade([half] * 1000) == first[:1] * 1000 and grader._idle == []  # no worker was started
        assert grader.grade([hangs]) == first[1:]


def test_several_workers_give_what_one_gives(grader: Grader) -> None:
    cases = [(rf"\frac{{{i}}}{{7}}", rf"\boxed{{{i + i % 3 // 2}/7}}") for i in range(60)]
    with Grader(workers=3) as several:
        assert several.grade(cases) == grader.grade(cases)
        assert len(several._idle) == 3


def test_text_that_is_code_is_not_run(grader: Grader, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"__import__('os').system('touch {mark}')"
    outputs = [rf"\boxed{{{text}}}" for text in (code, f"${code}$", f"1+{code}", rf"\text{{{code}}}")] + [f"The final answer is {code}"]
    verdicts = {g.verdict for g in grader.grade([("1", output) for output in outputs] + [(code, r"\boxed{1+1}")])}
    assert verdicts <= {"wrong", "unparsed"} and not mark.exists()


def test_a_worker_that_outgrows_its_memory_or_is_killed_costs_only_its_case(grader: Grader) -> None:
    assert grader.grade([(r"\frac{1}{3}", r"\boxed{1/3}")])[0].verdict == "correct"
    (worker,) = grader._idle
    timer = threading.Timer(0.5, worker.process.send_signal, [signal.SIGKILL])
    timer.start()
    verdicts = [g.verdict for g in grader.grade([("5", r"\boxed{8^{9^{9^{9}}}}"), (r"\frac{1}{4}", r"\boxed{2/8}")])]
    timer.join()
    assert verdicts == ["error", "correct"]


def test_a_worker_that_died_while_idle_is_replaced(grader: Grader) -> None:
    grader.grade([(r"\frac{1}{3}", r"\boxed{\frac{2}{6}}")])
    grader._idle[0].process.kill()
    grader._idle[0].process.wait()
    assert grader.grade([(r"\frac{1}{5}", r"\boxed{\frac{2}{10}}")])[0].verdict == "correct"


def test_it_works_from_threads_that_end_and_from_several_at_once(grader: Grader) -> None:
    results: dict[int, list[Graded]] = {}

    def run(k: int) -> None:
        results[k] = grader.grade([(rf"\frac{{{i}}}{{{k + 11}}}", rf"\boxed{{{i}/{k + 11}}}") for i in range(1, 8)])

    for start in (0, 3):
        threads = [threading.Thread(target=run, args=(start + k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {g.verdict for graded in results.values() for g in graded} == {"correct"} and len(results) == 6


def test_a_worker_that_cannot_start_is_said_and_not_graded_as_an_error() -> None:
    with Grader(memory_bytes=32 << 20) as grader, pytest.raises(UserError, match=r"the grader's worker process (cannot start|ended)"):
        grader.grade([(r"\frac{1}{3}", r"\boxed{1/3}")])


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="positive limit"):
        Grader(limit_s=0)
    with pytest.raises(ValueError, match="at least one worker"):
        Grader(workers=0)


def gone(pid: int, within_s: float) -> bool:
    """Whether a process that is not our child ends (or is only a zombie that nobody has reaped) within some seconds."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("output", [r"\boxed{1/3}", TOWER], ids=["idle", "stuck"])
def test_workers_end_when_their_parent_is_killed(output: str) -> None:
    program = (
        "import sys, threading, time\nfrom rlbench.grading.pool import Grader, _Worker\n"
        "start = _Worker.__init__\n"
        "def told(self, *a): start(self, *a); print(self.process.pid, flush=True)\n"
        "_Worker.__init__ = told\n"
        "g = Grader(limit_s=1.0)\n"
        "g.grade([(r'\\frac{1}{2}', sys.argv[1])]); print('done', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, output], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if output == TOWER:
        time.sleep(0.9)  # by now it is inside the power
    else:
        assert parent.stdout.readline() == "done\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(worker, 10.0)


def test_closing_ends_the_workers_and_the_grader_can_be_used_again() -> None:
    grader = Grader()
    grader.grade([(r"\frac{1}{3}", r"\boxed{1/3}")])
    pid = grader._idle[0].process.pid
    grader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert grader.grade([(r"\frac{1}{3}", r"\boxed{2/6}")])[0].verdict == "correct"
    pid = grader._idle[0].process.pid
    del grader
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# Agreement with what people said ------------------------------------------------------------------------------------------------


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


@needs_data
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["math500", "minerva_math", "olympiadbench", "aime24", "amc23"])
def test_a_gold_equals_itself_in_a_box(name: str, every: int) -> None:
    for row in rows(f"benchmarks/{name}.jsonl")[::every]:
        answer = extract_answer(rf"Therefore \boxed{{{row['answer']}}}.")
        assert answer == row["answer"].strip()
        assert (grade_plain(row["answer"], answer) or grade_parsed(row["answer"], answer)) == "correct", row["id"]


@needs_data
def test_agreement_on_outputs_with_a_box_does_not_fall(grader: Grader) -> None:
    """What was measured with math-verify 0.9: all 93 outputs of models, 55 of 67 pairs of test-suites (most of the rest: several boxes)."""
    cases = [case for case in rows("grader_cases.jsonl") if "\\boxed" in case["output"] and not case["resource"]]
    graded = grader.grade([(case["gold"], case["output"]) for case in cases])
    agrees = Counter(case["kind"] for case, g in zip(cases, graded, strict=True) if (g.verdict == "correct") == case["correct"])
    assert agrees["full"] >= 93 and agrees["pair"] >= 55


@needs_data
def test_cases_built_to_exhaust_a_grader_end_within_the_limit() -> None:
    cases = [case for case in rows("grader_cases.jsonl") if case["resource"]]
    assert len(cases) == 6
    started = time.monotonic()
    with Grader(limit_s=0.5) as grader:
        graded = grader.grade([(case["gold"], case["output"]) for case in cases])
    assert time.monotonic() - started < 6 * 0.5 + 15
    assert all(g.verdict != "correct" or case["correct"] for case, g in zip(cases, graded, strict=True))
