"""From text to token ids: the special tokens of a template are tokens, those in a problem or a solution are text.

A template and what is inserted are encoded as one text, so that tokens may span the seam. Only where an inserted text
spells a special token is the tokenizer's twin asked, which knows the special tokens under names that no text has.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rlbench.records import Problem, UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Note = Callable[[str], None]

CHAT = "{chat}"
"""Stands for the tokenizer's own chat template around the bare problem."""

# Some templates of chat put today's date in; this one makes the same prompts every day, and is what they fall back on.
_CHAT_DATE = "26 Jul 2024"

_CHUNK = 512  # so many texts are encoded at once: where each token stands takes much more memory than the token

# Added tokens that are no special ones in name are still markers if they look so (<think>). Runs of spaces are text,
# and so are the tags of HTML that Gemma's vocabulary has.
_MARKER = re.compile(r"<.+>|\[.+\]", re.DOTALL)
_HTML = re.compile(
    r"</?(?:a|b|blockquote|br|caption|code|div|em|h[1-6]|i|img|li|ol|p|pre|s|span|strong|sub|sup|table|tbody|td|tfoot|th|"
    r"thead|tr|u|ul)>"
)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, template: str, problems: Iterable[Problem], note: Note | None = None
) -> list[list[int]]:
    """Token ids of each problem's prompt: ``{problem}`` of the template replaced, and nothing added to what stands
    there. ``note`` is told what readers have to know of them.

    Raises:
        UserError: the template asks for a chat template or a special token that the tokenizer does not have.
    """
    problems = list(problems)
    pieces = template_text(tokenizer, template).split("{problem}")
    ids = _encode(tokenizer, pieces, [problem.problem for problem in problems])
    _tell_unknown(tokenizer, "prompt", problems, ids, note)
    return ids


def encode_solutions(
    tokenizer: PreTrainedTokenizerBase, problems: Iterable[Problem], note: Note | None = None
) -> list[list[int]]:
    """Token ids of each problem's worked solution, all of it text, and the end of text. ``note`` is told what readers
    have to know of them.
    """
    problems = list(problems)
    ids = _encode(tokenizer, ["", ""], [problem.solution or "" for problem in problems])
    _tell_unknown(tokenizer, "solution", problems, ids, note)
    return [[*row, tokenizer.eos_token_id] for row in ids]


def template_text(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """A template with its ``{bos}`` and ``{eos}`` as this tokenizer has them, and ``CHAT`` as its chat template.

    Raises:
        UserError: it has none.
    """
    if template == CHAT:
        return _chat_text(tokenizer)
    for kind, meaning in (("bos", "beginning-of-text"), ("eos", "end-of-text")):
        if (placeholder := f"{{{kind}}}") in template:
            token = getattr(tokenizer, f"{kind}_token")
            if token is None:
                raise UserError(f"the template has {placeholder}, and the model's tokenizer has no {meaning} token")
            template = template.replace(placeholder, token)
    return template


def _tell_unknown(
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    problems: Sequence[Problem],
    ids: Sequence[Sequence[int]],
    note: Note | None,
) -> None:
    """Tell how many of the encoded texts hold the unknown token."""
    unknown = tokenizer.unk_token_id
    if note is None or unknown is None or unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        return
    having = [problem.id for problem, row in zip(problems, ids, strict=True) if unknown in row]
    if having:
        note(
            f"{len(having)} of {len(ids)} {kind}s hold text that the tokenizer does not know and reads as "
            f"{tokenizer.unk_token!r}, the first is that of problem {having[0]!r}"
        )


def _chat_text(tokenizer: PreTrainedTokenizerBase) -> str:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise UserError('template = "chat": the model\'s tokenizer has no chat template; name a template instead')
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "{problem}"}],
            tokenize=False,
            add_generation_prompt=True,
            date_string=_CHAT_DATE,
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise UserError(f'template = "chat": the tokenizer\'s chat template fails: {error}') from error
    if "{problem}" not in text:
        raise UserError('template = "chat": the tokenizer\'s chat template leaves out what the user says')
    return str(text)


def _encode(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text between the pieces: of two pieces one before and one after it, of more between any two."""
    if not texts:
        return []
    if not tokenizer.is_fast:
        return [_encode_apart(tokenizer, pieces, text) for text in texts]
    found, markers = [], _markers(tokenizer)
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        whole = [text.join(pieces) for text in chunk]
        encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        rows = zip(chunk, whole, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for text, joined, ids, offsets in rows:
            spans = [span for number, span in zip(ids, offsets, strict=True) if number in markers]
            spelt = tokenizer.unk_token is not None and tokenizer.unk_token in text
            as_text = spelt or any(_is_inserted(joined, pieces, len(text), span) for span in spans)
            found.append(_encode_as_text(tokenizer, markers, pieces, text) if as_text else list(ids))
    return found


def _is_inserted(whole: str, pieces: Sequence[str], length: int, span: tuple[int, int]) -> bool:
    """Whether a special token at ``span`` has a character of the inserted text, beside spaces that it swallows."""
    begin, end = span
    begin += len(whole[begin:end]) - len(whole[begin:end].lstrip())
    end = begin + len(whole[begin:end].rstrip())
    start = 0
    for piece in pieces[:-1]:
        start += len(piece)
        if begin < start + length and end > start:
            return True
        start += length
    return False


def _markers(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The special tokens, and what looks like one among the other added tokens, by id."""
    return {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or (_MARKER.fullmatch(token.content) and not _HTML.fullmatch(token.content))
    }


def _encode_apart(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], text: str) -> list[int]:
    """For a tokenizer without a core of the library tokenizers: pieces and text one by one, whatever the seam."""

    def ids(part: str, as_text: bool) -> list[int]:
        tokens: Any = tokenizer.tokenize(part, split_special_tokens=as_text)
        numbers: Any = tokenizer.convert_tokens_to_ids(tokens)
        return list(numbers)

    parts = itertools.chain.from_iterable((ids(text, True), ids(piece, False)) for piece in pieces)
    return list(itertools.chain.from_iterable(itertools.islice(parts, 1, None)))


# The twin -------------------------------------------------------------------------------------------------------------

_TWINS: WeakKeyDictionary[Any, tuple[str, Tokenizer]] = WeakKeyDictionary()


def _encode_as_text(
    tokenizer: PreTrainedTokenizerBase, markers: Mapping[int, str], pieces: Sequence[str], text: str
) -> list[int]:
    """The ids of the text between the pieces, in which only the special tokens of the pieces are special."""
    whole = text.join(pieces)
    mark = next(mark for mark in (f"⟦{number}:" for number in itertools.count()) if mark not in whole)
    known, twin = _TWINS.get(tokenizer, ("", None))
    if twin is None or known != mark:
        twin = _twin(tokenizer.backend_tokenizer, {content: f"{mark}{n}⟧" for n, content in markers.items()})
        _TWINS[tokenizer] = (mark, twin)
    renamed = [_rename(tokenizer.backend_tokenizer, markers, mark, piece) for piece in pieces]
    return list(twin.encode(text.join(renamed), add_special_tokens=False).ids)


def _rename(core: Tokenizer, markers: Mapping[int, str], mark: str, piece: str) -> str:
    """A piece of a template with its special tokens under the names that the twin has for them."""
    encoded = core.encode(piece, add_special_tokens=False)
    parts, end = [], 0
    for number, (begin, stop) in zip(encoded.ids, encoded.offsets, strict=True):
        if number in markers and markers[number].strip() in piece[begin:stop]:
            # A special token may swallow the spaces around it, which stay where they are for its twin to swallow.
            begin = piece.index(markers[number].strip(), begin)
            parts += [piece[end:begin], f"{mark}{number}⟧"]
            end = begin + len(markers[number].strip())
    return "".join([*parts, piece[end:]])


def _twin(core: Tokenizer, names: Mapping[str, str]) -> Tokenizer:
    """A copy of a tokenizer whose special tokens have other names; ids and everything else are the same."""
    from tokenizers import Tokenizer

    data = json.loads(core.to_str())
    for token in data["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = data["model"]
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(token, token): number for token, number in vocab.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocab]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = (
            (a, b) for a, b in (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        )
        model["merges"] = [[a, b] for a, b in pairs if not {a, b, a + b} & names.keys()]
    data |= {"post_processor": None, "truncation": None, "padding": None}
    twin = Tokenizer.from_str(json.dumps(data))
    moved = [token for token, name in names.items() if twin.token_to_id(name) != core.token_to_id(token)]
    if moved:
        raise UserError(f"the tokenizer's special token {moved[0]!r} cannot be told from text")
    return twin
