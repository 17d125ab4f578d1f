r"""Whether an answer says what the gold says: shapes are compared here, expressions and relations by the ``Leaves``
that are given.

The gold's form decides how an answer of two readings is read: ``1,234`` is a number where the gold is one, two answers
where it is several. The rules stand with their reasons in ``docs/grading.md``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Protocol

from rlbench.grading import numbers, restrict, sets
from rlbench.grading.approximate import consistent, in_order, rounds
from rlbench.grading.names import is_name, is_symbol
from rlbench.grading.normalise import normalise
from rlbench.grading.numbers import Number
from rlbench.grading.structure import (
    Approximate,
    Builder,
    Condition,
    Congruence,
    Group,
    Leaf,
    Matrix,
    Minus,
    Named,
    Node,
    Ratio,
    Relation,
    Union,
    read,
    split,
)
from rlbench.grading.structure import parse as parse_structure
from rlbench.grading.units import conflict, is_degrees
from rlbench.grading.words import choice, in_words, named_in_a_sentence, word
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

    def value(self, text: str) -> Number | None:
        """The real number that an expression is, or None where it is none. Raises as ``equal`` does."""
        ...


_BASE = re.compile(r"[-+]?\s*([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)_\{?\s*([0-9]+)\s*\}?")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_CLOCK = re.compile(r"(?:[01]?[0-9]|2[0-4])\s*:\s*[0-5][0-9]")
_LABEL = re.compile(
    r"\s*\\(?:text(?:bf|rm)?|math(?:rm|bf))\s*\{\s*\([A-J]\)\s*(?:\}|(?P<inside>[^{}]*)\})(?:\\|~|\s)*(?=\S)"
)


def compact(text: str) -> str:
    """A normalised text without the spaces and the braces that change nothing, so that equal ones are equal strings.

    A space between two digits does change something: ``4 4`` is no 44, and what groups thousands is gone already.
    """
    text = re.sub(r"\{([0-9a-zA-Z])\}", r"\1", re.sub(r"\\text\{([^{}]*)\}", r"\1", text))
    return re.sub(r"(?<![0-9])\s+|\s+(?![0-9])", "", text).rstrip(".")


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
    if (chosen := choice(left, answer)) is not None:
        return chosen
    words = word(left), word(right)
    if words[0] is not None and words[0] == words[1]:
        return "correct"
    if named_in_a_sentence(left, right):
        return "correct"
    if (verdict := in_words(*words)) is not None:
        return verdict
    try:
        # The letter of a choice before a value says which choice has it.
        expected, found = read(gold), read(_LABEL.sub(lambda label: label["inside"] or "", answer, count=1))
        if same(expected, found, leaves):
            return "correct"
        return "wrong" if readable(found) else "unparsed"
    except (Unreadable, RecursionError):
        return "unparsed"


def readable(node: Node) -> bool:
    """Whether nothing in an answer is refused (prose, code, an astronomical number)."""
    if isinstance(node, Leaf):
        return _passes(node.text)
    if isinstance(node, Named):
        return readable(node.value)
    if isinstance(node, Approximate):
        return readable(node.exact) and readable(node.rounded)
    if isinstance(node, Minus):
        return readable(node.whole) and readable(node.without)
    if isinstance(node, Builder):
        return readable(node.condition)
    if isinstance(node, Congruence):
        return readable(node.residue) and readable(node.modulus)
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
    gold, answer = _without_domain(gold, answer), _without_domain(answer, gold)
    if (one := same_sets(gold, answer, leaves)) is not None:
        return one
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _same_named(gold, answer, leaves)
    if isinstance(gold, Approximate) or isinstance(answer, Approximate):
        return same_approximate(gold, answer, leaves, same)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relation(gold, answer, leaves)
    if isinstance(gold, Congruence) or isinstance(answer, Congruence):
        return same_congruence(gold, answer, leaves, same)
    gold, answer = _read_alike(gold, answer), _decimal_comma(_read_alike(answer, gold), gold)
    if isinstance(gold, Leaf) and isinstance(answer, Leaf):
        return same_leaf(gold, answer, leaves)
    if isinstance(gold, Group) and isinstance(answer, Group):
        return _same_group(gold, answer, leaves)
    if isinstance(answer, Group) and not answer.brackets and (value := one_value(answer, leaves)) is not None:
        return same(gold, value, leaves)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _same_ratio(gold, answer, leaves)
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return _same_matrix(gold, answer, leaves)
    return _same_parts(gold, answer, leaves)


def _without_domain(node: Node, other: Node) -> Node:
    r"""``x = k\pi, k \in \mathbb{Z}`` without its last part, where the other side leaves it out."""
    if not _has_domain(node) or _has_domain(other):
        return node
    assert isinstance(node, Group)
    return node.items[0] if len(node.items) == 2 else Group("", node.items[:-1], node.text)


def _has_domain(node: Node) -> bool:
    if not isinstance(node, Group) or node.brackets or len(node.items) < 2:
        return False
    last = node.items[-1]
    if not isinstance(last, Named) or last.sign != r"\in" or not isinstance(last.value, Leaf):
        return False
    return last.value.text in (r"\mathbb{Z}", r"\mathbb{N}")


def same_sets(gold: Node, answer: Node, leaves: Leaves) -> bool | None:
    """Whether two sets of numbers are one; None where neither has to be a set, or one cannot be read as a set of
    numbers.
    """
    if not (sets.is_set(gold) or sets.is_set(answer)):
        return None
    expected = sets.read(gold, leaves.value)
    found = sets.read(answer, leaves.value) if expected is not None else None
    if expected is None or found is None:
        return None
    if max(len(expected[1]), len(found[1])) > 1:
        return None
    if len(expected[1] | found[1]) > 1:
        return False  # of different symbols
    return sets.equal(expected[0], found[0])


def same_approximate(gold: Node, answer: Node, leaves: Leaves, same: Same) -> bool:
    r"""Whether one value is the other, where one or both are written with their rounding, ``\frac{70}{9} \approx
    7.78``.

    A gold is either of its members. An answer has to be right in both: its exact value decides, and where the gold is
    rounded itself, that gold has to be a rounding of it.
    """
    if isinstance(answer, Approximate):
        exact, rounded = in_order(answer.exact, answer.rounded)
        if not consistent(exact, rounded, leaves.value):
            return False
        if isinstance(gold, Approximate):
            return same_approximate(gold, exact, leaves, same) or same_approximate(gold, rounded, leaves, same)
        return same(gold, exact, leaves) or (rounds(exact, gold, leaves.value) and same(gold, rounded, leaves))
    assert isinstance(gold, Approximate)
    return same(gold.exact, answer, leaves) or same(gold.rounded, answer, leaves)


def same_congruence(gold: Node, answer: Node, leaves: Leaves, same: Same) -> bool:
    """Whether two residues are one; who leaves the modulus out means the residue itself."""
    if isinstance(gold, Congruence) and isinstance(answer, Congruence):
        residues, moduli = (
            [_value(part) for part in parts] for parts in zip(_parts(gold), _parts(answer), strict=True)
        )
        one, other = residues
        modulus = moduli[0] if moduli[0] == moduli[1] else None
        if modulus and one is not None and other is not None:
            return (one - other) % modulus == 0
        return same(gold.residue, answer.residue, leaves) and same(gold.modulus, answer.modulus, leaves)
    left, right = (node.residue if isinstance(node, Congruence) else node for node in (gold, answer))
    return same(left, right, leaves)


def _parts(congruence: Congruence) -> tuple[Node, Node]:
    return congruence.residue, congruence.modulus


def one_value(answer: Group, leaves: Leaves) -> Node | None:
    r"""The one value that a list holds in two spellings, as ``\frac{2}{3}`` or ``0.667`` do; None where there are
    several.
    """
    if len(answer.items) != 2:
        return None
    exact, rounded = in_order(*answer.items)
    if rounds(exact, rounded, leaves.value, digits=3):
        return Approximate(exact, rounded, answer.text)
    return None


def _same_parts(gold: Node, answer: Node, leaves: Leaves) -> bool:
    """Sets that are no sets of real numbers, by their parts."""
    if isinstance(gold, Union) or isinstance(answer, Union):
        return _same_union(gold, answer, leaves)
    if isinstance(gold, Minus) and isinstance(answer, Minus):
        return same(gold.whole, answer.whole, leaves) and same(gold.without, answer.without, leaves)
    if isinstance(gold, Condition) and isinstance(answer, Condition):
        return gold.sign == answer.sign and _matched(gold.items, answer.items, leaves)
    if isinstance(gold, Builder) and isinstance(answer, Builder):
        if (gold.domain is None) != (answer.domain is None) or gold.name != answer.name:
            return False
        domains = gold.domain is None or answer.domain is None or same(gold.domain, answer.domain, leaves)
        return domains and same(gold.condition, answer.condition, leaves)
    return False


def _same_union(gold: Node, answer: Node, leaves: Leaves) -> bool:
    gold, answer = _merged(gold), _merged(answer)
    if isinstance(gold, Union) and isinstance(answer, Union):
        return gold.sign == answer.sign and _matched(gold.items, answer.items, leaves)
    return isinstance(gold, Group) and isinstance(answer, Group) and _same_group(gold, answer, leaves)


def _merged(node: Node) -> Node:
    """A union of finite sets as the one set that it is."""
    if not isinstance(node, Union) or node.sign != r"\cup":
        return node
    members = [item for part in node.items if isinstance(part, Group) and part.brackets == "{}" for item in part.items]
    others = [part for part in node.items if not (isinstance(part, Group) and part.brackets == "{}")]
    return node if others else Group("{}", tuple(members), node.text)


def _same_matrix(gold: Matrix, answer: Matrix, leaves: Leaves) -> bool:
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows] or gold.order != answer.order:
        return False
    if gold.order:
        return all(_in_order(left, right, leaves) for left, right in zip(gold.rows, answer.rows, strict=True))
    rest = list(answer.rows)
    for row in gold.rows:
        found = next((other for other in rest if _in_order(row, other, leaves)), None)
        if found is None:
            return False
        rest.remove(found)
    return True


def _read_alike(node: Node, other: Node) -> Node:
    """A node in the reading that the other suggests, where it has two."""
    if (one := alone(node, other)) is not node:
        return one
    if isinstance(node, Leaf) and node.grouped and isinstance(other, Group) and not other.brackets:
        parts = split(node.grouped, ",")
        return Group("", tuple(parse_structure(part) for part in parts), node.grouped)
    return node


def alone(node: Node, other: Node) -> Node:
    r"""The only member of a set where the other is no set: ``\{5\}`` and 5 are one answer."""
    if isinstance(node, Group) and len(node.items) == 1 and isinstance(other, Leaf) and not sets.is_set(node.items[0]):
        return node.items[0]
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
    # Of cot x = z the right side may be the name as well.
    either = (
        isinstance(named.value, Leaf) and named.sign == "=" and is_name(named.value.text) and not is_symbol(named.name)
    )
    values = [named.value, parse_structure(named.name)] if either else [named.value]
    pairs = [(value, other) if named is gold else (other, value) for value in values]
    return any(same(left, right, leaves) for left, right in pairs)


def _same_relation(gold: Node, answer: Node, leaves: Leaves) -> bool:
    both = isinstance(gold, Relation) and isinstance(answer, Relation)
    other = answer if isinstance(gold, Relation) else gold
    if same_identity(gold, answer, leaves, same):
        return True
    interval = isinstance(other, Union) or (isinstance(other, Group) and other.brackets not in ("", "{}"))
    return leaves.related(_text(gold), _text(answer)) if both or interval else False


def same_identity(gold: Node, answer: Node, leaves: Leaves, same: Same) -> bool:
    """Whether an identity, ``x^2 - 1 = (x - 1)(x + 1)``, is a way to the gold, its right side. An equation that is
    none stands for nothing.
    """
    if not isinstance(answer, Relation) or len(answer.sides) != 2 or not isinstance(gold, Leaf):
        return False
    left, right = map(parse_structure, answer.sides)
    return same(gold, right, leaves) and same(right, left, leaves)


def _text(node: Node) -> str:
    return node.text if not isinstance(node, Ratio | Matrix) else ""


class Same(Protocol):
    """A comparison of two structures; each grader has its own."""

    def __call__(self, gold: Node, answer: Node, leaves: Leaves) -> bool:
        """Whether they are one."""
        ...


def _same_group(gold: Group, answer: Group, leaves: Leaves) -> bool:
    if gold.brackets == answer.brackets and gold.brackets not in ("", "{}"):
        return _in_order(gold.items, answer.items, leaves)
    if {gold.brackets, answer.brackets} == {"", "()"}:  # a tuple whose parentheses were left out
        return _in_order(gold.items, answer.items, leaves)
    if {gold.brackets, answer.brackets} <= {"", "{}"}:
        if "{}" in (gold.brackets, answer.brackets) and len(gold.items) != len(answer.items):
            return _matched(_without_repeats(gold.items, leaves), _without_repeats(answer.items, leaves), leaves)
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


def _without_repeats(items: tuple[Node, ...], leaves: Leaves) -> tuple[Node, ...]:
    """The members of a set, each once."""
    found: list[Node] = []
    for item in items:
        if not any(same(other, item, leaves) for other in found):
            found.append(item)
    return tuple(found)


def _same_ratio(gold: Node, answer: Node, leaves: Leaves) -> bool:
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.items) != len(answer.items):
            return False
        values = [[_value(item) for item in ratio.items] for ratio in (gold, answer)]
        if (
            None in values[0]
            or None in values[1]
            or 0 in values[0]
            or 0 in values[1]
            or (_clock(gold) and _clock(answer))
        ):
            return _in_order(gold.items, answer.items, leaves)
        return all(a * values[1][0] == b * values[0][0] for a, b in zip(*values, strict=True))
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if not isinstance(ratio, Ratio) or len(ratio.items) != 2 or not isinstance(other, Leaf):
        return False
    above, below = ratio.items
    if not isinstance(above, Leaf) or not isinstance(below, Leaf):
        return False
    quotient = Leaf(rf"\frac{{{above.text}}}{{{below.text}}}")
    return same_leaf(quotient, other, leaves) if ratio is gold else same_leaf(other, quotient, leaves)


def _value(node: Node) -> Fraction | None:
    number = numbers.read(node.text) if isinstance(node, Leaf) and not node.percent else None
    return None if number is None or number.error else number.value


def _clock(ratio: Ratio) -> bool:
    """4:30 is a time as well as a ratio, and 2:15 is not it; 6:4 and 25:85 are ratios."""
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
        return leaves.equal(gold.text, answer.text) or same_angle(gold, answer, leaves)
    # 50% is 50 where percents were asked for, and 0.5 where a proportion was.
    if gold.percent:
        return leaves.equal(gold.text, answer.text) or leaves.equal(rf"\frac{{{gold.text}}}{{100}}", answer.text)
    return leaves.equal(gold.text, answer.text) or leaves.equal(gold.text, rf"\frac{{{answer.text}}}{{100}}")


def same_angle(gold: Leaf, answer: Leaf, leaves: Leaves) -> bool:
    r"""60 degrees are ``\frac{\pi}{3}``: where one side says degrees and the other is a multiple of pi."""
    if is_degrees(gold.unit) and r"\pi" in answer.text and not is_degrees(answer.unit):
        return leaves.equal(rf"\frac{{{gold.text}\pi}}{{180}}", answer.text)
    if is_degrees(answer.unit) and r"\pi" in gold.text and not is_degrees(gold.unit):
        return leaves.equal(gold.text, rf"\frac{{{answer.text}\pi}}{{180}}")
    return False


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

    def value(self, text: str) -> Number | None:
        try:
            found = numbers.read(text)
        except numbers.TooLarge:
            raise Undecided from None
        if found is None:
            raise Undecided
        return found


def grade_fast(gold: str, answer: str) -> Verdict | None:
    """The verdict without math-verify, or None where it has to be asked."""
    try:
        return grade(gold, answer, FastLeaves())
    except Undecided:
        return None
