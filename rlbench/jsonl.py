"""JSON lines as people write them: the one reader of files that hold an object a line.

A value is taken exactly as it is written, or its line is refused by file, line and key; nothing becomes another value
on the way. A number keeps its digits (``1.10`` stays ``1.10``, whatever its length), a key that stands twice is not
settled by the last one, and what only Python calls JSON (``NaN``) is no value. A byte order mark, blank lines, Windows
line ends and line separators inside of strings do not matter. Files of other formats are recognised and named.

For a new kind of file: loop over ``read_rows`` and ask each ``Row`` for its keys.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from rlbench.records import UserError

_LONGEST = 1 << 28  # bytes of a line; a file without line ends must not fill the memory
_DEEPEST = 100  # tables and lists within each other that are kept; writing them out again is recursive
_BOM = b"\xef\xbb\xbf"
_HALF = r"holds half of a surrogate pair (\ud800 to \udfff), which is no text"

_FORMATS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"{\0\0\0": "UTF-32",  # without a byte order mark, as the next three
    b"\0\0\0{": "UTF-32",
    b"{\0": "UTF-16",
    b"\0{": "UTF-16",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "Zstandard",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"version https://git-lfs": "Git LFS",
    b"<": "HTML or XML",
}
_REMEDIES = {
    "UTF-16": "save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    "UTF-32": "save it as UTF-8 (iconv -f UTF-32 -t UTF-8)",
    "Parquet": 'write it as JSON lines (pandas: to_json(..., orient="records", lines=True))',
    "Arrow": 'write it as JSON lines (pandas: to_json(..., orient="records", lines=True))',
    "CSV": 'write it as JSON lines (pandas: to_json(..., orient="records", lines=True))',
    "Git LFS": "it is a pointer and not the file; `git lfs pull` fetches it",
    "HTML or XML": "it is a page and not the file; download the raw file",
    **dict.fromkeys(("gzip", "bzip2", "xz", "Zstandard", "zip"), "decompress it first"),
}
_COMMAND = re.compile(r"[A-Za-z]{1,30}|[!-~]")
_HEADER = re.compile(rb'"?[A-Za-z_][\w ]*"?(?:[,;\t]"?[A-Za-z_][\w ]*"?)+\s*')

# What other tools call the same thing: for a hint, never for reading.
_RELATED = {
    "id": ("idx", "index", "uid", "unique_id", "problem_id", "question_id", "name"),
    "problem": ("question", "prompt", "query", "input", "instruction"),
    "answer": ("gold", "target", "ground_truth", "final_answer", "label"),
    "gold": ("answer", "target", "ground_truth", "final_answer", "label", "reference"),
    "output": ("response", "completion", "generation", "prediction", "model_output", "generated_text"),
}


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number, as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class Constant:
    """``NaN``, ``Infinity`` or ``-Infinity``: Python writes them, JSON does not have them."""

    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """The object of one line. ``where`` names the file and the line for messages; numbers are ``Number``."""

    where: str
    number: int
    values: dict[str, Any]

    def wrong(self, key: str, reason: str) -> UserError:
        """The error that refuses a key of this line; the reason goes on from the key's name."""
        return UserError(f"{self.where}: `{_shown(key)}` {reason}")

    def require(self, keys: Sequence[str], example: str) -> None:
        """Refuse a line that lacks one of the keys, or has null there.

        Raises:
            UserError: names the first that is missing, and the key that may be meant.
        """
        for key in keys:
            if self.values.get(key) is None:
                others = [other for other in self.values if other not in keys]
                near = [other for other in _RELATED.get(key, ()) if other in others]
                near += difflib.get_close_matches(key, others, n=1, cutoff=0.5)
                hint = f"is it the key {_shown(near[0])!r}?" if near else f"a line looks like {example}"
                raise self.wrong(key, f"is missing; {hint}")

    def text(self, key: str, *, numbers: bool = False, empty: bool = False, surrogates: bool = False) -> str:
        """The text under a key.

        Args:
            numbers: a number is taken too, as it is written.
            empty: nothing but space is taken too.
            surrogates: half of a surrogate pair is taken too; it can be neither printed nor stored.

        Raises:
            UserError: it is something else.
        """
        value = self.values[key]
        if numbers and isinstance(value, Number):
            return value.text
        if not isinstance(value, str):
            raise self.wrong(key, f"must be text{' or a number' if numbers else ''}, not {kind(value)}")
        if not empty and not value.strip():
            raise self.wrong(key, "is empty")
        if not surrogates and not _is_text(value):
            raise self.wrong(key, _HALF)
        return value

    def others(self, keys: Sequence[str]) -> dict[str, Any]:
        """Everything but the keys as Python's own values; a number is an int or a float, as JSON's readers take it.

        Raises:
            UserError: a value that they would change: beyond a float's range, not a number, or not text.
        """
        return {_key(key, self): _plain(value, self, (key,)) for key, value in self.values.items() if key not in keys}


class Identities:
    """The ids of a file so far. Of each only a hash and its line are kept."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}

    def add(self, identity: str, row: Row) -> None:
        """Take the id of a line.

        Raises:
            UserError: an earlier line has it.
        """
        mark = int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        if (line := self._lines.setdefault(mark, row.number)) != row.number:
            raise row.wrong("id", f"is {_shown(identity)!r}, already that of line {line}; ids must differ")


def read_rows(stream: BinaryIO, name: str, example: str) -> Iterator[Row]:
    """The objects of a stream of JSON lines, one at a time; blank lines are skipped.

    Args:
        stream: open for reading bytes.
        name: of the stream, for messages.
        example: what a line looks like, for messages.

    Raises:
        UserError: there is no line, or one that is no JSON object on a line of its own in UTF-8; names the line.
    """
    number, empty = 0, True
    while line := stream.readline(_LONGEST + 1):
        number += 1
        where = f"{name}, line {number}"
        if number == 1 and (found := _other_format(line)):
            raise UserError(f"{name}: it is {found} and not JSON lines; {_REMEDIES[found]}")
        if len(line) > _LONGEST:
            raise UserError(f"{where}: is longer than {_LONGEST >> 20} MiB; each object has to stand on its own line")
        # Also where files were joined, each with its own.
        line = line.removeprefix(_BOM)
        if not line.strip():
            continue
        empty = False
        yield Row(where, number, _object(line, where, example, first=number == 1))
    if empty:
        raise UserError(f"{name} is empty; a line looks like {example}")


def kind(value: Any) -> str:
    """A value's kind in words, for a message."""
    if isinstance(value, Constant):
        return f"{value.text}, which is no JSON value"
    names = {bool: "true or false", Number: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _other_format(line: bytes) -> str | None:
    """The format of a file that begins with this line, of those that are given for JSON lines by mistake."""
    for magic, found in _FORMATS.items():
        if line.startswith(magic):
            return found
    return "CSV" if _HEADER.fullmatch(line.removeprefix(_BOM)) else None


def _object(line: bytes, where: str, example: str, *, first: bool) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None
    if first and text.lstrip().startswith("["):
        raise UserError(f"{where}: it begins a JSON array; each object has to stand on its own line (jq -c '.[]' FILE)")
    try:
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_int=Number, parse_float=Number, parse_constant=Constant
        )
    except json.JSONDecodeError as error:
        hint = _hint(error, text) or f"a line looks like {example}"
        raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}; {hint}") from None
    except RecursionError:
        raise UserError(f"{where}: not JSON that can be read: nested too deeply") from None
    except _TwiceError as error:
        raise UserError(f"{where}: `{_shown(error.args[0])}` stands there twice; a key has one value") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be an object, not {kind(value)}; a line looks like {example}")
    return value


class _TwiceError(Exception):
    """A key of an object that is there already."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = iter(values)  # in order of their first place, so that the first pair out of step repeats a key
        raise _TwiceError(next(key for key, _ in pairs if key != next(keys, None)))
    return values


def _hint(error: json.JSONDecodeError, text: str) -> str | None:
    """What would be right, where the error tells."""
    if error.msg.startswith("Invalid \\"):
        start = text.rfind("\\", 0, error.pos + 1)
        command = _COMMAND.match(text, start + 1)
        return rf"in JSON a backslash is written twice: \\{command[0] if command else ''}"
    if "\x00" in text:
        return "the line holds NUL bytes, so the file is damaged or not UTF-8"
    if error.msg.startswith("Invalid control character"):
        return r"inside a string a tab is written \t and a line's end \n"
    if error.msg == "Extra data":
        return "each object has to stand on its own line"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        if text.endswith("\n"):
            return "the object does not end on its line; each has to stand on one (jq -c . FILE)"
        return "the file's last line is cut off"
    return None


def _plain(value: Any, row: Row, path: tuple[str, ...]) -> Any:
    """A value of a key that is kept as it is, with Python's own numbers."""
    key = ".".join(path)
    if len(path) > _DEEPEST:
        raise row.wrong(path[0], f"is nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        return {_key(name, row): _plain(part, row, (*path, name)) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, row, (*path, str(place))) for place, part in enumerate(value)]
    if isinstance(value, Constant):
        raise row.wrong(key, f"is {kind(value)}; leave it out, or write null or text")
    if isinstance(value, Number):
        if (number := _number(value.text)) is None:
            raise row.wrong(key, f"is {_shown(value.text)}, a number that does not fit; write it as text")
        return number
    if isinstance(value, str) and not _is_text(value):
        raise row.wrong(key, _HALF)
    return value


def _number(text: str) -> int | float | None:
    """A JSON number's value; None where an int's digits are too many for Python or a float would be infinite or 0."""
    try:
        return int(text)
    except ValueError:
        if text.lstrip("-").isdigit():
            return None
    value = float(text)
    lost = value == 0 and any(digit in "123456789" for digit in text.lower().partition("e")[0])
    return None if lost or value in (float("inf"), float("-inf")) else value


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _key(key: str, row: Row) -> str:
    if not _is_text(key):
        raise row.wrong(key, _HALF)
    return key


def _shown(text: str) -> str:
    """A text of a file within a message of one line."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return shown if shown.isprintable() else ascii(shown)[1:-1]
