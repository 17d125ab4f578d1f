r"""The tokenizer of the miniature: a word level over a fixed list, digits apart, ``\boxed{`` one token.

The vocabulary is written out, never harvested: a harvested one left unknown tokens in the demonstrations of an earlier
study and misled its comparison. Spaces are not tokens; decoding puts them where the task's text has them, so text and
ids determine each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
_SYMBOLS = (*"\n0123456789+-*/=().,?}", "\\boxed{")
_WORDS = """
    Anna Ben Carl Dora Eva Finn Gina Hugo Iris
    apples books coins cards pens stones
    Compute What is Find the value of
    has gets more finds gives away loses Then times as many How does have now
    At first owns buys another sells them The amount becomes large number
    Let x Add Subtract Multiply by Start from Increase it Decrease Take Which
    We start with there are adding Now we add and get taking subtract multiplying multiply this So answer This makes so
"""
VOCABULARY = (*SPECIALS, *_SYMBOLS, *_WORDS.split())


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer; ``save_pretrained`` writes a folder that ``AutoTokenizer`` loads.

    Special tokens are recognised where text writes them literally. Text that the vocabulary does not cover becomes
    ``<unk>``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({token: index for index, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" +"), "removed"),
            pre_tokenizers.Split(Regex(r"\\boxed\{|[A-Za-z]+|\n|."), "isolated"),
        ]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(
                prefix="<none>", cleanup=False
            ),  # joins with single spaces; the rules below take out those too many
            decoders.Fuse(),
            decoders.Replace(Regex(r" (?=[+\-*/=).,?}\n<])"), ""),
            decoders.Replace(Regex(r"(?<=[+\-*/=(\n{>]) "), ""),
            decoders.Replace(Regex(r"(?<=[0-9]) (?=[0-9])"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=256,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
