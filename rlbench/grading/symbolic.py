r"""Expressions and relations, by math-verify: its LaTeX grammar reads them, its ``verify`` and sympy compare them.

Runs in the worker processes, as it is bounded neither in time nor in memory. Every text passes
``rlbench.grading.restrict`` first. Where math-verify is wrong it is set right here: capital ``E`` is a name and not
Euler's number, ``R`` is not ``r``, ``i`` is the imaginary unit, 2(3) is 6 and not the mixed number 2 + 3, and small
numbers do not agree because their first six decimals are 0.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rlbench.grading import numbers, restrict
from rlbench.grading.compare import Unreadable, grade
from rlbench.grading.numbers import Number
from rlbench.records import Verdict

_PRECISION = 40  # digits of evaluation
_ERROR = Fraction(1, 10**25)
# Where two expressions are compared before sympy tries to prove anything: generic, positive, below and above 1.
_POINTS = (("1.37", "0.731"), ("0.4523", "1.119"), ("2.718", "0.6137"))
# Where they are proved equal: of both signs, mixed ones where there are several symbols, and near 0 for what is defined
# only there.
_PROVING_POINTS = (
    ("1.37", "0.731"),
    ("-1.91", "0.377"),
    ("0.217", "-0.519"),
    ("-7.13", "-0.913"),
    ("0.311", "0.173"),
    ("-0.613", "0.107"),
    ("11.3", "1.71"),
)
_E = re.compile(r"\\[a-zA-Z]+|E")
_MIXED = re.compile(r"(?<![0-9.}_^])([0-9]+)\s*(\\frac\{\s*([0-9]+)\s*\}\{\s*([0-9]+)\s*\})")
# A decimal exponent is a fraction: as a binary one it would make a value of 15 digits.
_EXPONENT, _DECIMAL = re.compile(r"\^\{[^{}]*\}"), re.compile(r"[0-9]+\.[0-9]+")
_PRIME = re.compile(r"([a-zA-Z])('+)")  # the grammar drops it, and y' is not y
_PRODUCT = re.compile(r"((?<![_^.0-9])[0-9.]+|\))\s*(?=\()")
_GAMMA = re.compile(
    r"\\gamma(?![a-zA-Z])(?:_\{?([0-9a-zA-Z]+)\}?)?"
)  # the grammar takes it for the function of that name
_REPEATING = re.compile(r"([0-9]*\.[0-9]*\\overline\{\s*[0-9]+\s*\})")


class SymbolicLeaves:
    """Compares expressions and relations; raises Unreadable where the answer is none."""

    def equal(self, gold: str, answer: str) -> bool:
        right = expression(answer)
        if right is None:
            raise Unreadable
        left = expression(gold)
        return left is not None and equal_expressions(left, right, gold, answer)

    def related(self, gold: str, answer: str) -> bool:
        right = expression(answer)
        if right is None:
            raise Unreadable
        left = expression(gold)
        return left is not None and _related(left, right)

    def value(self, text: str) -> Number | None:
        try:
            written = numbers.read(text)
        except numbers.TooLarge:
            return None
        return written if written is not None else real(text)


def grade_slow(gold: str, answer: str) -> Verdict:
    """The verdict with math-verify; unbounded in time and memory, so to be called where it can be killed.

    Raises:
        MemoryError: the limit of the process was reached.
    """
    return grade(gold, answer, SymbolicLeaves())


@lru_cache(maxsize=512)
def expression(text: str) -> Any | None:
    """What math-verify's grammar reads in a normalised text, as a sympy object; None where it reads nothing, or may not
    see it.
    """
    try:
        restrict.check(text)
    except restrict.Refused:
        return None
    parser = _parser()  # an import that fails is the machine's fault and not the text's
    try:
        return parser(_spelled(text))
    except MemoryError:
        raise
    except (
        Exception
    ):  # the grammar's errors are bare Exceptions, and sympy raises any kind on what is not meant seriously
        return None


def _spelled(text: str) -> str:
    """A text in the dialect of the grammar."""
    text = _REPEATING.sub(lambda match: _fraction(match.group()), text)
    text = _MIXED.sub(lambda match: rf"({match.group(1)}+{match.group(2)})" if _proper(match) else match.group(), text)
    text = _EXPONENT.sub(lambda match: _DECIMAL.sub(lambda decimal: _fraction(decimal.group()), match.group()), text)
    text = _PRIME.sub(lambda match: rf"{match[1]}_{{\text{{{'prime' * len(match[2])}}}}}", text).replace(
        r"\odot", r"\text{sun}"
    )
    text = _GAMMA.sub(r"g_{\\text{gamma\1}}", text)
    text = _PRODUCT.sub(r"\1\\cdot ", text)
    return _E.sub(lambda match: r"\Xi " if match.group() == "E" else match.group(), text)


def _proper(match: re.Match[str]) -> bool:
    return int(match.group(3)) < int(match.group(4))


def _fraction(text: str) -> str:
    number = numbers.read(text)
    return text if number is None else rf"(\frac{{{number.value.numerator}}}{{{number.value.denominator}}})"


@lru_cache(maxsize=1)
def _parser() -> Any:
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import I

    # It warns once a process that its time-outs are off. They are signals, which fail in threads and do not stop a
    # power tower.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False)

    def parse(text: str) -> Any:
        found = latex2sympy(text, is_real=True, normalization_config=None, conversion_config=config)
        units = [symbol for symbol in getattr(found, "free_symbols", ()) if symbol.name == "i"]
        found = found.subs(units[0], I) if units else found
        return _with_named_derivatives(found) if hasattr(found, "replace") else found

    return parse


def _with_named_derivatives(value: Any) -> Any:
    """An expression in which the derivative of a symbol is a symbol: to sympy a symbol is constant, and its derivative
    0.
    """
    from sympy import Derivative, Symbol

    return value.replace(
        lambda part: isinstance(part, Derivative) and part.expr.is_Symbol, lambda part: Symbol(str(part), real=True)
    )


def _verify(gold: Any, answer: Any) -> bool:
    from math_verify import verify

    return bool(verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True))


def equal_expressions(gold: Any, answer: Any, gold_text: str, answer_text: str) -> bool:
    """Whether two sympy objects, read from these texts, have one value."""
    if not is_expression(gold) or not is_expression(answer):
        return _verify(gold, answer)
    expected, found = constant(gold, gold_text), constant(answer, answer_text)
    if expected is not None and found is not None:
        return all(numbers.agree(left, right) is not False for left, right in zip(expected, found, strict=True))
    if any(part.has(name) for part in (gold, answer) for name in _non_finite()):
        return bool(gold == answer and not gold.has(*_undefined()))
    gold, answer = _with_exact_decimals(gold), _with_exact_decimals(answer)
    if _apart(gold, answer):
        return False
    return _verify(gold, answer) or _proved(gold, answer)


@lru_cache(maxsize=1)
def _non_finite() -> tuple[Any, ...]:
    from sympy import nan, oo, zoo

    return (oo, -oo, zoo, nan)


@lru_cache(maxsize=1)
def _undefined() -> tuple[Any, ...]:
    from sympy import nan, zoo

    return (zoo, nan)


def constant(value: Any, text: str) -> tuple[Number, Number] | None:
    """Real and imaginary part of a constant; None where it is none, or not a finite one."""
    if value.free_symbols:
        return None
    written = numbers.written(text)
    if written is not None:
        return written, Number(Fraction(0))
    found = value.doit()
    if found.is_Rational:
        return Number(Fraction(int(found.p), int(found.q))), Number(Fraction(0))
    found = _with_real_roots(_with_exact_decimals(found)).evalf(_PRECISION)
    parts = found.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    real, imaginary = (_part(part) for part in parts)
    return real, imaginary


def is_expression(value: Any) -> bool:
    """Whether a sympy object is a number or a function of symbols, and not a set, a relation or a tuple."""
    from sympy import Expr

    return isinstance(value, Expr)


def real(text: str) -> Number | None:
    """The value of a normalised text that is a real constant, else None."""
    found = expression(text)
    parts = constant(found, text) if is_expression(found) else None
    return parts[0] if parts is not None and not parts[1].value else None


def _with_exact_decimals(value: Any) -> Any:
    """An expression whose decimals are fractions: as a binary one 0.1 would differ from a tenth in the 17th digit."""
    from sympy import Float, Rational

    if not value.has(Float):
        return value
    return value.replace(lambda part: part.is_Float, lambda part: Rational(str(part)))


def _with_real_roots(value: Any) -> Any:
    """An expression without symbols in which odd roots of negative numbers are real: the cube root of -8 is -2."""
    return value.replace(
        lambda part: (
            part.is_Pow and part.exp.is_Rational and part.exp.q % 2 == 1 < part.exp.q and part.base.is_negative
        ),
        lambda part: (-1) ** part.exp.p * (-part.base) ** part.exp,
    )


def _part(value: Any) -> Number:
    fraction = Fraction(int(value.p), int(value.q)) if value.is_Rational else Fraction(str(value))
    if abs(fraction) < _ERROR:  # what is left of a cancelled part
        return Number(Fraction(0))
    return Number(fraction, Fraction(0) if value.is_Integer else _ERROR)


def _apart(gold: Any, answer: Any) -> bool:
    """Whether two expressions differ at a point where both are numbers.

    Much faster than a proof, and most wrong answers are far from right.
    """
    return any(_differ(gold, answer, point, 1e-12) for point in _POINTS)


def _proved(gold: Any, answer: Any) -> bool:
    """Equal at points of both signs, each to 25 digits: what simplify could not show but no two different answers do.

    Where both are real, they agree, and where one of them is, the other is too; of such points there are at least two.
    """
    told = [_differ(gold, answer, point, 1e-25) for point in _PROVING_POINTS]
    return True not in told and told.count(False) >= 2


def _differ(gold: Any, answer: Any, point: tuple[str, str], tolerance: float) -> bool | None:
    """Whether two expressions differ at a point; None where that says nothing: neither is a number there, or neither a
    real one.
    """
    from sympy import I

    left, right = (_at(part, gold.free_symbols | answer.free_symbols, point) for part in (gold, answer))
    if left is None or right is None:
        return None
    if left.imag and right.imag and not (gold.has(I) or answer.has(I)):
        return None  # outside of what both are defined for as functions of real numbers
    if not (left and right):
        return bool(abs(left - right) > 1e-25)
    return bool(abs(left - right) > tolerance * max(abs(left), abs(right)))


def _at(value: Any, symbols: Any, point: tuple[str, str]) -> Any | None:
    from sympy import Rational

    start, step = map(Rational, point)
    places = {symbol: start + number * step for number, symbol in enumerate(sorted(symbols, key=str))}
    try:
        found = _with_real_roots(value.subs(places).doit()).evalf(30)
        return complex_of(found)
    except MemoryError:
        raise
    except Exception:
        return None


def complex_of(value: Any) -> Any | None:
    """A sympy number as an mpmath one, or None where it is none or not finite."""
    import mpmath

    real, imaginary = value.as_real_imag()
    if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
        return None
    with mpmath.workdps(30):
        return mpmath.mpc(mpmath.mpf(str(real)), mpmath.mpf(str(imaginary)))


def _related(gold: Any, answer: Any) -> bool:
    from sympy import Eq, Expr, GreaterThan, LessThan, Ne, StrictGreaterThan, StrictLessThan
    from sympy.core.relational import Relational

    simple = [
        isinstance(part, Relational) and isinstance(part.lhs, Expr) and isinstance(part.rhs, Expr)
        for part in (gold, answer)
    ]
    if not all(simple):
        return _verify(gold, answer)
    kinds = {Eq: Eq, Ne: Ne, LessThan: GreaterThan, GreaterThan: LessThan, StrictLessThan: StrictGreaterThan}
    kinds[StrictGreaterThan] = StrictLessThan
    factor = _factor(gold.lhs - gold.rhs, answer.lhs - answer.rhs)
    if factor is None:
        return False
    flipped = kinds.get(type(gold)) is type(answer)
    return (type(gold) is type(answer) and (factor > 0 or type(gold) in (Eq, Ne))) or (flipped and factor < 0)


def _factor(gold: Any, answer: Any) -> Any | None:
    """The constant, other than 0, by which two sides differ, or None: 2x = 4 and x = 2 are one equation, x = 2 and y =
    2 are not.
    """
    factor = None
    for point in _POINTS:
        values = [_at(part, gold.free_symbols | answer.free_symbols, point) for part in (gold, answer)]
        if values[0] is None or values[1] is None or values[0] == 0 or values[1] == 0:
            return None
        ratio = values[0] / values[1]
        if abs(ratio.imag) > 1e-15 * abs(ratio) or (
            factor is not None and abs(ratio.real - factor) > 1e-12 * abs(factor)
        ):
            return None
        factor = ratio.real
    return factor
