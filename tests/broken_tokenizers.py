"""Folders with tokenizers of every kind, whole and damaged, under right and wrong names, for the tests of admission.

A kind is a function in ``KINDS`` that trains a small tokenizer; ``write_tokenizer`` puts one into a folder as the class
and model type that the files are to name; ``DAMAGES`` take a part of its tokenizer.json away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rlbench.tasks.arithmetic_tokenizer import build_tokenizer

SPECIAL = ("<unk>", "<|begin|>", "<|end|>", "<|pad|>")
TEXT = [
    "What is the answer to one plus one? Reason step by step, so put the final answer within \\boxed{}.",
    "  two spaces\n\nand lines\n\tand tabs, the answer is 12 + 345 = 357 or 3.14 at least.",
    "the answer is nine, so what is the answer to a one? It is the value of f(x): return x.",
    "\\frac{1}{2} + \\sqrt{3} \\le x^2_{i} - 7 \\cdot \\left(a\\right) $[x]$ & | ~ # % @ \"q\" 'r' `s`; t: u? v!",
    "[PAD] abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0 1 2 3 4 5 6 7 8 9 < > { }",
] * 20
ASCII = [chr(number) for number in range(32, 127)]


def byte_level() -> Tokenizer:
    """As GPT-2, Llama-3 and DeepSeek have it."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=420, special_tokens=[*SPECIAL[1:]], initial_alphabet=alphabet)
    )
    return core


def byte_level_digits() -> Tokenizer:
    """As Qwen has it: NFC, its own splitting, every digit apart, then bytes."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(r"\p{N}|[^\r\n\p{L}\p{N}]?\p{L}+|\s+(?!\S)|\s+|[^\s\p{L}\p{N}]+"), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=420, special_tokens=[*SPECIAL[1:]], initial_alphabet=alphabet)
    )
    return core


def pieces_bpe() -> Tokenizer:
    """As Llama-2 has it: a sentencepiece model with bytes to fall back on, spaces written by its normalizer."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Trained on words, as no merge of a sentencepiece model spans two of them.
    words = [word for text in TEXT for word in text.replace(" ", " ▁").split(" ")]
    fallback = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=560, special_tokens=[*SPECIAL, *fallback], initial_alphabet=[c for c in ASCII if c != " "]
    )
    core.normalizer, kept = normalizers.Replace("\n", ""), core.normalizer
    core.train_from_iterator(words, trainer)
    core.normalizer = kept
    data = json.loads(core.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(data))


def pieces_unigram() -> Tokenizer:
    """As T5 and XLM-R have it: a unigram model over words that begin with the sign of a space."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=list(SPECIAL), unk_token="<unk>", initial_alphabet=[*ASCII, "\n", "\t"]
    )
    core.train_from_iterator(TEXT, trainer)
    return core


def word_pieces() -> Tokenizer:
    """As BERT has it: no capitals, no accents, no line breaks."""
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=ASCII)
    )
    return core


def words() -> Tokenizer:
    """The miniature's."""
    return build_tokenizer().backend_tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    kind.__name__: kind for kind in (byte_level, byte_level_digits, pieces_bpe, pieces_unigram, word_pieces, words)
}
CLASSES = (
    None,
    "PreTrainedTokenizerFast",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "Qwen2Tokenizer",
    "BertTokenizer",
    "T5TokenizerFast",
    "GemmaTokenizer",
    "NoTokenizer",
)
MODEL_TYPES = ("llama", "qwen2", "gpt2", "mistral", "gemma", "bert", "no_model")


def write_tokenizer(
    folder: Path,
    core: Tokenizer,
    tokenizer_class: str | None = "PreTrainedTokenizerFast",
    model_type: str = "llama",
    config: dict[str, Any] | None = None,
    **named: Any,
) -> Path:
    """A folder with the files of a tokenizer and a config.json, and no weights; or a model's, with another tokenizer.

    ``named`` goes to tokenizer_config.json, ``config`` to config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    vocabulary = core.get_vocab()
    miniature = "<bos>" in vocabulary
    tokens = {
        "bos_token": "<bos>" if miniature else "<|begin|>",
        "eos_token": "<eos>" if miniature else "<|end|>",
        "pad_token": "<pad>" if miniature else "<|pad|>",
    }
    if "<unk>" in vocabulary:
        tokens["unk_token"] = "<unk>"
    said = {**tokens, **({"tokenizer_class": tokenizer_class} if tokenizer_class else {}), **named}
    write_json(folder / "tokenizer_config.json", said)
    rows = max(vocabulary.values()) + 1
    path = folder / "config.json"
    said = json.loads(path.read_text()) if path.exists() else {"model_type": model_type, "vocab_size": rows}
    write_json(path, {**said, **(config or {})})
    return folder


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    write_json(path, data)


def without(core: Tokenizer, part: str) -> Tokenizer:
    """A tokenizer whose file has lost its ``decoder``, ``normalizer`` or ``pre_tokenizer``."""
    return Tokenizer.from_str(json.dumps({**json.loads(core.to_str()), part: None}))
