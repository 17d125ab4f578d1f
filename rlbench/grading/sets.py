r"""Sets of real numbers, as answers spell them: intervals, finite sets, unions and differences, inequalities with
"and" and "or".

A set is kept as the points where membership changes, so two spellings of one set (``x \ne 2``, ``\mathbb{R} \setminus
\{2\}``, ``(-\infty, 2) \cup (2, \infty)``) are one value and order and overlap of a union's parts do not matter. What
is no set of numbers (symbols for ends, other domains than the reals) is not read here and is compared by its
structure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key

from rlbench.grading import numbers
from rlbench.grading.numbers import Number
from rlbench.grading.structure import Builder, Condition, Group, Leaf, Minus, Named, Node, Relation, Union, is_bound

# The value of a constant's text, or None where it is none.
Value = Callable[[str], Number | None]

_REALS = re.compile(r"\\mathbb\{R\}\s*(?P<part>[\^_]\s*(?:\{[^{}]*\}|[-+*]))?")
_PARTS = {"": "all", "^+": "positive", "_+": "positive", "_>0": "positive", "^-": "negative", "_<0": "negative"}
_PARTS |= {"^*": "nonzero", r"^\cdot": "nonzero", r"_\geq0": "nonnegative", r"_\leq0": "nonpositive"}
_INFINITE = re.compile(r"([+-]?)\s*\\infty")
_ABSOLUTE = re.compile(r"\|([^|]+)\|\s*(<|>|\\leq|\\geq|=|\\neq)\s*(.+)")

_DISTANCE = re.compile(
    r"(?P<name>(?:\\[a-zA-Z]+|[a-zA-Z])(?:_\{?\w+\}?)?)\s*(?:(?P<sign>[-+])\s*(?P<number>[^-+a-zA-Z]+))?"
)


@dataclass(frozen=True, slots=True)
class Edge:
    """A point where membership may change: whether the point itself is a member, and whether what follows it is."""

    point: Number
    at: bool
    after: bool


@dataclass(frozen=True, slots=True)
class Reals:
    """A union of intervals and points of the real line: whether it reaches minus infinity, and its edges in order."""

    before: bool
    edges: tuple[Edge, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.before and not self.edges

    @property
    def finite(self) -> bool:
        return not self.before and not any(edge.after for edge in self.edges)


EVERYTHING, NOTHING = Reals(True), Reals(False)


def points(values: Iterable[Number]) -> Reals:
    """The finite set of these numbers."""
    found = NOTHING
    for value in values:
        found = union(found, Reals(False, (Edge(value, True, False),)))
    return found


def interval(low: Number | None, high: Number | None, closed: tuple[bool, bool]) -> Reals | None:
    """The interval between two ends, None for an infinite one; None where they are in the wrong order or it holds
    nothing.
    """
    if low is not None and high is not None and (order := _order(low, high)) >= 0:
        return points([low]) if order == 0 and all(closed) else None
    edges = [Edge(low, closed[0], True)] if low is not None else []
    edges += [Edge(high, closed[1], False)] if high is not None else []
    return Reals(low is None, tuple(edges))


def union(left: Reals, right: Reals) -> Reals:
    """What is in one of them."""
    return _combined(left, right, lambda a, b: a or b)


def intersection(left: Reals, right: Reals) -> Reals:
    """What is in both."""
    return _combined(left, right, lambda a, b: a and b)


def difference(left: Reals, right: Reals) -> Reals:
    """What is in the first and not in the second."""
    return _combined(left, right, lambda a, b: a and not b)


def _order(left: Number, right: Number) -> int:
    gap = left.value - right.value
    if abs(gap) <= (left.error + right.error) * max(abs(left.value), abs(right.value)):
        return 0
    return 1 if gap > 0 else -1


_BY_VALUE = cmp_to_key(_order)


def _combined(left: Reals, right: Reals, rule: Callable[[bool, bool], bool]) -> Reals:
    ordered: list[tuple[Number, int, Edge]] = [(edge.point, 0, edge) for edge in left.edges]
    ordered += [(edge.point, 1, edge) for edge in right.edges]
    ordered.sort(key=lambda item: _BY_VALUE(item[0]))
    inside, edges, position = [left.before, right.before], [], 0
    last = first = rule(*inside)
    while position < len(ordered):
        point, at = ordered[position][0], list(inside)
        while position < len(ordered) and _order(ordered[position][0], point) == 0:
            _, side, edge = ordered[position]
            at[side], inside[side] = edge.at, edge.after
            position += 1
        member, after = rule(*at), rule(*inside)
        if not last == member == after:
            edges.append(Edge(point, member, after))
        last = after
    return Reals(first, tuple(edges))


def equal(gold: Reals, answer: Reals) -> bool:
    """Whether two sets are one, their ends compared as numbers are."""
    return (
        gold.before == answer.before
        and len(gold.edges) == len(answer.edges)
        and all(
            left.at == right.at and left.after == right.after and numbers.agree(left.point, right.point) is not False
            for left, right in zip(gold.edges, answer.edges, strict=True)
        )
    )


def is_set(node: Node) -> bool:
    r"""Whether a node can be nothing but a set: ``(1, 2)`` may be a point, ``\{1, 2\}`` a list of answers."""
    if isinstance(node, Leaf):
        return is_set_name(node.text)
    if isinstance(node, Group):
        if node.brackets in ("(]", "[)"):
            return True
        if not node.brackets:
            return all(is_bound(item) for item in node.items)
        return node.brackets != "{}" and any(
            isinstance(item, Leaf) and _INFINITE.fullmatch(item.text) for item in node.items
        )
    if isinstance(node, Named):
        return is_bound(node)
    if isinstance(node, Relation):
        return _ABSOLUTE.fullmatch(node.text) is not None
    return isinstance(node, Union | Minus | Builder | Condition)


def is_set_name(text: str) -> bool:
    """Whether a text is the name of a set of numbers, or of the empty set."""
    return text.strip() == r"\varnothing" or text.startswith(r"\mathbb{")


def read(node: Node, value: Value) -> tuple[Reals, frozenset[str]] | None:
    """A node as a set of numbers, and the names of whose values it is; None where it is none. Raises what ``value``
    raises.
    """
    try:
        names: set[str] = set()
        found = _Reader(value, names).read(node)
        return found, frozenset(names)
    except _NoSet:
        return None


def _integers_in(found: Reals) -> Reals:
    """The integers of a bounded set; _NoSet where it is none, or has hundreds of them."""
    if found.before or (found.edges and found.edges[-1].after):
        raise _NoSet
    low, high = (math.floor(edge.point.value) for edge in (found.edges[0], found.edges[-1])) if found.edges else (0, -1)
    if high - low > 200:
        raise _NoSet
    return intersection(found, points(Number(Fraction(n)) for n in range(low, high + 1)))


class _NoSet(Exception):
    pass


class _Reader:
    def __init__(self, value: Value, names: set[str]) -> None:
        self.value, self.names = value, names

    def read(self, node: Node) -> Reals:
        if isinstance(node, Leaf):
            return self.leaf(node)
        if isinstance(node, Group):
            return self.group(node)
        if isinstance(node, Named):
            self.names |= {node.name.replace(" ", "")} if node.name else set()
            return self.read(node.value)
        if isinstance(node, Union):
            parts = [self.read(item) for item in node.items]
            return self.joined(parts, intersection if node.sign == r"\cap" else union)
        if isinstance(node, Minus):
            return difference(self.read(node.whole), self.members(node.without))
        if isinstance(node, Condition):
            return self.joined(
                [self.read(item) for item in node.items], intersection if node.sign == r"\land" else union
            )
        if isinstance(node, Builder):
            return self.builder(node)
        if isinstance(node, Relation):
            return self.absolute(node)
        raise _NoSet

    def joined(self, parts: list[Reals], rule: Callable[[Reals, Reals], Reals]) -> Reals:
        found = parts[0]
        for part in parts[1:]:
            found = rule(found, part)
        return found

    def leaf(self, node: Leaf) -> Reals:
        if node.text == r"\varnothing":
            return NOTHING
        if (reals := _REALS.fullmatch(node.text)) is not None:
            return self.part_of_the_reals(re.sub(r"[{}\s]", "", reals["part"] or ""))
        if node.text.startswith(r"\mathbb"):
            raise _NoSet
        return points([self.number(node)])

    def part_of_the_reals(self, part: str) -> Reals:
        kind = _PARTS.get(part)
        if kind is None:
            raise _NoSet
        zero = Number(Fraction(0))
        positive, negative = Reals(False, (Edge(zero, False, True),)), Reals(True, (Edge(zero, False, False),))
        return {
            "all": EVERYTHING,
            "positive": positive,
            "negative": negative,
            "nonzero": union(positive, negative),
            "nonnegative": union(positive, points([zero])),
            "nonpositive": union(negative, points([zero])),
        }[kind]

    def number(self, node: Node) -> Number:
        if not isinstance(node, Leaf) or node.percent or (found := self.value(node.text)) is None:
            raise _NoSet
        return found

    def group(self, node: Group) -> Reals:
        if node.brackets == "{}":
            return points([self.number(item) for item in node.items])
        if node.brackets:
            return self.interval(node)
        parts = [self.read(item) for item in node.items]
        if any(is_bound(item) for item in node.items):
            # Bounds with commas between: both hold where both can, and else one of them.
            both = self.joined(parts, intersection)
            if not both.empty:
                return both
        elif not all(part.finite for part in parts) and not any(map(is_set, node.items)):
            raise _NoSet  # pairs of numbers may be points
        return self.joined(parts, union)

    def interval(self, node: Group) -> Reals:
        if len(node.items) != 2:
            raise _NoSet
        ends = [self.end(item) for item in node.items]
        closed = (
            node.brackets[0] == "[" and not isinstance(ends[0], str),
            node.brackets[1] == "]" and not isinstance(ends[1], str),
        )
        if ends[0] == "+" or ends[1] == "-":
            raise _NoSet
        low, high = (None if isinstance(end, str) else end for end in ends)
        found = interval(low, high, closed)
        if found is None:
            raise _NoSet
        return found

    def end(self, node: Node) -> Number | str:
        """An end of an interval: a number, or the sign of infinity."""
        if isinstance(node, Leaf) and (infinite := _INFINITE.fullmatch(node.text)) is not None:
            return infinite.group(1) or "+"
        return self.number(node)

    def members(self, node: Node) -> Reals:
        """What is taken away: a set, or numbers whose braces were left out."""
        return (
            points([self.number(item) for item in node.items])
            if isinstance(node, Group) and not node.brackets
            else self.read(node)
        )

    def builder(self, node: Builder) -> Reals:
        names: set[str] = set()
        found = _Reader(self.value, names).read(node.condition)
        if names - {node.name.replace(" ", "")}:
            raise _NoSet
        if isinstance(node.domain, Leaf) and node.domain.text == r"\mathbb{Z}":
            return _integers_in(found)
        return found if node.domain is None else intersection(found, self.read(node.domain))

    def absolute(self, node: Relation) -> Reals:
        r"""``|x - 1| < 3``: where one symbol, or its distance from a number, is bounded."""
        match = _ABSOLUTE.fullmatch(node.text)
        if match is None or (shape := _DISTANCE.fullmatch(match.group(1).strip())) is None:
            raise _NoSet
        middle = Number(Fraction(0)) if not shape["number"] else self.number(Leaf(shape["number"]))
        middle = middle if shape["sign"] == "-" else Number(-middle.value, middle.error)
        radius = self.number(Leaf(match.group(3)))
        if radius.value <= 0:
            raise _NoSet
        self.names.add(shape["name"].replace(" ", ""))
        try:
            low, high = (numbers.add(middle, radius, sign) for sign in (-1, 1))
        except numbers.Unread:
            raise _NoSet from None
        sign = match.group(2)
        if sign in ("=", r"\neq"):
            found = points([low, high])
            return found if sign == "=" else difference(EVERYTHING, found)
        inner = interval(low, high, (sign in (r"\leq", ">"),) * 2)
        assert inner is not None
        return inner if sign in ("<", r"\leq") else difference(EVERYTHING, inner)
