r"""Pairs of a gold and an answer that are, or are not, one: drawn kind by kind, with a truth that is known before
anything grades them.

Each kind is a function of a source of randomness that returns a ``Pair``; half of its pairs are right and half are
wrong. The truth comes from how a pair is built (integers, exact fractions, membership of points), never from a grader.
To add a kind, write such a function with ``@kind``; ``test_grading_kinds.py`` draws from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random

from hypothesis import strategies as st


@dataclass(frozen=True)
class Pair:
    """What a gold says, what an output answers, and whether that is the same."""

    gold: str
    answer: str
    same: bool


Kind = Callable[[Random], Pair]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    """Register a kind under its function's name."""
    KINDS[function.__name__] = function
    return function


def pairs(name: str) -> st.SearchStrategy[Pair]:
    """The pairs of a kind; equal seeds give equal pairs."""
    return st.integers(0, 2**32 - 1).map(lambda seed: KINDS[name](Random(f"{name}/{seed}")))


def _fraction(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _coin(draw: Random) -> bool:
    return draw.random() < 0.5


def _integer(draw: Random, low: int = -12, high: int = 12, without: tuple[int, ...] = ()) -> int:
    return draw.choice([n for n in range(low, high + 1) if n not in without])


def _proper(draw: Random) -> Fraction:
    bottom = draw.choice((3, 6, 7, 9, 11, 12, 13))
    return Fraction(draw.choice([n for n in range(1, 90) if math.gcd(n, bottom) == 1]), bottom)


def _exact(draw: Random) -> tuple[str, float]:
    """An irrational or fractional constant as LaTeX writes it, and about its value."""
    form = draw.randrange(4)
    if form == 0:
        value = _proper(draw)
        return _fraction(value), float(value)
    root = draw.choice((2, 3, 5, 6, 7, 10, 11))
    factor = draw.randint(2, 20)
    if form == 1:
        return rf"{factor}\sqrt{{{root}}}", factor * math.sqrt(root)
    if form == 2:
        bottom = draw.choice((3, 7, 9))
        return rf"\frac{{{factor}\pi}}{{{bottom}}}", factor * math.pi / bottom
    return rf"{factor} + \sqrt{{{root}}}", factor + math.sqrt(root)


# An exact value and its rounding ------------------------------------------------------------------------------------

_BESIDE = (
    r"{} \approx {}",
    r"{}\approx{}",
    r"x = {} \approx {}",
    r"{} (\approx {})",
    r"{} \; (\approx {})",
    r"{} = {}",
    r"{} \text{{ or approximately }} {}",
    r"{} ≈ {}",
    r"{} \simeq {}",
)


@kind
def approximation(draw: Random) -> Pair:
    exact, value = _exact(draw)
    rounded = f"{value:.{draw.choice((2, 3, 4))}f}"
    beside = draw.choice(_BESIDE)
    gold = draw.choice((exact, exact, rounded, rf"{exact} \approx {rounded}"))
    if _coin(draw):
        return Pair(gold, draw.choice((beside.format(exact, rounded), rf"{rounded} \approx {exact}")), True)
    other, far = _exact(draw)
    while abs(far - value) < 0.05 * value:
        other, far = _exact(draw)
    # A wrong exact value, whether its rounding is its own or the right one.
    return Pair(gold, beside.format(other, draw.choice((rounded, f"{far:.3f}"))), False)


# Sets of numbers ----------------------------------------------------------------------------------------------------

_GRID = [Fraction(n, 2) for n in range(-42, 43)]
Piece = tuple[int | None, int | None, bool, bool]  # low, high (None: infinite), closed there


def _inside(pieces: list[Piece], x: Fraction) -> bool:
    return any(
        (low is None or low < x or (low == x and left)) and (high is None or x < high or (high == x and right))
        for low, high, left, right in pieces
    )


def _member(pieces: list[Piece]) -> list[bool]:
    return [_inside(pieces, x) for x in _GRID]


def _interval(piece: Piece) -> str:
    low, high, left, right = piece
    ends = ("-\\infty" if low is None else str(low), "\\infty" if high is None else str(high))
    return f"{'[' if left and low is not None else '('}{ends[0]}, {ends[1]}{']' if right and high is not None else ')'}"


def _inequality(draw: Random, piece: Piece, name: str) -> str:
    low, high, left, right = piece
    less = {True: draw.choice((r"\le", r"\leq", "≤", "<=")), False: "<"}
    more = {True: draw.choice((r"\ge", r"\geq", "≥", ">=")), False: ">"}
    if low is None and high is None:
        return rf"{name} \in \mathbb{{R}}"
    if low is None:
        return draw.choice((f"{name} {less[right]} {high}", f"{high} {more[right]} {name}"))
    if high is None:
        return draw.choice((f"{name} {more[left]} {low}", f"{low} {less[left]} {name}"))
    chain = f"{low} {less[left]} {name} {less[right]} {high}"
    both = rf"{name} {more[left]} {low} \text{{ and }} {name} {less[right]} {high}"
    return draw.choice((chain, chain, both))


def _pieces(draw: Random) -> list[Piece]:
    """Disjoint intervals with room between them, in order."""
    ends = sorted(draw.sample(range(-18, 19), 4))
    count = draw.choice((1, 2, 2))
    found: list[Piece] = [(ends[2 * at], ends[2 * at + 1], _coin(draw), _coin(draw)) for at in range(count)]
    if _coin(draw):
        found[0] = (None, *found[0][1:])
    if _coin(draw):
        low, _, left, right = found[-1]
        found[-1] = (low, None, left, right)
    return found


def _spelled_set(draw: Random, pieces: list[Piece], name: str) -> str:
    """A union of intervals in some order, cut and overlapping now and then, or the same as inequalities."""
    parts = list(pieces)
    if _coin(draw):
        low, high, left, right = parts[0]
        if low is not None and high is not None and high - low > 3:
            parts[0:1] = [(low, high - 1, left, True), (low + 1, high, _coin(draw), right)]
    draw.shuffle(parts)
    form = draw.randrange(5)
    if form == 0:
        return r" \text{ or } ".join(_inequality(draw, part, name) for part in parts)
    if form == 1:
        return r" \lor ".join(_inequality(draw, part, name) for part in parts)
    if form == 2:
        return rf"\{{{name} : {' or '.join(_inequality(draw, part, name) for part in parts)}\}}"
    union = draw.choice((r" \cup ", "∪", r"\cup")).join(map(_interval, parts))
    return union if form == 3 else rf"{name} \in {union}"


@kind
def unions_of_intervals(draw: Random) -> Pair:
    pieces = _pieces(draw)
    others = list(pieces)
    if not _coin(draw):
        at = draw.randrange(len(others))
        low, high, left, right = others[at]
        if high is not None:
            others[at] = draw.choice(((low, high, left, not right), (low, high + 1, left, right)))
        elif low is not None:
            others[at] = draw.choice(((low, high, not left, right), (low - 1, high, left, right)))
    gold = draw.choice((" \\cup ".join(map(_interval, pieces)), _spelled_set(draw, pieces, "x")))
    answer = _spelled_set(draw, others, "x")
    bare = [text for text in (gold, answer) if text.startswith("(") and "cup" not in text and "infty" not in text]
    if len(bare) == 2 and "∪" not in gold + answer:
        gold = rf"x \in {gold}"  # two pairs of numbers could be points as well
    return Pair(gold, answer, _member(pieces) == _member(others))


@kind
def without_points(draw: Random) -> Pair:
    points = sorted(draw.sample(range(-9, 10), draw.choice((1, 1, 2))))
    others = points if _coin(draw) else sorted({points[0] + draw.choice((-1, 1)), *points[1:]})
    listed, parts = ", ".join(map(str, points)), [None, *points, None]
    cut = r"\cup".join(_interval((low, high, False, False)) for low, high in pairwise(parts))
    gold = draw.choice((cut, rf"\mathbb{{R}} \setminus \{{{listed}\}}"))
    listed = ", ".join(map(str, others))
    spelled = [
        rf"\mathbb{{R}} \setminus \{{{listed}\}}",
        rf"ℝ∖{{{listed}}}",
        rf"\mathbb{{R}} - \{{{listed}\}}",
        rf"x \in \mathbb{{R}}\setminus\{{{listed}\}}",
        rf"x \neq {listed}",
        r" \text{ and } ".join(rf"x \ne {point}" for point in others),
        rf"\{{x \in \mathbb{{R}} \mid x \neq {listed}\}}",
        rf"\text{{all real numbers except }} {' and '.join(map(str, others))}",
        rf"(-\infty, \infty) \setminus \{{{listed}\}}",
        rf"x \notin \{{{listed}\}}",
    ]
    return Pair(gold, draw.choice(spelled), others == points)


_NAMES_OF_SETS = {
    "reals": (
        r"\mathbb{R}",
        "ℝ",
        r"\R",
        r"(-\infty, \infty)",
        "(-∞, +∞)",
        r"x \in \mathbb{R}",
        r"-\infty < x < \infty",
        r"\text{all real numbers}",
        r"(-\infty, 2] \cup [1, \infty)",
        "all real numbers",
    ),
    "nothing": (
        r"\emptyset",
        r"\varnothing",
        "∅",
        r"\{\}",
        r"\{ \}",
        r"\text{no solution}",
        "no solutions",
        r"\mathbb{R} \setminus \mathbb{R}",
        r"\{1, 2\} \cap \{3\}",
    ),
    "integers": (r"\mathbb{Z}", "ℤ", r"\Z", r"x \in \mathbb{Z}"),
    "zero": (r"\{0\}", "0", r"x = 0"),
    "positive": (r"(0, \infty)", "x > 0", r"\mathbb{R}^+", r"\{x : x > 0\}", r"0 < x"),
    "not zero": (r"\mathbb{R} \setminus \{0\}", r"x \neq 0", r"(-\infty, 0) \cup (0, \infty)", "x < 0 or x > 0"),
    "not negative": (r"[0, \infty)", r"x \ge 0", r"0 ≤ x < ∞"),
}


@kind
def names_of_sets(draw: Random) -> Pair:
    gold = draw.choice(list(_NAMES_OF_SETS))
    answer = gold if _coin(draw) else draw.choice(list(_NAMES_OF_SETS))
    return Pair(draw.choice(_NAMES_OF_SETS[gold]), draw.choice(_NAMES_OF_SETS[answer]), gold == answer)


@kind
def finite_sets(draw: Random) -> Pair:
    members = {Fraction(n, draw.choice((1, 1, 2, 3))) for n in draw.sample(range(-20, 21), draw.randint(2, 4))}
    members |= {Fraction(25), Fraction(26)} if len(members) < 2 else set()
    others = set(members)
    if not _coin(draw):
        others ^= {draw.choice([*members, Fraction(draw.randint(30, 40))])}
    listed = [_fraction(n) for n in others]
    draw.shuffle(listed)

    def braces(items: list[str]) -> str:
        return rf"\{{{', '.join(items)}\}}"

    cut = draw.randrange(1, len(listed)) if len(listed) > 1 else 1
    spelled = [
        braces(listed),
        braces([*listed, draw.choice(listed)]),
        rf"{braces(listed[:cut])} \cup {braces(listed[cut:] or listed)}",
        rf"{braces(listed[:cut])} \cup {braces(listed)}",
        rf"{braces([*listed, '99'])} \setminus {braces(['99', '98'])}",
        rf"{braces([*listed, '97'])} \cap {braces(['98', *listed])}",
        rf"x \in {braces(listed)}",
        r" \text{ or } ".join(f"x = {item}" for item in listed),
        ", ".join(listed),
    ]
    golds = [braces([_fraction(n) for n in sorted(members)])]
    golds += [" \\text{ or } ".join(f"x = {_fraction(n)}" for n in sorted(members))] if len(members) > 1 else []
    return Pair(draw.choice(golds), draw.choice(spelled), members == others)


@kind
def absolute_values(draw: Random) -> Pair:
    middle, radius = draw.randint(-5, 5), draw.randint(1, 9)
    other = radius if _coin(draw) else radius + draw.choice((-1, 1)) if radius > 1 else radius + 1
    closed, within = _coin(draw), _coin(draw)
    low, high = middle - radius, middle + radius
    inner: list[Piece] = [(low, high, closed, closed)]
    outer: list[Piece] = [(None, low, False, closed), (high, None, closed, False)]
    gold = r" \cup ".join(map(_interval, inner if within else outer))
    moved = "x" if middle == 0 else f"x {'-' if middle > 0 else '+'} {abs(middle)}"
    sign = {(True, True): r"\le", (True, False): "<", (False, True): r"\ge", (False, False): ">"}[within, closed]
    gold = gold if not within else rf"x \in {gold}"
    return Pair(gold, f"|{moved}| {sign} {other}", other == radius)


# Unicode ------------------------------------------------------------------------------------------------------------

_RAISED = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_WIDE = str.maketrans("0123456789+-=(),/", "０１２３４５６７８９＋－＝（），／")
_VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
}
_VULGAR |= {
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅐": (1, 7),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
    "⅑": (1, 9),
    "⅒": (1, 10),
}
_MARKS = (
    "\u200b",
    "\u200e",
    "\u200f",
    "\u202a{}\u202c",
    "\u202d{}\u202c",
    "\u2066{}\u2069",
    "\u2060",
    "\ufeff",
    "\u00a0",
    "\u2009",
)


@kind
def unicode_mathematics(draw: Random) -> Pair:
    n, m, k = *draw.sample(range(2, 30), 2), draw.randint(2, 9)
    vulgar, (top, bottom) = draw.choice(list(_VULGAR.items()))
    letter, greek = (
        draw.choice((("π", r"\pi"), ("θ", r"\theta"), ("α", r"\alpha"), ("λ", r"\lambda"))),
        draw.choice("xyn"),
    )
    forms = [
        (f"{n}^{{{m}}}", f"{n}{str(m).translate(_RAISED)}"),
        (f"x^{{{m}}} + {k}", f"x{str(m).translate(_RAISED)} + {k}"),
        (f"{n} \\cdot {greek}^{{-{k}}}", f"{n}·{greek}{f'-{k}'.translate(_RAISED)}"),
        (f"a_{{{n}}} + {k}", f"a{str(n).translate(_LOWERED)} + {k}"),
        (rf"\frac{{{top}}}{{{bottom}}}", vulgar),
        (rf"-\frac{{{top}}}{{{bottom}}}", f"−{vulgar}"),
        (rf"{n}\frac{{{top}}}{{{bottom}}}", f"{n}{vulgar}"),
        (rf"\frac{{{n}}}{{{m}}}", f"{n}⁄{m}"),
        (rf"\frac{{{n}}}{{{m}}}", f"{str(n).translate(_RAISED)}⁄{str(m).translate(_LOWERED)}"),
        (rf"\frac{{{n}}}{{{m}}}", f"{n}/{m}".translate(_WIDE)),
        (rf"\frac{{{n}\pi}}{{{m}}}", f"{n}π⁄{m}"),
        (rf"{k}\sqrt{{{n}}}", f"{k}√{n}"),
        (rf"\frac{{\sqrt{{{n}}}}}{{{k}}}", f"√{n}/{k}"),
        (rf"\sqrt{{x + {n}}}", f"√(x + {n})"),
        (rf"\sqrt[3]{{{n}}}", f"∛{n}"),
        (rf"{k}{letter[1]} + {n}", f"{k}{letter[0]} + {n}"),
        (rf"x \leq {n}", f"x ≤ {n}"),
        (rf"x \geq -{n}", f"x ≥ −{n}"),
        (rf"{n} \times {m}^{{x}}", f"{n} × {m}ˣ"),
        (rf"{n} \pm {k}", f"{n} ± {k}"),
        (rf"(-\infty, {n}]", f"(−∞, {n}]"),
        (rf"({n}, -{m})", f"({n}, -{m})".translate(_WIDE)),
        (
            rf"{n}.{m}",
            (lambda mark: mark.format(f"{n}.{m}") if "{}" in mark else f"{mark}{n}.{m}")(draw.choice(_MARKS)),
        ),
        (rf"{n}^\circ", f"{n}°"),
        (rf"{k} \times 10^{{{n}}}", f"{k}×10{str(n).translate(_RAISED)}"),
    ]
    at = draw.randrange(len(forms))
    gold, answer = forms[at]
    if _coin(draw):
        return Pair(gold, answer, True)
    # Another number in the same place is another answer: here every number of the gold is one more.
    changed = "".join(str(int(part) + 1) if part.isdigit() else part for part in _runs(gold))
    return Pair(changed, answer, False)


def _runs(text: str) -> list[str]:
    found: list[str] = []
    for char in text:
        if found and char.isdigit() and found[-1].isdigit():
            found[-1] += char
        else:
            found.append(char)
    return found


# Equations ----------------------------------------------------------------------------------------------------------


@kind
def equations(draw: Random) -> Pair:
    a, b, c = draw.randint(2, 9), draw.randint(2, 9), draw.randint(2, 30)
    name = draw.choice(
        ("x", "y", "n", "a_1", r"\theta", "f(x)", "f(2)", "AB", r"\angle ABC", "S_{10}", "f^{-1}(x)", r"\text{Area}")
    )
    value = draw.choice((str(c), rf"\frac{{{a}}}{{{c}}}", f"{a}t + {b}", rf"{a}\sqrt{{{b}}}"))
    linear, line = f"{a}p + {b}q", f"{a}p + {b}q = {c}"
    rows = [
        (f"{name} = {value}", value, True),
        (value, f"{value} = {name}", True),
        (f"{name} = {value}", f"{value} = {name}", True),
        (value, f"{name} = {value}", True),
        (line, f"{c} = {b}q + {a}p", True),
        (line, f"{2 * c} = {2 * a}p + {2 * b}q", True),
        (line, f"{a}p = {c} - {b}q", True),
        (line, f"{c} - {a}p - {b}q = 0", True),
        (linear, f"{c} = {linear}", False),
        (linear, line, False),
        (str(c), line, False),
        (str(c), f"{c} = {linear}", False),
        (line, str(c), False),
        (line, linear, False),
        (line, f"{a}p + {b}q = {c + 1}", False),
        (line, f"{c} = {a}p - {b}q", False),
        (f"x = {c}", f"{c} = z", False),
        (f"x = {c}", f"{c + 1} = x", False),
        (f"(p - {a})(p + {a})", f"p^2 - {a * a} = (p - {a})(p + {a})", True),
        (str(c), rf"\sqrt{{{c * c}}} = {c}", True),
        (str(c), f"{c - 1} + 1 = {c}", True),
    ]
    return Pair(*draw.choice([row for row in rows if row[2] is _coin(draw)] or rows))


# Degrees ------------------------------------------------------------------------------------------------------------

_SINES = {0: "0", 30: r"\frac{1}{2}", 45: r"\frac{\sqrt{2}}{2}", 60: r"\frac{\sqrt{3}}{2}", 90: "1"}


@kind
def degrees_in_functions(draw: Random) -> Pair:
    angle, other = draw.sample([n for n in range(5, 86)], 2)
    right, far = draw.sample(list(_SINES), 2)
    circ = draw.choice((r"^\circ", r"^{\circ}", "°", r" \text{ degrees}", r"\degree"))
    rows = [
        (_SINES[right], rf"\sin {right}{circ}", True),
        (_SINES[right], rf"\cos({90 - right}{circ})", True),
        (_SINES[right], rf"\sin {far}{circ}", False),
        (rf"\sin({angle}^\circ - x)", rf"\cos({90 - angle}{circ} + x)", True),
        (rf"\sin({angle}^\circ - x)", rf"\sin({angle} - x)", False),
        (rf"\sin({angle}^\circ - x)", rf"\sin({other}{circ} - x)", False),
        (rf"\sin {angle}^\circ", rf"\sin {angle}", False),
        (rf"\sin {angle}^\circ", rf"\cos {90 - angle}{circ}", True),
        (rf"\tan {angle}^\circ", rf"\frac{{\sin {angle}{circ}}}{{\cos {angle}{circ}}}", True),
        (rf"2\sin {angle}^\circ", rf"2 \sin {angle + 1}{circ}", False),
        (rf"{angle}^\circ", f"{angle}{circ}", True),
        (rf"{angle}^\circ", rf"\frac{{{angle}\pi}}{{180}}", True),
        (rf"\frac{{{angle}\pi}}{{180}}", rf"{angle}{circ}", True),
        (rf"{angle}^\circ", rf"\frac{{{other}\pi}}{{180}}", False),
        (rf"{angle}^\circ", f"{other}{circ}", False),
        (f"{angle}", f"{angle}{circ}", True),
    ]
    return Pair(*draw.choice([row for row in rows if row[2] is _coin(draw)] or rows))


# Matrices -----------------------------------------------------------------------------------------------------------

Rows = list[list[int]]


def _matrix(rows: Rows, brackets: str = "pmatrix") -> str:
    lines = r" \\ ".join(" & ".join(map(str, row)) for row in rows)
    return rf"\begin{{{brackets}}} {lines} \end{{{brackets}}}"


def _times(left: Rows, right: Rows) -> Rows:
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


@kind
def matrices(draw: Random) -> Pair:
    size, width = draw.choice((2, 3)), draw.choice((1, 2))
    one, two = ([[draw.randint(-9, 9) for _ in range(width)] for _ in range(size)] for _ in range(2))
    square, factor = [[draw.randint(-5, 5) for _ in range(size)] for _ in range(size)], draw.choice((-3, -2, 2, 3, 4))
    style = draw.choice(("pmatrix", "bmatrix"))
    sign = draw.choice((1, -1))
    total = [[a + sign * factor * b for a, b in zip(*rows, strict=True)] for rows in zip(one, two, strict=True)]
    shift = "+" if sign * factor > 0 else "-"
    scale = draw.choice((str(abs(factor)), rf"{abs(factor)} \cdot ", rf"\frac{{{2 * abs(factor)}}}{{2}}"))
    forms = [
        (total, f"{_matrix(one, style)} {shift} {scale}{_matrix(two, style)}"),
        ([[factor * cell for cell in row] for row in one], f"{factor}{_matrix(one, style)}"),
        (_times(square, one), f"{_matrix(square, style)}{_matrix(one, style)}"),
        (_times(square, square), f"{_matrix(square, style)}^2"),
        ([list(column) for column in zip(*one, strict=True)], f"{_matrix(one, style)}^T"),
        (one, _matrix(one, style)),
    ]
    value, answer = draw.choice(forms)
    gold = [list(row) for row in value]
    same = _coin(draw)
    if not same:
        gold[draw.randrange(len(gold))][0] += draw.choice((-1, 1))
    return Pair(_matrix(gold), answer, same)


# Powers -------------------------------------------------------------------------------------------------------------


@kind
def powers(draw: Random) -> Pair:
    top, bottom = draw.choice(((1, 2), (3, 2), (5, 2), (1, 4), (3, 4), (1, 5), (2, 5)))
    decimal, a = str(top / bottom), draw.randint(2, 9)
    base = draw.choice(("x", f"(x + {a})", f"({a}x)", f"(x^2 + {a})"))
    inner = base.strip("()")
    other = draw.choice([n for n in (1, 2, 3, 4, 5, 7) if n != top])
    root = rf"\sqrt{{{inner}}}" if bottom == 2 else rf"\sqrt[{bottom}]{{{inner}}}"
    right = [
        rf"{base}^{{\frac{{{top}}}{{{bottom}}}}}",
        f"{base}^{{{top}/{bottom}}}",
        rf"({root})^{{{top}}}" if top > 1 else root,
        rf"\frac{{1}}{{{base}^{{-{decimal}}}}}",
    ]
    rows = [(f"{base}^{{{decimal}}}", text, True) for text in right]
    rows += [
        (f"{base}^{{{decimal}}}", rf"{base}^{{\frac{{{other}}}{{{bottom}}}}}", False),
        (f"{base}^{{{decimal}}}", f"{base}^{{-{decimal}}}", False),
        ("(x^2)^{0.5}", "|x|", True),
        ("(x^2)^{0.5}", "x", False),
        (rf"\frac{{{a}}}{{\sqrt{{n}}}}", rf"{a}\sqrt{{\frac{{1}}{{n}}}}", True),
        (rf"\frac{{{a}}}{{\sqrt{{n}}}}", rf"{a}\sqrt{{n}}", False),
        (str(-a), rf"\sqrt[3]{{-{a**3}}}", True),
        (str(a), rf"\sqrt[3]{{-{a**3}}}", False),
        (str(a), f"{a * a}^{{0.5}}", True),
        (r"x^{2/3}", r"\sqrt[3]{x^2}", True),
        (rf"{a}x^{{0.5}}", rf"\sqrt{{{a * a}x}}", True),
        (rf"{a}x^{{0.5}}", rf"\sqrt{{{a}x}}", False),
    ]
    return Pair(*draw.choice([row for row in rows if row[2] is _coin(draw)] or rows))


# Commands without their backslash -----------------------------------------------------------------------------------


@kind
def missing_backslashes(draw: Random) -> Pair:
    a, b, c = *draw.sample(range(2, 30), 2), draw.randint(2, 9)
    forms = [
        rf"\sqrt{{{a}}}",
        rf"{c}\sqrt{{{a}}}",
        rf"\frac{{{a}}}{{{b}}}",
        rf"-\dfrac{{{a}}}{{{b}}}",
        rf"\frac{{\sqrt{{{a}}}}}{{{b}}}",
        rf"{a} \times {b}^x",
        rf"{a} \cdot x",
        rf"{c}\pi",
        rf"\frac{{{a}\pi}}{{{b}}}",
        rf"\sin({c}x) + {a}",
        rf"\ln({a}x)",
        rf"{a}\theta",
        rf"{a} \pm \sqrt{{{b}}}",
        rf"(-\infty, {a}]",
        rf"[-{a}, 0) \cup ({b}, {b + c}]",
        rf"x \leq {a}",
        rf"\text{{{'yes'}}}",
        rf"\begin{{pmatrix}} {a} \\ {b} \end{{pmatrix}}",
        rf"{a}^\circ",
        rf"\binom{{{a + b}}}{{{c}}}",
        rf"\mathbb{{R}} \setminus \{{{a}\}}",
    ]
    gold = draw.choice(forms)
    answer = gold
    for command in (
        "sqrt",
        "frac",
        "dfrac",
        "times",
        "cdot",
        "pi",
        "sin",
        "ln",
        "theta",
        "pm",
        "infty",
        "cup",
        "leq",
        "text",
    ):
        answer = answer.replace(f"\\{command}", command)
    for command in ("begin", "end", "circ", "binom", "mathbb", "setminus"):
        answer = answer.replace(f"\\{command}", command)
    if _coin(draw):
        return Pair(gold, answer, True)
    changed = "".join(str(int(part) + 1) if part.isdigit() else part for part in _runs(gold))
    return Pair(changed if changed != gold else "no", answer, False)


# Neighbours: what answers look like besides -------------------------------------------------------------------------


def _one_of(draw: Random, rows: list[tuple[str, str, bool]]) -> Pair:
    """A right row or a wrong one, with equal chances."""
    same = _coin(draw)
    return Pair(*draw.choice([row for row in rows if row[2] is same]))


@kind
def numerals(draw: Random) -> Pair:
    n, whole, top, bottom = draw.randint(1000, 9_999_999), draw.randint(1, 40), *sorted(draw.sample(range(1, 20), 2))
    power, lead, tail = draw.randint(3, 25), draw.randint(1, 9), draw.randint(10, 99)
    mixed, millions = Fraction(top, bottom) + whole, f"{n:,}"
    decimal = f"{n // 1000}.{n % 1000:03d}"
    return _one_of(
        draw,
        [
            (str(n), millions, True),
            (str(n), millions.replace(",", r"{,}"), True),
            (str(n), millions.replace(",", r"\,"), True),
            (str(n), millions.replace(",", "\u202f"), True),
            (str(n), millions.replace(",", "'"), True),
            (str(n), f"{n}.0", True),
            (str(n), f"0{n}", True),
            (str(n), f"+{n}", True),
            (decimal, f"{decimal}00", True),
            (rf"{whole}\frac{{{top}}}{{{bottom}}}", _fraction(mixed), True),
            (_fraction(mixed), f"{whole} {top}/{bottom}", True),
            (f"-{whole}\\frac{{{top}}}{{{bottom}}}", _fraction(-mixed), True),
            (rf"{lead}.{tail} \times 10^{{{power}}}", f"{lead}.{tail}e{power}", True),
            (rf"{lead}.{tail} \times 10^{{-{power}}}", f"{lead}.{tail}E-{power:02d}", True),
            (f"{lead}{tail}" + "0" * power, rf"{lead}.{tail} \cdot 10^{{{power + 2}}}", True),
            (str(n), f"-{n}", False),
            (str(n), f"{n + 1:,}", False),
            (str(n), f"{n * 10}", False),
            (decimal, f"{n}", False),
            (rf"{whole}\frac{{{top}}}{{{bottom}}}", _fraction(whole * Fraction(top, bottom)) + " + 1", False),
            (rf"{whole}\frac{{{top}}}{{{bottom}}}", _fraction(mixed + 1), False),
            (rf"{lead}.{tail} \times 10^{{{power}}}", f"{lead}.{tail}e{power + 1}", False),
            (rf"{lead}.{tail} \times 10^{{-{power}}}", f"{lead}.{tail}e{power}", False),
        ],
    )


@kind
def quantities(draw: Random) -> Pair:
    n, m = draw.sample(range(2, 500), 2)
    unit, other = draw.sample(["cm", "m", "km", "kg", "ft", "hours", "minutes", "miles", "grams", "liters"], 2)
    return _one_of(
        draw,
        [
            (str(n), rf"{n} \text{{ {unit}}}", True),
            (rf"{n}\text{{ {unit}}}", str(n), True),
            (rf"{n} \text{{ {unit}}}", rf"{n}\,\mathrm{{{unit}}}", True),
            (rf"\frac{{{n}}}{{7}}", rf"\frac{{{n}}}{{7}} \text{{ {unit}}}", True),
            (rf"\${n}.50", f"{n}.5", True),
            (f"{n}", rf"\${n}.00", True),
            (f"{n}", f"{n} dollars", True),
            (f"{n}\\%", f"{n}", True),
            (f"{n}", rf"{n}\%", True),
            (f"{n}\\%", f"{n} percent", True),
            (f"{n}\\%", _fraction(Fraction(n, 100)), True),
            (str(n), rf"{n} \text{{ square {unit}}}", True),
            (str(n), rf"{n} \text{{ {unit} per day}}", True),
            (rf"{n} \text{{ {unit}}}", rf"{n} \text{{ {other}}}", False),
            (rf"{n} \text{{ {unit}}}", rf"{m} \text{{ {unit}}}", False),
            (str(n), rf"{m} \text{{ {unit}}}", False),
            (f"{n}\\%", f"{m}\\%", False),
            (f"{n}\\%", f"{n * 100}", False),
            (f"{n}", _fraction(Fraction(n, 100)), False),
            (rf"\${n}", rf"\${n}.01", False),
            (str(n), rf"{n} \text{{ million}}", False),
        ],
    )


@kind
def tuples_and_lists(draw: Random) -> Pair:
    a, b, c = draw.sample(range(-20, 21), 3)
    f = _fraction(Fraction(a, 7))
    return _one_of(
        draw,
        [
            (f"({a}, {b})", rf"\left({a},{b}\right)", True),
            (f"({a}, {b})", rf"\langle {a}, {b} \rangle", True),
            (f"({a}, {b})", f"P({a}, {b})", True),
            (f"({a}, {b})", f"(x, y) = ({a}, {b})", True),
            (f"({a}, {b})", f"x = {a}, y = {b}", True),
            (f"({a}, {b}, {c})", f"({a}, {b}, {c}.0)", True),
            (f"({f}, {b})", f"({a}/7, {b})", True),
            (f"{a}, {b}, {c}", f"{c}, {a}, {b}", True),
            (f"{a}, {b}", rf"{b} \text{{ and }} {a}", True),
            (f"{a}, {b}", f"x = {a} or x = {b}", True),
            (f"{a}, {b}", f"x_1 = {a}, x_2 = {b}", True),
            (f"({a}, {b}), ({b}, {c})", f"({b}, {c}) and ({a}, {b})", True),
            (f"x = {a}, y = {b}", f"y = {b}, x = {a}", True),
            (f"{abs(c) + 1} \\pm \\sqrt{{5}}", rf"{abs(c) + 1} - \sqrt5, {abs(c) + 1} + \sqrt5", True),
            (rf"\pm {abs(c) + 1}", f"-{abs(c) + 1}, {abs(c) + 1}", True),
            (f"({a}, {b})", f"({b}, {a})", False),
            (f"({a}, {b})", f"[{a}, {b}]", False),
            (f"({a}, {b})", rf"\{{{a}, {b}\}}", False),
            (f"({a}, {b}, {c})", f"({a}, {b})", False),
            (f"{a}, {b}", f"{a}", False),
            (f"{a}", f"{a}, {b}", False),
            (f"{a}, {b}", f"{a}, {c}", False),
            (f"{a}, {b}", f"{a}, {a}", False),
            (f"x = {a}, y = {b}", f"x = {b}, y = {a}", False),
            (f"({a}, {b}), ({b}, {c})", f"({b}, {a}) and ({b}, {c})", False),
            (rf"\pm {abs(c) + 1}", f"{abs(c) + 1}", False),
            (f"({a}, {b})", f"P({b}, {a})", False),
        ],
    )


@kind
def expressions(draw: Random) -> Pair:
    a, b, c = draw.sample(range(2, 13), 3)
    x = draw.choice(("x", "n", "t"))
    product = rf"{x}^2 + {a + b}{x} + {a * b}"
    return _one_of(
        draw,
        [
            (product, f"({x}+{a})({x}+{b})", True),
            (f"({x}+{b})({x}+{a})", product, True),
            (f"{a}{x} + {b}", f"{b} + {a} {x}", True),
            (f"{a}{x} + {b}", rf"{a}\left({x} + \frac{{{b}}}{{{a}}}\right)", True),
            (rf"\frac{{1}}{{{x}+{a}}}", rf"\frac{{{x}-{a}}}{{{x}^2-{a * a}}}", True),
            (rf"\frac{{{x}+{a}}}{{{b}}}", rf"\frac{{{x}}}{{{b}}} + \frac{{{a}}}{{{b}}}", True),
            (rf"\ln {a * b}", rf"\ln {a} + \ln {b}", True),
            (rf"{c}\ln {a}", rf"\ln({a}^{{{c}}})", True),
            (rf"\log_{{{a}}} {a**3}", "3", True),
            (rf"e^{{{a}{x}}}", rf"(e^{x})^{{{a}}}", True),
            (rf"\sin^2 {x} + {a}", rf"{a + 1} - \cos^2 {x}", True),
            (rf"\sin(2{x})", rf"2\sin {x} \cos {x}", True),
            (rf"{a} + {b}i", rf"{b}i + {a}", True),
            (f"{a * a + b * b}", f"({a}+{b}i)({a}-{b}i)", True),
            (rf"\frac{{{a} + {b}i}}{{{c}}}", rf"\frac{{{a}}}{{{c}}} + \frac{{{b}}}{{{c}}}i", True),
            (rf"\frac{{{a}}}{{\sqrt{{{b}}}}}", rf"\frac{{{a}\sqrt{{{b}}}}}{{{b}}}", True),
            (rf"{a}\cdot 2^{{n+1}}", rf"{2 * a} \cdot 2^n", True),
            (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True),
            (f"{a}{x} + {b}", f"{a}{'y' if x != 'y' else 'z'} + {b}", False),
            (f"{a}{x} + {b}", f"{b}{x} + {a}", False),
            (product, f"({x}-{a})({x}-{b})", False),
            (product, f"({x}+{a})({x}+{c})", False),
            (rf"\frac{{1}}{{{x}+{a}}}", rf"\frac{{1}}{{{x}}} + \frac{{1}}{{{a}}}", False),
            (rf"\ln {a * b}", rf"\ln {a} \cdot \ln {b}", False),
            (rf"\log_{{{a}}} {b}", rf"\log_{{{b}}} {a}", False),
            (rf"e^{{{a}{x}}}", rf"e^{{{a}}} {x}", False),
            (rf"\sin(2{x})", rf"2\sin {x}", False),
            (rf"\sin^2 {x}", rf"\sin {x}^2", False),
            (rf"{a} + {b}i", rf"{a} - {b}i", False),
            (rf"{a} + {b}i", rf"{b} + {a}i", False),
            (rf"\sqrt{{{a}}} + \sqrt{{{b}}}", rf"\sqrt{{{a + b}}}", False),
            (rf"2^{{n+{a}}}", rf"2^n + {a}", False),
            (rf"\frac{{{a}}}{{{x} + {b}}}", rf"\frac{{{a}}}{{{x}}} + {b}", False),
            (rf"{x}^{{{a}}}", rf"{a}^{{{x}}}", False),
            (rf"\pi {x}^2", rf"{x}^2", False),
        ],
    )


@kind
def infinities(draw: Random) -> Pair:
    a = draw.randint(2, 40)
    return _one_of(
        draw,
        [
            (r"\infty", "∞", True),
            (r"\infty", r"+\infty", True),
            (r"-\infty", "−∞", True),
            (r"\infty", "infinity", True),
            (f"({a}, \\infty)", f"({a}, +\\infty)", True),
            (r"\infty", r"-\infty", False),
            (r"\infty", str(a), False),
            (str(a), r"\infty", False),
            (f"({a}, \\infty)", f"[{a}, \\infty)", False),
            (f"({a}, \\infty)", f"(-\\infty, {a})", False),
        ],
    )


@kind
def ratios_times_and_bases(draw: Random) -> Pair:
    a, b = draw.sample([2, 3, 5, 7], 2)
    hour, minute, k = draw.randint(1, 11), draw.randint(10, 58), draw.randint(2, 6)
    digits = "".join(draw.choice("12") for _ in range(5))
    return _one_of(
        draw,
        [
            (f"{a}:{b}", f"{a} : {b}", True),
            (f"{a}:{b}", f"{a * k}:{b * k}", True),
            (f"{a}:{b}", rf"\frac{{{a}}}{{{b}}}", True),
            (f"{a}:{b}", rf"{a} \text{{ to }} {b}", True),
            (f"{hour}:{minute}", rf"{hour}:{minute} \text{{ p.m.}}", True),
            (rf"{hour}:{minute} \text{{ PM}}", rf"{hour}:{minute} \text{{ p.m.}}", True),
            (f"{digits}_3", rf"{digits}_{{3}}", True),
            (f"{digits}_3", f"{digits}₃", True),
            (f"-{digits}_3", f"-{digits}_{{3}}", True),
            (f"-{digits}_3", f"-{digits}_4", False),
            (f"0.{digits}_3", f"0.{digits}_4", False),
            (f"{digits}_3", f"-{digits}_3", False),
            (f"{digits}_{{3}}", digits, True),
            (f"{digits}_3", rf"{digits}_{{\text{{three}}}}", True),
            (f"{a}:{b}", f"{b}:{a}", False),
            (f"{hour}:{minute}", f"{hour}:{minute + 1}", False),
            (rf"{hour}:{minute} \text{{ a.m.}}", rf"{hour}:{minute} \text{{ p.m.}}", False),
            (f"{digits}_3", f"{digits}_4", False),
            (f"{digits}_3", f"{digits[:-1]}0_3", False),
            (digits, f"{digits}_3", False),
        ],
    )


@kind
def words_and_choices(draw: Random) -> Pair:
    letter, other = draw.sample("ABCDE", 2)
    name, wrong = draw.sample(["Evelyn", "Monday", "ellipse", "parabola", "odd", "neither", "Yes", "increasing"], 2)
    n = draw.randint(2, 99)
    return _one_of(
        draw,
        [
            (letter, rf"\text{{({letter})}}", True),
            (letter, f"({letter})", True),
            (rf"\text{{({letter})}}", letter, True),
            (letter, rf"\textbf{{{letter}}}", True),
            (letter, rf"\textbf{{({letter})}}\ {n}", True),
            (letter, f"{letter}. {n}", True),
            (letter, rf"\text{{{letter}: }} {n}", True),
            (str(n), rf"\textbf{{({letter})}}\ {n}", True),
            (rf"\text{{{name}}}", name, True),
            (rf"\text{{{name}}}", name.lower(), True),
            (name, rf"\textbf{{{name.upper()}}}", True),
            (rf"\text{{{name}}}", rf"\text{{{name}.}}", True),
            (r"\text{ellipse}", r"\text{an ellipse}", True),
            (letter, other, False),
            (letter, rf"\text{{({other})}}", False),
            (letter, rf"\textbf{{({other})}}\ {n}", False),
            (rf"\text{{{name}}}", wrong, False),
            (rf"\text{{{name}}}", rf"\text{{not {name}}}", False),
            (rf"\text{{{name}}}", rf"\text{{{name}s or {wrong}}}", False),
            (str(n), rf"\textbf{{({letter})}}\ {n + 1}", False),
            (rf"\text{{{name}}}", str(n), False),
            (str(n), rf"\text{{{name}}}", False),
        ],
    )


@kind
def congruences(draw: Random) -> Pair:
    modulus = draw.choice((5, 7, 9, 11, 13))
    residue, k = draw.randint(0, modulus - 1), draw.randint(1, 4)
    far = (residue + draw.randint(1, modulus - 1)) % modulus
    return _one_of(
        draw,
        [
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"{residue} \pmod{{{modulus}}}", True),
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"x ≡ {residue} (mod {modulus})", True),
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"x \equiv {residue + k * modulus} \pmod{{{modulus}}}", True),
            (rf"{residue} \pmod{{{modulus}}}", rf"{residue} \bmod {modulus}", True),
            (str(residue), rf"{residue} \pmod{{{modulus}}}", True),
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"x \equiv {far} \pmod{{{modulus}}}", False),
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"x \equiv {residue} \pmod{{{modulus + 2}}}", False),
            (rf"x \equiv {residue} \pmod{{{modulus}}}", rf"{far}", False),
            (str(residue), rf"{far} \pmod{{{modulus}}}", False),
        ],
    )


@kind
def by_cases(draw: Random) -> Pair:
    a, b, c = draw.sample(range(2, 20), 3)

    def cases(*rows: str) -> str:
        return rf"\begin{{cases}} {' NEXT '.join(rows)} \end{{cases}}".replace("NEXT", r"\\")

    gold = cases(rf"{a}x & x \ge {c}", f"{b} & x < {c}")
    system = cases(f"x + {a}y = {b}", f"{c}x - y = 1")
    return _one_of(
        draw,
        [
            (gold, cases(rf"{a}x, & \text{{if }} x \ge {c}", rf"{b}, & \text{{if }} x < {c}"), True),
            (gold, cases(f"{b} & x < {c}", rf"{a}x & x \geq {c}"), True),
            (gold, cases(rf"{a}x & {c} \le x", rf"{b} & {c} > x"), True),
            (system, cases(f"{c}x - y = 1", f"{a}y + x = {b}"), True),
            (gold, cases(rf"{a}x & x > {c}", rf"{b} & x \le {c}"), False),
            (gold, cases(rf"{b} & x \ge {c}", f"{a}x & x < {c}"), False),
            (gold, cases(rf"{a}x & x \ge {c}"), False),
            (system, cases(f"{c}x - y = 1", f"{a}y + x = {b + 1}"), False),
        ],
    )


# Outputs that were not asked for a box ------------------------------------------------------------------------------

_MARKERS = ("<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|end|>", "<｜end▁of▁sentence｜>")


@kind
def final_answers(draw: Random) -> Pair:
    a, b, c = draw.randint(1, 60), draw.randint(2, 60), draw.randint(2, 99)
    unit = draw.choice(("apples", "cm", "meters", "points"))
    golds = [
        (_fraction(Fraction(a, b)), f"{a}/{b}"),
        (rf"\frac{{{a}}}{{{b}}}", rf"$\frac{{{a}}}{{{b}}}$"),
        (rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}"),
        (str(c), str(c)),
        (f"-{c}", f"-{c}"),
        (f"{c}.5", f"{c}.5"),
        (f"{c},500", f"{c},500"),
        (f"({a}, {b})", f"({a}, {b})"),
        (rf"{c}\%", f"{c}%"),
        (rf"2\sqrt{{{c}}}", rf"$2\sqrt{{{c}}}$"),
    ]
    gold, answer = draw.choice(golds)
    same = _coin(draw)
    if not same:
        gold = str(c + 101)
    said = [
        f"So the probability is {answer}.",
        f"The answer is {answer}.",
        f"Adding {b + 1} and {c + 2} gives what we need, so the value we want is {answer}.",
        f"First we get {c + 3}.\n\nTherefore, the final answer is: {answer}",
        f"Answer: {answer}",
        f"Hence there are {answer} {unit}." if "(" not in answer else f"They meet at {answer}.",
        f"After {b + 70} steps we are done.\n#### {answer}",
        f"**Final Answer:** {answer}",
        answer,
    ]
    return Pair(gold, draw.choice(said) + draw.choice(("", "", *_MARKERS, "\n", " ")), same)
