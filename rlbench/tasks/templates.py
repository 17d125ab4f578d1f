r"""Prompt templates: the text around a problem, special tokens written literally.

A prompt is ``tokenizer(render(template, problem), add_special_tokens=False)``, so nothing is added to what stands here. A template
is text with ``{problem}`` in it, and travels between stages as that text: renaming one re-runs nothing, changing one re-runs
what used it.
"""

from __future__ import annotations

import difflib

from rlbench.records import UserError

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
    found = difflib.get_close_matches(name, TEMPLATES, n=1, cutoff=0.5)
    hint = f" (did you mean {found[0]!r}?)" if found else ""
    raise UserError(f"unknown template {name!r}{hint}; templates: {', '.join(TEMPLATES)}")


def render(template: str, problem: str) -> str:
    r"""The prompt's text: ``{problem}`` replaced, every other brace left as it is (``\boxed{}``, and those of the problem)."""
    return template.replace("{problem}", problem)
