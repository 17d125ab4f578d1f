r"""Exact values with their rounding beside them, ``\frac{70}{9} \approx 7.78``: which member is which, and whether
they belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from rlbench.grading.numbers import Number, written
from rlbench.grading.structure import Leaf, Node
from rlbench.grading.units import conflict, is_degrees

Value = Callable[[str], Number | None]

# What is near enough to be meant as a rounding where the digits do not say how far it goes: 22/7 for pi.
_NEAR = Fraction(1, 100)
_PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459")


def in_order(left: Node, right: Node) -> tuple[Node, Node]:
    """The exact member and the rounded one: decimals are rounded, and of two decimals the one of fewer digits."""
    first, second = _decimal(left), _decimal(right)
    if first is not None and (second is None or first.digits < second.digits):
        return right, left
    return left, right


def consistent(exact: Node, rounded: Node, value: Value) -> bool:
    """Whether a rounded value can be meant for an exact one; True also where one of them is no number that can be told.

    To the last digit that is written, cut off or rounded, or to one in a hundred; percent signs and degrees are
    understood.
    """
    if not isinstance(exact, Leaf) or not isinstance(rounded, Leaf) or conflict(exact.unit, rounded.unit):
        return True
    left, right = _value(exact, value), _value(rounded, value)
    if left is None or right is None:
        return True
    step = _last_digit(rounded.text, right)
    scales = [Fraction(1)]
    if rounded.percent != exact.percent:
        scales.append(Fraction(100) if exact.percent else Fraction(1, 100))
    if is_degrees(rounded.unit) != is_degrees(exact.unit):
        scales.append(180 / _PI if is_degrees(exact.unit) else _PI / 180)
    gaps = [(abs(left.value - right.value * scale), scale) for scale in scales]
    return any(gap < step * scale or gap <= _NEAR * abs(left.value) for gap, scale in gaps)


def rounds(exact: Node, gold: Node, value: Value, digits: int = 2) -> bool:
    """Whether a number of so many digits is an exact value rounded, or cut off, at its last one."""
    if not isinstance(exact, Leaf) or not isinstance(gold, Leaf) or (exact.percent and not gold.percent):
        return False
    left, right = _value(exact, value), _decimal(gold)
    if left is not None and gold.percent and not exact.percent:
        left = Number(100 * left.value, left.error)
    if left is None or right is None or _significant(gold.text, right) < digits:
        return False
    unit, gap = _last_digit(gold.text, right), abs(left.value) - abs(right.value)
    return (left.value < 0) == (right.value < 0) and (2 * abs(gap) <= unit or 0 <= gap < unit)


def _value(leaf: Leaf, value: Value) -> Number | None:
    # A name is no number, and no parser has to be asked for it.
    bare = re.sub(r"\\[a-zA-Z]+", "", leaf.text)
    return None if re.search(r"[a-df-zA-Z]", bare) else value(leaf.text)


def _decimal(node: Node) -> Number | None:
    """The number of a decimal, or of an integer, that is written out."""
    return written(node.text) if isinstance(node, Leaf) else None


def _significant(text: str, number: Number) -> int:
    return number.digits if number.places is not None else len(text.strip("-+0 "))


def _last_digit(text: str, number: Number) -> Fraction:
    """The worth of one step of the last digit; of an integer's last digit that is no zero."""
    if number.places is not None:
        return Fraction(10) ** -number.places
    zeros = len(text) - len(text.rstrip("0")) if text.lstrip("-").isdigit() else 0
    return Fraction(10) ** zeros if text.lstrip("-").isdigit() else Fraction(0)
