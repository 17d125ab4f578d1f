r"""What a text may hold before math-verify's parser and sympy see it, and how much of it.

math-verify's LaTeX parser is a grammar: it calls neither ``eval`` nor sympy's ``parse_expr`` (the only part of
math-verify that does, its reader of plain expressions, is never used here). This is the fence before it: an allow-list
of characters and commands, and limits on length, nesting, digits and powers, so that neither code nor a number of
astronomical size gets that far.
"""

from __future__ import annotations

import re

from rlbench.grading import numbers
from rlbench.grading.normalise import closing

MAX_LENGTH = 2000
MAX_DEPTH = 40
MAX_DIGITS = 1000  # in one run

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho "
    "varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi "
    "Psi Omega hbar ell"
)
_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth arcsinh arccosh "
    "arctanh log ln exp lg gcd lcm max min det"
)
_OTHER = (
    "frac sqrt cdot binom sum prod int lim to infty pm mp overline bar hat vec dot ddot tilde partial lfloor "
    "rfloor lceil rceil leq geq neq approx in cup cap setminus emptyset varnothing mathbb text odot"
)
COMMANDS = frozenset(f"{_GREEK} {_FUNCTIONS} {_OTHER}".split())

_CHARACTERS = re.compile(r"[0-9a-zA-Z+\-*/^_=<>!|()\[\]{},.:;&'\\\s]*")
_COMMAND = re.compile(r"\\([a-zA-Z]+|.|$)", re.DOTALL)
_INDEX = re.compile(r"_\s*\{\s*\\text\s*\{[a-zA-Z0-9 ,]*\}\s*\}")
_PROSE = re.compile(r"\\text\{[^{}]*[a-zA-Z]{2,}|(?<![\\a-zA-Z])(?:[a-zA-Z]{7,}|[a-zA-Z]{3,}\s+[a-zA-Z]{2,})")
# An attribute, a dunder, an index of an index, a factorial of a factorial: no answer looks so.
_CODE = re.compile(r"__|\.\s*[a-zA-Z_(\[{]|[a-zA-Z_)\]}]\s*\.|''''|!!|_\s*(?:\{[^{}]*\}|[a-zA-Z0-9])\s*_")
_LIMITS = re.compile(r"\\(?:sum|prod|int|lim)\s*_")


class Refused(Exception):
    """A text that is not let through; the message says why."""


def check(text: str) -> None:
    """Raise Refused where a normalised text holds what no answer needs. Linear in its length but for nested powers."""
    if len(text) > MAX_LENGTH:
        raise Refused(f"longer than {MAX_LENGTH} characters")
    if _CHARACTERS.fullmatch(text) is None:
        raise Refused("a character that is not mathematics")
    for match in _COMMAND.finditer(text):
        name = match.group(1)
        if name not in COMMANDS and name not in ("{", "}", "|"):
            raise Refused(f"the command \\{name}")
    if _CODE.search(text):
        raise Refused("the form of code")
    if _PROSE.search(_INDEX.sub("", text)):
        raise Refused("prose")
    if re.search(f"[0-9]{{{MAX_DIGITS},}}", text):
        raise Refused(f"a number of {MAX_DIGITS} digits or more")
    _check_depth(text)
    _check_powers(text)


def _check_depth(text: str) -> None:
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            raise Refused(f"more than {MAX_DEPTH} brackets deep")


def _check_powers(text: str) -> None:
    """Refuse exponents and factorials whose argument is a number beyond what ``rlbench.grading.numbers`` allows.

    Raises:
        Refused: also where a power stands in the exponent of a power in an exponent: no answer is a tower.
    """
    limits = {
        closing(text, match.end()) + 1 for match in _LIMITS.finditer(text) if text[match.end() : match.end() + 1] == "{"
    }
    for position, char in enumerate(text):
        if char == "^" and position not in limits and text[position + 1 : position + 2] == "{":
            end = closing(text, position + 1)
            exponent = text[position + 2 : end]
            if text[end + 1 :].lstrip().startswith("^"):
                raise Refused("a power of a power without brackets")
            if _towers(exponent) > 1 or _beyond(exponent, numbers.MAX_EXPONENT):
                raise Refused("a power tower")
        elif char == "!" and _beyond(_operand(text, position), 2000):
            raise Refused("a factorial of a large number")


def _towers(exponent: str) -> int:
    """How many powers stand within each other."""
    depths, depth, highest = [], 0, 0
    for position, char in enumerate(exponent):
        if char == "{":
            depths.append(position > 0 and exponent[position - 1] == "^")
            depth += depths[-1]
            highest = max(highest, depth)
        elif char == "}" and depths:
            depth -= depths.pop()
    return highest


def _operand(text: str, position: int) -> str:
    """What stands before the factorial sign at a position: a number, or a group in brackets."""
    before = text[:position].rstrip()
    if not before.endswith((")", "}", "]")):
        match = re.search(r"[0-9.]+$", before)
        return match.group() if match else ""
    depth = 0
    for start in range(len(before) - 1, -1, -1):
        depth += (before[start] in ")]}") - (before[start] in "([{")
        if depth == 0:
            return before[start + 1 : -1]
    return ""


def _beyond(text: str, limit: int) -> bool:
    try:
        value = numbers.read(text)
    except numbers.TooLarge:
        return True
    return value is not None and abs(value.value) > limit
