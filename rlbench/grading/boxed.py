r"""The content of the last ``\boxed{...}`` of a text: how gold answers are read from solutions and answers from outputs
alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A command (also as \\boxed: outputs escape too often), a line break, an escaped brace, a brace. The order matters: in
# \boxed{\{1\}} the inner braces are text and not structure, and \\{ is a line break before a group.
_TOKEN = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])|\\\\(?!boxed|fbox)|\\[{}]|[{}]")
_JOINT = re.compile(
    r"(?:\s|,|;|\$|~|\\[()\[\],;! ]|\\q?quad\b|(?:\\text(?:bf|it|rm)?\s*\{\s*)?\b(?:and|or)\b(?:\s*\})?"
    r"|\b[a-zA-Z](?:_\{?\w+\}?)?\s*=)*"
)
# Between a value and its rounding, each in a box.
NEARLY = re.compile(r"(?:\s|\$|\\[()\[\],;! ]|\\approx|≈)*")
_BARE = re.compile(r"[^\s${}\\]+")


def last_boxed(text: str) -> str | None:
    r"""The content of the last box that closes and is not empty, stripped; None where there is none.

    A box is ``\boxed`` or ``\fbox`` before a group in braces, or, as in ``\boxed 5``, before a run without space,
    ``$``, braces and backslashes, whose closing punctuation is not part of it. The last box is the one whose command
    comes last, so of nested ones the innermost. A box that never closes (a truncated output) and an empty one (an echo
    of "within \boxed{}") are no boxes. Linear in the length of the text whatever the nesting.
    """
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    start = text.rfind("\\boxed{")
    if start >= 0 and text.rfind("\\fbox") < start and text.rfind("\\boxed") == start:
        end = text.find("}", start)
        content = text[start + 7 : end].strip() if end >= 0 else ""
        if content and "{" not in content and "\\" not in content:
            return content
    return _scan(text)


def final_boxes(text: str, joint: re.Pattern[str] = _JOINT) -> list[str]:
    r"""The boxes that a text ends its answer with: the last one, and those right before it with nothing but "and"
    between.

    Between two boxes of one answer stand at most a comma, ``and``, ``or``, spacing, the delimiters of mathematics and
    the name of the next value (``y =``), or what ``joint`` allows. Empty where ``last_boxed`` finds nothing.
    """
    last = last_boxed(text)
    if last is None or text.count("boxed") + text.count("fbox") < 2:
        return [] if last is None else [last]
    found = sorted(_boxes(text))
    run = [found[-1]]
    for box in reversed(found[:-1]):
        if box[1] > run[0][0] or joint.fullmatch(text[box[1] : run[0][0]]) is None:
            break
        run.insert(0, box)
    return [content for _, _, _, content in run]


def _scan(text: str) -> str | None:
    return max(_boxes(text), key=lambda box: box[2], default=(0, 0, 0, None))[3]


def _boxes(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Every box that closes and holds something: where its command starts, where it ends, where its content starts, its
    content.
    """
    opened: list[
        tuple[int, int] | None
    ] = []  # for each open brace, the start of the command and of the content if it is a box's
    position = 0
    while (token := _TOKEN.search(text, position)) is not None:
        position, kind = token.end(), token.group()
        if kind == "{":
            opened.append(None)
        elif kind == "}":
            box = opened.pop() if opened else None
            if box is not None and (content := text[box[1] : token.start()].strip()):
                yield box[0], position, box[1], content
        elif len(kind) > 2:
            while position < len(text) and text[position].isspace():
                position += 1
            if text.startswith("{", position):
                position += 1
                opened.append((token.start(), position))
            elif (bare := _BARE.match(text, position)) is not None and (content := bare.group().rstrip(".,;:!?")):
                position = bare.end()
                yield token.start(), position, bare.start(), content
