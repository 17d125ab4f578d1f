from __future__ import annotations

import pytest

from rlbench.records import UserError
from rlbench.tasks.templates import TEMPLATES, get_template


def render(template: str, problem: str) -> str:
    """As ``models.encode_prompts`` makes the text of a prompt."""
    return template.replace("{problem}", problem)


def test_qwen_boxed_is_the_prompt_of_the_protocol_to_the_character() -> None:
    assert render(get_template("qwen-boxed"), "What is 1+1?") == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is 1+1?\nPlease reason step by step, and put your final answer within "
        "\\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_qwen_bare_adds_no_instruction_to_the_problem() -> None:
    assert "<|im_start|>user\nWhat is 1+1?<|im_end|>\n" in render(get_template("qwen-bare"), "What is 1+1?")


def test_qwen_cot_puts_the_authors_sentence_after_the_problem() -> None:
    user = "<|im_start|>user\nWhat? Let's think step by step and output the final answer within \\boxed{}.<|im_end|>\n"
    assert user in render(get_template("qwen-cot"), "What?")


def test_plain_templates_are_plain() -> None:
    assert render(get_template("miniature"), "(1+2)*3") == "<bos>(1+2)*3\n"
    assert render(get_template("bare"), "p") == "p\n"
    assert render(get_template("question-answer"), "p") == "Question: p\nAnswer:"


@pytest.mark.parametrize("name", TEMPLATES)
def test_braces_and_percent_signs_of_a_problem_come_through_every_template(name: str) -> None:
    problem = r"Let $S=\{x\}$ and {0} {problem_} %s {{}} \frac{1}{2}"
    assert problem in render(get_template(name), problem)
    assert TEMPLATES[name].count("{problem}") == 1


def test_an_unknown_template_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"qwen_boxed.*did you mean 'qwen-boxed'"):
        get_template("qwen_boxed")


def test_few_shot_answers_in_boxes_in_turns_that_end_and_leaves_the_last_turn_to_the_model() -> None:
    text = render(get_template("few-shot"), "What?")
    assert text.endswith("<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n")
    answered = [turn for turn in text.split("<|im_start|>assistant\n")[1:] if turn]
    assert len(answered) == 4 and all("\\boxed{" in turn and "<|im_end|>" in turn for turn in answered)
