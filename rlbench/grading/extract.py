r"""Where an output's answer stands. Two ways, as one grades training and the other anybody's outputs:

- ``box``: the last box and nothing else. Where the gold is several answers, boxes that follow each other with "and"
  between count as one list. Used for rewards and evaluation: a model was asked for a box.
- ``final``: that, or else what the text says is its answer ("the answer is ...", "Answer: ...", ``#### ...``), or else
  all of it if it is an answer and no text, or else its last formula, or else its last number.

Golds are read in either way as well: one that holds a box (a worked solution) is the content of the box.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

from rlbench.grading.boxed import NEARLY, final_boxes, last_boxed
from rlbench.grading.normalise import undamaged
from rlbench.grading.structure import Group, read

Reading = Literal["box", "final"]
MAX_ANSWER = 2000

_WINDOW = 4000  # an answer that is not boxed stands at the end of an output
_STATED = re.compile(
    r"(?:(?i:\b(?:(?:final\s+)?answer|correct\s+(?:option|choice))\s*(?:is|:|=|(?=\$|\\[\[(]))\**\s*:?)|(?:^|\n)\s*A:|####)\s*\**\s*(?P<answer>[^\n]*?\S[^\n]*?)\**\s*"
    r"(?=\n|$|\.\s|\.?\s*I hope|\s+because\s)"
)
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$((?:[^$\\]|\\.)+?)\$", re.DOTALL)
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+"
_SIGN = r"(?<![0-9a-zA-Z)}])[-−]\s?|"
_FRACTION = r"\\[dt]?frac\s*\{[^{}\n]*\}\s*\{[^{}\n]*\}"
_PART = rf"(?:[-−]\s?)?(?:{_FRACTION}|(?:{_DIGITS})(?:/[0-9]+)?)"
# A value in prose: a tuple, a fraction, a root, a mixed number, a time or ratio, a power of ten, a number; and whose it
# is.
_VALUE = re.compile(
    rf"(?:(?<![0-9a-zA-Z\\])[a-zA-Z]\s*(?:[=<>≤≥]|\\[lg]eq?(?![a-zA-Z]))=?\s*)?(?:"
    rf"[(\[]\s*{_PART}(?:\s*,\s*{_PART}){{1,7}}\s*[)\]]"
    rf"|(?:{_SIGN})(?:{_FRACTION}|[0-9]*[¼-¾⅐-⅞]|[0-9]*(?:√[0-9]+|\\sqrt\s*\{{[^{{}}\n]*\}})(?:/[0-9]+)?|[0-9]+\s[0-9]+/[0-9]+|[0-9]+/[0-9]+(?!/)"
    rf"|[0-9]+:[0-9]+|(?:{_DIGITS})(?:\s*(?:\\times|\\cdot|[×x*])\s*10\s*\^\s*\{{?-?[0-9]+\}}?|\^\{{?[0-9]+\}}?)?(?:\s*\\?%)?))"
)
_BETWEEN = re.compile(r"\s*(?:,\s*(?:and|or)?|and|or)\s*")
_NEARLY_BOX = re.compile(r"(?:\\approx|≈)[\s$]*\\(?:boxed|fbox)")
# Reasons behind an answer that was stated, and words before one that stands alone.
_REASON = re.compile(r"(?<=[0-9a-zA-Z$)}\]])(?:,\s*|\s+|\s*\()(?:which|since|because|as|after|when)\s[^\n]*$")
_THEREFORE = re.compile(
    r"(?i:so|thus|hence|therefore|then|finally|i\.e\.|we get|this gives|approximately|about|is|,|\s)+(?<![a-zA-Z])"
)
_VERB = re.compile(r"(?<![\\a-zA-Z])(?:is|are|was|so|gives?|gets?|equals?)(?![a-zA-Z])")

# What closes a turn of a chat, where decoding kept it.
_MARKERS = re.compile(r"(?:\s*(?:<[|｜][^<>|｜\n]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>))+\s*$")
_TAGGED = re.compile(r"<answer>\s*((?:(?!</?answer>).)*?\S)\s*</answer>", re.DOTALL)
# A gold of several sentences is a worked solution; "x, where x is any integer" is not.
_SOLUTION = re.compile(r"[a-z]{2,}.{10,}\.\s+[A-Z].{10,}", re.DOTALL)
# Two words in a row, outside commands and text in formulas, make a sentence.
_SENTENCE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z']{2,}[,:]?\s+(?:[a-zA-Z']{2,}\s+)*[a-zA-Z']{2,}")
_NOT_TEXT = re.compile(r"\\[a-zA-Z]+\s*(?:\{[^{}]*\})?|\b(?:and|or|percent|square|degrees)\b")


def read_answer(output: str, gold: str, reading: Reading = "box") -> str | None:
    """The answer in an output, or None where there is none, or one that is too long to be one (longer than the gold,
    too).

    A run of boxes is one list where the gold has as many answers, and else its last box is the answer.
    """
    output = undamaged(output)
    answer = _boxed(output, gold)
    if answer is None and reading == "final":
        answer = _final_list(output, _count(gold)) or final_answer(output)
    longest = max(MAX_ANSWER, len(gold))
    return None if answer is None or len(answer) > longest else answer


def read_gold(gold: str, reading: Reading = "box") -> str:
    """What a gold says: itself, or the content of its boxes if it is a worked solution."""
    gold = undamaged(gold)
    if boxes := final_boxes(gold):
        return ", ".join(boxes)
    return final_answer(gold) or gold if reading == "final" and _SOLUTION.search(gold) else gold


def _boxed(output: str, gold: str) -> str | None:
    last = last_boxed(output)
    if last is not None and _NEARLY_BOX.search(output):
        return r" \approx ".join(final_boxes(output, joint=NEARLY))
    if last is None or output.count("boxed") < 2 or not any(mark in gold for mark in ",;"):
        return last
    boxes = final_boxes(output)
    return ", ".join(boxes) if 1 < len(boxes) == _count(gold) else last


def _count(gold: str) -> int:
    try:
        shape = read(gold)
    except RecursionError:
        return 1
    return len(shape.items) if isinstance(shape, Group) and shape.brackets in ("", "{}") else 1


def without_markers(output: str) -> str:
    """An output without the marks that close a turn of a chat."""
    tail = output[-200:]
    return output[: len(output) - len(tail)] + _MARKERS.sub("", tail) if tail.rstrip().endswith((">", "｜")) else output


def _final_list(output: str, count: int) -> str | None:
    """The last values of an output if they are as many as the gold's answers, with nothing but commas, "and" and "or"
    between.
    """
    if count < 2:
        return None
    text = without_markers(output[-_WINDOW:]).replace("$", " ")
    values = list(_VALUE.finditer(text))[-count:]
    between = [text[left.end() : right.start()] for left, right in pairwise(values)]
    if len(values) < count or not all(map(_BETWEEN.fullmatch, between)):
        return None
    return ", ".join(value.group() for value in values)


def final_answer(output: str) -> str | None:
    """The answer of an output without a box, see ``final`` above; None where it has no number and no formula."""
    text = without_markers(output[-_WINDOW:]).strip()
    if tagged := _TAGGED.findall(text):
        return _sole(tagged[-1]) or tagged[-1]
    stated = [
        match.group("answer").strip() for match in _STATED.finditer(text) if re.search(r"\w", match.group("answer"))
    ]
    if not stated:
        return _sole(text)
    said = _REASON.sub("", stated[-1]) or stated[-1]
    return _sole(said) or said


def _sole(text: str) -> str | None:
    """All of a text if it is an answer, else its last formula or number, whichever comes later."""
    if (opening := _THEREFORE.match(text)) is not None:
        text = text[opening.end() :]
    if not text:
        return None
    formulas = list(_FORMULA.finditer(text))
    plain = _NOT_TEXT.sub(" ", _FORMULA.sub(" ", text))
    if len(text) <= MAX_ANSWER and not _SENTENCE.search(plain) and not _VERB.search(plain) and "\n" not in text.strip():
        return text.rstrip(". ") or None
    last = formulas[-1] if formulas else None
    numbers = list(_VALUE.finditer(text, last.end() if last else 0))
    if numbers:
        return numbers[-1].group()
    return next(filter(None, last.groups())).strip() if last else None
