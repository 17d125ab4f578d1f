r"""Numbers that are written out: what they are worth, and when two of them are one.

``read`` evaluates constants (``-3/4``, ``1\frac{1}{2}``, ``2\sqrt{3}``, ``4.5\cdot 10^{33}``) by its own small grammar, exactly
where they are rational. It gives up rather than guess: what it does not read, math-verify reads.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_EXPONENT = 10_000  # in absolute value; the answers of no benchmark come near it (the largest: 2^{2006})
_MAX_BITS = 200_000
_FLOAT_ERROR = Fraction(1, 10**11)  # of a few dozen operations on doubles, with room

# Two decimals, or a decimal and an integer, are equal when they agree to this: noise of floating point and nothing else.
NOISE = Fraction(1, 10**9)
# A decimal stands for an exact value (a fraction, a root) when it is that value rounded, to at least so many significant digits.
SIGNIFICANT = 5


class Unread(Exception):
    """A constant that this grammar does not cover."""


class TooLarge(Exception):
    """A power or a factorial beyond what any answer needs; computing it could take all time and memory there are."""


@dataclass(frozen=True, slots=True)
class Number:
    """A real constant: ``value``, relative to which it may be off by ``error`` (0: exact).

    ``places`` is the power of ten of the last digit of one written as a decimal (2 for 1.25, -32 for 4.5e33), else None;
    ``digits`` counts its significant digits.
    """

    value: Fraction
    error: Fraction = Fraction(0)
    places: int | None = None
    digits: int = 0

    @property
    def integer(self) -> bool:
        return self.error == 0 and self.value.denominator == 1


def agree(gold: Number, answer: Number) -> bool | None:
    """Whether two numbers are one; None where that cannot be told from approximations as near as these."""
    difference, scale = abs(gold.value - answer.value), max(abs(gold.value), abs(answer.value))
    error = (gold.error + answer.error) * scale
    if difference == 0 and error == 0:
        return True
    if gold.places is None and answer.places is None:
        return None if difference <= error else False
    decimal, other = (gold, answer) if gold.places is not None else (answer, gold)
    if other.places is None and not other.integer and decimal.digits >= SIGNIFICANT:
        assert decimal.places is not None
        allowed = max(Fraction(1, 2) * Fraction(10) ** -decimal.places, NOISE * abs(gold.value))
    else:
        allowed = NOISE * abs(gold.value)
    if abs(difference - allowed) <= error:
        return None
    return difference <= allowed


_DECIMAL = re.compile(r"([+-]?)\s*([0-9]+)(?:\.([0-9]+))?(?:\s*\\cdot\s*10\s*\^\s*\{\s*([+-]?[0-9]{1,6})\s*\})?")
_REPEATING = re.compile(r"([+-]?)([0-9]*)\.([0-9]*)\\overline\{\s*([0-9]+)\s*\}")
_TOKEN = re.compile(r"\s*(\\(?:frac|sqrt|cdot|pi)(?![a-zA-Z])|[0-9]+(?:\.[0-9]+)?|[-+/^{}()\[\]!])")


@lru_cache(maxsize=65536)
def read(text: str) -> Number | None:
    """The number that a normalised text writes out, or None where it is not one, or not one that this reads.

    Raises:
        TooLarge: it holds a power or a factorial beyond ``MAX_EXPONENT``.
    """
    text = text.strip()
    if len(text) > 400:
        return None
    if (match := _DECIMAL.fullmatch(text)) is not None:
        return _decimal(match)
    if (match := _REPEATING.fullmatch(text)) is not None:
        return _repeating(match)
    try:
        return _Parser(text).whole()
    except (Unread, ZeroDivisionError, OverflowError, RecursionError):
        return None


def _decimal(match: re.Match[str]) -> Number:
    sign, whole, part, power = match.groups()
    exponent = int(power or 0)
    if abs(exponent) > MAX_EXPONENT:
        raise TooLarge
    value = Fraction(int(sign + whole + (part or ""))) * Fraction(10) ** (exponent - len(part or ""))
    if part is None and power is None:
        return Number(value)
    return Number(value, places=len(part or "") - exponent, digits=len((whole + (part or "")).lstrip("0")))


def _repeating(match: re.Match[str]) -> Number:
    sign, whole, fixed, repeated = match.groups()
    value = Fraction(int(whole + fixed or "0") + Fraction(int(repeated), 10 ** len(repeated) - 1), 10 ** len(fixed))
    return Number(-value if sign == "-" else value)


class _Parser:
    r"""Recursive descent over numbers, + - \cdot / ^ ! \frac \sqrt \pi and brackets; anything else is ``Unread``."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                if text[position:].isspace():
                    break
                raise Unread
            self.tokens.append(match.group(1))
            position = match.end()
        self.tokens.append("")
        self.at = 0

    def whole(self) -> Number:
        value = self.sum()
        if self.tokens[self.at]:
            raise Unread
        return value

    def take(self, expected: str | None = None) -> str:
        token = self.tokens[self.at]
        if (expected is not None and token != expected) or not token:
            raise Unread
        self.at += 1
        return token

    def sum(self) -> Number:
        value = self.product()
        while (sign := self.tokens[self.at]) in ("+", "-") and sign:
            self.at += 1
            value = _add(value, self.product(), -1 if sign == "-" else 1)
        return value

    def product(self) -> Number:
        value, divided = self.signed(), False
        while True:
            token = self.tokens[self.at]
            if token in (r"\cdot", "/"):
                self.at += 1
                right = self.signed()
                value, divided = _multiply(value, _invert(right) if token == "/" else right), token == "/"
            elif token in ("(", "{", r"\frac", r"\sqrt", r"\pi"):
                if divided:  # 1/2(3): people differ on what is divided
                    raise Unread
                value = self.beside(value, token)
            else:
                return value

    def beside(self, value: Number, token: str) -> Number:
        """Two factors without a sign between them, or a mixed number: an integer before a proper fraction."""
        mixed = token == r"\frac" and self.tokens[self.at - 1].isdigit()
        if mixed and self.at > 1 and self.tokens[self.at - 2] not in ("-", "+", "(", "{"):
            raise Unread
        right = self.power()
        if not mixed:
            return _multiply(value, right)
        if right.error or not 0 <= right.value < 1:
            raise Unread
        return _add(value, right, -1 if value.value < 0 else 1)

    def signed(self) -> Number:
        if self.tokens[self.at] in ("-", "+"):
            sign = self.take()
            right = self.signed()
            return Number(-right.value, right.error) if sign == "-" else right
        return self.power()

    def power(self) -> Number:
        base = self.atom()
        if self.tokens[self.at] == "!":
            self.at += 1
            base = _factorial(base)
        if self.tokens[self.at] != "^":
            return base
        self.at += 1
        exponent = self.group("{", "}")
        if self.tokens[self.at] in ("^", "!"):
            raise Unread
        return _power(base, exponent)

    def group(self, opening: str, closing: str) -> Number:
        self.take(opening)
        value = self.sum()
        self.take(closing)
        return Number(value.value, value.error)

    def atom(self) -> Number:
        token = self.tokens[self.at]
        if token in ("(", "{"):
            return self.group(token, ")" if token == "(" else "}")
        self.take()
        if token == r"\frac":
            top = self.group("{", "}")
            return _multiply(top, _invert(self.group("{", "}")))
        if token == r"\sqrt":
            if self.tokens[self.at] == "[":
                return _root(self.index(), self.group("{", "}"))
            return _root(2, self.group("{", "}"))
        if token == r"\pi":
            return Number(Fraction(math.pi), _FLOAT_ERROR)
        if token[0].isdigit():
            return Number(Fraction(token))
        raise Unread

    def index(self) -> int:
        value = self.group("[", "]")
        if not value.integer or not 2 <= value.value <= 100:
            raise Unread
        return int(value.value)


def _checked(value: Fraction, error: Fraction) -> Number:
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise TooLarge
    return Number(value, error)


def _add(left: Number, right: Number, sign: int) -> Number:
    value = left.value + sign * right.value
    if not left.error and not right.error:
        return _checked(value, Fraction(0))
    scale = abs(left.value) + abs(right.value)
    if abs(value) * 1000 < scale:  # cancellation: the relative error is no longer known to be small
        raise Unread
    return _checked(value, 1000 * _FLOAT_ERROR if abs(value) * 10 < scale else max(left.error, right.error) * 11)


def _multiply(left: Number, right: Number) -> Number:
    return _checked(left.value * right.value, left.error + right.error)


def _invert(number: Number) -> Number:
    return Number(1 / number.value, number.error)


def _root(index: int, number: Number) -> Number:
    if number.value < 0:
        raise Unread
    if not number.error:
        top, bottom = (_integer_root(part, index) for part in (number.value.numerator, number.value.denominator))
        if top is not None and bottom is not None:
            return Number(Fraction(top, bottom))
    return Number(Fraction(float(number.value) ** (1 / index)), number.error + _FLOAT_ERROR)


def _integer_root(value: int, index: int) -> int | None:
    if value.bit_length() > 900:
        raise Unread
    guess = math.isqrt(value) if index == 2 else round(value ** (1 / index))
    return guess if guess**index == value else None


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent.value) > MAX_EXPONENT:
        raise TooLarge
    if not exponent.integer:
        if base.value <= 0:
            raise Unread
        return Number(Fraction(float(base.value) ** float(exponent.value)), _FLOAT_ERROR * 100 + base.error * 10)
    count = int(exponent.value)
    if base.error:
        if abs(count) > 20:
            raise Unread
        return Number(base.value**count, base.error * abs(count))
    if (base.value.numerator.bit_length() + base.value.denominator.bit_length()) * abs(count) > _MAX_BITS:
        raise TooLarge
    return Number(base.value**count)


def _factorial(number: Number) -> Number:
    if not number.integer or number.value < 0:
        raise Unread
    if number.value > 2000:
        raise TooLarge
    return Number(Fraction(math.factorial(int(number.value))))


def written(text: str) -> Number | None:
    """The number of a text that is one decimal or one integer and nothing else, scientific notation included; None otherwise.

    A decimal is worth what its digits say, which no binary fraction is.
    """
    match = _DECIMAL.fullmatch(text.strip())
    return _decimal(match) if match is not None and len(text) <= 400 else None
