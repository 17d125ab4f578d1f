"""A model on disk: loading, saving, and the pointer that stands in the store for somebody else's checkpoint.

A *model folder* is either a Hugging Face folder (what training writes) or holds one ``model.json`` that points at a local
folder or a hub id with its revision, so that a store does not copy weights it did not make.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.records import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

POINTER = "model.json"


def locate(folder: Path) -> tuple[str, str | None]:
    """Return what ``from_pretrained`` takes for a model folder: (path or hub id, revision)."""
    pointer = folder / POINTER
    if pointer.exists():
        target = json.loads(pointer.read_text())
        return target["source"], target["revision"]
    return str(folder), None


def load_model(folder: Path, *, dtype: str = "float32", device: str = "cpu", attention: str | None = None) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Raises:
        UserError: nothing that transformers can load is there.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # a run has a progress line of its own
    source, revision = locate(folder)
    options: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, revision=revision, dtype=getattr(torch, dtype), **options)
    except (OSError, ValueError) as error:
        raise UserError(f"model {source!r} cannot be loaded: {first_line(error)}") from error
    return model.to(device).eval()


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
    """Token ids of each problem's prompt: ``{problem}`` of the template replaced, and nothing added to what stands there."""
    texts = [template.replace("{problem}", problem.problem) for problem in problems]
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def save_model(model: PreTrainedModel, like: Path, output: Path) -> None:
    """Write weights and configuration into ``output``, with the tokenizer files of the model folder ``like``."""
    model.save_pretrained(output, safe_serialization=True)
    source, _ = locate(like)
    local = Path(source)
    if not local.is_dir():
        load_tokenizer(like).save_pretrained(output)
        return
    for file in sorted(local.iterdir()):
        if file.is_file() and ("token" in file.name or file.name in {"vocab.json", "merges.txt", "chat_template.jinja"}):
            shutil.copyfile(file, output / file.name)


def stop_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a completion: the tokenizer's end of text, the generation configuration's, and ChatML's end of turn."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = {tokenizer.eos_token_id}
    ids.update(configured if isinstance(configured, list) else [configured] if configured is not None else [])
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if isinstance(turn, int) and turn != tokenizer.unk_token_id:
        ids.add(turn)
    return tuple(sorted(ids))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def link(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: point at a local folder, or fetch a hub id and point at the commit that was fetched.

    Raises:
        UserError: the hub has no such model or cannot be reached.
    """
    source, revision = config["source"], config["revision"]
    if config["sha256"] is None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = snapshot_download(source, revision=revision, ignore_patterns=["*.bin", "*.pth", "*.gguf", "*.onnx"])
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = first_line(error)
            raise UserError(f"model {source!r} cannot be fetched from the hub ({reason}); a local folder can be given instead") from None
        revision = Path(folder).name
    (output / POINTER).write_text(json.dumps({"source": source, "revision": revision}))
    load_tokenizer(output)
