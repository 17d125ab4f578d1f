"""Tokenizers of model folders: loading, and encoding prompts without adding anything to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rlbench.models.folder import first_line, locate
from rlbench.records import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder.

    Raises:
        UserError: the folder holds none, or one without an end-of-text token.
    """
    from transformers import AutoTokenizer

    source, revision = locate(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"model {source!r} has no tokenizer that transformers can load: {first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of model {source!r} names no end-of-text token")
    return tokenizer


def encode_prompts(tokenizer: PreTrainedTokenizerBase, template: str, problems: Iterable[Problem]) -> list[list[int]]:
    """Token ids of each problem's prompt: ``{problem}`` of the template replaced, and nothing added to what stands
    there.
    """
    texts = [template.replace("{problem}", problem.problem) for problem in problems]
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
