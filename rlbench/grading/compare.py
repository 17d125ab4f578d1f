r"""Whether an answer says what the gold says: shapes are compared here, expressions and relations by the ``Leaves``
that are given.

The gold's form decides how an answer of two readings is read: ``1,234`` is a number where the gold is one, two answers
where it is several. The rules stand with their reasons in ``docs/grading.md``.
"""

from __future__ import annotations

import re
from typing import Protocol

from rlbench.grading import numbers, restrict
from rlbench.grading.normalise import normalise
from rlbench.grading.structure import Group, Leaf, Matrix, Named, Node, Ratio, Relation, Union, read, split
from rlbench.grading.structure import parse as parse_structure
from rlbench.grading.units import conflict
from rlbench.records import Verdict


class Unreadable(Exception):
    """A part of the answer is not mathematics that can be read."""


class Undecided(Exception):
    """The fast path cannot tell; the slow one has to."""


class Leaves(Protocol):
    """Compares what has no shape of its own. Texts are normalised, without units and percent signs."""

    def equal(self, gold: str, answer: str) -> bool:
        """Whether two expressions have one value. Raises Unreadable (the answer is none), Undecided
        (the fast path's).
        """
        ...

    def related(self, gold: str, answer: str) -> bool:
        """Whether two relations (or one and an interval) hold for the same values. Raises as ``equal`` does."""
        ...


_WORD = re.compile(r"[a-zA-Z][a-zA-Z' -]*")
_BASE = re.compile(r"([0-9A-Za-z]+)_\{?\s*([0-9]+)\s*\}?")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_CLOCK = re.compile(r"[0-9]{1,2}\s*:\s*[0-9]{2}")


def compact(text: str) -> str:
    """A normalised text without the spaces and the braces that change nothing, so that equal ones are equal strings.

    A space between two digits does change something: ``4 4`` is no 44, and what groups thousands is gone already.
    """
    text = re.sub(r"\{([0-9a-zA-Z])\}", r"\1", re.sub(r"\\text\{([^{}]*)\}", r"\1", text))
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text).rstrip(".")


def word(text: str) -> str | None:
    r"""An answer in words (``ellipse``, ``\text{(B)}``), lower-cased; None where a normalised text is none, or one
    letter.
    """
    bare = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip(" (){}[]\"'")
    if _WORD.fullmatch(bare) is None or sum(char.isalpha() for char in bare) < 2:
        return None
    return " ".join(bare.lower().replace("-", " ").split())


def grade(gold: str, answer: str, leaves: Leaves) -> Verdict:
    """The verdict on an answer as it was written: ``correct``, ``wrong`` or ``unparsed``.

    Raises:
        Undecided: ``leaves`` are those of the fast path, which cannot tell.
    """
    if len(gold) > restrict.MAX_LENGTH or len(answer) > restrict.MAX_LENGTH:
        # Beyond what is parsed: only its own text is such a gold, and no longer answer is anything.
        return (
            "correct"
            if gold.split() == answer.split()
            else "wrong"
            if len(answer) <= restrict.MAX_LENGTH
            else "unparsed"
        )
    left, right = normalise(gold), normalise(answer)
    if not right:
        return "unparsed"
    if left == right or compact(left) == compact(right):
        return "correct"
    words = word(left), word(right)
    if words[0] is not None and words[0] == words[1]:
        return "correct"
    if (verdict := _in_words(*words)) is not None:
        return verdict
    try:
        expected, found = read(gold), read(answer)
        if same(expected, found, leaves):
            return "correct"
        return "wrong" if readable(found) else "unparsed"
    except (Unreadable, RecursionError):
        return "unparsed"


def _in_words(gold: str | None, answer: str | None) -> Verdict | None:
    # Up to three letters may be a product: xy is yx.
    if gold is not None and len(gold) > 3:
        return "wrong"
    return "unparsed" if answer is not None and len(answer) > 3 else None


def readable(node: Node) -> bool:
    """Whether nothing in an answer is refused (prose, code, an astronomical number)."""
    if isinstance(node, Leaf):
        return _passes(node.text)
    if isinstance(node, Named):
        return readable(node.value)
    if isinstance(node, Relation):
        return _passes(node.text)
    items = [item for row in node.rows for item in row] if isinstance(node, Matrix) else node.items
    return all(readable(item) for item in items)


def _passes(text: str) -> bool:
    try:
        if numbers.read(text) is None:
            restrict.check(text)
    except (numbers.TooLarge, restrict.Refused):
        return False
    return bool(text)


def same(gold: Node, answer: Node, leaves: Leaves) -> bool:
    """Whether two structures are one; see ``Leaves`` for what it raises."""
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _same_named(gold, answer, leaves)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relation(gold, answer, leaves)
    gold, answer = _read_alike(gold, answer), _decimal_comma(_read_alike(answer, gold), gold)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        return same_leaf(gold, answer, leaves)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _same_group(gold, answer, leaves)
    if isinstance(gold, Union) and isinstance(answer, Union):
        return _matched(gold.items, answer.items, leaves)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _same_ratio(gold, answer, leaves)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        shapes = [[len(row) for row in matrix.rows] for matrix in (gold, answer)]
        pairs = zip(gold.rows, answer.rows, strict=False)
        return shapes[0] == shapes[1] and all(_in_order(left, right, leaves) for left, right in pairs)
    return False


def _read_alike(node: Node, other: Node) -> Node:
    """A node in the reading that the other suggests, where it has two."""
    if isinstance(node, Group) and len(node.items) == 1 and isinstance(other, Leaf):
        return node.items[0]  # {5} and 5 are one answer
    if isinstance(node, Leaf) and node.grouped and isinstance(other, Group) and not other.brackets:
        parts = split(node.grouped, ",")
        return Group("", tuple(parse_structure(part) for part in parts), node.grouped)
    return node


def _decimal_comma(answer: Node, gold: Node) -> Node:
    """``1000,99`` as a decimal where the gold is one; a gold ``1,22`` stays two answers, as most golds with a comma
    are.
    """
    if isinstance(answer, Group) and isinstance(gold, Leaf) and _COMMA.fullmatch(answer.text) and "." in gold.text:
        return Leaf(answer.text.replace(",", "."))
    return answer


def _same_named(gold: Node, answer: Node, leaves: Leaves) -> bool:
    if isinstance(gold, Named) and isinstance(answer, Named):
        names = compact(gold.name), compact(answer.name)
        if names[0] == names[1] or "" in names:
            return same(gold.value, answer.value, leaves)
        return leaves.related(gold.text, answer.text)
    named, other = (gold, answer) if isinstance(gold, Named) else (answer, gold)
    assert isinstance(named, Named)
    if isinstance(other, Relation):
        return leaves.related(_text(gold), _text(answer))
    return same(named.value, other, leaves) if named is gold else same(other, named.value, leaves)


def _same_relation(gold: Node, answer: Node, leaves: Leaves) -> bool:
    both = isinstance(gold, Relation) and isinstance(answer, Relation)
    other = answer if isinstance(gold, Relation) else gold
    interval = isinstance(other, Union) or (isinstance(other, Group) and other.brackets not in ("", "{}"))
    return leaves.related(_text(gold), _text(answer)) if both or interval else False


def _text(node: Node) -> str:
    return node.text if not isinstance(node, Ratio | Matrix) else ""


def _same_group(gold: Group, answer: Group, leaves: Leaves) -> bool:
    if gold.brackets == answer.brackets and gold.brackets not in ("", "{}"):
        return _in_order(gold.items, answer.items, leaves)
    if {gold.brackets, answer.brackets} == {"", "()"}:  # a tuple whose parentheses were left out
        return _in_order(gold.items, answer.items, leaves)
    if {gold.brackets, answer.brackets} <= {"", "{}"}:
        return _matched(gold.items, answer.items, leaves)
    return False


def _in_order(gold: tuple[Node, ...], answer: tuple[Node, ...], leaves: Leaves) -> bool:
    return len(gold) == len(answer) and all(same(left, right, leaves) for left, right in zip(gold, answer, strict=True))


def _matched(gold: tuple[Node, ...], answer: tuple[Node, ...], leaves: Leaves) -> bool:
    """Whether the members are one to one the same, in any order."""
    if len(gold) != len(answer):
        return False
    rest = list(answer)
    for member in gold:
        found = next((index for index, other in enumerate(rest) if same(member, other, leaves)), None)
        if found is None:
            return False
        del rest[found]
    return True


def _same_ratio(gold: Node, answer: Node, leaves: Leaves) -> bool:
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.items) != len(answer.items):
            return False
        values = [[_value(item) for item in ratio.items] for ratio in (gold, answer)]
        if None in values[0] or None in values[1] or 0 in values[0] or 0 in values[1] or _clock(gold) or _clock(answer):
            return _in_order(gold.items, answer.items, leaves)
        return all(a * values[1][0] == b * values[0][0] for a, b in zip(*values, strict=True))  # type: ignore[operator]
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if not isinstance(ratio, Ratio) or len(ratio.items) != 2 or not isinstance(other, Leaf):
        return False
    if not all(isinstance(item, Leaf) for item in ratio.items):
        return False
    quotient = Leaf(rf"\frac{{{ratio.items[0].text}}}{{{ratio.items[1].text}}}")  # type: ignore[union-attr]
    return same_leaf(quotient, other, leaves) if ratio is gold else same_leaf(other, quotient, leaves)


def _value(node: Node) -> object:
    number = numbers.read(node.text) if isinstance(node, Leaf) and not node.percent else None
    return None if number is None or number.error else number.value


def _clock(ratio: Ratio) -> bool:
    """4:30 is a time as well as a ratio, and 2:15 is not it."""
    texts = [item.text if isinstance(item, Leaf) else "" for item in ratio.items]
    return _CLOCK.fullmatch(":".join(texts)) is not None


def same_leaf(gold: Leaf, answer: Leaf, leaves: Leaves) -> bool:
    """Whether two expressions are one, with their units, percent signs and bases."""
    if conflict(gold.unit, answer.unit):
        return False
    if gold.percent == answer.percent and compact(gold.text) == compact(answer.text):
        return True
    bases = _BASE.fullmatch(gold.text), _BASE.fullmatch(answer.text)
    if (bases[0] and bases[0].group(1)[0].isdigit()) or (bases[1] and bases[1].group(1)[0].isdigit()):
        return _same_in_base(gold.text, answer.text)
    if gold.percent == answer.percent:
        return leaves.equal(gold.text, answer.text)
    # 50% is 50 where percents were asked for, and 0.5 where a proportion was.
    if gold.percent:
        return leaves.equal(gold.text, answer.text) or leaves.equal(rf"\frac{{{gold.text}}}{{100}}", answer.text)
    return leaves.equal(gold.text, answer.text) or leaves.equal(gold.text, rf"\frac{{{answer.text}}}{{100}}")


def _same_in_base(gold: str, answer: str) -> bool:
    """1011_2: digits and base have to agree; who leaves the base out means the one that was asked for."""
    (left, base), (right, other) = ((*re.split(r"_\{?", text.rstrip("}")), "")[:2] for text in (gold, answer))
    return left.strip() == right.strip() and (not other or (base.strip() or "10") == other.strip())


class FastLeaves:
    """Decides constants and simple expressions that ``rlbench.grading.numbers`` reads; anything else is Undecided."""

    def equal(self, gold: str, answer: str) -> bool:
        try:
            right = numbers.read(answer)
        except numbers.TooLarge:
            raise Unreadable from None
        try:
            left = numbers.read(gold)
        except numbers.TooLarge:
            raise Undecided from None
        try:
            agreed = numbers.identical(gold, answer) if left is None or right is None else numbers.agree(left, right)
        except numbers.TooLarge:
            raise Undecided from None
        if agreed is None:
            raise Undecided
        return agreed

    def related(self, gold: str, answer: str) -> bool:
        raise Undecided


def grade_fast(gold: str, answer: str) -> Verdict | None:
    """The verdict without math-verify, or None where it has to be asked."""
    try:
        return grade(gold, answer, FastLeaves())
    except Undecided:
        return None
