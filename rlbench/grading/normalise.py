r"""One spelling for mathematics that is written in many: general rewritings of text, applied to gold and answer alike.

Every rule is a line of ``_RULES`` with its reason; none looks at what the other side says, and none changes a value. What a text
then *is* (a number, a tuple, an interval) is decided by ``rlbench.grading.structure``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from rlbench.grading.unicode import to_latex

_FUNCTIONS = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|gcd|lcm|max|min"
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|tau|phi|omega"
# Commands as they are typed, or left over, without their backslash: those before an argument, and those between two operands.
_BEFORE_ARGUMENT = "sqrt|[dtc]?frac|text(?:bf|it|rm)?|math(?:rm|bf|bb)|overline|d?binom|begin|end|boxed"
_BETWEEN = "cdot|times|div|leq|geq|neq|approx|cup|cap|setminus|pm"
_OPERAND_AFTER = r"(?=\s*[-+]?\s*[0-9a-zA-Z\\({\[|.])"
_TEXT = r"\\(?:text(?:normal|bf|it|rm|up|sf|tt)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|operatorname\*?)\s*"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_MULTIPLES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_INTRODUCED = (
    r"^\s*(?:\\text\{[^{}]*?(?::|=|\b(?:is|are|equals|be|the (?:point|interval|set|value|number|line|function)))\s*\}"
    r"|(?:[Tt]he )?(?:[Ff]inal )?[Aa]nswer(?: is|\s*[:=])(?: [:=])?)\s*(?=\S)"
)
_DENIED = re.compile(r"\b(?:not|no|never|cannot|except)\b|n't")
_UNIT_LETTERS = "[msghlLNJWKV]"
_NUMERALS = dict(
    zip("two three four five six seven eight nine ten eleven twelve".split(), map(str, range(2, 13)), strict=True)
)
_WORD_PERCENT = r"(?:percent(?:age)?|pct)(?:\s+points?)?"


def _ordinal(match: re.Match[str]) -> str:
    """``10th`` as the number that it counts, where the letters are those of that number."""
    number = match[1]
    usual = "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number if match[3] == usual else match.group()


def _repeating(match: re.Match[str]) -> str:
    """``0.1666...`` as the decimal that repeats, where it shows that it does: a digit three times or a block twice."""
    block, again = match[2], match[3]
    if len(again) < (2 if len(block) == 1 else 1) * len(block):
        return match.group()
    return rf"{match[1]}\overline{{{block}}}"


# (pattern, replacement), in this order; the reason stands above each.
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Commands without their backslash: sqrt{5}, frac12, 3 times 4, x in [0, 1), 60^circ.
        (rf"(?<![a-zA-Z\\])({_BEFORE_ARGUMENT})(?=\s*[{{]|\[)", r"\\\1"),
        (r"(?<![a-zA-Z\\])([dt]?frac)(?=[0-9])", r"\\\1"),
        (r"(?<![a-zA-Z\\])sqrt\s*([0-9]+(?:\.[0-9]+)?)", r"\\sqrt{\1}"),
        (rf"(?<=[0-9a-zA-Z)}}\]])\s*(?<![a-zA-Z\\])({_BETWEEN})(?![a-zA-Z]){_OPERAND_AFTER}", r" \\\1"),
        (r"(?<![a-zA-Z\\])([a-zA-Z])\s+in\s+(?=[\[({\\])", r"\1\\in "),
        (r"(?<![a-zA-Z\\])(?:left(?=[(\[])|right(?=[)\]]))", ""),
        (r"\^\s*\{?circ\}?(?![a-zA-Z])", r"^{\\circ}"),
        (rf"(?<![a-zA-Z\\])({_GREEK})(?![a-zA-Z])", r"\\\1 "),
        # A thousands separator of three digits that is an apostrophe.
        (r"(?<![0-9'.])([0-9]{1,3}(?:'[0-9]{3})+)(?![0-9'])", lambda match: match.group().replace("'", "")),
        # A thousands separator that LaTeX spells out can be nothing else, wherever it stands: 1{,}234  1,\!234  1\,234.
        (r"(?<=[0-9])\s*(?:\{\s*,\s*\}|,\s*\\!|\\!,|\\,|(?<!\\)\\[ :;])\s*(?=[0-9]{3}(?![0-9]))", ""),
        # Spacing and size say nothing; \left\{ keeps its brace, \left. has none.
        (r"\\(?:m?left|m?right)\s*\.", " "),
        (r"\\(?:m?left|m?right|[bB]igg?[lrm]?)(?![a-zA-Z])", ""),
        (r"\\!|\\(?:displaystyle|textstyle|limits|nolimits|rm|bf|it|mathstrut)(?![a-zA-Z])", ""),
        (r"(?<!\\)\\(?:[,;:> ]|(?:quad|qquad|thinspace|enspace|hfill)(?![a-zA-Z]))|~|&nbsp;", " "),
        # Delimiters of mathematics, and of money.
        (r"\\[()]|\\\$|\$|\*\*(?=[^0-9a-zA-Z({\\]|$)", " "),
        (r"(?<![\\])\\[\[\]](?!\s*[0-9.]+\s*(?:pt|ex|em|mm))", " "),
        # Two spellings of one command.
        (r"\\(?:[dtc]|nice|s)frac(?![a-zA-Z])", r"\\frac"),
        (r"\{([^{}]*)\\choose(?![a-zA-Z])\s*([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"\{([^{}]*)\\over(?![a-zA-Z])\s*([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"\\(arc)?tg(?![a-zA-Z])", r"\\\1tan"),
        (r"\\lg(?![a-zA-Z])", r"\\log_{10} "),
        (r"\\c?tg(?![a-zA-Z])", r"\\cot"),
        (r"\\tbinom(?![a-zA-Z])|\\dbinom(?![a-zA-Z])", r"\\binom"),
        (r"\\(?:lt)(?![a-zA-Z])", "<"),
        (r"\\(?:gt)(?![a-zA-Z])", ">"),
        (r"\\(?:leqslant|leqq|le)(?![a-zA-Z])|<=|=<", r"\\leq "),
        (r"\\(?:geqslant|geqq|ge)(?![a-zA-Z])|>=", r"\\geq "),
        (r"\\ne(?![a-zA-Z])|!=", r"\\neq "),
        (r"\\(?:simeq|thickapprox|sim|cong|doteq)(?![a-zA-Z])", r"\\approx "),
        (_TEXT + r"\{\s*([(),;:.])\s*\}", r"\1"),
        (
            r",?\s*"
            + _TEXT
            + r"\{\s*(?:,?\s*(?:or|i\.e\.|which is|that is|is),?\s+)?(?:approximately|approx\.?|about|roughly)\s*\}",
            r"\\approx ",
        ),
        (r"(?<![a-zA-Z\\])(?:or\s+)?(?:approximately|approx\.?|about|roughly)(?=\s*[-0-9\\])", r"\\approx "),
        (r"\(\s*(\\approx|=)\s*([^()=]*)\)", r"\1 \2"),
        (r"\+/-", r"\\pm "),
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
        (r"\\(?:emptyset|empty)(?![a-zA-Z])|\\\{\s*\\\}", r"\\varnothing "),
        (r"\\(?:bigcup|sqcup)(?![a-zA-Z])|(?<=[)\]}])\s*(?:U|union)\s*(?=[(\[\\])", r"\\cup "),
        (r"\\(?:backslash|smallsetminus)(?![a-zA-Z])", r"\\setminus "),
        (r"\\(?:mathbb|mathds|Bbb)\s*([RZNQC])(?![a-zA-Z])|\\(?:mathds|Bbb)\s*\{([RZNQC])\}", r"\\mathbb{\1\2}"),
        (r"\\([RZNQC])(?![a-zA-Z])", r"\\mathbb{\1}"),
        (r"\\[Rr]eals?(?![a-zA-Z])", r"\\mathbb{R}"),
        (r"\\colon(?![a-zA-Z])", ":"),
        # A square bracket that faces away excludes its end, as French spells intervals.
        (r"(^|\\cup\s*|\\in\s*)\](\s*[^\[\]()]+[\]\[])", r"\1(\2"),
        (r"([(\[][^\[\]()]+,[^\[\]()]+)\[(?=\s*(?:$|\\cup))", r"\1)"),
        # What is left out, and what is left out of a decimal.
        (r"\\(?:dots[bci]?|cdots|hdots)(?![a-zA-Z])|(?<=,)\s*\.\.\.\s*(?=,)", r"\\ldots "),
        (r"(?<![0-9.])([0-9]{0,30}\.[0-9]{0,30}?)([0-9]{1,12}?)(\2+)\s*(?:\.\.\.|\\ldots)", _repeating),
        (r"(?<=[0-9])\s*\\ldots\s*$", ""),
        # Bars over repeating digits have several commands.
        (r"(?<=[0-9.])\\(?:bar|overline|dot)\s*\{", r"\\overline{"),
        # Every kind of upright text is text; one letter or a number in it is that letter or number.
        (_TEXT + r"\{", r"\\text{"),
        # An upright letter behind a number may be a unit, which units.py takes off.
        (rf"(?<![0-9}}])(?<![0-9}}]\s)\\text\{{\s*({_UNIT_LETTERS})\s*\}}", r"{\1}"),
        (rf"\\text\{{\s*((?!{_UNIT_LETTERS})[a-zA-Z]|-?{_NUMBER})\s*\}}", r"{\1}"),
        # A base that is named, halves of the day, a ratio in words, congruences.
        (
            r"_\s*\{?\s*\\text\{\s*([a-z]+)\s*\}\s*\}?",
            lambda match: f"_{{{_NUMERALS.get(match[1], match[1])}}}" if match[1] in _NUMERALS else match.group(),
        ),
        (
            r"\s*\\text\{\s*([aApP])\.?\s?[mM]\.?\s*\}|(?<=[0-9])\s*([aApP])\.?[mM]\b\.?",
            lambda match: rf"\text{{{(match[1] or match[2]).lower()}m}}",
        ),
        (r"(?<=[0-9}])\s*(?:\\text\{\s*to\s*\}|(?<=\s)to(?=\s))\s*(?=[0-9\\])", ":"),
        (
            r"\s*\(?\s*\\?(?:text\{\s*mod\s*\}|[pb]?mod)(?![a-zA-Z])\s*(?:\{\s*([^{}]+?)\s*\}|([0-9a-zA-Z]+))\s*\)?",
            r" \\mod{\1\2}",
        ),
        (r"\\text\{\s*\}", ""),
        # A value in a sentence: "The answer is 3", "Range: [1, oo)", "the point (3, 4)".
        (_INTRODUCED, lambda match: match.group() if _DENIED.search(match.group()) else ""),
        # Multiples in words, ordinals, units in brackets, and the sign that stands for "and".
        (
            rf"(?<=[0-9])\s*(?:\\text\{{\s*)?(?<![a-zA-Z])({'|'.join(_MULTIPLES)})(?![a-zA-Z])\s*(\}})?",
            lambda match: (
                rf"\cdot 10^{{{_MULTIPLES[match[1]]}}}" + ("" if match[2] or "text" not in match.group() else r"\text{")
            ),
        ),
        (
            r"(?<![0-9.])([0-9]*(?:(?<=1)[0-9]|[02-9])??([0-9]))\s*(?:\^\s*\{?\s*)?(?:\\text\{\s*)?(st|nd|rd|th)(?![a-zA-Z])\s*\}{0,2}",
            _ordinal,
        ),
        (r"(?<=[0-9}])\s+\(\s*([a-z]{3,}(?: [a-z]+)*)\s*\)\s*$", r"\\text{\1}"),
        (r"^([^&]*[0-9)}\]a-z])\s*\\?&\s*(?=[0-9(\\{\[a-z-])([^&]*)$", r"\1 \\land \2"),
        # Words that are signs.
        (
            r",?\s*(?:\\text\{\s*,?\s*(?:or|OR)\s*\}|(?<![a-zA-Z\\{])(?:or|OR)(?![a-zA-Z}])|\\(?:lor|vee)(?![a-zA-Z]))\s*",
            r" \\lor ",
        ),
        (
            r",?\s*(?:\\text\{\s*,?\s*(?:and|AND)\s*\}|(?<![a-zA-Z\\{])(?:and|AND)(?![a-zA-Z}])|\\(?:land|wedge)(?![a-zA-Z]))\s*",
            r" \\land ",
        ),
        (
            r"\s*\\text\{\s*" + _WORD_PERCENT + r"\s*\}|(?<=[0-9}\s])\s*" + _WORD_PERCENT + r"(?![a-zA-Z])|\s*\\?%",
            r"\\%",
        ),
        (r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])\s*)|\s*\\degree(?![a-zA-Z])", r"\\text{degrees}"),
        (r"\s*\\text\{\s*(?:degrees?|deg\.?)\s*\}|(?<=[0-9a-zA-Z)}])\s+degrees?(?![a-zA-Z])", r"\\text{degrees}"),
        (r"(?<![a-zA-Z\\])(?:infinity|infty|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
        (r"\\text\{\s*\\infty\s*\}", r"\\infty "),
        # Functions as a calculator writes them.
        (rf"\\text\{{\s*({_FUNCTIONS})\s*\}}", r"\\\1 "),
        (rf"(?<![a-zA-Z\\])(?<!\\text\{{)({_FUNCTIONS})(?=\s*[({{\\^_]|\s*[0-9]|\s+[a-zA-Z](?![a-zA-Z]))", r"\\\1 "),
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
_ROOT_OF_TOKEN = re.compile(r"\\sqrt(?![a-zA-Z])\s*(?=[0-9a-zA-Z])")
_ROOT_OF_COMMAND = re.compile(r"\\sqrt(?![a-zA-Z])\s*(?=\\[a-zA-Z])")
_FRACTION_OF_TOKEN = re.compile(r"\\frac(?![a-zA-Z])\s*(?=[^\s{\[])")
_TOKEN = re.compile(r"\\[a-zA-Z]+|[0-9a-zA-Z]")
_EXPONENT_CALL = re.compile(r"\^\s*\(")


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """The text in the one spelling that the rest of the grader reads; never longer than a small multiple of the text.

    Linear in the length but for nesting, so it is given answers and golds and never whole outputs.
    """
    if text.isdigit() and text.isascii():
        return text
    text = _unwrapped(_fix_escapes(undamaged(to_latex(text))))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _braced(_calls(text))
    text = _SPACE.sub(" ", _unwrapped(text.strip()))
    while (shorter := _TRAILING.sub("", text)) != text:
        text = shorter
    return _NUMBER_WORDS.get(text.lower()) or _in_words(text)


_NUMBER_WORDS = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split(),
        map(str, range(17)),
        strict=True,
    )
)
_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\v": "v"}
_DAMAGED = re.compile(r"([\a\x08\f\v])([a-zA-Z]{2,})")
# Commands that such an escape of JSON takes the backslash and the first letter of. Tabs and line ends are spacing as well.
_DAMAGEABLE = frozenset(
    "alpha angle approx arcsin arccos arctan begin beta bar binom boxed frac fbox vec varnothing vert".split()
)


def undamaged(text: str) -> str:
    r"""A text in which a form feed before ``rac`` is ``\frac`` again, and so for other commands whose first letter was an escape."""
    if text.isprintable():
        return text

    def command(match: re.Match[str]) -> str:
        name = _ESCAPES[match.group(1)] + match.group(2)
        return f"\\{name}" if name in _DAMAGEABLE else match.group()

    return _DAMAGED.sub(command, text)


_ALL_REALS = re.compile(
    r"(?:x (?:is|can be) )?(?:the set of )?(?:(?:all|any|every) (?:of )?(?:the )?)?reals?(?: numbers?| values?)?(?: of)?(?: x)?"
    r"(?:,? (?:except|but|other than|excluding|without)(?: for)?(?: x =)? (?P<except>[^a-zA-Z]*(?:\\[a-zA-Z]+[^a-zA-Z]*)*))?"
)
_NOTHING = re.compile(
    r"(?:the )?(?:empty set|null set)|(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?|values?)(?: exists?)?"
    r"|(?:the )?(?:equation|system|inequality) has no (?:real )?solutions?"
)


def _in_words(text: str) -> str:
    """Sets that are told in words: all real numbers (except some), no solution."""
    if len(text) > 200 or not ("real" in text or "no " in text.lower() or " set" in text):
        return text
    bare = " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).split())
    bare = bare[:1].lower() + bare[1:]
    if _NOTHING.fullmatch(bare):
        return r"\varnothing"
    if (
        (match := _ALL_REALS.fullmatch(bare)) is None
        or "all" not in bare
        and "any" not in bare
        and "set of" not in bare
    ):
        return text
    excepted = (match["except"] or "").strip().replace(r"\land", ",").replace(r"\lor", ",")
    return rf"\mathbb{{R}} \setminus \{{{excepted}\}}" if excepted else r"\mathbb{R}"


def _fix_escapes(text: str) -> str:
    # \\frac for \frac comes from outputs that were escaped as JSON twice; where rows end in \\ it cannot be told apart.
    return text if r"\begin" in text else re.sub(r"\\\\(?=[a-zA-Z({\[)}\]%$])", r"\\", text)


def closing(text: str, start: int) -> int:
    r"""The position of the bracket that closes the one at ``start`` (braces, escaped or not, parentheses, square), or -1.

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
    r"""``\frac12``, ``\sqrt2`` and ``\sqrt\frac12`` with the braces that TeX understands."""
    text = _first_argument(text, _ROOT_OF_TOKEN)
    text = _second_argument(_first_argument(text, _FRACTION_OF_TOKEN))
    return _first_argument(text, _ROOT_OF_COMMAND)


def _first_argument(text: str, command: re.Pattern[str]) -> str:
    for match in reversed(list(command.finditer(text))):
        token = _TOKEN.match(text, match.end())
        if token is not None:
            end = _arguments_end(text, token.end())
            text = f"{text[: match.end()].rstrip()}{{{text[token.start() : end]}}}{text[end:]}"
    return text


def _arguments_end(text: str, position: int) -> int:
    """The end of the groups in braces that stand right behind a command; of none where it takes none."""
    if not text.startswith((r"\frac", r"\sqrt"), max(0, position - 5)):
        return position
    while text[position : position + 1] == "{" and (end := closing(text, position)) >= 0:
        position = end + 1
    return position


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
