from __future__ import annotations

import hashlib
import json
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.records import Problem, UserError
from rlbench.tasks import local


def written(folder: Path, content: str | bytes, name: str = "problems.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


GOOD = '{"id": "a", "problem": "1+1?", "answer": "2"}\n'


def test_the_keys_of_a_line_become_a_problem_and_others_its_meta(tmp_path: Path) -> None:
    line = {"id": 7, "problem": "p", "answer": 2.5, "solution": "s", "level": 3, "meta": {"source": "x"}}
    assert local.load(written(tmp_path, json.dumps(line))) == [
        Problem("7", "p", "2.5", "s", {"level": 3, "source": "x"})
    ]


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    text = "\ufeff" + GOOD.replace("\n", "\r\n") + "\r\n   \n" + GOOD.replace('"a"', '"b"')
    assert [p.id for p in local.load(written(tmp_path, text))] == ["a", "b"]


def test_a_line_separator_inside_a_problem_does_not_cut_the_line(tmp_path: Path) -> None:
    assert local.load(written(tmp_path, GOOD.replace("1+1", "1\u2028+1")))[0].problem == "1\u2028+1?"


def test_limit_takes_the_first_problems_but_checks_every_line(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + GOOD.replace('"a"', '"b"'))
    assert [p.id for p in local.load(path, limit=1)] == ["a"]
    with pytest.raises(UserError, match="line 2"):
        local.load(written(tmp_path, GOOD + "oops"), limit=1)


WRONG = {
    "not_json": (GOOD + '{"id": 1,', r"line 2: not JSON: .*last line is cut off"),
    "no_string": (GOOD + "{id: 1}", r"line 2: not JSON: .*a line looks like"),
    "not_an_object": (GOOD + "[1, 2]", r"line 2: must be an object, not a list"),
    "no_answer": ('\n{"id": "a", "problem": "p"}', r"line 2: `answer` is missing"),
    "null_answer": ('{"id": "a", "problem": "p", "answer": null}', r"line 1: `answer` is missing"),
    "misspelt": ('{"id": "a", "problme": "p", "answer": "1"}', r"`problem` is missing; is it the key 'problme'"),
    "no_id": ('{"problem": "p", "answer": "1"}', r"`id` is missing"),
    "problem_number": ('{"id": "a", "problem": 3, "answer": "1"}', r"`problem` must be text, not a number"),
    "answer_list": ('{"id": "a", "problem": "p", "answer": ["1"]}', r"`answer` must be text or a number, not a list"),
    "answer_true": (
        '{"id": "a", "problem": "p", "answer": true}',
        r"`answer` must be text or a number, not true or false",
    ),
    "answer_nan": ('{"id": "a", "problem": "p", "answer": NaN}', r"not NaN, which is no JSON value"),
    "solution_list": (
        '{"id": "a", "problem": "p", "answer": "1", "solution": [1]}',
        r"`solution` must be text, not a list",
    ),
    "meta_text": ('{"id": "a", "problem": "p", "answer": "1", "meta": "m"}', r"`meta` must be an object, not text"),
    "empty_problem": ('{"id": "a", "problem": "  ", "answer": "1"}', r"`problem` is empty"),
    "empty_answer": ('{"id": "a", "problem": "p", "answer": ""}', r"`answer` is empty"),
    "surrogate": ('{"id": "a", "problem": "\\ud800", "answer": "1"}', r"`problem` holds half of a surrogate pair"),
    "duplicate": (GOOD + "\n" + GOOD, r"line 3: `id` is 'a', already that of line 1"),
    "empty": ("\n \n", r"is empty; a line looks like"),
    "not_utf8": (GOOD.encode() + b'{"id": "\xe9"}', r"line 2: not UTF-8 \(byte 9 of the line\)"),
    "deep": (GOOD + "[" * 100_000, r"line 2: not JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_one_line_that_names_the_file_and_the_line(case: str, tmp_path: Path) -> None:
    content, message = WRONG[case]
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        local.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "my_problems.jsonl")
    with pytest.raises(UserError, match=r"my_problem\.jsonl' does not exist \(did you mean '.*my_problems\.jsonl'"):
        local.load(tmp_path / "my_problem.jsonl")
    with pytest.raises(UserError, match="there is no folder"):
        local.load(tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        local.load(tmp_path)


def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    planned = local.digest(path)
    assert planned == hashlib.sha256(GOOD.encode()).hexdigest()
    assert len(local.load(path, sha256=planned)) == 1
    written(tmp_path, GOOD.replace("2", "3"))
    with pytest.raises(UserError, match="has changed since this run was planned"):
        local.load(path, sha256=planned)


text = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda t: t.strip() and "####" not in t
)


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), st.tuples(text, text, st.none() | text), min_size=1))
def test_whatever_is_written_as_json_lines_is_read_back(rows: dict[str, tuple[str, str, str | None]]) -> None:
    problems = [Problem(key, problem, answer, solution, {"n": 1}) for key, (problem, answer, solution) in rows.items()]
    lines = [
        {"id": p.id, "problem": p.problem, "answer": p.answer, "solution": p.solution, "meta": dict(p.meta)}
        for p in problems
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
        assert local.load(path) == problems
