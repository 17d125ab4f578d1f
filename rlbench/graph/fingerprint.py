"""Stable names for values: what has the same fingerprint is the same thing, on every machine and in every run.

Hashing refuses what has no stable form (a callable, a set, a NaN, an object's default representation) instead of
guessing one: a guess that changes between runs repeats work, one that stays the same when the value changes serves
stale results.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def fingerprint(value: Any) -> str:
    """SHA-256 (hexadecimal) of the canonical JSON of plain data.

    Accepts None, bool, int, finite float (1 and 1.0 differ), str, list or tuple (the same) and mappings with str keys
    (order does not matter). Raises TypeError, naming the place inside ``value``, for anything else, subclasses of those
    included.
    """
    text = json.dumps(_plain(value, "value"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise TypeError(
                    f"{place} has the key {key!r} of type {type(key).__name__}; only str keys have a stable form"
                )
        return {key: _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if type(value) is float and not math.isfinite(value):
        raise TypeError(f"{place} is {value!r}; only finite numbers have a stable form")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{place} is of type {type(value).__module__}.{type(value).__qualname__}, which has no stable form; "
        "use None, bool, int, float, str, list, tuple or a dict of those"
    )


def source_fingerprint(source: str) -> str:
    """Fingerprint of what Python source means: of its syntax tree without docstrings, comments, positions and layout.

    The same on every supported Python version (fields that are empty or that a later version added as empty do not
    count). Raises SyntaxError where the source is not Python.
    """
    return fingerprint(_tree(ast.parse(source)))


def _tree(node: Any) -> Any:
    if isinstance(node, ast.Constant):  # repr tells 1, 1.0, True, "1" and b"1" apart; `kind` is only the u of u"..."
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        fields = {name: _tree(item) for name, item in ast.iter_fields(node) if item is not None and item != []}
        if _has_docstring(node):
            fields["body"] = fields["body"][1:]
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [_tree(item) for item in node]
    return node  # an identifier, a number of dots, None inside a list of defaults


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or not node.body:
        return False
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def file_fingerprint(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's bytes. Raises OSError where it cannot be read."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
