r"""One spelling for mathematics that is written in many: general rewritings of text, applied to gold and answer alike.

Every rule is a line of ``_RULES`` with its reason; none looks at what the other side says, and none changes a value.
What a text then *is* (a number, a tuple, an interval) is decided by ``rlbench.grading.structure``.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "—": "-",
        "×": r"\cdot ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "∗": "*",
        "÷": "/",
        "°": r"^{\circ}",
        "π": r"\pi ",
        "√": r"\sqrt ",
        "∞": r"\infty ",
        "≤": r"\leq ",
        "≥": r"\geq ",
        "≠": r"\neq ",
        "≈": r"\approx ",
        "±": r"\pm ",
        "∪": r"\cup ",
        "∈": r"\in ",
        "θ": r"\theta ",
        "⟨": r"\langle ",
        "⟩": r"\rangle ",
        "’": "'",
        "′": "'",
        "，": ", ",
        "¢": "",
        "€": "",
        "£": "",
        "¥": "",
        **{digit: f"^{{{n}}}" for n, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{
            vulgar: rf"\frac{{{a}}}{{{b}}}"
            for vulgar, (a, b) in {"½": "12", "⅓": "13", "⅔": "23", "¼": "14", "¾": "34"}.items()
        },
        "\u200b": "",
        "\u2060": "",
        "\ufeff": "",
    }
)

_FUNCTIONS = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|gcd|lcm|max|min"
_TEXT = r"\\(?:text(?:normal|bf|it|rm|up|sf|tt)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?)\s*"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_WORD_PERCENT = r"(?:percent(?:age)?|pct)(?:\s+points?)?"

# (pattern, replacement), in this order; the reason stands above each.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # A thousands separator that LaTeX spells out can be nothing else, wherever it stands: 1{,}234  1,\!234  1\,234.
        (r"(?<=[0-9])\s*(?:\{\s*,\s*\}|,\s*\\!|\\!,|\\,|(?<!\\)\\[ :;])\s*(?=[0-9]{3}(?![0-9]))", ""),
        # Spacing and size say nothing; \left\{ keeps its brace, \left. has none.
        (r"\\(?:m?left|m?right)\s*\.", " "),
        (r"\\(?:m?left|m?right|[bB]igg?[lrm]?)(?![a-zA-Z])", ""),
        (r"\\!|\\(?:displaystyle|textstyle|limits|nolimits|rm|bf|it|mathstrut)(?![a-zA-Z])", ""),
        (r"(?<!\\)\\(?:[,;:> ]|quad|qquad|thinspace|enspace|hfill)(?![a-zA-Z])|~|&nbsp;", " "),
        # Delimiters of mathematics, and of money.
        (r"\\[()]|\\\$|\$|\*\*(?=[^0-9a-zA-Z({\\]|$)", " "),
        (r"(?<![\\])\\[\[\]](?!\s*[0-9.]+\s*(?:pt|ex|em|mm))", " "),
        # Two spellings of one command.
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\tbinom(?![a-zA-Z])|\\dbinom(?![a-zA-Z])", r"\\binom"),
        (r"\\(?:lt)(?![a-zA-Z])", "<"),
        (r"\\(?:gt)(?![a-zA-Z])", ">"),
        (r"\\(?:leqslant|leqq|le)(?![a-zA-Z])|<=|=<", r"\\leq "),
        (r"\\(?:geqslant|geqq|ge)(?![a-zA-Z])|>=", r"\\geq "),
        (r"\\ne(?![a-zA-Z])|!=", r"\\neq "),
        (r"\\(?:simeq|thickapprox)(?![a-zA-Z])", r"\\approx "),
        (r"\\(?:lbrace)(?![a-zA-Z])", r"\\{"),
        (r"\\(?:rbrace)(?![a-zA-Z])", r"\\}"),
        (r"\\(?:langle|lparen)(?![a-zA-Z])", "("),
        (r"\\(?:rangle|rparen)(?![a-zA-Z])", ")"),
        (r"\\(?:lbrack)(?![a-zA-Z])", "["),
        (r"\\(?:rbrack)(?![a-zA-Z])", "]"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\(?:mid)(?![a-zA-Z])", "|"),
        (r"^\s*\*\*", ""),
        (r"\*\*", "^"),
        (r"\\(?:times|cdot|ast)(?![a-zA-Z])|\*", r"\\cdot "),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\(?:emptyset|empty)(?![a-zA-Z])", r"\\varnothing"),
        (r"\\(?:bigcup|sqcup)(?![a-zA-Z])", r"\\cup"),
        # Bars over repeating digits have several commands.
        (r"(?<=[0-9.])\\(?:bar|overline|dot)\s*\{", r"\\overline{"),
        # Every kind of upright text is text; one letter or a number in it is that letter or number.
        (_TEXT + r"\{", r"\\text{"),
        (r"\\text\{\s*([a-zA-Z]|-?" + _NUMBER + r")\s*\}", r"{\1}"),
        (r"\\text\{\s*\}", ""),
        # Words that are signs.
        (r",?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\{])(?:and|or)(?![a-zA-Z}]))\s*", ", "),
        (
            r"\s*\\text\{\s*" + _WORD_PERCENT + r"\s*\}|(?<=[0-9}\s])\s*" + _WORD_PERCENT + r"(?![a-zA-Z])|\s*\\?%",
            r"\\%",
        ),
        (r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])\s*)|\s*\\degree(?![a-zA-Z])", r"\\text{degrees}"),
        (r"(?<![a-zA-Z\\])(?:infinity|infty|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
        # Functions as a calculator writes them.
        (r"(?<![a-zA-Z\\{])(" + _FUNCTIONS + r")(?=\s*[({\\^_])", r"\\\1"),
        # Scientific notation: between digits, e is a power of ten and not Euler's number.
        (r"(?<![0-9a-zA-Z.])(" + _NUMBER + r")\s?[eE]([+-]?)0*([0-9]+)(?![0-9a-zA-Z.])", r"\1\\cdot 10^{\2\3}"),
        (r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)", r"\\cdot "),
        # A point without digits on its one side: 1. is 1, .5 is 0.5.
        (r"(?<=[0-9])\.(?!\s*[0-9]|\\overline)(?=\S)", ""),
        (r"(?<![0-9])\.(?=[0-9])", "0."),
        # An exponent of several digits, and a mixed number, as they are typed without LaTeX.
        (r"\^\s*(-?[0-9]+)", r"^{\1}"),
        (r"(?<![0-9.}/^_])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9.])", r"\1\\frac{\2}{\3}"),
        (r"\^\s*(?:\\prime(?![a-zA-Z])|\{\s*\\prime\s*\})", "'"),
        (r"\+\s*(?=\\infty)", ""),
    )
)
_TRAILING = re.compile(r"^[\s,;:]+|[\s.,;:]+$|\\text\{\s*\.?\s*\}$")
_SPACE = re.compile(r"\s+")
_OUTER_COMMAND = re.compile(r"\\(?:boxed|fbox|text)\s*\{")
_SQRT_CALL = re.compile(r"(?<![a-zA-Z])\\?(sqrt|cbrt)\s*\(")
_ONE_TOKEN = re.compile(r"\\(frac|sqrt)(?![a-zA-Z])\s*(?=[^\s{\[])")
_TOKEN = re.compile(r"\\[a-zA-Z]+|[0-9a-zA-Z]")
_EXPONENT_CALL = re.compile(r"\^\s*\(")


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """The text in the one spelling that the rest of the grader reads; never longer than a small multiple of the text.

    Linear in the length but for nesting, so it is given answers and golds and never whole outputs.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE))
    text = _unwrapped(_fix_escapes(text))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _braced(_calls(text))
    text = _SPACE.sub(" ", _unwrapped(text.strip()))
    while (shorter := _TRAILING.sub("", text)) != text:
        text = shorter
    return text


def _fix_escapes(text: str) -> str:
    # \\frac for \frac comes from outputs that were escaped as JSON twice; where rows end in \\ it cannot be told apart.
    return text if r"\begin" in text else re.sub(r"\\\\(?=[a-zA-Z({\[)}\]%$])", r"\\", text)


def closing(text: str, start: int) -> int:
    r"""The position of the bracket that closes the one at ``start`` (braces, escaped or not, parentheses, square), or
    -1.

    Intervals mix round and square brackets, so those two close each other.
    """
    depth = 0
    for position in range(start, len(text)):
        char = text[position]
        if char in "{([":
            depth += 1
        elif char in "})]":
            depth -= 1
            if depth == 0:
                return position
    return -1


def _unwrapped(text: str) -> str:
    """The content of a box or of one text command that is all there is."""
    while (match := _OUTER_COMMAND.match(text.strip())) is not None:
        text = text.strip()
        if closing(text, match.end() - 1) != len(text) - 1:
            break
        text = text[match.end() : -1]
    return text


def _calls(text: str) -> str:
    r"""``sqrt(x)`` and ``x^(y)`` with the braces of LaTeX."""
    for pattern, opening in ((_SQRT_CALL, None), (_EXPONENT_CALL, "^{")):
        position = 0
        while (match := pattern.search(text, position)) is not None:
            end = closing(text, match.end() - 1)
            if end < 0:
                break
            head = opening or (r"\sqrt{" if match.group(1) == "sqrt" else r"\sqrt[3]{")
            text = f"{text[: match.start()]}{head}{text[match.end() : end]}}}{text[end + 1 :]}"
            position = match.start() + len(head)
    return text


def _braced(text: str) -> str:
    r"""``\frac12`` and ``\sqrt2`` with the braces that TeX understands."""
    position = 0
    while (match := _ONE_TOKEN.search(text, position)) is not None:
        token = _TOKEN.match(text, match.end())
        position = match.end()
        if token is not None:
            text = f"{text[: match.start()]}\\{match.group(1)}{{{token.group()}}}{text[token.end() :]}"
            position = match.start() + len(match.group(1)) + 3 + len(token.group())
    return _second_argument(text)


_FIRST = re.compile(r"\\frac\s*(?=\{)")


def _second_argument(text: str) -> str:
    position = 0
    while (match := _FIRST.search(text, position)) is not None:
        position = match.end()
        end = closing(text, match.end())
        if end < 0:
            break
        after = re.compile(r"\s*").match(text, end + 1).end()  # type: ignore[union-attr]
        token = _TOKEN.match(text, after)
        if token is not None:
            text = f"{text[: end + 1]}{{{token.group()}}}{text[token.end() :]}"
    return text
