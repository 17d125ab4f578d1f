"""Admission of a model's tokenizer: is it the one that the folder's files hold, and does text survive it?

``admit_tokenizer`` runs once, when a model is linked. It refuses what would make numbers of something else than the
model's own reading of text, and says what a reader has to know. A further check is one function that raises UserError
or returns a note, in ``_CHECKS``.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlbench.models.folder import first_line, locate
from rlbench.models.tokenizers import (
    declared_tokenizer,
    has_own_code,
    load_tokenizer,
    refused,
    special_tokens_named,
    tokenizer_file,
)
from rlbench.models.vocabulary import find_file, read_json, read_vocabulary
from rlbench.records import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS = (
    "1+1=",
    "What is the answer to 12 + 345?",
    "the answer is nine",
    "two  spaces,   three spaces",
    "  two leading spaces",
    "one trailing space ",
    "line one\nline two\n\nline four",
    "def f(x):\n    if x:\n        return x\n\treturn 0",
    "a\tb\t\tc",
    "0, 1, 23, 456, 7890, 3.14, 1,000, -5",
    r"\frac{1}{2} + \sqrt{3} \le x^2_{i} - 7 \cdot \left(a\right)",
    r"so it is $\boxed{42}$.",
    "[x] {y} <z> & | ~ # % @ \"q\" 'r' `s`; t: u? v!",
    "答案是四十二。",
    "🙂 👍🏽",
    "café naïve Ångström",
)
"""What a tokenizer is judged by: spaces, lines, indentation, digits, LaTeX, signs, CJK, emoji, accents."""

Kind = Literal["damaged", "joined", "unknown", "spaces", "letters"]
_REFUSED = ("damaged", "joined")
_MEANING = {"spaces": "spaces and line breaks", "letters": "capitals or accents"}
_SAMPLE = 5  # so many tokens are named of those that are wrong


@dataclass(frozen=True)
class Loss:
    """What a text loses when it is encoded and decoded: other characters (``damaged``), words or numbers that are put
    together or taken apart (``joined``), parts that are unknown to the vocabulary, spaces alone, or capitals and
    accents alone.
    """

    kind: Kind
    text: str
    read_as: str


class Reading:
    """A tokenizer under judgement: of a text its ids, and of ids their text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @cached_property
    def encoded(self) -> list[list[int]]:
        """The ids of ``TEXTS``."""
        return [self.ids(text) for text in TEXTS]

    @cached_property
    def losses(self) -> list[Loss | None]:
        """What each of ``TEXTS`` loses."""
        return [self.loss(text, ids) for text, ids in zip(TEXTS, self.encoded, strict=True)]

    def loss(self, text: str, ids: list[int]) -> Loss | None:
        read_as = self.text(ids)
        kind = self._kind(text, ids, read_as)
        return Loss(kind, text, read_as) if kind is not None else None

    def _kind(self, text: str, ids: list[int], read_as: str) -> Kind | None:
        if read_as == text:
            return None
        if self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in ids:
            return "unknown"
        if any(not self.ids(character) for character in text if ord(character) > 127):
            return "unknown"  # dropped without a token, as vocabularies without one for the unknown do
        if _visible(read_as) != _visible(text):
            return "damaged"
        if _words(read_as) != _words(text):
            return "joined"
        return "letters" if "".join(read_as.split()) != "".join(text.split()) else "spaces"


def admit_tokenizer(folder: Path, name: str) -> list[str]:
    """Judge the tokenizer of a model folder, which is called ``name``; returns what readers have to know of it.

    Raises:
        UserError: it cannot be loaded, is not the one that the files hold, damages text, or has tokens that the model
            has no embedding for.
    """
    source, revision = locate(folder)
    with refused(name):
        tokenizer_file(source, revision)
    case = _Case(name, source, revision, has_own_code(folder))
    case.check_files()
    case.tokenizer = load_tokenizer(folder, name)
    return [note for check in _CHECKS if (note := check(case)) is not None]


@dataclass
class _Case:
    """A tokenizer with where it comes from, and how it is refused."""

    name: str
    source: str
    revision: str | None
    own_code: bool = False
    tokenizer: Any = None

    @cached_property
    def reading(self) -> Reading:
        reading = Reading(self.tokenizer)
        try:
            assert reading.losses is not None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # tokenizers raises bare Exceptions, and panics that are none
            raise self.refusal(f"its tokenizer cannot encode plain text: {first_line(error)}") from error
        return reading

    @cached_property
    def json(self) -> dict[str, Any]:
        """What tokenizer.json holds; empty where there is none, or code of the model decides."""
        return {} if self.own_code else read_json(self.source, self.revision, "tokenizer.json")

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        return read_vocabulary(self.source, self.revision) or dict(self.tokenizer.get_vocab())

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json, that of the text model where it has several."""
        config = read_json(self.source, self.revision, "config.json")
        return {**config, **config.get("text_config", {})}

    def file(self, name: str) -> Path | None:
        return find_file(self.source, self.revision, name)

    def refusal(self, reason: str) -> UserError:
        return UserError(f"model {self.name!r}: {reason}")

    def check_files(self) -> None:
        """Refuse, by what lies there, what no library could load."""
        for name in _TABLES:
            if path := self.file(name):
                try:
                    table = json.loads(path.read_text(encoding="utf-8"))
                except ValueError as error:
                    raise self.refusal(f"its {name} is no JSON: {first_line(error)}") from None
                if not isinstance(table, dict):
                    raise self.refusal(f"its {name} holds no table (an object in braces)")
        if path := self.file("tokenizer.json"):
            _check_tokenizer_json(self, path)
            return
        if path := next((p for p in map(self.file, _PIECES) if p is not None), None):
            package = "tiktoken" if _is_tiktoken(path) else "sentencepiece"
            if not _is_installed(package):
                raise self.refusal(
                    f"its tokenizer is {path.name} alone, which takes the package {package!r}, and that is not "
                    f"installed; pip install {package}, or save it with a tokenizer.json"
                )
        elif self.file("vocab.json") and not self.file("merges.txt"):
            raise self.refusal("its tokenizer is vocab.json without merges.txt, and neither is there a tokenizer.json")


_TABLES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "vocab.json",
)
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tiktoken.model", "qwen.tiktoken")


def _is_tiktoken(path: Path) -> bool:
    """Whether a vocabulary is tiktoken's, lines of base64 and a rank; else it is sentencepiece's."""
    with path.open("rb") as file:
        return re.fullmatch(rb"[A-Za-z0-9+/]+=* \d+\r?\n?", file.readline(4096)) is not None


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _check_tokenizer_json(case: _Case, path: Path) -> None:
    """Refuse a tokenizer.json that the installed library does not know, and name the part that it does not know."""
    import tokenizers

    with_version = f"tokenizers {tokenizers.__version__}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
            raise ValueError('it has no table "model"')
    except ValueError as error:
        raise case.refusal(f"its tokenizer.json is none: {first_line(error)}") from None
    try:
        core = tokenizers.Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        part = next(_unknown_parts(data), None)
        reason = f"its {part}" if part else first_line(error)
        raise case.refusal(
            f"its tokenizer.json is not one that {with_version} reads: {reason}; a version that wrote it may"
        ) from None
    declared = {token["content"]: token["id"] for token in data.get("added_tokens", ())}
    moved = [token for token, number in declared.items() if core.token_to_id(token) != number]
    if moved:
        raise case.refusal(
            f"its tokenizer.json gives {moved[0]!r} the id {declared[moved[0]]}, and {with_version} reads it as "
            f"{core.token_to_id(moved[0])}: ids of added tokens have no gaps"
        )


def _unknown_parts(data: dict[str, Any]) -> Iterator[str]:
    """The parts of a tokenizer.json that the library cannot read by themselves: ``decoder of type 'X'``."""
    from tokenizers import Tokenizer

    known = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor", "model"):
        if data.get(part) is not None:
            try:
                Tokenizer.from_str(json.dumps({**known, part: data[part]}))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                yield f"{part} of type {data[part].get('type')!r} ({first_line(error)})"


# Checks of what was loaded --------------------------------------------------------------------------------------------


def _check_words(case: _Case) -> None:
    """A tokenizer of special tokens alone is what transformers makes up where it finds no vocabulary."""
    special = set(case.tokenizer.all_special_tokens) | set(case.tokenizer.added_tokens_encoder)
    if not set(case.tokenizer.get_vocab()) - special:
        raise case.refusal(
            f"no vocabulary of its tokenizer ({type(case.tokenizer).__name__}) was found; it needs a tokenizer.json"
        )


def _check_embeddings(case: _Case) -> str | None:
    """Refuse a vocabulary that is larger than the model's, and added tokens beyond it. Where the ids of as many words
    have holes (lines of a vocab.txt that stand there twice), a run may never meet the words beyond.
    """
    rows = _embeddings(case)
    if rows is None:
        return None
    beyond = sorted((number, token) for token, number in case.vocabulary.items() if number >= rows)
    if not beyond:
        return None
    named = ", ".join(f"{number} ({token!r})" for number, token in beyond[:_SAMPLE])
    more = f" and {len(beyond) - _SAMPLE} more" if len(beyond) > _SAMPLE else ""
    text = f"tokens that the model has no embedding for: {named}{more}; `vocab_size` of its config.json is {rows}"
    added = case.tokenizer.added_tokens_decoder
    if len(case.vocabulary) > rows or any(number in added for number, _ in beyond):
        raise case.refusal(f"its tokenizer has {text}")
    return f"the tokenizer has {text}; a text that holds one cannot be computed"


def _embeddings(case: _Case) -> int | None:
    """How many tokens the model has embeddings for: as config.json says, else as its type has it by default."""
    from transformers import AutoConfig

    rows = case.config.get("vocab_size")
    if rows is None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            config = AutoConfig.from_pretrained(case.source, revision=case.revision, trust_remote_code=case.own_code)
            rows = config.get_text_config().vocab_size
    return rows if isinstance(rows, int) else None


def _check_agreement(case: _Case) -> None:
    """What was loaded reads as the library reads tokenizer.json, special tokens in a text included."""
    if not case.json:
        return
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(case.file("tokenizer.json")))
    core.no_truncation()
    core.no_padding()
    added = [token["content"] for token in case.json.get("added_tokens", ())]
    for text in (*TEXTS, *(f"the answer {token} is" for token in added)):
        if core.encode(text, add_special_tokens=False).ids != case.reading.ids(text):
            raise case.refusal(
                f"transformers reads {text!r} otherwise than its tokenizer.json says: {_named_class(case)} changes it"
            )


def _check_class(case: _Case) -> str | None:
    """Refuse a tokenizer.json that reads worse than the class which the configuration names: then the file has lost a
    part. Where the class would read worse, or otherwise, say that tokenizer.json was taken.
    """
    import transformers

    if not case.json:
        return None
    try:
        declared = declared_tokenizer(case.source, case.revision)
        other = Reading(declared)
        losses = other.losses
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # the class cannot take these files at all
        return None
    pairs = list(zip(case.reading.losses, losses, strict=True))
    better = next((mine for mine, its in pairs if mine is not None and _weight(mine) > _weight(its)), None)
    if better is not None and all(_weight(mine) >= _weight(its) for mine, its in pairs):
        raise case.refusal(
            f"its tokenizer.json reads {better.text!r} as {better.read_as!r}, which the class that its configuration "
            f"names ({type(declared).__name__}) reads right: a part of tokenizer.json is lost; save the tokenizer anew"
        )
    if case.reading.encoded == other.encoded and all(a == b for a, b in pairs):
        return None
    read = next((f"{its.text!r} as {its.read_as!r}" for mine, its in pairs if its is not None and mine != its), "")
    text = next((t for t, a, b in zip(TEXTS, case.reading.encoded, other.encoded, strict=True) if a != b), "")
    return (
        f"the tokenizer is read as its tokenizer.json says; transformers {transformers.__version__} makes a "
        f"{type(declared).__name__} of it, which reads {read or f'other ids in {text!r}'}"
    )


def _weight(loss: Loss | None) -> int:
    """How much worse a loss is than none; other spaces, capitals and accents are how some tokenizers read."""
    if loss is None or loss.kind in _MEANING:
        return 0
    return 1 if loss.kind == "unknown" else 2


def _check_spaces_marker(case: _Case) -> None:
    """A vocabulary whose words begin with the sign for a space, and a tokenizer that never makes one, do not belong
    together: what splits text or normalises it was lost.
    """
    begins = {sign: sum(token.startswith(sign) and len(token) > 1 for token in case.vocabulary) for sign in "▁Ġ"}
    sign = max(begins, key=lambda sign: begins[sign])
    if begins[sign] < max(3, len(case.vocabulary) / 100):
        return
    tokens = case.tokenizer.convert_ids_to_tokens(case.reading.ids("so what is the answer to a one"))
    if not any(str(token).startswith(sign) for token in tokens):
        raise case.refusal(
            f"its vocabulary writes a space as {sign!r}, and its tokenizer makes no such token of a text with spaces: "
            f"the normalizer or pre_tokenizer of its tokenizer.json is lost"
        )


def _check_losses(case: _Case) -> str | None:
    """Refuse what damages text; say what else a text loses."""
    found = [loss for loss in case.reading.losses if loss is not None]
    bad = next((loss for kind in _REFUSED for loss in found if loss.kind == kind), None)
    if bad is not None:
        raise case.refusal(f"its tokenizer reads {bad.text!r} as {bad.read_as!r}")
    parts = []
    for kind, meaning in _MEANING.items():
        if loss := next((loss for loss in found if loss.kind == kind), None):
            parts.append(f"changes {meaning} ({loss.text!r} is read as {loss.read_as!r})")
    if unknown := [loss.text for loss in found if loss.kind == "unknown"]:
        if len(unknown) == len(TEXTS):
            _check_splitting(case)
        unjudged = ", so that nothing is known of it" if len(unknown) == len(TEXTS) else ""
        parts.append(f"lacks words of {len(unknown)} of {len(TEXTS)} test texts, such as {unknown[0]!r}{unjudged}")
    return f"the tokenizer {', and '.join(parts)}" if parts else None


def _check_splitting(case: _Case) -> None:
    """Refuse a tokenizer that knows every word of a text and not the text."""
    for text in TEXTS:
        if set(re.findall(r"[A-Za-z0-9]+|\S", text)) <= case.vocabulary.keys():
            raise case.refusal(
                f"its vocabulary has every word of {text!r}, and its tokenizer reads it as "
                f"{case.reading.text(case.reading.ids(text))!r}: the pre_tokenizer of its tokenizer.json is lost"
            )


def _check_special(case: _Case) -> str | None:
    """Refuse an end of text in the configurations that the tokenizer does not have; say what else does not agree."""
    ids = {kind: case.config.get(f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    generation = read_json(case.source, case.revision, "generation_config.json").get("eos_token_id")
    for file, numbers in (("config.json", ids["eos"]), ("generation_config.json", generation)):
        if ends := [number for number in _numbers(numbers) if not 0 <= number < len(case.tokenizer)]:
            raise case.refusal(
                f"`eos_token_id` of its {file} is {ends[0]}, which its tokenizer of {len(case.tokenizer)} tokens does "
                f"not have"
            )
    said = []
    for kind, number in ids.items():
        mine = getattr(case.tokenizer, f"{kind}_token_id")
        others = _numbers(number)
        if kind == "eos" and others and mine not in others:
            token = case.tokenizer.convert_ids_to_tokens(others[0])
            said.append(
                f"config.json ends a text at {others[0]} ({token!r}) and the tokenizer at {mine} "
                f"({case.tokenizer.eos_token!r})"
            )
        elif kind != "eos" and any(not 0 <= other < len(case.tokenizer) for other in others):
            said.append(f"`{kind}_token_id` of config.json is {number}, which the tokenizer does not have")
    for kind, token in special_tokens_named(case.source, case.revision).items():
        if getattr(case.tokenizer, f"{kind}_token") is None:
            said.append(
                f"the vocabulary does not have the `{kind}_token` {token!r} of the configuration; there is none"
            )
    return "; ".join(said) or None


_CHECKS = (
    _check_words,
    _check_embeddings,
    _check_agreement,
    _check_class,
    _check_spaces_marker,
    _check_losses,
    _check_special,
)


def _named_class(case: _Case) -> str:
    named = read_json(case.source, case.revision, "tokenizer_config.json").get("tokenizer_class")
    return str(named or type(case.tokenizer).__name__)


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int)]


def _visible(text: str) -> str:
    """A text without spaces, capitals and accents."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in folded if unicodedata.category(character)[0] not in "MCZ")


def _words(text: str) -> list[str]:
    """The words and whole numbers of a text, without capitals and accents."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"[a-z0-9]+", "".join(c for c in folded if unicodedata.category(c)[0] != "M"))
