r"""Prompt templates: the text around a problem, special tokens written literally.

``models.encode_prompts`` makes a prompt of one and a problem, and nothing is added to what stands here. A template
is text with ``{problem}`` in it, and travels between stages as that text: renaming one re-runs nothing, changing one re-runs
what used it.
"""

from __future__ import annotations

from rlbench.records import UserError, nearest

_BOXED = r"Please reason step by step, and put your final answer within \boxed{}."


def _chatml(system: str, user: str) -> str:
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


TEMPLATES: dict[str, str] = {
    # The embedded miniature's documents are <bos>question\nsolution<eos>.
    "miniature": "<bos>{problem}\n",
    # Evaluation prompt of the DFT paper, confirmed in its public code.
    "qwen-boxed": _chatml("You are a helpful assistant.", "{problem}\n" + _BOXED),
    # Training prompt. Confirmed: "the model's chat template over the bare problem, no instruction suffix". Inferred: the system
    # message. Qwen2.5-Math's chat template is reported by its users to put this one in when a conversation has none; the
    # tokenizer file itself could not be read here.
    "qwen-bare": _chatml(_BOXED, "{problem}"),
    # Rollout prompt. Confirmed: the sentence after the problem. Inferred: the same default system message as above.
    "qwen-cot": _chatml(_BOXED, r"{problem} Let's think step by step and output the final answer within \boxed{}."),
    # For models without a chat template.
    "bare": "{problem}\n",
    "question-answer": "Question: {problem}\nAnswer:",
}


def get_template(name: str) -> str:
    """The text of a template.

    Raises:
        UserError: there is none of that name; the nearest is suggested.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    raise UserError(f"unknown template {name!r}{nearest(name, TEMPLATES)}; templates: {', '.join(TEMPLATES)}")
