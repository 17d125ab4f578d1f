r"""What a normalised answer is: a number or expression, a tuple, an interval, a set, several answers, a named value, a
relation, ...

The shape is read from brackets, commas and relation signs alone; what stands in a leaf is left to whoever compares
leaves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rlbench.grading.normalise import closing, normalise
from rlbench.grading.units import split_unit


@dataclass(frozen=True, slots=True)
class Leaf:
    """An expression without its percent sign and unit. ``grouped``: digits with commas, ``1,234``, which could also be
    two answers.
    """

    text: str
    percent: bool = False
    unit: str | None = None
    grouped: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """``x = 5``, ``x \\in [0, 1]`` or ``0 < x < 1`` (then the interval): a value and whose it is."""

    name: str
    value: Node
    text: str


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation or inequality that names no single value: ``2x + y = 3``."""

    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Several things; ``brackets`` is ``()``, ``[]``, ``(]``, ``[)``, ``{}`` for a set, or nothing for answers with
    commas between.
    """

    brackets: str
    items: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals and sets joined by \\cup."""

    items: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """``3:4`` or a clock time: parts with colons between."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of a matrix or the lines of a system of equations, whatever its brackets."""

    rows: tuple[tuple[Node, ...], ...]


Node = Leaf | Named | Relation | Group | Union | Ratio | Matrix

_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|smallmatrix|array|cases|aligned|align\*?)\}(?:\s*\{[lcr|\s]*\})?")
_RELATION = re.compile(r"(?:\\(?:leq|geq|neq|approx|in)(?![a-zA-Z])|[<>=])")
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_GROUPED = re.compile(r"[+-]?\s*[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_SPACED = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])")
_SYMBOL = re.compile(r"(?:\\[a-zA-Z]+|[a-zA-Z])(?:_(?:\{[^{}]*\}|[0-9a-zA-Z]))?'?")
_INDEX = re.compile(r"_(?:\{[^{}]*\}|[0-9a-zA-Z])")
_MAX_ITEMS = 64


@lru_cache(maxsize=65536)
def read(text: str) -> Node:
    """The structure of an answer or a gold as it was written. RecursionError where it is nested beyond reason."""
    return parse(normalise(text))


def parse(text: str) -> Node:
    """The structure of a normalised text."""
    text = text.strip().strip(",;").strip()
    if _GROUPED.fullmatch(text):
        return Leaf(text.replace(",", "").replace(" ", ""), grouped=text)
    if _SPACED.fullmatch(text):
        return Leaf(text.replace(" ", ""))
    for separator in (";", ","):
        parts = split(text, separator)
        if len(parts) > 1:
            return _several(text, parts)
    return _relation(text) or _colon(text) or _union(text) or _bracketed(text) or _leaf(text)


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand in no bracket and no environment."""
    if separator not in text:
        return [text]
    parts, depth, start = [], 0, 0
    depth_at = _depths(text)
    for position, char in enumerate(text):
        depth = depth_at[position]
        if char == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _depths(text: str) -> list[int]:
    depths, depth = [], 0
    for position, char in enumerate(text):
        if char in "([{" or text.startswith("\\begin", position):
            depth += 1
        elif char in ")]}" or text.startswith("\\end", position):
            depth -= 1
        depths.append(depth)
    return depths


def _several(text: str, parts: list[str], brackets: str = "") -> Node:
    items: list[Node] = []
    for part in parts[:_MAX_ITEMS]:
        item = parse(part)
        # 1 \pm 2 in a list is two of its members; in a tuple it stays one place.
        items += (
            item.items
            if brackets in ("", "{}") and isinstance(item, Group) and not item.brackets and "\\p" in part
            else [item]
        )
    if len(parts) > _MAX_ITEMS:
        return Leaf(text)
    return Group(brackets, tuple(items), text)


def _relation(text: str) -> Node | None:
    depths = _depths(text) if _RELATION.search(text) else []
    marks = [match for match in _RELATION.finditer(text) if depths and depths[match.start()] == 0]
    if not marks:
        return None
    ends = [0, *(mark.end() for mark in marks)]
    starts = [*(mark.start() for mark in marks), len(text)]
    parts = [text[end:start].strip() for end, start in zip(ends, starts, strict=True)]
    signs = [mark.group() for mark in marks]
    if signs[0] == r"\in" and len(signs) == 1 and parts[1]:
        return Named(parts[0], parse(parts[1]), text)
    if set(signs) <= {"=", r"\approx"}:
        if not parts[-1]:
            return Leaf(text)
        if len(parts) > 2 or is_name(parts[0]) or not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", parts[0])):
            return Named(parts[0] if is_name(parts[0]) else "", parse(parts[-1]), text)
        return Relation(text)
    return _interval(parts, signs, text) or Relation(text)


def is_name(text: str) -> bool:
    r"""Whether a text can stand for a value: letters, ``f(x)``, ``|AB|``, ``A:B``, ``(x, y)``; no digits outside
    indices, no sums.
    """
    bare = _INDEX.sub("", text)
    return bool(re.search("[a-zA-Z]", bare)) and re.search(r"[0-9+\-^<>=!]|\\cdot|\\sqrt", bare) is None


_OPEN = {"<": ("(", ")"), r"\leq": ("[", "]"), ">": ("(", ")"), r"\geq": ("[", "]")}


def _interval(parts: list[str], signs: list[str], text: str) -> Node | None:
    """Inequalities that bound one symbol from one side or from both, as the interval of its values."""
    if any(sign not in _OPEN for sign in signs) or not all(parts):
        return None
    if len({sign in (">", r"\geq") for sign in signs}) > 1:
        return None
    if signs[0] in (">", r"\geq"):
        parts, signs = parts[::-1], signs[::-1]
    low, high = "-\\infty", "\\infty"
    if len(parts) == 3 and _SYMBOL.fullmatch(parts[1]):
        (low, name, high), (left, right) = parts, (_OPEN[signs[0]][0], _OPEN[signs[1]][1])
    elif len(parts) == 2 and _SYMBOL.fullmatch(parts[0]):
        (name, high), (left, right) = parts, ("(", _OPEN[signs[0]][1])
    elif len(parts) == 2 and _SYMBOL.fullmatch(parts[1]):
        (low, name), (left, right) = parts, (_OPEN[signs[0]][0], ")")
    else:
        return None
    if name in low.replace("\\infty", "") or name in high.replace("\\infty", ""):
        return None
    return Named(name, Group(left + right, (parse(low), parse(high)), text), text)


def _colon(text: str) -> Node | None:
    parts = split(text, ":")
    return Ratio(tuple(parse(part) for part in parts)) if 1 < len(parts) == text.count(":") + 1 else None


def _union(text: str) -> Node | None:
    if not _CUP.search(text):
        return None
    parts = [part.strip() for part in _CUP.split(text)]
    return Union(tuple(parse(part) for part in parts), text) if all(parts) else None


def _bracketed(text: str) -> Node | None:
    if (matrix := _MATRIX.search(text)) is not None:
        return _matrix(text, matrix)
    opening = 1 if text.startswith("\\{") else 0
    if len(text) < 2 or text[opening] not in "([{" or closing(text, opening) != len(text) - 1:
        return None
    inside = text[opening + 1 : -2 if opening else -1]
    if opening:
        if not text.endswith("\\}"):
            return None
        return _several(text, split(inside, ";" if split(inside, ";")[1:] else ","), "{}") if inside.strip() else None
    parts = split(inside, ",")
    if len(parts) == 1:
        parts = split(inside, ";")
    if len(parts) > 1 and text[0] != "{":
        return _several(text, parts, text[0] + text[-1])
    return parse(inside) if inside.strip() else None


def _matrix(text: str, begin: re.Match[str]) -> Node | None:
    end = text.find(f"\\end{{{begin.group(1)}}}", begin.end())
    around = (text[: begin.start()] + text[end:].partition("}")[2]).strip()
    if end < 0 or begin.group(1) in ("vmatrix", "Vmatrix") or around not in ("", "[]", "()"):
        return None
    rows = [row.strip() for row in re.split(r"\\\\", text[begin.end() : end]) if row.strip()]
    return Matrix(tuple(tuple(parse(cell) for cell in row.split("&")) for row in rows))


def _leaf(text: str) -> Node:
    if _PLUS_MINUS.search(text):
        return _both_signs(text)
    percent = text.endswith(r"\%")
    text = text[:-2].strip() if percent else text
    text, unit = split_unit(text)
    if unit is not None and (_GROUPED.fullmatch(text) or _SPACED.fullmatch(text)):
        return Leaf(re.sub("[, ]", "", text), percent, unit)
    if percent and text.endswith(r"\%"):  # \%\% is nothing
        return Leaf(text + r"\%")
    return Leaf(text, percent, unit)


def _both_signs(text: str) -> Node:
    signs = ({"pm": "+", "mp": "-"}, {"pm": "-", "mp": "+"})
    both = [
        parse(_PLUS_MINUS.sub(lambda match, sign=sign: f" {sign[match.group(1)]}", text).strip().lstrip("+"))
        for sign in signs
    ]  # type: ignore[misc]
    return Group("", tuple(both), text)
