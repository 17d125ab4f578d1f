r"""Mathematics in Unicode, as the LaTeX that it stands for: ``x²``, ``½``, ``√3``, ``ℝ``, ``≤``, full-width digits,
invisible marks.

Rules follow the Unicode character database where it says what a character is (superscripts, fractions, formatting
marks, currency, Greek letters) and a table where it does not. Digits of other scripts are left as they are, and so is
the mark that turns the order of what follows (U+202E): a reader would see another number than the one that is stored.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_REVERSING = "\u202e"
# Characters whose compatibility form loses what they mean, so they are read before it is taken.
_BEFORE = {
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    "°": r"^{\circ}",
    "º": r"^{\circ}",
    "˚": r"^{\circ}",
    "℃": r"^{\circ}\text{C}",
    "℉": r"^{\circ}\text{F}",
}
_SYMBOLS = {
    "\\cdot ": "×·⋅∙∗⁎✕✖⨯⨉",
    "-": "−–—‐‑‒―➖",
    "+": "➕",
    "/": "÷⁄∕➗",
    "\\leq ": "≤≦⩽≲",
    "\\geq ": "≥≧⩾≳",
    "\\neq ": "≠",
    "\\approx ": "≈≃≅≐≒∼",
    "\\equiv ": "≡",
    "\\pm ": "±",
    "\\mp ": "∓",
    "\\cup ": "∪⋃",
    "\\cap ": "∩⋂",
    "\\setminus ": "∖⧵",
    "\\in ": "∈∊",
    "\\notin ": "∉",
    "\\subset ": "⊂",
    "\\subseteq ": "⊆",
    "\\varnothing ": "∅⌀",
    "\\infty ": "∞",
    "\\lor ": "∨⋁",
    "\\land ": "∧⋀",
    "\\langle ": "⟨〈〈",
    "\\rangle ": "⟩〉〉",
    "\\lfloor ": "⌊",
    "\\rfloor ": "⌋",
    "\\lceil ": "⌈",
    "\\rceil ": "⌉",
    "\\partial ": "∂",
    "\\sum ": "∑",
    "\\prod ": "∏",
    "\\int ": "∫",
    "\\to ": "→",
    "\\angle ": "∠",
    "\\triangle ": "△",
    "\\perp ": "⊥",
    "\\hbar ": "ℏ",
    "\\ell ": "ℓ",
    "\\ldots ": "…⋯",
    "^{\\circ}": "∘",
    "|": "∣❘｜",
    ":": "∶",
    ", ": "，、",
    ". ": "。",
    "'": "’‘′ʹ",
    '"': "“”",
}
_SYMBOL = {char: command for command, chars in _SYMBOLS.items() for char in chars}
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)$")
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
)
_GREEK_NAMES = frozenset(_LETTERS.split())
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_ROOT = re.compile(r"[√∛∜]\s*")
_ATOM = re.compile(r"[0-9]+(?:\.[0-9]+)?|\\frac\{[^{}]*\}\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]")


@lru_cache(maxsize=4096)
def _kind(char: str) -> tuple[str, str]:
    """The kind of a character's compatibility form (``super``, ``sub``, ``fraction``, else nothing) and that form."""
    kind, _, form = unicodedata.decomposition(char).partition("> ")
    if not form or kind not in ("<super", "<sub", "<fraction"):
        return "", char
    return kind[1:], "".join(chr(int(code, 16)) for code in form.split())


def to_latex(text: str) -> str:
    """The text with its Unicode mathematics in LaTeX. Linear in its length; what has no rule stays as it is."""
    if text.isascii():
        return text
    text = "".join(_scripts(text))
    text = unicodedata.normalize("NFKC", text)
    text = "".join(char if char.isascii() else _character(char) for char in text)
    return _roots(text)


def _scripts(text: str) -> list[str]:
    """Pieces of a text, with runs of raised and lowered characters and vulgar fractions spelled out."""
    pieces: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        kind = "" if char.isascii() else _kind(char)[0]
        if not kind or (kind == "super" and char in _BEFORE):
            pieces.append(_BEFORE.get(char, char))
            position += 1
            continue
        end = position
        run = ""
        while end < len(text) and text[end] not in _BEFORE and _kind(text[end])[0] == kind:
            run += _kind(text[end])[1].replace("−", "-")
            end += 1
            if kind == "fraction":
                break
        if kind == "fraction":
            top, _, bottom = run.partition("⁄")
            pieces.append(rf"\frac{{{top}}}{{{bottom}}}" if top and bottom else run)
        elif (
            kind == "super"
            and end < len(text)
            and text[end] in "⁄/∕"
            and _kind(text[end + 1 : end + 2] or " ")[0] == "sub"
        ):
            below = re.match(r"[₀-₉]+", text[end + 1 :])
            digits = below.group() if below else ""
            pieces.append(rf"\frac{{{run}}}{{{''.join(_kind(digit)[1] for digit in digits)}}}")
            end += 1 + len(digits)
        else:
            pieces.append(f"{'^' if kind == 'super' else '_'}{{{run}}}")
        position = end
    return pieces


@lru_cache(maxsize=4096)
def _character(char: str) -> str:
    if char in _SYMBOL:
        return _SYMBOL[char]
    category = unicodedata.category(char)
    if category == "Sc" or (category == "Cf" and char != _REVERSING):
        return ""
    if (letter := _GREEK.match(unicodedata.name(char, ""))) is not None:
        name = letter.group(2).lower().replace("lamda", "lambda")
        if name in _GREEK_NAMES:
            return f"\\{name.title() if letter.group(1) == 'CAPITAL' else name} "
        if name == "finalsigma":
            return r"\sigma "
    return char


def _roots(text: str) -> str:
    r"""``√10`` and ``√(x+1)`` as the roots of the number, fraction, letter or bracket that follows."""
    position = 0
    while (match := _ROOT.search(text, position)) is not None:
        command, start = _ROOTS[match.group()[0]], match.end()
        if text[start : start + 1] in ("(", "{"):
            end = _closing(text, start)
            under, end = (text[start + 1 : end], end + 1) if end >= 0 else ("", start)
        else:
            atom = _ATOM.match(text, start)
            under, end = (atom.group(), atom.end()) if atom else ("", start)
        replacement = f"{command}{{{under}}}" if under else f"{command} "
        text = text[: match.start()] + replacement + text[end:]
        position = match.start() + len(command)
    return text


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "({[") - (text[position] in ")}]")
        if depth == 0:
            return position
    return -1
