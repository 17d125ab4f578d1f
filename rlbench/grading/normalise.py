r"""One spelling for mathematics that is written in many: general rewritings of text, applied to gold and answer alike.

The rules stand in ``rlbench.grading.spellings``; none looks at what the other side says, and none changes a value.
What a text then *is* (a number, a tuple, an interval) is decided by ``rlbench.grading.structure``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rlbench.grading.spellings import respelled
from rlbench.grading.unicode import to_latex

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
    text = _braced(_calls(respelled(text)))
    text = _SPACE.sub(" ", _unwrapped(text.strip()))
    while (shorter := _TRAILING.sub("", text)) != text:
        text = shorter
    return _NUMBER_WORDS.get(text.lower()) or _in_words(text)


_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_NUMBER_WORDS = dict(
    zip(
        _WORDS.split(),
        map(str, range(17)),
        strict=True,
    )
)
_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\v": "v"}
_DAMAGED = re.compile(r"([\a\x08\f\v])([a-zA-Z]{2,})")
# Commands that such an escape of JSON takes the backslash and the first letter of. Tabs and line ends are spacing as
# well.
_LOST = "alpha angle approx arcsin arccos arctan begin beta bar binom frac vec varnothing vert"
_DAMAGEABLE = frozenset(_LOST.split())


def undamaged(text: str) -> str:
    r"""A text in which a form feed before ``rac`` is ``\frac`` again, and so for other commands whose first letter was
    an escape.
    """
    if text.isprintable():
        return text

    def command(match: re.Match[str]) -> str:
        name = _ESCAPES[match.group(1)] + match.group(2)
        return f"\\{name}" if name in _DAMAGEABLE else match.group()

    return _DAMAGED.sub(command, text)


_ALL_REALS = re.compile(
    r"(?:x (?:is|can be) )?(?:the set of )?(?:(?:all|any|every) (?:of )?(?:the )?)?reals?"
    r"(?: numbers?| values?)?(?: of)?(?: x)?(?:,? (?:except|but|other than|excluding|without)(?: for)?(?: x =)? "
    r"(?P<except>[^a-zA-Z]*(?:\\[a-zA-Z]+[^a-zA-Z]*)*))?"
)
_NOTHING = re.compile(
    r"(?:the )?(?:empty set|null set)|none"
    r"|(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?|values?)(?: exists?)?"
    r"|(?:the )?(?:equation|system|inequality) has no (?:real )?solutions?"
)


def _in_words(text: str) -> str:
    """Sets that are told in words: all real numbers (except some), no solution."""
    if len(text) > 200 or not ("real" in text or "no" in text.lower() or " set" in text):
        return text
    bare = " ".join(re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).split())
    bare = bare[:1].lower() + bare[1:]
    if _NOTHING.fullmatch(bare):
        return r"\varnothing"
    match = _ALL_REALS.fullmatch(bare)
    if match is None or not any(word in bare for word in ("all", "any", "every", "set of")):
        return text
    excepted = (match["except"] or "").strip().replace(r"\land", ",").replace(r"\lor", ",")
    return rf"\mathbb{{R}} \setminus \{{{excepted}\}}" if excepted else r"\mathbb{R}"


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
        space = _SPACE.match(text, end + 1)
        after = space.end() if space is not None else end + 1
        token = _TOKEN.match(text, after)
        if token is not None:
            text = f"{text[: end + 1]}{{{token.group()}}}{text[token.end() :]}"
    return text
