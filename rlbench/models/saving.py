"""Saving of models that were trained here: what is saved is what was loaded, with other weights.

A saved model is loaded again and compared before anybody reads it. And saving refuses nothing that loading has
accepted: the time to find fault with a configuration is before the training, not after it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models.folder import files_of, first_line, trusts_code, write_pointer
from rlbench.models.loading import load_model, quiet
from rlbench.models.tokenizer_admission import TEXTS
from rlbench.models.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_NAMES = ("token", "vocab", "merges", "spiece", "sentencepiece", "tekken", "special_tokens", "chat_template")
PROCESSOR_NAMES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
TOKENIZER_ENDINGS = (".model", ".tiktoken", ".spm", ".bpe", ".codes")
PROBE_TOKENS = 16
ROUNDING, COARSE_ROUNDING = 1e-4, 0.05
"""Of the spread of logits, in the mean. The model in memory was cast with buffers, such as those of rotary embeddings,
that a loaded one makes itself in float32.
"""


class NotFaithful(RuntimeError):
    """A saved model is not the one in memory, or its tokenizer not the one that was loaded.

    An error of the disk or of a library: the stage is tried again by the next run.
    """


def save_model(model: PreTrainedModel, like: Path, output: Path) -> None:
    """Write weights and configuration into ``output``, with every tokenizer and processor file of the model folder
    ``like``, and see that loading them gives the same model.

    Args:
        model: on the CPU, in the data type that it is to have, in evaluation mode.
        like: the folder that it was loaded from before it was trained.
        output: a folder with nothing of a model in it.

    Raises:
        NotFaithful: what was written is another model or tokenizer.
    """
    quiet()
    files, tokenizer = files_of(like), load_tokenizer(like)
    with _accepting(model, files, output):
        model.save_pretrained(output)
    for file in sorted(files.iterdir()):
        if (
            file.is_file()
            and _travels(file.name, tokenizer, code=trusts_code(like))
            and not (output / file.name).exists()
        ):
            shutil.copyfile(file, output / file.name)
    write_pointer(output, trust_remote_code=trusts_code(like))
    _compare(model, tokenizer, output)


def _travels(name: str, tokenizer: PreTrainedTokenizerBase, *, code: bool) -> bool:
    """Whether a file is the tokenizer's or processor's, by its name or because the tokenizer's class reads it; or is
    code that may run.
    """
    if name in (getattr(tokenizer, "vocab_files_names", None) or {}).values() or name in PROCESSOR_NAMES:
        return True
    return "token" in name or name.startswith(TOKENIZER_NAMES) or name.endswith((*TOKENIZER_ENDINGS, *[".py"] * code))


@contextlib.contextmanager
def _accepting(model: PreTrainedModel, files: Path, output: Path) -> Iterator[None]:
    """For a while transformers saves a model whose generation configuration it has loaded and would not save: that one
    is written as its file has it.
    """
    generation = model.generation_config
    if not _refused(generation):
        yield
        return
    model.generation_config = type(generation)()
    try:
        yield
    finally:
        model.generation_config = generation
    (output / "generation_config.json").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # it is made from config.json, there as here
        shutil.copyfile(files / "generation_config.json", output / "generation_config.json")


def _refused(generation: Any) -> bool:
    """Whether transformers would not save a generation configuration that it has loaded."""
    try:
        generation.validate(strict=True)
    except ValueError:
        return True
    return False


def _compare(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, output: Path) -> None:
    """Load a saved model: its parameters are those in memory to the bit, it gives the same logits on a few tokens, and
    its tokenizer gives the same ids for the same texts as that of the model it came from.
    """
    import torch

    saved = load_model(
        output, dtype=str(model.dtype).removeprefix("torch."), attention=model.config._attn_implementation
    )
    for (name, mine), (_, theirs) in zip(model.state_dict().items(), saved.state_dict().items(), strict=True):
        if not torch.equal(mine.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8)):
            raise NotFaithful(f"{name} of the saved model is not the trained one")
    embeddings: Any = model.get_input_embeddings()
    vocabulary = embeddings.weight.shape[0]
    probe = (torch.arange(1, PROBE_TOKENS + 1) * 7919 % vocabulary)[None]
    with torch.no_grad():
        mine, theirs = (each(probe).logits.float().nan_to_num() for each in (model, saved))
    off, spread = (mine - theirs).abs().mean().item(), mine.std().item()
    if off > (ROUNDING if model.dtype == torch.float32 else COARSE_ROUNDING) * spread + ROUNDING:
        raise NotFaithful(
            f"logits of the saved model are off by {off:.2g} in the mean, where they spread by {spread:.2g}"
        )
    again = load_tokenizer(output)
    if len(again) != len(tokenizer) or again.all_special_ids != tokenizer.all_special_ids:
        raise NotFaithful(f"the saved tokenizer has {len(again)} tokens, that of the base {len(tokenizer)}")
    for text in TEXTS:
        if _ids(again, text) != _ids(tokenizer, text):
            raise NotFaithful(f"the saved tokenizer reads {text!r} otherwise than that of the base")


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int] | str:
    """A text's ids, or why there are none: some tokenizers raise for what they have no token for."""
    try:
        return tokenizer.encode(text)
    except Exception as error:
        return first_line(error)
