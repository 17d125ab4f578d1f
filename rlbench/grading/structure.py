r"""What a normalised answer is: a number or expression, a tuple, an interval, a set, several answers, a named value, a
relation, ...

The shape is read from brackets, commas and relation signs alone; what stands in a leaf is left to whoever compares
leaves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlbench.grading import matrices, numbers
from rlbench.grading.names import is_constant, is_name, is_worked_out
from rlbench.grading.normalise import closing, normalise
from rlbench.grading.units import DEGREES, in_radians, split_unit


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
    r"""``x = 5``, ``x \in [0, 1]``, ``0 < x < 1`` (then the interval), ``x \neq 2`` (then all but it): a value and
    whose it is.
    """

    name: str
    value: Node
    text: str
    sign: str = "="


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation or inequality that names no single value: ``2x + y = 3``. ``sides``: those of equations only."""

    text: str
    sides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approximate:
    r"""``\frac{70}{9} \approx 7.78``: one value, as it is and rounded."""

    exact: Node
    rounded: Node
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
    r"""Intervals and sets joined by ``\cup``, or by ``\cap``."""

    items: tuple[Node, ...]
    text: str
    sign: str = r"\cup"


@dataclass(frozen=True, slots=True)
class Minus:
    r"""``\mathbb{R} \setminus \{2\}``: a set without the members of another."""

    whole: Node
    without: Node
    text: str


@dataclass(frozen=True, slots=True)
class Condition:
    r"""Inequalities joined by "or" (``\lor``) or "and" (``\land``)."""

    items: tuple[Node, ...]
    text: str
    sign: str


@dataclass(frozen=True, slots=True)
class Builder:
    r"""``\{x \in \mathbb{R} : x > 2\}``."""

    name: str
    domain: Node | None
    condition: Node
    text: str


@dataclass(frozen=True, slots=True)
class Congruence:
    r"""``3 \mod{7}``: whatever leaves this residue."""

    residue: Node
    modulus: Node
    text: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """``3:4`` or a clock time: parts with colons between."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of a matrix, whatever its brackets; or lines of a system of equations or of a function by cases, which have
    no ``order``.
    """

    rows: tuple[tuple[Node, ...], ...]
    order: bool = True


Node = Leaf | Named | Relation | Approximate | Group | Union | Minus | Condition | Builder | Congruence | Ratio | Matrix

_MATRIX = re.compile(r"\\begin\{([pbBvV]?matrix|smallmatrix|array|cases|aligned|align\*?)\}(?:\s*\{[lcr|\s]*\})?")
_RELATION = re.compile(r"(?:\\(?:leq|geq|neq|approx|in|notin)(?![a-zA-Z])|[<>=])")
_OR, _AND = re.compile(r"\\lor(?![a-zA-Z])"), re.compile(r"\\land(?![a-zA-Z])")
_CONNECTIVE = re.compile(r"\\l(?:or|and)(?![a-zA-Z])")
_CUP, _CAP = re.compile(r"\\cup(?![a-zA-Z])"), re.compile(r"\\cap(?![a-zA-Z])")
# After a set that has a name, a minus or a slash takes away as \setminus does.
_SETMINUS = re.compile(r"\\setminus(?![a-zA-Z])|(?<=^\\mathbb\{[RZNQC]\})\s*[-/]\s*(?=[\\({\[0-9])")
_BUILDER = re.compile(r"\s*((?:\\[a-zA-Z]+|[a-zA-Z])(?:_\{?\w+\}?)?)\s*(?:\\in\s*([^|:]+?))?\s*(?:\||:)\s*(\S.*)")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_POINT = re.compile(r"([A-Z](?:_\{[^{}]*\}|_[0-9a-zA-Z])?'?)\s*:?\s*(?=\()")
_MODULO = re.compile(r"(?P<residue>[^\\,;]*(?:\\equiv(?![a-zA-Z])[^\\,;]*)?)\\mod\{(?P<modulus>[^{}]*)\}")
_IN_BRACKETS = re.compile(r"(.*[^\s(\[{])\s*\(\s*(-?[0-9]+\.[0-9]+)\s*\)")
_CASE_WORDS = re.compile(r"\\text\{\s*,?\s*(?:if|for|when|where)\s*\}|(?<![a-zA-Z\\])(?:if|for|when|where)(?![a-zA-Z])")
_GROUPED = re.compile(r"[+-]?\s*[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_SPACED = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])")
_SYMBOL = re.compile(r"(?:\\[a-zA-Z]+|[a-zA-Z])(?:_(?:\{[^{}]*\}|[0-9a-zA-Z]))?'?")
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
    return (
        _joined(text)
        or _congruence(text)
        or _beside(text)
        or _relation(text)
        or _point(text)
        or _colon(text)
        or _union(text)
        or _bracketed(text)
        or _leaf(text)
    )


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand in no bracket and no environment."""
    return _split_at(text, re.compile(re.escape(separator))) if separator in text else [text]


def _split_at(text: str, separator: re.Pattern[str]) -> list[str]:
    parts, start = [], 0
    depths = _depths(text)
    for match in separator.finditer(text):
        if depths[match.start()] == 0:
            parts.append(text[start : match.start()])
            start = match.end()
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
        # 1 \pm 2 in a list is two of its members; in a tuple it stays one place. So is what "and" joins.
        spread = brackets in ("", "{}") and isinstance(item, Group) and not item.brackets
        items += item.items if spread and isinstance(item, Group) and ("\\p" in part or "\\l" in part) else [item]
    if len(parts) > _MAX_ITEMS:
        return Leaf(text)
    first = items[0] if items else None
    if isinstance(first, Named) and first.sign == r"\neq" and all(isinstance(item, Leaf) for item in items[1:]):
        excluded = first.value.without if isinstance(first.value, Minus) else None
        if isinstance(excluded, Group):
            return _excluded(first.name, (*excluded.items, *items[1:]), text)
    return Group(brackets, tuple(items), text)


def _joined(text: str) -> Node | None:
    """What "or" and "and" join: conditions on one symbol, or else several answers."""
    if not _CONNECTIVE.search(text):
        return None
    for sign, pattern in ((r"\lor", _OR), (r"\land", _AND)):
        parts = _split_at(text, pattern)
        if len(parts) > 1:
            items = tuple(parse(part) for part in parts[:_MAX_ITEMS])
            if any(is_bound(item) for item in items) and all(
                is_bound(item) or isinstance(item, Named) for item in items
            ):
                excluding = all(isinstance(item, Named) and item.sign == r"\neq" for item in items)
                # "x is not 1 or 2" excludes both.
                return Condition(items, text, r"\land" if excluding else sign)
            return _several(text, parts)
    bare = re.sub(rf"^\s*{_CONNECTIVE.pattern}|{_CONNECTIVE.pattern}\s*$", "", text).strip()
    return parse(bare) if bare and bare != text else None


def _beside(text: str) -> Node | None:
    r"""``2\sqrt{2} (2.83)``: a value and its rounding in brackets; a product where the second is no rounding of the
    first.
    """
    match = _IN_BRACKETS.fullmatch(text)
    try:
        values = [numbers.read(part) for part in match.groups()] if match else []
    except numbers.TooLarge:
        return None
    if match is None or values[0] is None or values[1] is None:
        return None
    step = Fraction(10) ** -(values[1].places or 0)
    if abs(values[0].value - values[1].value) >= step or values[1].digits < 3 or not _is_exact(match[1].strip()):
        return None
    return Approximate(parse(match[1]), parse(match[2]), text)


def _congruence(text: str) -> Node | None:
    match = _MODULO.fullmatch(text)
    if match is None:
        return None
    name, equal, residue = match["residue"].rpartition(r"\equiv")
    value = Congruence(parse(residue), parse(match["modulus"]), text)
    return (
        Named(name.strip() if is_name(name) else "", value, text)
        if equal and is_name(name)
        else None
        if equal
        else value
    )


def is_bound(node: Node) -> bool:
    """Whether a node says between, in or outside of what a symbol's value lies, and not which it is."""
    if isinstance(node, Named):
        return node.sign != "="
    return isinstance(node, Condition) or (isinstance(node, Relation) and node.text.startswith("|") and not node.sides)


def _relation(text: str) -> Node | None:
    depths = _depths(text) if _RELATION.search(text) else []
    marks = [match for match in _RELATION.finditer(text) if depths and depths[match.start()] == 0]
    if not marks:
        return None
    ends = [0, *(mark.end() for mark in marks)]
    starts = [*(mark.start() for mark in marks), len(text)]
    parts = [text[end:start].strip() for end, start in zip(ends, starts, strict=True)]
    signs = [mark.group() for mark in marks]
    if signs in ([r"\in"], [r"\notin"]) and all(parts):
        value = parse(parts[1])
        outside = Minus(Leaf(r"\mathbb{R}"), value, text)
        return Named(parts[0], outside if signs[0] == r"\notin" else value, text, r"\in")
    if signs == [r"\neq"] and all(parts):
        return _unequal(parts, text)
    if set(signs) <= {"=", r"\approx"}:
        return _equation(parts, signs, text)
    return _interval(parts, signs, text) or Relation(text)


def _unequal(parts: list[str], text: str) -> Node:
    name, other = parts if _SYMBOL.fullmatch(parts[0]) else parts[::-1]
    if not _SYMBOL.fullmatch(name) or not is_constant(other):
        return Relation(text)
    value = parse(other)
    return _excluded(name, value.items if isinstance(value, Group) and not value.brackets else (value,), text)


def _excluded(name: str, items: tuple[Node, ...], text: str) -> Named:
    return Named(name, Minus(Leaf(r"\mathbb{R}"), Group("{}", items, text), text), text, r"\neq")


def _equation(parts: list[str], signs: list[str], text: str) -> Node:
    """A chain of equal and nearly equal values: of which name, and the last of them, with what it was rounded from."""
    if not all(parts[1:]):
        return Leaf(text)
    if not parts[0]:  # "= 5", "about 5"
        parts, signs = parts[1:], signs[1:]
    end = signs.index(r"\approx") + 1 if r"\approx" in signs else len(parts)
    stated, rounded = parts[:end], parts[end:]
    name = next(filter(is_name, stated), "")
    if name == "e" and rounded and rounded[-1].startswith("2.7"):
        name = ""  # Euler's number, and no symbol
    if name:
        # Of "= x" and "x = x" nothing but the name is left, which is then the value.
        values = [part for part in stated if part != name] or ([] if rounded else stated[-1:])
    elif len(stated) == 1 or all(map(is_constant, stated)) or (is_worked_out(stated[0]) and not rounded):
        values = stated
    else:
        return Relation(text, tuple(parts))
    if not rounded and len(values) > 1 and _DECIMAL.fullmatch(values[-1]) and _is_exact(values[-2]):
        values, rounded = values[:-1], values[-1:]
    if rounded and not values and len(rounded) > 1:
        values, rounded = rounded[:1], rounded[1:]
    last = parse((rounded or values)[-1])
    return Named(name, Approximate(parse(values[-1]), last, text) if rounded and values else last, text)


def _is_exact(text: str) -> bool:
    return is_constant(text) and _DECIMAL.fullmatch(text) is None and re.search(r"[\\/^]", text) is not None


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
    return Named(name, Group(left + right, (parse(low), parse(high)), text), text, "<")


def _point(text: str) -> Node | None:
    """``A(1, 2)``: a point and its name."""
    match = _POINT.match(text)
    if match is None or closing(text, match.end()) != len(text) - 1:
        return None
    value = parse(text[match.end() :])
    return Named(match.group(1), value, text) if isinstance(value, Group) and value.brackets == "()" else None


def _colon(text: str) -> Node | None:
    parts = split(text, ":")
    return Ratio(tuple(parse(part) for part in parts)) if 1 < len(parts) == text.count(":") + 1 else None


def _union(text: str) -> Node | None:
    for sign, pattern in ((r"\cup", _CUP), (r"\cap", _CAP), (r"\setminus", _SETMINUS)):
        if pattern.search(text) is None:
            continue
        parts = _split_at(text, pattern)
        if len(parts) > 1:
            items = tuple(parse(part) for part in parts)
            if sign != r"\setminus":
                return Union(items, text, sign)
            return Minus(items[0], items[1] if len(items) == 2 else Union(items[1:], text), text)
    return None


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
        if (builder := _builder(inside, text)) is not None:
            return builder
        return _several(text, split(inside, ";" if split(inside, ";")[1:] else ","), "{}") if inside.strip() else None
    if text[0] == "{" and (builder := _builder(inside, text)) is not None:
        return builder
    parts = split(inside, ",")
    if len(parts) == 1:
        parts = split(inside, ";")
    if len(parts) > 1 and text[0] != "{":
        return _several(text, parts, text[0] + text[-1])
    return parse(inside) if inside.strip() else None


def _builder(inside: str, text: str) -> Node | None:
    match = _BUILDER.fullmatch(inside)
    if match is None or (condition := parse(match.group(3))) is None:
        return None
    if not is_bound(condition) and not (isinstance(condition, Group) and all(map(is_bound, condition.items))):
        return None
    return Builder(match.group(1), parse(match.group(2)) if match.group(2) else None, condition, text)


def _matrix(text: str, begin: re.Match[str]) -> Node | None:
    end = text.find(f"\\end{{{begin.group(1)}}}", begin.end())
    around = (text[: begin.start()] + text[end:].partition("}")[2]).strip()
    if end < 0 or begin.group(1) in ("vmatrix", "Vmatrix"):
        return None
    lines = begin.group(1) in ("cases", "aligned", "align", "align*")
    if around not in ("", "[]", "()"):
        rows = None if lines else matrices.combined(text)
        return Matrix(tuple(tuple(parse(cell) for cell in row) for row in rows)) if rows else None
    inside = _CASE_WORDS.sub(" ", text[begin.end() : end]) if lines else text[begin.end() : end]
    written = [row.strip() for row in re.split(r"\\\\", inside) if row.strip()]
    return Matrix(tuple(tuple(parse(cell) for cell in row.split("&")) for row in written), order=not lines)


def _leaf(text: str) -> Node:
    if _PLUS_MINUS.search(text):
        return _both_signs(text)
    percent = text.endswith(r"\%")
    text = in_radians(text[:-2].strip() if percent else text)
    text, unit = split_unit(text)
    if DEGREES in text:  # of angles in a sum: 180 degrees less x
        text, unit = text.replace(DEGREES, ""), unit or "degrees"
    if unit is not None and (_GROUPED.fullmatch(text) or _SPACED.fullmatch(text)):
        return Leaf(re.sub("[, ]", "", text), percent, unit)
    if percent and text.endswith(r"\%"):  # \%\% is nothing
        return Leaf(text + r"\%")
    return Leaf(text, percent, unit)


def _both_signs(text: str) -> Node:
    upper = _PLUS_MINUS.sub(lambda match: " +" if match.group(1) == "pm" else " -", text)
    lower = _PLUS_MINUS.sub(lambda match: " -" if match.group(1) == "pm" else " +", text)
    return Group("", tuple(parse(value.strip().lstrip("+")) for value in (upper, lower)), text)
