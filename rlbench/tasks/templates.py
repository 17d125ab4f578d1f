r"""Prompt templates: the text around a problem, special tokens written literally.

``models.encode_prompts`` makes a prompt of one and a problem, and nothing is added to what stands here. A template is
text with ``{problem}`` in it, and travels between stages as that text: renaming one, or moving its file, re-runs
nothing; changing one re-runs what used it. ``{bos}`` and ``{eos}`` in it are the special tokens of the model's own
tokenizer. A recipe names one of ``TEMPLATES``, brings a text or a file, or says ``chat`` for the tokenizer's own chat
template around the bare problem.
"""

from __future__ import annotations

import re
from pathlib import Path

from rlbench.models import CHAT
from rlbench.records import UserError, nearest

PLACEHOLDERS = ("{problem}", "{bos}", "{eos}")

_BOXED = r"Please reason step by step, and put your final answer within \boxed{}."


def _chatml(system: str, user: str) -> str:
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def _few_shot(*examples: tuple[str, str, str]) -> str:
    """Examples as turns of a conversation, so that the model ends its own turn and does not go on to a next problem."""
    turns = [
        f"<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n{solution} The answer is "
        f"\\boxed{{{answer}}}.<|im_end|>\n"
        for problem, solution, answer in examples
    ]
    return "".join(turns) + "<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"


TEMPLATES: dict[str, str] = {
    # The embedded miniature's documents are <bos>question\nsolution<eos>.
    "miniature": "<bos>{problem}\n",
    # The problem and nothing after it, for what is to go on with its text.
    "miniature-raw": "<bos>{problem}",
    "raw": "{problem}",
    # Evaluation prompt of the DFT paper, confirmed in its public code.
    "qwen-boxed": _chatml("You are a helpful assistant.", "{problem}\n" + _BOXED),
    # Training prompt. Confirmed: "the model's chat template over the bare problem, no instruction suffix". Inferred:
    # the system message. Qwen2.5-Math's chat template is reported by its users to put this one in when a conversation
    # has none; the tokenizer file itself could not be read here.
    "qwen-bare": _chatml(_BOXED, "{problem}"),
    # Rollout prompt. Confirmed: the sentence after the problem. Inferred: the same default system message as above.
    "qwen-cot": _chatml(_BOXED, r"{problem} Let's think step by step and output the final answer within \boxed{}."),
    # For models without a chat template.
    "bare": "{problem}\n",
    "question-answer": "Question: {problem}\nAnswer:",
    # For base models that answer best by example; no system message, and the form of an answer is all that is told.
    "few-shot": _few_shot(
        (
            "What is the sum of the first five odd numbers?",
            "They are 1, 3, 5, 7 and 9, and 1 + 3 + 5 + 7 + 9 = 25.",
            "25",
        ),
        ("Solve 3x - 4 = 11 for x.", "Adding 4 gives 3x = 15, and dividing by 3 gives x = 5.", "5"),
        (
            "A fair coin is tossed three times. What is the probability of exactly two heads?",
            "There are 8 outcomes, and 3 of them have two heads: HHT, HTH and THH.",
            r"\frac{3}{8}",
        ),
        ("Factor x^2 - 9.", "It is a difference of squares, x^2 - 3^2.", "(x-3)(x+3)"),
    ),
}

NAMES = (*TEMPLATES, "chat")

# What special tokens look like in the templates of the models that are around. Tags such as <think> may be plain text.
_MARKER = re.compile(r"<\|[^<>|\s]+\|>|<｜[^<>｜]+｜>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_\w+)>")


def get_template(value: str, key: str = "template") -> str:
    """The text of a template: of its name, of a file, or ``value`` itself where that has ``{problem}`` in it.

    A file's last line break is not part of it, as editors put one there. ``key`` of a recipe is named in errors.

    Raises:
        UserError: it is none of these; the nearest name is suggested.
    """
    if value in TEMPLATES or value == "chat":
        return TEMPLATES.get(value, CHAT)
    if "{problem}" in value:
        return value
    if is_file(value):
        text = _read(Path(value).expanduser(), key)
        if "{problem}" in text:
            return text
        raise UserError(f"`{key}`: {value} has no {{problem}} where the problem goes{_misspelt(text)}")
    if re.fullmatch(r"[\w.-]+", value):
        raise UserError(f"`{key}`: unknown template {value!r}{nearest(value, NAMES)}; templates: {', '.join(NAMES)}")
    hint = _misspelt(value) or nearest(value, NAMES)
    raise UserError(
        f"`{key}`: {value!r} has no {{problem}} where the problem goes{hint}, and it is neither a file nor one of "
        f"{', '.join(NAMES)}"
    )


def is_file(value: str) -> bool:
    """Whether a recipe means a file by it: there is one, or it has the ending of a text file or a folder in it."""
    if "\n" in value or len(value) > 1000:
        return False
    return value.endswith((".txt", ".md", ".prompt", ".template")) or Path(value).expanduser().is_file()


def label(value: str) -> str:
    """A template in a line of a report: its name or file, else the beginning of its text."""
    if value in NAMES or ("{problem}" not in value and is_file(value)):
        return value
    return repr(value if len(value) <= 60 else f"{value[:57]}...")


def markers(text: str) -> list[str]:
    """The special tokens that a template writes, each once."""
    return list(dict.fromkeys(_MARKER.findall(text)))


def _read(path: Path, key: str) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        others = [str(other) for other in path.parent.glob("*") if other.is_file()]
        raise UserError(f"`{key}`: there is no file {str(path)!r}{nearest(str(path), others)}") from None
    except UnicodeDecodeError:
        raise UserError(f"`{key}`: {path} is no text in UTF-8") from None
    except OSError as error:
        raise UserError(f"`{key}`: {path} cannot be read: {error.strerror or error}") from None
    return text.removesuffix("\n")


def _misspelt(text: str) -> str:
    """A hint where a text has another name in braces."""
    others = [name for name in re.findall(r"\{\w*\}", text) if name not in PLACEHOLDERS]
    return f" (did you mean '{{problem}}' by {others[0]!r}?)" if others else ""
