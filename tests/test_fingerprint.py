"""Fingerprints are stable, tell different things apart, and refuse what has no stable form."""

from __future__ import annotations

import copy
import enum
import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench.graph.fingerprint import file_fingerprint, fingerprint, source_fingerprint

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def typed(value: Any) -> Any:
    """A value in which what Python calls equal (1, 1.0, True) is told apart; -0.0 and 0.0 as well."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(item) for item in value]
    return (type(value), repr(value))


@given(plain)
def test_a_copy_has_the_same_fingerprint(value: Any) -> None:
    assert fingerprint(copy.deepcopy(value)) == fingerprint(value)


@given(plain)
def test_json_and_back_keeps_the_fingerprint(value: Any) -> None:
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)


@given(plain, plain)
def test_fingerprints_are_equal_only_for_equal_values(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (typed(one) == typed(other))


@given(st.dictionaries(st.text(), scalars, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert fingerprint(backwards) == fingerprint(value) == fingerprint(MappingProxyType(value))


def test_types_that_python_calls_equal_differ() -> None:
    assert len({fingerprint(value) for value in (1, 1.0, True, "1", [1], {"1": 1}, None, "null", 0.0, -0.0)}) == 10
    assert fingerprint((1, [2])) == fingerprint([1, (2,)])


def test_known_values_never_change() -> None:
    # Golden: if these change, every artifact of every user is made again.
    assert (
        fingerprint({"b": [1, 1.0, None], "a": "é"})
        == "825d621a6729f3137ef6f5a204b79d8da1d4f4417011a0c41f1952a5e8a3f3da"
    )
    assert source_fingerprint(SOURCE) == "59b00f106bf272c8eeb7420e58cb49db6aed27af5f5e8e18d08f6c10afc14d22"


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), {1, 2}, b"bytes", print, object(), Path("x"), Colour.RED, {1: "key"}]
)
def test_what_has_no_stable_form_is_refused_with_its_place(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^value\['outer'\]\[1\]"):
        fingerprint({"fine": 1, "outer": ["fine", bad]})


def test_another_process_finds_the_same(tmp_path: Path) -> None:
    values = "fingerprint({'z': 1, 'a': [0.1, 'x']}), source_fingerprint('def f(): return {1, 2}')"
    code = f"from rlbench.graph.fingerprint import *; print({values})"
    root = Path(__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env={"PYTHONHASHSEED": "7"}
    )
    assert out.stdout.split() == [fingerprint({"z": 1, "a": [0.1, "x"]}), source_fingerprint("def f(): return {1, 2}")]


SOURCE = '''
"""Module docstring."""
@objective("mine", rows="pairs")
def mine(batch, *, beta: float = 0.1, **other):
    """Docstring."""
    scale = f"{beta:.3f}" if beta else None
    return {**other, "loss": -batch.logp * beta}
'''


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace('"""Docstring."""', '"""Another one."""'),
        SOURCE.replace('    """Docstring."""\n', "    # a comment\n\n"),
        SOURCE.replace('"""Module docstring."""', ""),
        SOURCE.replace("-batch.logp * beta", "(\n        -batch.logp\n        * beta  # why\n    )"),
        SOURCE.replace('"loss"', "'loss'"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_source(same: str) -> None:
    assert source_fingerprint(same) == source_fingerprint(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.1", "0.2"),
        ("beta: float = 0.1", "beta: float = 1"),
        ("-batch", "batch"),
        ('"pairs"', '"rollouts"'),
        ("None", '"None"'),
        ("**other, ", ""),
        (":.3f", ":.4f"),
        ("mine(", "yours("),
        ("@objective", "@objectives"),
        ("*, ", ""),
    ],
)
def test_what_changes_meaning_changes_source(old: str, new: str) -> None:
    assert source_fingerprint(SOURCE.replace(old, new)) != source_fingerprint(SOURCE)


def test_source_that_is_no_python_is_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        source_fingerprint("def f(:")


def test_a_file_is_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    assert file_fingerprint(tmp_path / "a") == file_fingerprint(tmp_path / "b")
    assert (
        file_fingerprint(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2, B.1
