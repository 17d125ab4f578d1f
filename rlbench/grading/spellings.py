r"""The rules of the one spelling: commands of one meaning, words that are signs, what is typed without LaTeX.

A rule is a pattern and what takes its place. Rules stand in groups, in the order in which they are applied; a group
says what a text needs to hold for any of its rules to apply, as most answers are numbers and most rules are not for
them. To add a spelling, put a command into ``_COMMANDS`` or a line, with its reason, into a group.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_FUNCTIONS = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|gcd|lcm|max|min"
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|lambda|mu|rho|sigma|tau|phi|omega"
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
_ABOUT = r"(?:approximately|approx\.?|about|roughly)"
_UNIT_LETTERS = "[msghlLNJWKV]"
_BASE_NAMES = "two three four five six seven eight nine ten eleven twelve"
_BASES = {name: str(number) for number, name in enumerate(_BASE_NAMES.split(), start=2)}
_PERCENT = r"(?:percent(?:age)?|pct)(?:\s+points?)?"

# Commands that others spell; spacing and sizes, which say nothing, are spelled by nothing.
_COMMANDS = {
    name: spelling
    for spelling, names in {
        "": "left right mleft mright big Big bigg Bigg bigl bigr bigm Bigl Bigr Bigm biggl biggr biggm Biggl Biggr "
        "Biggm "
        "displaystyle textstyle limits nolimits rm bf it mathstrut",
        " ": "quad qquad thinspace enspace hfill",
        r"\frac": "dfrac tfrac cfrac nicefrac sfrac",
        r"\binom": "dbinom tbinom",
        r"\tan": "tg",
        r"\arctan": "arctg",
        r"\cot": "ctg",
        r"\log_{10} ": "lg",
        "<": "lt",
        ">": "gt",
        r"\leq ": "le leqslant leqq",
        r"\geq ": "ge geqslant geqq",
        r"\neq ": "ne",
        r"\approx ": "simeq thickapprox sim cong doteq",
        r"\{": "lbrace",
        r"\}": "rbrace",
        "(": "langle lparen",
        ")": "rangle rparen",
        "[": "lbrack",
        "]": "rbrack",
        "|": "vert lvert rvert mid",
        r"\cdot ": "times cdot ast",
        "/": "div",
        r"\varnothing ": "emptyset empty",
        r"\cup ": "bigcup sqcup",
        r"\setminus ": "backslash smallsetminus",
        r"\mathbb{R}": "R real reals Real Reals",
        r"\mathbb{Z}": "Z",
        r"\mathbb{N}": "N",
        r"\mathbb{Q}": "Q",
        r"\mathbb{C}": "C",
        ":": "colon",
        r"\ldots ": "dots dotsb dotsc dotsi cdots hdots",
        r"\lor ": "vee",
        r"\land ": "wedge",
        r"\text{degrees}": "degree",
    }.items()
    for name in names.split()
}
_COMMAND = re.compile(r"\\\\|\\([a-zA-Z]+)")


def _command(match: re.Match[str]) -> str:
    return _COMMANDS.get(match[1], match[0])  # of a line break, \\, nothing is taken for a command


def _ordinal(match: re.Match[str]) -> str:
    """``10th`` as the number that it counts, where the letters are those of that number."""
    number = match[1]
    usual = "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number if match[2] == usual else match[0]


def _repeating(match: re.Match[str]) -> str:
    """``0.1666...`` as the decimal that repeats, where it shows that it does: a digit three times or a block twice."""
    block, again = match[2], match[3]
    if len(again) < (2 if len(block) == 1 else 1) * len(block):
        return match[0]
    return rf"{match[1]}\overline{{{block}}}"


def _multiple(match: re.Match[str]) -> str:
    """``5 million`` as a power of ten, and what follows in the same text command in one of its own."""
    goes_on = "text" in match[0] and not match[2]
    return rf"\cdot 10^{{{_MULTIPLES[match[1]]}}}" + (r"\text{" if goes_on else "")


def _half_of_the_day(match: re.Match[str]) -> str:
    return rf"\text{{{(match[1] or match[2]).lower()}m}}"


def _base(match: re.Match[str]) -> str:
    return f"_{{{_BASES[match[1]]}}}" if match[1] in _BASES else match[0]


Replacement = str | Callable[[re.Match[str]], str]
# What a text needs, and (pattern, replacement) in this order; the reason stands above each.
_GROUPS: tuple[tuple[str, tuple[tuple[str, Replacement], ...]], ...] = (
    (
        r"(?<![a-zA-Z\\])[a-zA-Z]{2}|[a-zA-Z] in ",
        (
            # Commands without their backslash: sqrt{5}, frac12, 3 times 4, x in [0, 1), 60^circ.
            (rf"(?<![a-zA-Z\\])({_BEFORE_ARGUMENT})(?=\s*[{{]|\[)", r"\\\1"),
            (r"(?<![a-zA-Z\\])([dt]?frac)(?=\s*[0-9])", r"\\\1"),
            (r"(?<![a-zA-Z\\])sqrt\s*([0-9]+(?:\.[0-9]+)?)", r"\\sqrt{\1}"),
            (rf"(?<=[0-9a-zA-Z)}}\]])\s*(?<![a-zA-Z\\])({_BETWEEN})(?![a-zA-Z]){_OPERAND_AFTER}", r" \\\1"),
            (r"(?<![a-zA-Z\\])(emptyset|varnothing|[lr](?:floor|ceil|angle))(?![a-zA-Z])", r"\\\1 "),
            (r"(?<![a-zA-Z\\])(sum|prod|int|lim)(?=\s*_)", r"\\\1"),
            (r"(?<![a-zA-Z\\])(pi|[abe-su-z])(sqrt|frac)(?=\{)", r"\1 \\\2"),
            (r"(?<![a-zA-Z\\])([a-zA-Z])\s+in\s+(?=[\[({\\])", r"\1\\in "),
            (r"(?<![a-zA-Z\\])(?:left(?=[(\[])|right(?=[)\]]))", ""),
            (r"\^\s*\{?circ\}?(?![a-zA-Z])", r"^{\\circ}"),
            (rf"(?<![a-zA-Z\\])({_GREEK})(?![a-zA-Z])", r"\\\1 "),
        ),
    ),
    (
        "'",
        (
            # A thousands separator that is an apostrophe.
            (r"(?<![0-9'.])([0-9]{1,3}(?:'[0-9]{3})+)(?![0-9'])", lambda match: match[0].replace("'", "")),
        ),
    ),
    (
        r"\\|\{",
        (
            # A thousands separator that LaTeX spells out can be nothing else, wherever it stands: 1{,}234  1,\!234
            # 1\,234.
            (r"(?<=[0-9])\s*(?:\{\s*,\s*\}|,\s*\\!|\\!,|\\,|(?<!\\)\\[ :;])\s*(?=[0-9]{3}(?![0-9]))", ""),
            # \left\{ keeps its brace, \left. has none.
            (r"\\(?:m?left|m?right)\s*\.", " "),
            (_COMMAND.pattern, _command),
            (r"\\!", ""),
            (r"(?<!\\)\\[,;:> ]", " "),
            # Delimiters of mathematics, and of money.
            (r"\\[()]|\\\$", " "),
            (r"(?<![\\])\\[\[\]](?!\s*[0-9.]+\s*(?:pt|ex|em|mm))", " "),
            (r"\{([^{}]*)\\choose(?![a-zA-Z])\s*([^{}]*)\}", r"\\binom{\1}{\2}"),
            (r"\{([^{}]*)\\over(?![a-zA-Z])\s*([^{}]*)\}", r"\\frac{\1}{\2}"),
            (r"\\\{\s*\\\}", r"\\varnothing "),
            (r"\\(?:mathbb|mathds|Bbb)\s*([RZNQC])(?![a-zA-Z])|\\(?:mathds|Bbb)\s*\{([RZNQC])\}", r"\\mathbb{\1\2}"),
            # Bars over repeating digits have several commands.
            (r"(?<=[0-9.])\\(?:bar|overline|dot)\s*\{", r"\\overline{"),
            # Every kind of upright text is text; one letter or a number in it is that letter or number, but an upright
            # letter
            # behind a number may be a unit, which units.py takes off.
            (_TEXT + r"\{", r"\\text{"),
            (rf"(?<![0-9}}])(?<![0-9}}]\s)\\text\{{\s*({_UNIT_LETTERS})\s*\}}", r"{\1}"),
            (rf"\\text\{{\s*((?!{_UNIT_LETTERS})[a-zA-Z]|-?{_NUMBER})\s*\}}", r"{\1}"),
            (r"\\text\{\s*([(),;:.]?)\s*\}", r"\1"),
        ),
    ),
    (
        r"[$*~&!<>=+|]",
        (
            # Signs as they are typed.
            (r"\$|\*\*(?=[^0-9a-zA-Z({\\]|$)|~|&nbsp;", " "),
            (r"<=|=<", r"\\leq "),
            (r">=", r"\\geq "),
            (r"!=", r"\\neq "),
            (r"\+/-", r"\\pm "),
            (r"(?<=[0-9a-zA-Z)}\]])\s+\|\|\s+(?=[0-9a-zA-Z(\\-])", r" \\lor "),
            (r"(?<=[0-9a-zA-Z)}\]])\s+(?:\\?&){2}\s+(?=[0-9a-zA-Z(\\-])", r" \\land "),
            (r"^\s*\*\*", ""),
            (r"\*\*", "^"),
            (r"\*", r"\\cdot "),
            (r"\(\s*=\s*([^()=]*)\)", r"= \1"),
            (r"^(?!.*\\begin)([^&]*[0-9)}\]a-z])\s*\\?&\s*(?=[0-9(\\{\[a-z-])([^&]*)$", r"\1 \\land \2"),
        ),
    ),
    (
        r"\[|\]",
        (
            # A square bracket that faces away excludes its end, as French spells intervals.
            (r"(^|\\cup\s*|\\in\s*)\](\s*[^\[\]()]+[\]\[])", r"\1(\2"),
            (r"([(\[][^\[\]()]+,[^\[\]()]+)\[(?=\s*(?:$|\\cup))", r"\1)"),
        ),
    ),
    (
        r"\.\.\.|\\ldots",
        (
            # What is left out, and what is left out of a decimal.
            (r"(?<=,)\s*\.\.\.\s*(?=,)", r"\\ldots "),
            (r"(?<![0-9.])([0-9]{0,30}\.[0-9]{0,30}?)([0-9]{1,12}?)(\2+)\s*(?:\.\.\.|\\ldots)", _repeating),
            (r"(?<=[0-9])\s*\\ldots\s*$", ""),
        ),
    ),
    (
        r"\\text|\\p?b?mod|(?<![a-zA-Z\\])[a-zA-Z]{2}|[ap]\.m",
        (
            (rf",?\s*\\text\{{\s*(?:,?\s*(?:or|i\.e\.|which is|that is|is),?\s+)?{_ABOUT}\s*\}}", r"\\approx "),
            (rf"(?<![a-zA-Z\\])(?:or\s+)?{_ABOUT}(?=\s*[-0-9\\])", r"\\approx "),
            (r"(?<=[)\]}])\s*union\s*(?=[(\[\\])", r"\\cup "),
            # A base that is named, halves of the day, a ratio in words, congruences.
            (r"_\s*\{?\s*\\text\{\s*([a-z]+)\s*\}\s*\}?", _base),
            (r"\s*\\text\{\s*([aApP])\.?\s?[mM]\.?\s*\}|(?<=[0-9])\s*([aApP])\.?[mM]\b\.?", _half_of_the_day),
            (r"(?<=[0-9}])\s*(?:\\text\{\s*to\s*\}|(?<=\s)to(?=\s))\s*(?=[0-9\\])", ":"),
            (
                r"\s*\(?\s*\\?(?:text\{\s*mod\s*\}|[pb]?mod)(?![a-zA-Z])\s*(?:\{\s*([^{}]+?)\s*\}|([0-9a-zA-Z]+))\s*\)?",
                r" \\mod{\1\2}",
            ),
            # A value in a sentence: "The answer is 3", "Range: [1, oo)", "the point (3, 4)".
            (_INTRODUCED, lambda match: match[0] if _DENIED.search(match[0]) else ""),
            # Multiples in words, ordinals, units in brackets.
            (
                rf"(?<=[0-9])\s*(?:\\text\{{\s*)?(?<![a-zA-Z])({'|'.join(_MULTIPLES)})(?![a-zA-Z])\s*(\}})?",
                _multiple,
            ),
            (
                r"(?<![0-9.])([0-9]+)\s*(?:\^\s*\{?\s*)?(?:\\text\{\s*)?(st|nd|rd|th)(?![a-zA-Z])\s*\}{0,2}",
                _ordinal,
            ),
            (r"(?<=[0-9}])\s+\(\s*([a-z]{3,}(?: [a-z]+)*)\s*\)\s*$", r"\\text{\1}"),
            # Words that are signs.
            (r",?\s*(?:\\text\{\s*,?\s*(?:or|OR)\s*\}|(?<![a-zA-Z\\{])(?:or|OR)(?![a-zA-Z}]))\s*", r" \\lor "),
            (r",?\s*(?:\\text\{\s*,?\s*(?:and|AND)\s*\}|(?<![a-zA-Z\\{])(?:and|AND)(?![a-zA-Z}]))\s*", r" \\land "),
            (rf"\s*\\text\{{\s*{_PERCENT}\s*\}}|(?<=[0-9}}\s])\s*{_PERCENT}(?![a-zA-Z])", r"\\%"),
            (r"\s*\\text\{\s*(?:degrees?|deg\.?)\s*\}|(?<=[0-9a-zA-Z)}])\s+degrees?(?![a-zA-Z])", r"\\text{degrees}"),
            (r"(?<![a-zA-Z\\])(?:infinity|infty|inf|oo)(?![a-zA-Z])", r"\\infty "),
            (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
            (r"\\text\{\s*\\infty\s*\}", r"\\infty "),
            # Functions as a calculator writes them.
            (rf"\\text\{{\s*({_FUNCTIONS})\s*\}}", r"\\\1 "),
            (
                rf"(?<![a-zA-Z\\])(?<!\\text\{{)({_FUNCTIONS})(?=\s*[({{\\^_]|\s*[0-9]|\s+[a-zA-Z](?![a-zA-Z]))",
                r"\\\1 ",
            ),
        ),
    ),
    (
        r"\\",
        (
            (r"[(\[]\s*\\approx\s*([^()=\[\]]*)[)\]]", r"\\approx \1"),
            (r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])\s*)", r"\\text{degrees}"),
            (r"\^\s*(?:\\prime(?![a-zA-Z])|\{\s*\\prime\s*\})", "'"),
            (r"\+\s*(?=\\infty)", ""),
        ),
    ),
    ("%", ((r"\s*\\?%", r"\\%"),)),
    (
        r"[.^/eExXU]",
        (
            (r"(?<=[)\]}])\s*U\s*(?=[(\[\\])", r"\\cup "),
            # Scientific notation: between digits, e is a power of ten and not Euler's number.
            (rf"(?<![0-9a-zA-Z.])({_NUMBER})\s?[eE]([+-]?)0*([0-9]+)(?![0-9a-zA-Z]|\.[0-9])", r"\1\\cdot 10^{\2\3}"),
            (r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)", r"\\cdot "),
            # A point without digits on its one side: 1. is 1, .5 is 0.5.
            (r"(?<=[0-9])\.(?!\s*[0-9]|\\overline)(?=\S)", ""),
            (r"(?<![0-9])\.(?=[0-9])", "0."),
            # An exponent of several digits, and a mixed number, as they are typed without LaTeX.
            (r"\^\s*(-?[0-9]+)", r"^{\1}"),
            (r"(?<![0-9.}/^_])([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)(?![0-9.])", r"\1\\frac{\2}{\3}"),
        ),
    ),
)
_RULES = tuple(
    (re.compile(needs).search, tuple((re.compile(pattern).sub, replacement) for pattern, replacement in rules))
    for needs, rules in _GROUPS
)


def respelled(text: str) -> str:
    """The text after all rules, each applied once."""
    for needed, rules in _RULES:
        if needed(text):
            for substitute, replacement in rules:
                text = substitute(replacement, text)
    return text
