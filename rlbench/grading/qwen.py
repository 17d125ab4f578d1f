r"""The grader ``qwen``: what Qwen2.5-Math's evaluation counts as right, to compare with cells that were published from
it.

Written from a description of its semantics, not from its code: the last box, or else the last number of the output;
numbers agree to a relative 1e-4, and x/100 and 100x agree with x; brackets do not matter; members are compared in
order; letters A to E are choices. It is lenient on purpose and used for nothing else. Text passes the same restriction
as everywhere before anything parses it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rlbench.grading import numbers
from rlbench.grading.boxed import last_boxed
from rlbench.grading.compare import (
    FastLeaves,
    Leaves,
    Undecided,
    Unreadable,
    alone,
    compact,
    one_value,
    readable,
    same_angle,
    same_approximate,
    same_congruence,
    same_identity,
    same_sets,
)
from rlbench.grading.extract import MAX_ANSWER, Reading
from rlbench.grading.normalise import normalise, undamaged
from rlbench.grading.numbers import Number
from rlbench.grading.structure import Approximate, Congruence, Group, Leaf, Matrix, Named, Node, Ratio, Relation, Union
from rlbench.grading.structure import read as structure
from rlbench.records import Verdict

TOLERANCE = Fraction(1, 10_000)
_FACTORS = (Fraction(1), Fraction(1, 100), Fraction(100))

_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+")
_CHOICE = re.compile(r"\b([A-E])\b")


def read(output: str, gold: str, reading: Reading = "box") -> str | None:
    """The last box, or else the last number; None where there is neither. ``reading`` changes nothing: this grader has
    its own.
    """
    output = undamaged(output)
    answer = last_boxed(output)
    if answer is None:
        found = _NUMBER.findall(output.replace(",", ""))
        answer = found[-1] if found else None
    return None if answer is None or len(answer) > max(MAX_ANSWER, len(gold)) else answer


def read_gold(gold: str, reading: Reading = "box") -> str:
    """What a gold says: the content of its box if it has one, else itself."""
    gold = undamaged(gold)
    return last_boxed(gold) or gold


def fast(gold: str, answer: str) -> Verdict | None:
    """The verdict without sympy, or None where it has to be asked."""
    try:
        return _grade(gold, answer, _FastLeaves())
    except Undecided:
        return None


def slow(gold: str, answer: str) -> Verdict:
    """The verdict with math-verify's grammar and sympy; to be called where it can be killed."""
    return _grade(gold, answer, _SlowLeaves())


def _grade(gold: str, answer: str, leaves: Leaves) -> Verdict:
    left, right = compact(normalise(gold)), compact(normalise(answer))
    if not right:
        return "unparsed"
    if left.lower() == right.lower():
        return "correct"
    if left in "ABCDE" and left and (choices := _CHOICE.findall(answer)):
        return "correct" if choices[-1] == left else "wrong"
    try:
        found = structure(answer)
        if _same(structure(gold), found, leaves):
            return "correct"
        return "wrong" if readable(found) else "unparsed"
    except (Unreadable, RecursionError):
        return "unparsed"


def _same(gold: Node, answer: Node, leaves: Leaves) -> bool:
    if _of_one_name(gold, answer):
        return _same(_unnamed(gold), _unnamed(answer), leaves)
    if (
        isinstance(gold, Relation | Named)
        and isinstance(answer, Relation | Named)
        and "=" in gold.text
        and "=" in answer.text
    ):
        return compact(gold.text) == compact(answer.text) or leaves.related(gold.text, answer.text)
    if (one := same_sets(gold, answer, leaves)) is not None and (
        one or not (_in_brackets(gold) and _in_brackets(answer))
    ):
        return one
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _same(_unnamed(gold), _unnamed(answer), leaves)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return same_identity(gold, answer, leaves, _same)
    if isinstance(gold, Approximate) or isinstance(answer, Approximate):
        return same_approximate(gold, answer, leaves, _same)
    if isinstance(gold, Congruence) or isinstance(answer, Congruence):
        return same_congruence(gold, answer, leaves, _same)
    if _of_other_shapes(gold, answer):
        return False
    gold, answer = alone(gold, answer), alone(answer, gold)
    if isinstance(gold, Leaf) and isinstance(answer, Group) and (value := one_value(answer, leaves)) is not None:
        return _same(gold, value, leaves)
    expected, found = _members(gold), _members(answer)
    if expected is not None and found is not None:
        pairs = zip(expected, found, strict=False)
        return len(expected) == len(found) and all(_same(left, right, leaves) for left, right in pairs)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        return (
            compact(gold.text).lower() == compact(answer.text).lower()
            or leaves.equal(gold.text, answer.text)
            or same_angle(gold, answer, leaves)
        )
    return False


def _of_other_shapes(gold: Node, answer: Node) -> bool:
    """Whether both are matrices, and a row is not as long as the other's, or missing."""
    if not isinstance(gold, Matrix) or not isinstance(answer, Matrix):
        return False
    return [len(row) for row in gold.rows] != [len(row) for row in answer.rows]


def _unnamed(node: Node) -> Node:
    return node.value if isinstance(node, Named) else node


def _of_one_name(gold: Node, answer: Node) -> bool:
    """Whether both are values of one name, on whichever side of the equation it stands."""
    if not isinstance(gold, Named) or not isinstance(answer, Named):
        return False
    return gold.sign == answer.sign == "=" and compact(gold.name) == compact(answer.name)


def _in_brackets(node: Node) -> bool:
    """Whether a set is written with brackets alone, whose kinds do not matter to this grader."""
    return isinstance(node, Group) or (isinstance(node, Union) and all(map(_in_brackets, node.items)))


def _members(node: Node) -> list[Node] | None:
    if isinstance(node, Matrix):
        return [cell for row in node.rows for cell in row]
    return list(node.items) if isinstance(node, Group | Union | Ratio) else None


def close(gold: Number, answer: Number) -> bool:
    """Whether the answer, its hundredth or its hundredfold is the gold to a relative 1e-4 (of the
    larger of the two).
    """
    return any(
        abs(gold.value * factor - answer.value) <= TOLERANCE * max(abs(gold.value * factor), abs(answer.value))
        for factor in _FACTORS
    )


class _FastLeaves:
    def equal(self, gold: str, answer: str) -> bool:
        try:
            right = numbers.read(answer)
        except numbers.TooLarge:
            raise Unreadable from None
        try:
            left = numbers.read(gold)
        except numbers.TooLarge:
            raise Undecided from None
        if left is None or right is None:
            try:
                same = numbers.identical(gold, answer)
            except numbers.TooLarge:
                raise Undecided from None
            if same is None:
                raise Undecided
            return same
        if (left.error or right.error) and _near(left, right):
            raise Undecided
        return close(left, right)

    def related(self, gold: str, answer: str) -> bool:
        raise Undecided

    def value(self, text: str) -> Number | None:
        return FastLeaves().value(text)


def _near(left: Number, right: Number) -> bool:
    """Whether two numbers differ by the tolerance but for what their errors may hide."""
    return any(
        abs(abs(left.value * factor - right.value) - TOLERANCE * max(abs(left.value * factor), abs(right.value)))
        <= (left.error + right.error) * max(abs(left.value * factor), abs(right.value))
        for factor in _FACTORS
    )


class _SlowLeaves:
    def equal(self, gold: str, answer: str) -> bool:
        from rlbench.grading.symbolic import constant, equal_expressions, expression, is_expression

        right = expression(answer)
        if right is None:
            raise Unreadable
        left = expression(gold)
        if left is None:
            return False
        if not is_expression(left) or not is_expression(right):
            return equal_expressions(left, right, gold, answer)
        expected, found = constant(left, gold), constant(right, answer)
        if expected is not None and found is not None:
            imaginary = expected[1].value or found[1].value
            return close(expected[0], found[0]) and (not imaginary or close(expected[1], found[1]))
        return equal_expressions(left, right, gold, answer)

    def related(self, gold: str, answer: str) -> bool:
        from rlbench.grading.symbolic import SymbolicLeaves

        return SymbolicLeaves().related(gold, answer)

    def value(self, text: str) -> Number | None:
        from rlbench.grading.symbolic import SymbolicLeaves

        return SymbolicLeaves().value(text)
