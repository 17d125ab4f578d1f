"""Tokenizers of model folders: loaded so that they read and write text as the folder's own tokenizer.json does.

transformers 5 rebuilds a tokenizer as the class that tokenizer_config.json or the model's type names, with that class's
own splitting of text, whatever tokenizer.json says: a byte-level tokenizer that is called LlamaTokenizer loses every
space. Here tokenizer.json decides wherever there is one. ``tokenizer_admission`` judges what is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models.folder import first_line, locate, trusts_code
from rlbench.models.vocabulary import TOKENIZER_JSON, find_file, read_json, read_vocabulary
from rlbench.records import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL = ("bos", "eos", "unk", "pad")  # the special tokens that anything here asks a tokenizer for

# A text is decoded as it was written, without "cleaning up" its spaces, and special tokens of a template are tokens.
_FAITHFUL: dict[str, Any] = {"clean_up_tokenization_spaces": False, "split_special_tokens": False}


def load_tokenizer(folder: Path, name: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder. ``name`` is what errors call the model, by default where it lies.

    Raises:
        UserError: the folder holds none that can be loaded, or one without an end-of-text token.
    """
    source, revision = locate(folder)
    name = name or source
    with refused(name):
        if tokenizer_file(source, revision) is None or has_own_code(folder):
            tokenizer = declared_tokenizer(source, revision, trusts_code(folder))
        else:
            tokenizer = _of_tokenizer_json(source, revision)
    if tokenizer.eos_token_id is None:
        token = special_tokens_named(source, revision).get("eos")
        raise UserError(
            f"the tokenizer of model {name!r} names no end-of-text token"
            if token is None
            else f"model {name!r}: its `eos_token` is {token!r}, which its vocabulary does not have"
        )
    return tokenizer


def tokenizer_file(source: str, revision: str | None) -> Path | None:
    """The tokenizer.json of a model, fetched from the hub where it is not there yet; None where the model has none."""
    if not Path(source).is_dir():
        from transformers.utils import cached_file

        quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        cached_file(source, TOKENIZER_JSON, revision=revision, **quietly)
    return find_file(source, revision, TOKENIZER_JSON)


def has_own_code(folder: Path) -> bool:
    """Whether the recipe lets code of the folder run, and that has a tokenizer in it."""
    table = read_json(*locate(folder), "tokenizer_config.json").get("auto_map", {})
    return trusts_code(folder) and "AutoTokenizer" in table


def declared_tokenizer(source: str, revision: str | None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer as transformers makes it: an object of the class that the folder's files name."""
    from transformers import AutoTokenizer

    options = {**_FAITHFUL, "trust_remote_code": trust_remote_code}
    return AutoTokenizer.from_pretrained(source, revision=revision, **options)


def _of_tokenizer_json(source: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer that tokenizer.json holds, with the special tokens and the chat template of the files beside it.

    A special token that no file gives an id is none: transformers would make up an id for it, beyond those that the
    model has embeddings for.
    """
    from transformers import PreTrainedTokenizerFast

    options: dict[str, Any] = {**_FAITHFUL, "revision": revision}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source, **options)
    named = {kind: getattr(tokenizer, f"{kind}_token") for kind in SPECIAL}
    if named["eos"] is None:
        # Files that leave special tokens to the defaults of a class, as GPT-2's do.
        declared = declared_tokenizer(source, revision)
        named |= {kind: getattr(declared, f"{kind}_token") for kind in SPECIAL if named[kind] is None}
    known = read_vocabulary(source, revision)
    for kind, token in named.items():
        setattr(tokenizer, f"{kind}_token", token if token in known else None)
    return tokenizer


@contextlib.contextmanager
def refused(name: str) -> Iterator[None]:
    """Whatever a library raises while it loads a tokenizer, as one line about the model ``name``."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # tokenizers raises bare Exceptions, and panics that are none
        raise UserError(f"model {name!r} has no tokenizer that transformers can load: {first_line(error)}") from error


def special_tokens_named(source: str, revision: str | None) -> dict[str, str]:
    """The special tokens that the folder's configuration names, by kind (``eos``), whether the vocabulary has them or
    not.
    """
    config: dict[str, Any] = read_json(source, revision, "special_tokens_map.json")
    config |= read_json(source, revision, "tokenizer_config.json")
    tokens = {kind: config.get(f"{kind}_token") for kind in SPECIAL}
    texts = {kind: token.get("content") if isinstance(token, dict) else token for kind, token in tokens.items()}
    return {kind: text for kind, text in texts.items() if isinstance(text, str)}
