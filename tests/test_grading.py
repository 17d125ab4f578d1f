"""Grading: the last box, and the pool of worker processes that can be killed. Conventions, attacks and agreement are
tested elsewhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.grading import DEFAULT, GRADERS
from rlbench.grading.boxed import final_boxes, last_boxed
from rlbench.grading.extract import MAX_ANSWER, read_answer
from rlbench.grading.pool import Graded, Grader, shared_grader
from rlbench.records import UserError

# Neither is refused, and neither ends: one hangs, the other takes all memory there is.
HANGS = r"\boxed{\binom{10^{9}}{5 \cdot 10^{8}}}"
TAKES_ALL = r"\boxed{x + ((9^{9999})^{9999})^{9999}}"


def hard(gold: int, answer: int) -> tuple[str, str]:
    """A case that only a worker decides, correct if the two are one number."""
    return rf"{gold} \tan x", rf"\boxed{{{answer}\tan(x)}}"


# Extraction -----------------------------------------------------------------------------------------------------------


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
    assert read_answer(output, "1") == answer


nested = st.recursive(
    st.text("ab1+ ^_", max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "x".join(parts) + "}"),
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
    assert read_answer(output, "1") is None
    assert time.process_time() - started < 1.0


def test_an_answer_of_the_longest_length_is_still_one() -> None:
    assert read_answer(r"\boxed{" + "1" * MAX_ANSWER + "}", "1") == "1" * MAX_ANSWER


# The pool -------------------------------------------------------------------------------------------------------------


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
        Graded("correct", "7"),
        Graded("wrong", "8"),
        Graded("unparsed", None),
        Graded("correct", r"\frac12"),
        Graded("unparsed", None),
        Graded("correct", long),
    ]
    assert grader._idle == [] and grader.grade([]) == []


def test_a_batch_keeps_its_order_whatever_happens_to_its_members(grader: Grader) -> None:
    cases = [hard(1, 1), ("5", HANGS), ("5", ""), ("5", r"\boxed{5}"), hard(1, 2), hard(1, 1)]
    assert [g.verdict for g in grader.grade(cases)] == ["correct", "timeout", "unparsed", "correct", "wrong", "correct"]


def test_a_verdict_is_remembered_but_not_that_there_was_none() -> None:
    with Grader(limit_s=1.0) as grader:
        fine, hangs = hard(2, 2), ("5", HANGS)
        first = grader.grade([fine, hangs])
        assert [graded.verdict for graded in first] == ["correct", "timeout"]
        grader.close()
        assert grader.grade([fine] * 1000) == first[:1] * 1000 and grader._idle == []  # no worker was started
        assert grader.grade([hangs]) == first[1:]


def test_several_workers_give_what_one_gives(grader: Grader) -> None:
    cases = [hard(i, i + i % 3 // 2) for i in range(60)]
    with Grader(workers=3) as several:
        assert several.grade(cases) == grader.grade(cases)
        assert len(several._idle) == 3


def test_a_worker_that_outgrows_its_memory_or_is_killed_costs_only_its_case(grader: Grader) -> None:
    assert grader.grade([hard(3, 3)])[0].verdict == "correct"
    (worker,) = grader._idle
    timer = threading.Timer(0.5, worker.process.send_signal, [signal.SIGKILL])
    timer.start()
    verdicts = [g.verdict for g in grader.grade([("5", TAKES_ALL), hard(6, 6)])]
    timer.join()
    assert verdicts == ["error", "correct"]


def test_a_worker_that_died_while_idle_is_replaced(grader: Grader) -> None:
    grader.grade([hard(8, 8)])
    grader._idle[0].process.kill()
    grader._idle[0].process.wait()
    assert grader.grade([hard(5, 5)])[0].verdict == "correct"


def test_it_works_from_threads_that_end_and_from_several_at_once(grader: Grader) -> None:
    results: dict[int, list[Graded]] = {}

    def run(k: int) -> None:
        results[k] = grader.grade([hard(100 * k + i, 100 * k + i) for i in range(1, 8)])

    for start in (0, 3):
        threads = [threading.Thread(target=run, args=(start + k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {g.verdict for graded in results.values() for g in graded} == {"correct"} and len(results) == 6


def test_a_worker_that_cannot_start_is_said_and_not_graded_as_an_error() -> None:
    with (
        Grader(memory_bytes=32 << 20) as grader,
        pytest.raises(UserError, match=r"the grader's worker process (cannot start|ended)"),
    ):
        grader.grade([hard(3, 3)])


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


@pytest.mark.parametrize("output", [hard(1, 1)[1], HANGS], ids=["idle", "stuck"])
def test_workers_end_when_their_parent_is_killed(output: str) -> None:
    program = (
        "import sys, threading, time\nfrom rlbench.grading.pool import Grader, _Worker\n"
        "start = _Worker.__init__\n"
        "def told(self, *a): start(self, *a); print(self.process.pid, flush=True)\n"
        "_Worker.__init__ = told\n"
        "g = Grader(limit_s=1.0)\n"
        "g.grade([(r'1 \\tan x', sys.argv[1])]); print('done', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, output], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if output == HANGS:
        time.sleep(0.9)  # by now it is inside the power
    else:
        assert parent.stdout.readline() == "done\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(worker, 10.0)


def test_closing_ends_the_workers_and_the_grader_can_be_used_again() -> None:
    grader = Grader()
    grader.grade([hard(3, 3)])
    pid = grader._idle[0].process.pid
    grader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert grader.grade([hard(4, 4)])[0].verdict == "correct"
    pid = grader._idle[0].process.pid
    del grader
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_may_think_of_one_answer_longer_than_of_another_but_none_is_lost(grader: Grader) -> None:
    cases = [hard(i, i) if i % 7 else ("5", HANGS) for i in range(1, 9)]
    with Grader(limit_s=1.0, workers=2) as several:
        assert [g.verdict for g in several.grade(cases)] == [
            "timeout" if i % 7 == 0 else "correct" for i in range(1, 9)
        ]


# Which grader ---------------------------------------------------------------------------------------------------------


def test_graders_are_known_by_name_and_version_without_what_they_grade_with() -> None:
    code = (
        "import sys\n"
        "for name in ('sympy', 'math_verify', 'latex2sympy2_extended', 'torch', 'mpmath'): sys.modules[name] = None\n"
        "from rlbench.grading import GRADERS\n"
        "print({name: (spec.name, spec.version, sorted(spec.identity())) for name, spec in GRADERS.items()})\n"
        "from rlbench.grading.pool import Grader\n"
        "print(Grader('qwen').grade([('1/2', 'so 0.5')])[0].verdict)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    known, verdict = done.stdout.splitlines()
    assert eval(known) == {
        name: (name, GRADERS[name].version, ["math-verify", "name", "version"]) for name in ("rlbench", "qwen")
    }
    assert verdict == "correct"


def test_a_grader_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"grader 'quen': graders are rlbench, qwen \(did you mean 'qwen'\?\)"):
        Grader("quen")


def test_the_shared_grader_is_one_for_each_name() -> None:
    assert shared_grader() is shared_grader() and shared_grader("qwen") is shared_grader("qwen")
    assert shared_grader().name == DEFAULT == "rlbench" and shared_grader("qwen").name == "qwen"
    assert isinstance(shared_grader().version, int)


# Boxes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        (r"\boxed{1}", ["1"]),
        (r"\boxed{1}, \boxed{2}", ["1", "2"]),
        (r"$\boxed{1}$ and $\boxed{2}$.", ["1", "2"]),
        (r"\boxed{1} \quad \text{or} \quad \boxed{2}", ["1", "2"]),
        (r"\boxed{0} no. \boxed{1} and \boxed{2}", ["1", "2"]),
        (r"y_1 = \boxed{a} \) and \( y_2 = \boxed{b}", ["a", "b"]),
        (r"\boxed{1} no no \boxed{2}", ["2"]),
        (r"\boxed{a \boxed{b}}", ["b"]),
        (r"\boxed{1} \boxed{2} \boxed{", ["1", "2"]),
        ("none", []),
        (r"\boxed{}", []),
    ],
)
def test_a_run_of_boxes_is_what_stands_together_at_the_end(text: str, boxes: list[str]) -> None:
    assert final_boxes(text) == boxes


@pytest.mark.parametrize("answer", ["4 4", "4\n4", r"4\,4", r"4\ 4", "4~4"])
def test_two_numbers_side_by_side_are_not_one(answer: str) -> None:
    with Grader() as grader:
        assert [
            graded.verdict
            for graded in grader.grade([("44", rf"\boxed{{{answer}}}"), (answer, rf"\boxed{{{answer}}}")])
        ] == ["wrong", "correct"]
        assert grader.grade([("1000", r"\boxed{1 000}")])[0].verdict == "correct"
