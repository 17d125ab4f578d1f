"""Units: taken off the number they stand behind, and compared only where both sides name one that is known."""

from __future__ import annotations

import re

_NAMES = {
    "m": "meter meters metre metres",
    "cm": "centimeter centimeters centimetre centimetres",
    "mm": "millimeter millimeters millimetre millimetres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "g": "gram grams",
    "kg": "kilogram kilograms",
    "mg": "milligram milligrams",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "ton": "tons",
    "l": "L liter liters litre litres",
    "ml": "mL milliliter milliliters millilitre millilitres",
    "gal": "gallon gallons",
    "dollar": "dollars USD",
    "cent": "cents",
    "deg": "degree degrees",
    "rad": "radian radians",
    "mph": "",
    "kmh": "kph",
    "Hz": "",
    "unit": "units",
    "acre": "acres",
    "am": "",
    "pm": "",
    "N": "newton newtons",
    "J": "joule joules",
    "W": "watt watts",
    "K": "kelvin",
}
_CANONICAL = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_MODIFIERS = {"square": "^2", "sq": "^2", "squared": "^2", "cubic": "^3", "cu": "^3", "cubed": "^3", "per": "/"}
# Without \text a single letter is a variable, and so is "in": "5 m" may be 5 times m.
_BARE = sorted(
    (name for name in _CANONICAL if len(name) > 1 and name not in ("in", "min", "day")), key=len, reverse=True
)
# Words that change the value they stand behind, so no unit: 5 million, 5 or more.
_CHANGES = re.compile(
    r"\b(?:hundreds?|thousands?|millions?|billions?|trillions?|dozens?|or|and|not|no|more|less|fewer|least|most|than|above|below|over|under"
    r"|except|if|when|where|for|mod|modulo|times|plus|minus|half)\b"
)
_TEXT = re.compile(r"\s*\\text\{([^{}]*)\}\s*(?:\^\s*\{?([23])\}?)?\s*$")
_WORDS = re.compile(
    rf"(?<=[0-9)}}])\s*((?:(?:square|sq|cubic|cu)\.?\s+)?(?:{'|'.join(_BARE)})(?:\s+per\s+[a-z]+)?)(?:\s*\^\s*\{{([23])\}})?\s*$"
)


def split_unit(text: str) -> tuple[str, str | None]:
    r"""A text without the unit at its end, and that unit (None: it has none). What is nothing but a unit is left as it
    is.

    Words in \text{...} behind an expression are a unit unless they change its value; bare words are one if they are
    known and behind a number.
    """
    units: list[str] = []
    while (match := _TEXT.search(text) or _WORDS.search(text)) is not None:
        before = text[: match.start()].strip()
        if _CHANGES.search(match.group(1)):
            break
        if not re.search(r"[0-9a-zA-Z]", before) or before.endswith(("_", "^", "=", "\\cdot", "+", "-", "_{", "^{")):
            break
        if not re.search(r"[0-9]|\\(?:pi|frac|sqrt)", before):
            break
        text = before
        units.append(match.group(1) + (f" ^{match.group(2)}" if match.group(2) else ""))
    return text, " ".join(reversed(units)) if units else None


DEGREES = r"\text{degrees}"
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_OF_DEGREES = re.compile(
    r"(?P<angle>\\frac\{[^{}]*\}\{[^{}]*\}|[0-9]+(?:\.[0-9]+)?|\\[a-zA-Z]+|[a-zA-Z]|\([^()]*\))\s*\\text\{degrees\}"
)


def in_radians(text: str) -> str:
    r"""A text whose angles in degrees behind a trigonometric function are in radians: there they are no unit but a
    factor.
    """
    first = _TRIGONOMETRIC.search(text)
    if first is None or DEGREES not in text:
        return text
    return text[: first.end()] + _OF_DEGREES.sub(
        lambda match: rf"(\frac{{{match['angle']}\pi}}{{180}})", text[first.end() :]
    )


def is_degrees(unit: str | None) -> bool:
    """Whether a unit is the degree of an angle."""
    return _known(unit) == ("deg",)


def conflict(left: str | None, right: str | None) -> bool:
    """Whether both are known units and not the same one: 5 cm is not 5 m. Words that are no unit never conflict."""
    first, second = _known(left), _known(right)
    return first is not None and second is not None and first != second


def _known(unit: str | None) -> tuple[str, ...] | None:
    words = re.findall(r"[a-zA-Z]+|\^[23]", unit or "")
    named = [_CANONICAL.get(word) or _MODIFIERS.get(word) or (word if word[0] == "^" else None) for word in words]
    if not named or None in named or "unit" in named:
        return None
    return tuple(sorted(name for name in named if name is not None))
