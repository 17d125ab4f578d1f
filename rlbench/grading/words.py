"""Answers in words: letters of choices, names, and words that are no mathematics."""

from __future__ import annotations

import re

from rlbench.records import Verdict

_WORD = re.compile(r"[a-zA-Z][a-zA-Z' -]*")
_LETTERS, _HYPHEN = re.compile("[a-zA-Z]{2}"), re.compile(r"(?<=[a-z]{3})-(?=[a-z])")
_NAME = re.compile(r"[A-Z][a-z]{2,}")
_SAYS = re.compile(r"\s(?:is|has|was|had|will|won|wins|did|does|runs|ran|gets|got|scored)\s+[a-z]")
_OTHERS = re.compile(r"[A-Z0-9\\]|\b(?:not|no|never|nor|or|than|except|but|least|last)\b|n't")
_SHORT = {"dne": "does not exist"}
_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)")
# Choices, and their letters before what they stand for: (B), B. 12, \textbf{(B)} 12.
_CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?")
_CHOSEN = re.compile(
    r"\s*(?:\\text(?:bf|rm)?\s*\{|\\math(?:rm|bf)\s*\{)?\s*(?:\(\s*([A-J])\s*\)|([A-J])\s*[).:])(?P<rest>.*)", re.DOTALL
)
_ANOTHER = re.compile(r"(?<![a-zA-Z\\])\(?[A-J](?![a-zA-Z])")


def word(text: str) -> str | None:
    r"""An answer in words (``ellipse``, ``\text{(B)}``), lower-cased; None where a normalised text is none, or one
    letter.
    """
    bare = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip(" (){}[]\"'")
    if _WORD.fullmatch(bare) is None or _LETTERS.search(bare) is None:
        return None
    said = _ARTICLE.sub("", " ".join(_HYPHEN.sub(" ", bare.lower()).split()), count=1)
    return _SHORT.get(said, said)


def choice(gold: str, answer: str) -> Verdict | None:
    """The verdict on an answer that gives a letter and what it stands for, where the gold is a letter."""
    letter = _CHOICE.fullmatch(re.sub(r"[{}]", "", gold))
    chosen = _CHOSEN.match(answer) if letter is not None else None
    if letter is None or chosen is None or not chosen["rest"].strip(" }") or _ANOTHER.search(chosen["rest"]):
        return None
    return "correct" if (chosen[1] or chosen[2]) == letter[1] else "wrong"


def named_in_a_sentence(gold: str, answer: str) -> bool:
    """Whether the gold is a name and the answer a sentence of which it is the subject, that denies nothing and names
    nobody else.
    """
    sentence = re.sub(r"\\text\{([^{}]*)\}", r"\1", answer)
    name = re.sub(r"\\text\{([^{}]*)\}", r"\1", gold).strip()
    if _NAME.fullmatch(name) is None or not sentence.startswith(name + " "):
        return False
    rest = sentence[len(name) :]
    return _SAYS.match(rest) is not None and _OTHERS.search(rest) is None


def in_words(gold: str | None, answer: str | None) -> Verdict | None:
    # Up to three letters may be a product: xy is yx.
    if gold is not None and len(gold) > 3:
        return "wrong"
    return "unparsed" if answer is not None and len(answer) > 3 else None
