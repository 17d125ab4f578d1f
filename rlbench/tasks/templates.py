r"""Prompt templates: the text around a problem, special tokens written literally.

``models.encode_prompts`` makes a prompt of one and a problem, and nothing is added to what stands here. A template is
text with ``{problem}`` in it, and travels between stages as that text: renaming one re-runs nothing, changing one
re-runs what used it.
"""

from __future__ import annotations

from rlbench.records import UserError, nearest

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


def get_template(name: str) -> str:
    """The text of a template.

    Raises:
        UserError: there is none of that name; the nearest is suggested.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    raise UserError(f"unknown template {name!r}{nearest(name, TEMPLATES)}; templates: {', '.join(TEMPLATES)}")
