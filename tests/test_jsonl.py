"""The one reader of JSON lines: every line is read to exactly the value meant or refused by file and line, never
another value and never a traceback.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbench.grading import golds
from rlbench.grading.files import grade_file, line_of, read_cases
from rlbench.grading.pool import Graded, Grader
from rlbench.jsonl import read_rows
from rlbench.records import Problem, UserError, read_problems, write_problems
from rlbench.tasks import local
from rlbench.tasks.base import describe_source

CASES = Path(__file__).parents[2] / "shared" / "cases" / "jsonl"
REFUSED = "refused"  # in place of the value that is meant

# Values: (how JSON spells it, what is meant) --------------------------------------------------------------------------


def spelled(texts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, Any]]:
    """Strings in both spellings of JSON, with what is read of them."""
    return st.builds(
        lambda text, ascii: (json.dumps(text, ensure_ascii=ascii or not is_text(text)), text), texts, st.booleans()
    )


def is_text(text: str) -> bool:
    return not any(0xD800 <= ord(c) < 0xE000 for c in text)


WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(lambda t: t.strip() and "#" not in t)
DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
NUMBERS = st.one_of(DIGITS, st.sampled_from(["1e400", "1e-400", "1.10", "-0", "9" * 5000, "0." + "3" * 5000]))
LONE = st.builds(lambda a, c, b: f"{a}{chr(c)}{b}", WORDS, st.integers(0xD800, 0xDFFF), st.just(""))
CONTROLS = st.builds(
    lambda a, c, b: a + c + b,
    WORDS,
    st.sampled_from([chr(c) for c in (*range(32), *range(127, 160)) if chr(c) not in "\n\r\t"]),
    WORDS,
)
BROKEN = st.builds(
    lambda before, command, after: before + json.loads(f'"\\{command[0]}"') + command[1:] + after,
    st.sampled_from(["", "x ", "3"]),
    st.sampled_from([letter + rest for letter, names in golds._REST.items() for rest in names]),
    st.sampled_from(["", " x", "{1}{2}", "_1"]),
)
NO_VALUE = st.sampled_from(
    ["null", "true", "false", "[]", '["1"]', "{}", '{"a": 1}', "NaN", "-Infinity", "Infinity", '""', '" "']
)
HASHED = st.builds(
    lambda before, number: (json.dumps(f"{before}\n#### {number:,}"), str(number)), WORDS, st.integers(-(10**9), 10**9)
)
AMBIGUOUS = st.sampled_from(["#### 1\n#### 2", "1 ####", "#### 1\nor 2", "so \\boxed{1}\n#### 1", "####"])

written = NUMBERS.map(lambda number: (number, number))
ids = st.one_of(spelled(WORDS), spelled(LONE), spelled(CONTROLS), written, spelled(st.just("a\nb\tc\u2028")))
texts = st.one_of(spelled(WORDS), spelled(CONTROLS), spelled(LONE), spelled(BROKEN), st.just(('""', "")))
answers = st.one_of(
    spelled(WORDS),
    spelled(st.sampled_from(["5\n", "\t5 ", "1\n2", "x\ty", "1\u20282", "\\frac12", "\U0001d7d9"])),
    written,
    HASHED,
    *(refused.map(lambda text: (json.dumps(text), REFUSED)) for refused in (CONTROLS, BROKEN, LONE, AMBIGUOUS)),
    NO_VALUE.map(lambda text: (text, REFUSED)),
)
spaces = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def lines(draw: st.DrawFn, keys: dict[str, st.SearchStrategy]) -> tuple[bytes, Any]:
    """A line of an object and its values, or ``REFUSED``."""
    values = {key: draw(strategy) for key, strategy in keys.items()}
    parts = [f'{draw(spaces)}"{key}":{draw(spaces)}{text}' for key, (text, _) in values.items()]
    parts += draw(
        st.lists(st.sampled_from(['"other": NaN', '"other": "\\ud800"', '"other": [1, {"a": 1e999}]']), max_size=1)
    )
    line = "{" + ",".join(draw(st.permutations(parts))) + "}"
    meant = [value for _, value in values.values()]
    damage = draw(st.sampled_from([None] * 12 + ["twice", "cut", "list", "raw", "latin", "two", "deep"]))
    if damage == "twice":
        line = line.replace("{", '{"gold": "1", ', 1) if "gold" in keys else line.replace("{", '{"answer": "1", ', 1)
    elif damage == "cut":
        line = line[: draw(st.integers(1, len(line) - 1))]
    elif damage == "list":
        line = f"[{line}]"
    elif damage == "raw":
        line = line.replace('": ', '":').replace("}", ', "x": "\x01"}', 1) if "}" in line else line[:-1]
    elif damage == "two":
        line += line
    elif damage == "deep":
        line = '{"a":' * 100_000 + line
    encoded = line.encode("latin-1", "ignore") + b"\xe9" if damage == "latin" else line.encode()
    return encoded, REFUSED if damage or REFUSED in meant else tuple(meant)


@st.composite
def files(draw: st.DrawFn, keys: dict[str, st.SearchStrategy]) -> tuple[bytes, list[tuple[int, Any]]]:
    """A file, and of each line that is not blank its number and what is meant, up to the first that is refused."""
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    content, meant = [draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))], []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        if draw(st.integers(0, 4)) == 0:
            content.append(draw(st.sampled_from([b"", b"  ", b"\t"])) + end)
            continue
        line, values = draw(lines(keys))
        content.append(line + end)
        meant.append((number, values))
    last = draw(st.booleans())
    return b"".join(content).removesuffix(b"" if last else end), meant


def found(read: Any, path: Path) -> tuple[list[Any], str | None]:
    """What was read, and the message of the refusal."""
    kept = []
    try:
        for value in read(path):
            kept.append(value)
    except UserError as error:
        return kept, str(error)
    return kept, None


def check(values: list[Any], message: str | None, meant: list[tuple[int, Any]], path: Path) -> None:
    """Values up to the first line that is refused or repeats an id, and a message of one line that names it."""
    expected, seen = [], set()
    bad = None if meant else "is empty"
    for number, value in meant:
        if value == REFUSED or value[0] in seen:
            bad = f"{path}, line {number}: "
            break
        seen.add(value[0])
        expected.append(value)
    if bad is None:
        assert message is None and values == expected
    else:
        assert message is not None and str(path) in message and bad in message
        assert len(message.splitlines()) == 1 and is_text(message) and len(message) < 600
        assert values in (expected, [])


@settings(max_examples=150, deadline=None)
@given(files({"id": ids, "gold": answers, "output": texts}))
def test_every_line_of_outputs_is_read_as_it_is_meant_or_refused_by_its_number(made: tuple[bytes, list]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.jsonl"
        path.write_bytes(made[0])
        check(*found(read_cases, path), made[1], path)


others = st.one_of(
    st.sampled_from(
        ["1e400", "-1e999", "1e-400", "9" * 5000, "NaN", '"\\ud800"', '{"\\udfff": 1}', "[" * 150 + "]" * 150]
    ).map(lambda text: (text, REFUSED)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=5,
    ).map(lambda value: (json.dumps(value), value)),
)
problem_texts = st.one_of(
    spelled(WORDS),
    spelled(st.just("two\nlines\tand a tab")),
    spelled(st.sampled_from(["\fbox", "a \frac{1}{2}", "3 \times 4", "\text{m}", "\begin{a}"])).map(
        lambda p: (p[0], REFUSED)
    ),
    LONE.map(lambda text: (json.dumps(text), REFUSED)),
)
names = st.one_of(spelled(WORDS), written, LONE.map(lambda text: (json.dumps(text), REFUSED)))


@settings(max_examples=100, deadline=None)
@given(lines({"id": names, "problem": problem_texts, "answer": answers, "level": others}))
def test_every_line_of_problems_is_read_as_it_is_meant_or_refused_and_written_as_it_was_read(
    made: tuple[bytes, Any],
) -> None:
    line, meant = made
    if b'"other"' in line:
        meant = REFUSED  # kept with the problem, where an ignored key of outputs is not
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problems.jsonl"
        path.write_bytes(line)
        values, message = found(local.load, path)
        check([(p.id, p.problem, p.answer, p.meta["level"]) for p in values], message, [(1, meant)], path)
        write_problems(Path(folder) / "artifact.jsonl", values)
        assert read_problems(Path(folder) / "artifact.jsonl") == values


# Kinds of mistakes and what is said of them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [f"{letter}{rest}" for letter, names in golds._REST.items() for rest in sorted(names)]
)
def test_a_command_with_one_backslash_is_refused_with_its_right_spelling(command: str) -> None:
    gold = json.loads(f'"1\\{command} 2"')
    with pytest.raises(ValueError, match=rf"twice, \\\\{command}$"):
        golds.checked(gold)
    assert golds.checked(rf"1\{command} 2") == rf"1\{command} 2"


@pytest.mark.parametrize("letter", sorted("acdeghijklmopqsuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,;:! ()[]{}%$&"))
def test_a_backslash_that_json_does_not_know_is_refused_with_the_right_spelling(letter: str, tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text(f'{{"id": "a", "gold": "\\{letter}zz", "output": ""}}\n')
    with pytest.raises(UserError, match=r"line 1: not JSON: .*a backslash is written twice") as caught:
        list(read_cases(path))
    assert str(caught.value).endswith(f"\\\\{letter}{'zz' * letter.isalpha()}".rstrip())


@pytest.mark.parametrize(
    "gold", ["5\n", "\n5", "1\n2", "\t5", "1\tor 2", "a\nb", "5\r\n", "x\n\ny", "one\tmore", "so \\boxed{5}\ni think"]
)
def test_lines_and_tabs_that_spell_no_command_are_part_of_a_gold(gold: str) -> None:
    assert golds.checked(gold) == gold


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("She sold 48/2 = <<48/2=24>>24.\n#### 72", "72"),
        ("#### 72\n", "72"),
        ("so 72. #### 72", "72"),
        ("####1,234,567.50", "1234567.50"),
        ("#### -1,000", "-1000"),
        ("#### $2,125", "$2125"),
        ("#### 1,2", "1,2"),
        (r"#### \frac{1}{2}", r"\frac{1}{2}"),
        ("##### 5", "##### 5"),
        ("1,234", "1,234"),
    ],
)
def test_a_raw_gold_of_gsm8k_is_its_answer(gold: str, answer: str) -> None:
    assert golds.after_hashes(gold) == answer


EXAMPLE = {"id": "a", "problem": "p", "answer": "5", "gold": "5", "output": r"\boxed{5}"}
LINE = json.dumps(EXAMPLE).encode()
FORMATS = {
    "utf-16": (LINE.decode().encode("utf-16"), "UTF-16"),
    "utf-16-le": (LINE.decode().encode("utf-16-le"), "UTF-16"),
    "utf-16-be": (LINE.decode().encode("utf-16-be"), "UTF-16"),
    "utf-32": (LINE.decode().encode("utf-32"), "UTF-32"),
    "utf-32-be": (LINE.decode().encode("utf-32-be"), "UTF-32"),
    "gzip": (gzip.compress(LINE), "decompress it first"),
    "parquet": (b"PAR1\x15\x04\x15\x10", "Parquet"),
    "csv": (b"id,gold,output\n1,2,3\n", "CSV"),
    "tsv": (b'"id"\t"gold"\t"output"\n1\t2\t3\n', "CSV"),
    "html": (b"<!DOCTYPE html>\n<html>", "page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "array": (b"[" + LINE + b"]", "jq -c '.\\[\\]'"),
    "array over lines": (b"[\n " + LINE + b"\n]\n", "jq -c '.\\[\\]'"),
    "object over lines": (json.dumps(EXAMPLE, indent=1).encode(), "jq -c . FILE"),
    "two on a line": (LINE + LINE, "on its own line"),
    "empty": (b"", "is empty; a line looks like"),
    "blank": (b"\xef\xbb\xbf\n \r\n", "is empty; a line looks like"),
    "cut off": (LINE[:-5], "last line is cut off"),
    "zeros at the end": (LINE + b"\n" + b"\0" * 512, "line 2: not JSON.*NUL bytes"),
    "mac": (LINE + b"\r" + LINE.replace(b'"a"', b'"b"') + b"\r", "on its own line"),
    "python": (b"{'id': 'a'}\n", "double quotes"),
    "surrogates as bytes": (LINE.replace(b'"5"', b'"\xed\xa0\x80"'), "not UTF-8"),
    "twice": (LINE.replace(b"{", b'{"gold": "5", ', 1), "`gold` stands there twice"),
    "twice within": (LINE.replace(b"{", b'{"a": [{"b": 1, "b": 1}], ', 1), "`b` stands there twice"),
    "another name": (
        b'{"id": "a", "question": "p", "answer": "5", "gold": "5", "response": ""}',
        "is it the key '(question|response)'",
    ),
}


@pytest.mark.parametrize("case", FORMATS)
def test_another_format_or_form_is_named_with_what_would_be_right(case: str, tmp_path: Path) -> None:
    content, message = FORMATS[case]
    path = tmp_path / "given.jsonl"
    path.write_bytes(content)
    for read in (read_cases, local.load):
        with pytest.raises(UserError, match=message) as caught:
            list(read(path))
        assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.jsonl._LONGEST", 1 << 10)
    with pytest.raises(UserError, match="longer than"):
        list(read_rows(io.BytesIO(b'{"a": "' + b"x" * 4096), "endless", "{}"))


def test_a_problem_file_keeps_numbers_as_they_are_written_and_its_description_says_which_reader(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text('{"id": 1.10, "problem": "p", "answer": 1e400, "level": 3, "share": 0.5}')
    assert local.load(path) == [Problem("1.10", "p", "1e400", None, {"level": 3, "share": 0.5})]
    assert describe_source(str(path))["reader"] == local.READER


# Printing -------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters()), st.none() | st.text(st.characters()))
def test_a_grade_is_one_line_that_can_be_taken_apart_again(identity: str, answer: str | None) -> None:
    line = line_of(identity, Graded("wrong", answer))
    assert len(line.splitlines()) == 1 and is_text(line)
    field, verdict, shown = line.split("\t")
    assert json.loads(f'"{field}"') == identity and verdict == "wrong" and (shown == "") == (not (answer or "").split())


def rlbench(*arguments: str, given: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "rlbench.cli", *arguments], input=given, capture_output=True, timeout=120, cwd=cwd
    )


ODD = [
    {"id": 'a\nb\tc\\"', "gold": "5", "output": "\\boxed{5}"},
    {"id": "\ud800", "gold": "5", "output": "\\boxed{5\ud800}"},
    {"id": "nul", "gold": "5", "output": "\x00\x1b[2J\\boxed{\x07 5}"},
    {"id": "separators", "gold": "5", "output": "\u2028\x85\\boxed{5}\u2028"},
    {"id": "long", "gold": "5", "output": "x" * 1_500_000 + "\\boxed{5}"},
    {"id": "empty", "gold": "5", "output": ""},
]


def test_odd_outputs_go_through_the_command_line_and_each_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    numbers = b'{"id": 0.10, "gold": 0.5, "output": "\\\\boxed{1/2}"}\n'
    numbers += b'{"id": 1e400, "gold": 1e400, "output": "\\\\boxed{10^{400}}"}\n'
    numbers += b'{"id": "huge", "gold": ' + b"9" * 5000 + b', "output": "\\\\boxed{' + b"9" * 5000 + b'}"}\n'
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n" for row in ODD).encode() + numbers)
    names = [*(row["id"] for row in ODD), "0.10", "1e400", "huge"]
    verdicts = ["correct", "unparsed", "unparsed", "correct", "correct", "unparsed", "correct", "correct", "correct"]
    done = rlbench("grade", str(path))
    assert done.returncode == 0, done.stderr
    fields = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [json.loads(f'"{name}"') for name, _, _ in fields] == names and [
        verdict for _, verdict, _ in fields
    ] == verdicts
    done = rlbench("grade", "-", "--json", given=path.read_bytes())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == names and [row["verdict"] for row in rows] == verdicts
    assert rows[1]["answer"] == "5\ud800"


def test_standard_input_and_pipes_are_graded_up_to_the_line_that_is_refused(tmp_path: Path) -> None:
    given = LINE + b"\n" + LINE.replace(b'"a"', b'"b"') + b'\n{"id": "c", "gold": "\\frac12", "output": ""}\n'
    done = rlbench("grade", "-", given=given)
    assert done.returncode == 2 and done.stdout == b"a\tcorrect\t5\nb\tcorrect\t5\n"
    assert b"standard input, line 3: `gold` holds a form feed" in done.stderr and b"Traceback" not in done.stderr
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Grader() as grader, subprocess.Popen([sys.executable, "-c", f"open({str(fifo)!r}, 'wb').write({given!r})"]):
        kept, message = found(lambda path: grade_file(path, grader), fifo)
    assert [name for name, _ in kept] == ["a", "b"] and f"{fifo}, line 3" in str(message)


def test_an_output_whose_box_lost_its_backslash_is_told_of_once_and_graded(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(f'{{"id": {i}, "gold": 5, "output": "so \\boxed{{5}}"}}\n' for i in range(3)))
    for arguments, content in ((str(path), b""), ("-", path.read_bytes())):
        done = rlbench("grade", arguments, given=content)
        assert done.returncode == 0 and done.stdout.count(b"unparsed") == 3
        assert (
            done.stderr.count(b"line 1: `output` holds a backspace before 'oxed'") == 1 and b"line 2" not in done.stderr
        )


def test_a_bad_problem_file_ends_the_planning_of_its_recipe_with_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"id": 1, "problem": "p", "answer": "\\frac{1}{2}"}\n')
    recipe = Path(__file__).parents[1] / "recipes" / "quickstart.toml"
    done = rlbench("plan", str(recipe), "--set", f'evaluation.benchmarks=["{path}"]', cwd=tmp_path)
    assert done.returncode == 2 and b"Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert f"{path}, line 1: `answer` holds a form feed before 'rac'".encode() in done.stderr


SAMPLES = {
    "bom.jsonl": [("a", "5", "\\boxed{5}")],
    "float_gold.jsonl": [("a", "0.5", "\\boxed{1/2}")],
    "formfeed_gold.jsonl": "form feed",
    "gsm8k_gold.jsonl": [("a", "72", "\\boxed{72}")],
    "hugeint.jsonl": [("a", "9" * 5000, "\\boxed{5}")],
    "newline_id.jsonl": [("a\nb\tc", "5", "\\boxed{5}")],
    "problems_1e400.jsonl": "`gold` is missing",
    "surrogate_out.jsonl": [("a", "5", "\\boxed{5\ud800}")],
}


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not on this machine")
@pytest.mark.parametrize("name", SAMPLES)
def test_shared_cases(name: str) -> None:
    values, message = found(read_cases, CASES / name)
    assert (
        (values == SAMPLES[name] and message is None)
        if isinstance(SAMPLES[name], list)
        else SAMPLES[name] in str(message)
    )
