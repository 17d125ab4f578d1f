r"""The content of the last ``\boxed{...}`` of a text: how gold answers are read from solutions and answers from outputs alike."""

from __future__ import annotations

import re

# A command (also as \\boxed: outputs escape too often), a line break, an escaped brace, a brace. The order matters: in
# \boxed{\{1\}} the inner braces are text and not structure, and \\{ is a line break before a group.
_TOKEN = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])|\\\\(?!boxed|fbox)|\\[{}]|[{}]")
_BARE = re.compile(r"[^\s${}\\]+")


def last_boxed(text: str) -> str | None:
    r"""The content of the last box that closes and is not empty, stripped; None where there is none.

    A box is ``\boxed`` or ``\fbox`` before a group in braces, or, as in ``\boxed 5``, before a run without space, ``$``, braces
    and backslashes, whose closing punctuation is not part of it. The last box is the one whose command comes last, so of nested
    ones the innermost. A box that never closes (a truncated output) and an empty one (an echo of "within \boxed{}") are no
    boxes. Linear in the length of the text whatever the nesting.
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


def _scan(text: str) -> str | None:
    best: tuple[int, str] | None = None
    opened: list[int | None] = []  # for each open brace, where its content starts if it is a box's
    position = 0
    while (token := _TOKEN.search(text, position)) is not None:
        position, kind = token.end(), token.group()
        if kind == "{":
            opened.append(None)
        elif kind == "}":
            start = opened.pop() if opened else None
            if start is not None and (best is None or start > best[0]) and (content := text[start : token.start()].strip()):
                best = (start, content)
        elif len(kind) > 2:
            while position < len(text) and text[position].isspace():
                position += 1
            if text.startswith("{", position):
                position += 1
                opened.append(position)
            elif (bare := _BARE.match(text, position)) is not None and (content := bare.group().rstrip(".,;:!?")):
                best = (position, content)
                position = bare.end()
    return None if best is None else best[1]
