"""Loading of models: weights, configuration, and the tokens that end a completion."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models.completeness import describe, verdict_of
from rlbench.models.folder import first_line, locate, trusts_code
from rlbench.records import UserError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def quiet() -> None:
    """No progress bars of transformers': a run has a progress line of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """transformers prints no report of what it could not load; it is told in one line."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_model(
    folder: Path, *, dtype: str = "float32", device: str = "cpu", attention: str | None = None
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Raises:
        UserError: nothing that transformers can load is there, or not every parameter would come from its files.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    source, revision = locate(folder)
    options: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    auto: Any = AutoModelForCausalLM  # the types of `from_pretrained` know nothing of the info that is asked for
    try:
        with quietly():
            model, info = auto.from_pretrained(
                source,
                revision=revision,
                dtype=getattr(torch, dtype),
                trust_remote_code=trusts_code(folder),
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model {source!r} cannot be loaded: {first_line(error)}") from error
    if not (verdict := verdict_of(info)).complete:
        raise UserError(f"model {source!r}: {describe(verdict, model, {})}")
    return model.to(device).eval()


def generation_config(folder: Path) -> GenerationConfig:
    """The generation configuration of a model folder as its model would have it, without loading the model."""
    from transformers import AutoConfig, GenerationConfig

    source, revision = locate(folder)
    pinned: dict[str, Any] = {"revision": revision}
    try:
        return GenerationConfig.from_pretrained(source, **pinned)
    except OSError:  # it has no file of its own
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trusts_code(folder))
        return GenerationConfig.from_model_config(config)


def stop_token_ids(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a completion: the tokenizer's end of text, the generation configuration's, and ChatML's end of
    turn.

    Raises:
        UserError: the generation configuration names an id that the tokenizer does not have.
    """
    configured = generation.eos_token_id if generation is not None else None
    ids = {tokenizer.eos_token_id}
    ids.update(configured if isinstance(configured, list) else [configured] if configured is not None else [])
    if unknown := sorted(number for number in ids if not 0 <= number < len(tokenizer)):
        raise UserError(
            f"the model's generation_config.json ends completions at token {unknown[0]} (`eos_token_id`), which its "
            f"tokenizer of {len(tokenizer)} tokens does not have"
        )
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if isinstance(turn, int) and turn != tokenizer.unk_token_id:
        ids.add(turn)
    return tuple(sorted(ids))
