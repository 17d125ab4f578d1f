r"""Numbers that are written out: what they are worth, and when two of them are one.

``read`` evaluates constants (``-3/4``, ``1\frac{1}{2}``, ``2\sqrt{3}``, ``4.5\cdot 10^{33}``) by its own small grammar,
exactly where they are rational and to 35 digits where they are not. ``identical`` does the same to expressions with
variables, at a few points. Both give up rather than guess: what they do not read, math-verify reads.
"""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_EXPONENT = 10_000  # in absolute value; the answers of no benchmark come near it (the largest: 2^{2006})
_MAX_BITS = 200_000
_CONTEXT = decimal.Context(prec=50)
_PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459")
_ERROR = Fraction(1, 10**40)  # relative, of a function in that context, with room
_FLOAT_ERROR = Fraction(1, 10**12)  # of sine and cosine, which only doubles have
# Values that agree to so many digits are one: no two different answers come so near.
SAME = Fraction(1, 10**25)

# Two decimals, or a decimal and an integer, are equal when they agree to this: noise of floating point and nothing
# else.
NOISE = Fraction(1, 10**9)
# A decimal stands for an exact value (a fraction, a root) when it is that value rounded, to at least so many
# significant digits.
SIGNIFICANT = 5
# Of so many digits the last may be cut off as well as rounded: what comes so near is meant.
CUT_OFF = 7


class Unread(Exception):
    """A constant that this grammar does not cover."""


class TooLarge(Exception):
    """A power or a factorial beyond what any answer needs; computing it could take all time and memory there are."""


@dataclass(frozen=True, slots=True)
class Number:
    """A real constant: ``value``, relative to which it may be off by ``error`` (0: exact).

    ``places`` is the power of ten of the last digit of one written as a decimal (2 for 1.25, -32 for 4.5e33), else
    None; ``digits`` counts its significant digits.
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
        return difference == 0 or error <= SAME * scale or None if difference <= error else False
    decimal, other = (gold, answer) if gold.places is not None else (answer, gold)
    if other.places is None and not other.integer and decimal.digits >= SIGNIFICANT:
        assert decimal.places is not None
        step = Fraction(10) ** -decimal.places
        allowed = max(step if decimal.digits >= CUT_OFF else step / 2, NOISE * abs(gold.value))
    else:
        allowed = NOISE * abs(gold.value)
    if abs(difference - allowed) <= error:
        return None
    return difference <= allowed


_DECIMAL = re.compile(r"([+-]?)\s*([0-9]+)(?:\.([0-9]+))?(?:\s*\\cdot\s*10\s*\^\s*\{\s*([+-]?[0-9]{1,6})\s*\})?")
_REPEATING = re.compile(r"([+-]?)([0-9]*)\.([0-9]*)\\overline\{\s*([0-9]+)\s*\}")
_FUNCTIONS: dict[str, Callable[[float], float] | None] = {
    r"\sin": math.sin,
    r"\cos": math.cos,
    r"\ln": None,
    r"\exp": None,
}
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|tau|phi|omega|zeta|eta|nu"
_TOKEN = re.compile(
    rf"\s*(\\(?:frac|sqrt|cdot|pi|sin|cos|ln|exp|{_GREEK})(?![a-zA-Z])(?:_[0-9a-zA-Z]|_\{{[0-9a-zA-Z]+\}})?"
    r"|[0-9]+(?:\.[0-9]+)?|[a-zA-Z](?:_[0-9a-zA-Z]|_\{[0-9a-zA-Z]+\})?|[-+/^{}()\[\]!])"
)
_ROOT = re.compile(r"\\sqrt|\^\s*\{[^{}]*(?:\\frac|/|\.)")
# Values of variables, in the order of their names: generic, positive, with no small common factors.
_POINTS = ((7919, 6211, 3571), (5077, 8573, 2903), (9973, 4441, 7333), (3301, 9137, 5881))


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
    return _evaluated(text, {})


def _evaluated(text: str, values: Mapping[str, Fraction]) -> Number | None:
    try:
        return _Parser(text, values).whole()
    except (Unread, ArithmeticError, ValueError, RecursionError):
        return None


def identical(gold: str, answer: str) -> bool | None:
    """Whether two expressions in variables are one function, by their values at a few points; None where those do not
    tell.

    Equal exact values at four generic points are taken for a proof where both are rational functions, as two different
    ones of any length an answer has agree there with negligible probability. Roots differ in signs that positive points
    do not show, and equal approximations prove nothing. Raises TooLarge as ``read`` does.
    """
    names = sorted(_names(gold) | _names(answer))
    if not names or len(gold) > 400 or len(answer) > 400:
        return None
    told = None if _ROOT.search(gold) or _ROOT.search(answer) else True
    for top, step, bottom in _POINTS:
        point = {name: Fraction(top + step * index, bottom) for index, name in enumerate(names)}
        left, right = _evaluated(gold, point), _evaluated(answer, point)
        if left is None or right is None:
            return None
        scale = max(abs(left.value), abs(right.value))
        if abs(left.value - right.value) > max(Fraction(1, 10**9), 2 * (left.error + right.error)) * scale:
            return False
        if left.error or right.error or left.value != right.value:
            told = None
    return told


def _names(text: str) -> set[str]:
    found = (match.group(1) for match in _TOKEN.finditer(text))
    return {_name(token) for token in found if _is_symbol(token)}


def _is_symbol(token: str) -> bool:
    # e is Euler's number and i may be the imaginary unit.
    letter = token[:1].isalpha() and token not in ("e", "i")
    return letter or (token.startswith("\\") and re.fullmatch(rf"\\(?:{_GREEK})(?:_.*)?", token) is not None)


def _name(token: str) -> str:
    return token.replace("{", "").replace("}", "")


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
    r"""Recursive descent over numbers, variables, + - \cdot / ^ ! \frac \sqrt \pi, a few functions and brackets; else
    ``Unread``.
    """

    def __init__(self, text: str, values: Mapping[str, Fraction]) -> None:
        self.values = values
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
            value = add(value, self.product(), -1 if sign == "-" else 1)
        return value

    def product(self) -> Number:
        value, divided = self.signed(), False
        while True:
            token = self.tokens[self.at]
            if token in (r"\cdot", "/"):
                self.at += 1
                right = self.signed()
                value, divided = _multiply(value, _invert(right) if token == "/" else right), token == "/"
            elif token in ("(", "{", r"\frac", r"\sqrt", r"\pi", "e") or _is_symbol(token) or token in _FUNCTIONS:
                # 1/2x: people differ on what is divided. f(x): a function, or a product?
                if divided or (token == "(" and _is_symbol(self.tokens[self.at - 1])):
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
        return add(value, right, -1 if value.value < 0 else 1)

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
            return Number(_PI, _ERROR)
        if token == "e":
            return _exp(Number(Fraction(1)))
        if token in _FUNCTIONS:
            return self.function(token)
        if token[0].isdigit():
            return Number(Fraction(token))
        if _is_symbol(token) and _name(token) in self.values:
            return Number(self.values[_name(token)])
        raise Unread

    def function(self, name: str) -> Number:
        """A function of what stands in brackets behind it, or of one symbol or number: sin xy is read in two ways."""
        following = self.tokens[self.at]
        argument = self.group(following, ")" if following == "(" else "}") if following in ("(", "{") else self.atom()
        after = self.tokens[self.at]
        if following not in ("(", "{") and (
            following.startswith(r"\f") or after in ("(", "{", "^", "!", "/") or after[:1].isalnum()
        ):
            raise Unread
        if name == r"\exp":
            return _exp(argument)
        if name == r"\ln":
            return _ln(argument)
        if abs(argument.value) > 1000 or argument.error > _FLOAT_ERROR:
            raise Unread
        function = _FUNCTIONS[name]
        assert function is not None
        value = Fraction(function(float(argument.value)))
        if abs(value) < Fraction(1, 1000):  # near a zero the relative error is not small
            raise Unread
        return Number(value, 1000 * _FLOAT_ERROR)

    def index(self) -> int:
        value = self.group("[", "]")
        if not value.integer or not 2 <= value.value <= 100:
            raise Unread
        return int(value.value)


def _checked(value: Fraction, error: Fraction) -> Number:
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise TooLarge
    return Number(value, error)


def add(left: Number, right: Number, sign: int) -> Number:
    """The sum, or with the sign -1 the difference. Raises Unread where so much cancels that the error is no longer
    small.
    """
    value = left.value + sign * right.value
    if not left.error and not right.error:
        return _checked(value, Fraction(0))
    error = abs(left.value) * left.error + abs(right.value) * right.error
    if error * 10**6 > abs(value):  # cancellation: the relative error is no longer known to be small
        raise Unread
    return _checked(value, _short(error / abs(value)))


def _short(error: Fraction) -> Fraction:
    """An error not smaller than this one, and with few digits."""
    return Fraction(1, 10 ** math.floor(-math.log10(error))) if error else error


def _decimal_of(value: Fraction) -> decimal.Decimal:
    return _CONTEXT.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))


def _exp(number: Number) -> Number:
    if abs(number.value) > MAX_EXPONENT:
        raise TooLarge
    error = max(abs(number.value), Fraction(1)) * number.error * 2
    return Number(Fraction(_CONTEXT.exp(_decimal_of(number.value))), _ERROR + _short(error))


def _ln(number: Number) -> Number:
    if number.value <= 0 or number.error:
        raise Unread
    value = Fraction(_CONTEXT.ln(_decimal_of(number.value)))
    if 0 < abs(value) < Fraction(1, 1000):
        raise Unread
    return Number(value, _ERROR * 1000 if value else Fraction(0))


def _multiply(left: Number, right: Number) -> Number:
    return _checked(left.value * right.value, left.error + right.error)


def _invert(number: Number) -> Number:
    return Number(1 / number.value, number.error)


def _root(index: int, number: Number) -> Number:
    if number.value < 0:
        if index % 2 == 0:
            raise Unread
        positive = _root(index, Number(-number.value, number.error))  # of the real numbers, as a root's sign says
        return Number(-positive.value, positive.error)
    if not number.error:
        top, bottom = (_integer_root(part, index) for part in (number.value.numerator, number.value.denominator))
        if top is not None and bottom is not None:
            return Number(Fraction(top, bottom))
    root = (
        _CONTEXT.sqrt(_decimal_of(number.value))
        if index == 2
        else _CONTEXT.power(_decimal_of(number.value), _CONTEXT.divide(1, index))
    )
    return Number(Fraction(root), number.error + _ERROR)


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
        power = _CONTEXT.power(_decimal_of(base.value), _decimal_of(exponent.value))
        size = max(abs(exponent.value), Fraction(1)) * (1 + abs(Fraction(math.log(base.value))))
        return Number(Fraction(power), _short(_ERROR * 10 + size * (base.error + exponent.error) * 2))
    count = int(exponent.value)
    if base.error:
        if abs(count) > 20:
            raise Unread
        return _checked(base.value**count, base.error * abs(count))
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
    """The number of a text that is one decimal or one integer and nothing else, scientific notation included; None
    otherwise.

    A decimal is worth what its digits say, which no binary fraction is.
    """
    match = _DECIMAL.fullmatch(text.strip())
    return _decimal(match) if match is not None and len(text) <= 400 else None
