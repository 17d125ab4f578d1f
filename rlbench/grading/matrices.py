r"""Sums, multiples and products of matrices that are written out, as one matrix: ``2\begin{pmatrix}1\\2\end{pmatrix} +
...``.
"""

from __future__ import annotations

import re

Rows = list[list[str]]

_BLOCK = re.compile(r"\\begin\{([pbB]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|\s]*\})?(.*?)\\end\{\1\}", re.DOTALL)
_MARK = re.compile(r"@([0-9]+)@\s*(?:\^\s*\{\s*(T|\\top|\\text\{T\}|[0-9]|-1)\s*\}|\^\s*(T|\\top))?")
_MAX_SIZE = 8
_MAX_CELL = 400


class _NoMatrix(Exception):
    pass


def combined(text: str) -> Rows | None:
    """The cells of the matrix that a sum or product of matrices is; None where it is none, or too large to be written
    out.
    """
    blocks: list[Rows] = []

    def mark(match: re.Match[str]) -> str:
        rows = [[cell.strip() for cell in row.split("&")] for row in match.group(2).split("\\\\") if row.strip()]
        blocks.append(rows)
        return f"@{len(blocks) - 1}@"

    if "@" in text or text.count(r"\begin") > 8:
        return None
    marked = re.sub(r"[(\[]\s*(@[0-9]+@)\s*[)\]]", r"\1", _BLOCK.sub(mark, text))
    if not blocks or r"\begin" in marked or any(not _is_shaped(rows) for rows in blocks):
        return None
    try:
        terms = [_term(sign, body, blocks) for sign, body in _terms(marked)]
        found = terms[0]
        for term in terms[1:]:
            found = _sum(found, term)
    except _NoMatrix:
        return None
    return found


def _is_shaped(rows: Rows) -> bool:
    return bool(rows) and len({len(row) for row in rows}) == 1 and max(len(rows), len(rows[0])) <= _MAX_SIZE


def _terms(text: str) -> list[tuple[str, str]]:
    """The signed summands of a text, split where no bracket is open."""
    found, depth, sign, start = [], 0, "+", 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in "+-" and depth == 0 and not text[start:position].rstrip().endswith(("^", r"\cdot")):
            if text[start:position].strip():
                found.append((sign, text[start:position].strip()))
                sign = char
            else:
                sign = char if sign == "+" else "+" if char == "-" else "-"
            start = position + 1
    return [*found, (sign, text[start:].strip())]


def _term(sign: str, text: str, blocks: list[Rows]) -> Rows:
    scalars = ["-1"] if sign == "-" else []
    product: Rows | None = None
    position = 0
    for match in [*_MARK.finditer(text), None]:
        between = re.sub(
            r"^\s*\\cdot|\\cdot\s*$", "", text[position : match.start() if match else None].strip()
        ).strip()
        if between:
            scalars.append(f"1{between}" if between.startswith("/") else between)
        if match is not None:
            power = match.group(2) or match.group(3)
            block = _power(blocks[int(match.group(1))], power)
            product = block if product is None else _product(product, block)
            position = match.end()
    if product is None:
        raise _NoMatrix
    scale = "".join(f"({scalar})" for scalar in scalars)
    return [[_checked(f"{scale}({cell})" if scale else cell) for cell in row] for row in product]


def _power(rows: Rows, power: str | None) -> Rows:
    if power is None:
        return rows
    if power == "-1":
        return _inverse(rows)
    if not power.isdigit():
        return [list(column) for column in zip(*rows, strict=True)]
    if power == "0":
        raise _NoMatrix
    found = rows
    for _ in range(int(power) - 1):
        found = _product(found, rows)
    return found


def _inverse(rows: Rows) -> Rows:
    if len(rows) != 2 or len(rows[0]) != 2:
        raise _NoMatrix
    (a, b), (c, d) = rows
    determinant = f"({a})({d})-({b})({c})"
    return [
        [_checked(rf"\frac{{{cell}}}{{{determinant}}}") for cell in row] for row in ((d, f"-({b})"), (f"-({c})", a))
    ]


def _product(left: Rows, right: Rows) -> Rows:
    if len(left[0]) != len(right):
        raise _NoMatrix
    return [
        [
            _checked("+".join(f"({a})({row[at]})" for a, row in zip(cells, right, strict=True)))
            for at in range(len(right[0]))
        ]
        for cells in left
    ]


def _sum(left: Rows, right: Rows) -> Rows:
    if (len(left), len(left[0])) != (len(right), len(right[0])):
        raise _NoMatrix
    return [[_checked(f"{a}+{b}") for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def _checked(cell: str) -> str:
    if len(cell) > _MAX_CELL:
        raise _NoMatrix
    return cell
