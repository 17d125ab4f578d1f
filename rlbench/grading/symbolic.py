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
_E = re.compile(r"\\[a-zA-Z]+|E")
_MIXED = re.compile(r"(?<![0-9.}_^])([0-9]+)\s*(\\frac\{\s*([0-9]+)\s*\}\{\s*([0-9]+)\s*\})")
_PRIME = re.compile(r"([a-zA-Z])'+")  # the grammar drops it, and y' is not y
_PRODUCT = re.compile(r"((?<![_^.0-9])[0-9.]+|\))\s*(?=\()")
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
    try:
        return _parser()(_spelled(text))
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
    text = _PRIME.sub(r"\1_{\\text{prime}}", text).replace(r"\odot", r"\text{sun}")
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
        return found.subs(units[0], I) if units else found

    return parse


def _verify(gold: Any, answer: Any) -> bool:
    from math_verify import verify

    return bool(verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True))


def equal_expressions(gold: Any, answer: Any, gold_text: str, answer_text: str) -> bool:
    """Whether two sympy objects, read from these texts, have one value."""
    from sympy import Expr

    if not isinstance(gold, Expr) or not isinstance(answer, Expr):
        return _verify(gold, answer)
    numbers_read = constant(gold, gold_text), constant(answer, answer_text)
    if numbers_read[0] is not None and numbers_read[1] is not None:
        parts = zip(*numbers_read, strict=True)
        return all(numbers.agree(left, right) is not False for left, right in parts)
    if any(part.has(name) for part in (gold, answer) for name in _non_finite()):
        return bool(gold == answer)
    if (apart := _apart(gold, answer)) is not None and apart:
        return False
    return _verify(gold, answer) or (apart is False and _proved(gold, answer))


@lru_cache(maxsize=1)
def _non_finite() -> tuple[Any, ...]:
    from sympy import nan, oo, zoo

    return (oo, -oo, zoo, nan)


def constant(value: Any, text: str) -> tuple[Number, Number] | None:
    """Real and imaginary part of a constant; None where it is none, or not a finite one."""
    from sympy import Float

    if value.free_symbols:
        return None
    written = numbers.written(text)
    if written is not None:
        return written, Number(Fraction(0))
    found = value.doit()
    if found.is_Rational:
        return Number(Fraction(int(found.p), int(found.q))), Number(Fraction(0))
    # 0.1 in a sum is one tenth; as a binary fraction it would differ from it in the 17th digit.
    found = (
        found.evalf(_PRECISION)
        if not found.has(Float)
        else found.replace(lambda part: part.is_Float, _exactly).evalf(_PRECISION)
    )
    parts = found.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    real, imaginary = (_part(part) for part in parts)
    return real, imaginary


def _exactly(value: Any) -> Any:
    from sympy import Rational

    return Rational(str(value))


def _part(value: Any) -> Number:
    fraction = Fraction(int(value.p), int(value.q)) if value.is_Rational else Fraction(str(value))
    if abs(fraction) < _ERROR:  # what is left of a cancelled part
        return Number(Fraction(0))
    return Number(fraction, Fraction(0) if value.is_Integer else _ERROR)


def _apart(gold: Any, answer: Any) -> bool | None:
    """Whether two expressions differ at a point where both are numbers; None where no point tells.

    Much faster than a proof, and most wrong answers are far from right.
    """
    told = None
    for point in _POINTS:
        values = [_at(part, gold.free_symbols | answer.free_symbols, point) for part in (gold, answer)]
        if values[0] is None or values[1] is None:
            continue
        told = False
        scale = max(abs(values[0]), abs(values[1]))
        if abs(values[0] - values[1]) > 1e-12 * scale:
            return True
    return told


def _proved(gold: Any, answer: Any) -> bool:
    """Equal at points of both signs, each to 25 digits: what simplify could not show but no two
    different answers do.
    """
    for start, step in (("1.37", "0.731"), ("-1.91", "0.377"), ("0.217", "-0.519"), ("-7.13", "-0.913")):
        values = [_at(part, gold.free_symbols | answer.free_symbols, (start, step)) for part in (gold, answer)]
        if (
            values[0] is None
            or values[1] is None
            or abs(values[0] - values[1]) > 1e-25 * max(abs(values[0]), abs(values[1]))
        ):
            return False
    return True


def _at(value: Any, symbols: Any, point: tuple[str, str]) -> Any | None:
    from sympy import Rational

    start, step = map(Rational, point)
    places = {symbol: start + number * step for number, symbol in enumerate(sorted(symbols, key=str))}
    try:
        found = value.subs(places).doit().evalf(30)
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
