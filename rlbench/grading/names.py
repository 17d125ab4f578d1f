r"""Which side of an equation is the name of a value, and may be left out: ``x``, ``f(2)``, ``AB``, ``\angle ABC``,
``\frac{AB}{CD}``.

``9 = 4b + d`` names nothing, so it stands for no value; ``7 = x`` does, from either side.
"""

from __future__ import annotations

import re

from rlbench.grading.normalise import closing

_INDEX = re.compile(r"_(?:\{[^{}]*\}|[0-9a-zA-Z])")
_TEXT = re.compile(r"\\text\{[^{}]*\}")
_OPERATORS = re.compile(r"[0-9+\-^<>=!]|\\(?:cdot|sqrt|pm|text\{degrees\})")
_CONSTANTS = re.compile(r"\\pi(?![a-zA-Z])")
# One symbol applied to something: a function's value where the symbol is used for functions, or where the argument is
# one thing.
_HEAD = re.compile(
    r"(\\text\{[^{}]*\}|\\(?:phi|psi|tau|sigma|varphi|Gamma|Phi|Pr)|[a-zA-Z])\s*('+|\^\{(?:-1|\\prime|\([0-9n]\)|[0-9])\})?\s*(?=[(\[])"
)
_FUNCTIONS = frozenset("fghpquvyFGHPQEVNSTABLCDRW")
_ONE_THING = re.compile(
    r"\s*(?:-?\s*[0-9]+(?:\.[0-9]+)?|\\?[a-zA-Z]+)(?:\s*,\s*(?:-?\s*[0-9]+(?:\.[0-9]+)?|\\?[a-zA-Z]+))*\s*"
)
_BOUND = re.compile(r"\s*(?:\\lim(?![a-zA-Z])|\\(?:sum|prod)\s*_|\\int(?![a-zA-Z])|\\frac\{d\}\{d)")
_LETTERS = re.compile(r"[a-zA-Z]")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_EULER = re.compile(r"(?<![a-zA-Z])e(?=\s*\^)")


def is_name(text: str) -> bool:
    """Whether a normalised text can stand for a value."""
    bare = _INDEX.sub("", _CONSTANTS.sub("", text))
    if not _LETTERS.search(bare):
        return False
    return _applied(bare) or _OPERATORS.search(_TEXT.sub("", bare)) is None


def is_symbol(text: str) -> bool:
    """Whether a text is one symbol, or nothing: what can only be a name."""
    return re.fullmatch(r"(?:\\?[a-zA-Z]+)?", _INDEX.sub("", text).strip()) is not None


def is_constant(text: str) -> bool:
    """Whether a text has no letters but those of commands, units and Euler's number."""
    return _LETTERS.search(_EULER.sub("", _COMMAND.sub("", _TEXT.sub("", text)))) is None


def is_worked_out(text: str) -> bool:
    """Whether a text is a limit, a sum, an integral or a derivative, whose letters it binds itself."""
    return _BOUND.match(text) is not None


def _applied(text: str) -> bool:
    head = _HEAD.match(text)
    if head is None or closing(text, head.end()) != len(text.rstrip()) - 1:
        return False
    argument = text.rstrip()[head.end() + 1 : -1]
    symbol = head.group(1)
    return bool(argument.strip()) and (
        len(symbol) > 1 or symbol in _FUNCTIONS or _ONE_THING.fullmatch(argument) is not None
    )
