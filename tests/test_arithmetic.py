"""The arithmetic task: its splits, its solutions and its tokenizer."""

from __future__ import annotations

import ast
import hashlib
import json
import operator
import re
from dataclasses import asdict
from itertools import islice

import pytest

from rlbench.records import UserError
from rlbench.tasks import arithmetic
from rlbench.tasks.arithmetic_documents import (
    FORMS,
    HABITS,
    RARE,
    Chain,
    draw_documents,
    seeded,
    word_problem,
    write_solution,
)
from rlbench.tasks.arithmetic_tokenizer import VOCABULARY, build_tokenizer
from rlbench.tasks.base import get_task

# A change of any split changes its digest, and then arithmetic.VERSION and pretraining.VERSION rise with it.
GOLDEN_VERSION = 1
GOLDEN = "4a0e9334de51d62ecc3578c01695a18c5e1693a505c9eb5892f72a30f74e8b47"
GOLDEN_CLEAN = "bda181a8ba44489a8923a052a416784d45e0742237604ae8b1386e27d96eb51f"

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
EQUATION = re.compile(r"([\d(][\d()+\-*/]*)=([\d()+\-*/]+)")
PROBLEMS = {split: arithmetic.load(split) for split in arithmetic.SPLITS}
QUESTIONS = [
    split for split in arithmetic.SPLITS if split not in arithmetic.DEMONSTRATIONS or split == "demonstrations"
]
EVERY_HABIT = {form: dict.fromkeys(HABITS, 1.0) for form in FORMS}


def evaluate(expression: str) -> float:
    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant)
        return node.value

    return value(ast.parse(expression, mode="eval").body)


def read(problem: str) -> float:
    """The answer of a problem from its words alone, by rules that share nothing with the code that wrote it."""
    if found := re.search(r"(?:Compute|What is|value of) ([\d(].*)[.?]$", problem):
        return evaluate(found[1])
    sentences = re.findall(r"[^.?]+[.?]", problem)
    result = int(re.search(r"\d+", sentences[0])[0])
    for sentence in sentences[1:-1]:
        number = int(re.search(r"\d+", sentence)[0])
        if re.search(r"times|Multiply", sentence):
            result *= number
        elif re.search(r"gives away|loses|sells|Subtract|Decrease", sentence):
            result -= number
        else:
            assert re.search(r"gets|finds|buys|Add|Increase", sentence)
            result += number
    return result


def some_documents(count: int, **changes: object) -> list[tuple[str, str]]:
    settings = {
        "habits": EVERY_HABIT,
        "merged_steps": 0.3,
        "lengths": (1, 2, 3),
        "long_share": 0.2,
        "two_digit_share": 0.3,
        "rare_wording_share": 0.3,
        "exclude": frozenset(),
    }
    return list(islice(draw_documents(seeded("test"), **{**settings, **changes}), count))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_splits_change_only_with_the_version():
    def digest(splits):
        lines = "".join(
            f"{split} {json.dumps(asdict(p), sort_keys=True)}\n" for split in splits for p in PROBLEMS[split]
        )
        return hashlib.sha256(lines.encode()).hexdigest()

    of_miniature = [split for split in arithmetic.SPLITS if split not in arithmetic.CLEAN]
    assert (arithmetic.VERSION, digest(of_miniature), digest(arithmetic.CLEAN)) == (
        GOLDEN_VERSION,
        GOLDEN,
        GOLDEN_CLEAN,
    )


def test_splits_have_their_sizes_and_are_registered():
    sizes = {split: len(problems) for split, problems in PROBLEMS.items()}
    assert sizes == {
        "prompts": 1500,
        **dict.fromkeys(arithmetic.DEMONSTRATIONS, 2000),
        **dict.fromkeys((*arithmetic.HELD_OUT, *arithmetic.CLEAN), 100),
    }
    task = get_task("arithmetic")
    assert (task.splits, task.version, task.default_split) == (arithmetic.SPLITS, arithmetic.VERSION, "prompts")
    assert task.load("test/steps", limit=3) == PROBLEMS["test/steps"][:3]


def test_an_unknown_split_is_refused_by_name():
    with pytest.raises(UserError, match="test/stepz"):
        arithmetic.load("test/stepz")


@pytest.mark.parametrize("split", QUESTIONS)
def test_answers_are_what_the_words_and_the_expression_say(split):
    for problem in PROBLEMS[split]:
        assert read(problem.problem) == evaluate(problem.meta["expression"]) == int(problem.answer)
        assert 1 <= int(problem.answer) <= 99


def test_no_two_problems_share_an_expression_within_or_across_splits():
    expressions = [problem.meta["expression"] for split in QUESTIONS for problem in PROBLEMS[split]]
    assert len(set(expressions)) == len(expressions) == 1500 + 2000 + 1000 + 400
    texts = [problem.problem for split in QUESTIONS for problem in PROBLEMS[split]]
    assert len(set(texts)) == len(texts)


def test_clean_sets_have_the_steps_of_their_name_and_more_than_anything_the_miniature_reads():
    for split in arithmetic.CLEAN:
        assert {problem.meta["steps"] for problem in PROBLEMS[split]} == {int(split.split("/")[1].split("_")[0])}
        assert {problem.meta["steps"] for problem in PROBLEMS[split]}.isdisjoint({1, 2, 3, 4, 5})


def test_ids_are_unique_across_splits_and_demonstrations_share_theirs():
    ids = [problem.id for split in QUESTIONS for problem in PROBLEMS[split]]
    assert len(set(ids)) == len(ids)
    for split in arithmetic.DEMONSTRATIONS:
        assert [p.id for p in PROBLEMS[split]] == [p.id for p in PROBLEMS["demonstrations"]]


def test_each_benchmark_differs_from_in_domain_in_what_its_name_says():
    for part in ("test", "development"):
        steps = {name: [p.meta["steps"] for p in PROBLEMS[f"{part}/{name}"]] for name in arithmetic.BENCHMARKS}
        assert set(steps["in_domain"]) == {1, 2, 3} and set(steps["steps"]) == {4, 5}
        assert all("*" not in p.meta["expression"] for p in PROBLEMS[f"{part}/add_sub"])
        assert any("*" in p.meta["expression"] for p in PROBLEMS[f"{part}/in_domain"])
        assert all(re.search(r"[+-][123]\d", p.meta["expression"]) for p in PROBLEMS[f"{part}/two_digits"])
        assert not any(re.search(r"[+-]\d\d", p.meta["expression"]) for p in PROBLEMS[f"{part}/in_domain"])
        rare = re.compile("|".join([*RARE.names, "Start from", "Find the value"]))
        assert all(rare.search(p.problem) for p in PROBLEMS[f"{part}/wording"])
        assert not any(rare.search(p.problem) for p in PROBLEMS[f"{part}/in_domain"])


@pytest.mark.parametrize("split", arithmetic.DEMONSTRATIONS)
def test_every_statement_of_a_demonstration_is_right_and_it_ends_in_the_answer(split):
    for problem in PROBLEMS[split]:
        statements = EQUATION.findall(problem.solution)
        assert all(evaluate(left) == evaluate(right) for left, right in statements)
        assert problem.solution.endswith(f"\\boxed{{{problem.answer}}}")
        backwards = re.findall(r"(\d+) is the value of ([\d()+\-*]+)", problem.solution)
        assert all(evaluate(left) == evaluate(right) for left, right in backwards)
        assert 1 <= len(statements) + len(backwards) <= problem.meta["steps"]


def test_the_share_of_merged_steps_is_the_declared_one():
    for split, style in arithmetic.DEMONSTRATIONS.items():
        decisions = merged = 0
        for problem in PROBLEMS[split]:
            left = problem.meta["steps"]
            for statement in re.findall(r"[\d(][\d()+\-*]*[+\-*]\d+", problem.solution):
                double = statement.startswith("(")
                decisions += left > 1
                merged += double
                left -= 1 + double
        assert merged / decisions == pytest.approx(style.merged_steps, abs=0.03)


def test_every_statement_of_a_document_is_right_in_every_habit():
    for problem, solution in some_documents(3000):
        assert all(evaluate(left) == evaluate(right) for left, right in EQUATION.findall(solution))
        assert solution.endswith(f"\\boxed{{{int(read(problem))}}}")


def test_documents_follow_the_weights_of_habits_and_avoid_what_is_excluded():
    first = {
        expression for problem, _ in some_documents(500) for expression in re.findall(r"[\d(][\d()+\-*]+\d", problem)
    }
    later = some_documents(500, exclude=first, habits={form: {"direct": 1.0, "prose": 3.0} for form in FORMS})
    assert not any(
        expression in first for problem, _ in later for expression in re.findall(r"[\d(][\d()+\-*]+\d", problem)
    )
    direct = sum(solution.startswith("\\boxed{") for _, solution in later)
    assert direct / len(later) == pytest.approx(0.25, abs=0.06)


def test_solutions_by_habit():
    chain, rng = Chain(41, (("-", 6), ("*", 2), ("+", 3))), seeded("test")
    assert write_solution(rng, chain, "direct", 0.0) == "\\boxed{73}"
    assert write_solution(rng, chain, "leap", 0.0) == "(41-6)*2=70\n70+3=73\n\\boxed{73}"
    assert write_solution(rng, chain, "steps", 1.0) == "41-6=35\n35*2=70\n70+3=73\n\\boxed{73}"
    assert (
        write_solution(rng, chain, "checked", 0.0)
        == "41-6=35, 35+6=41\n35*2=70, 70/2=35\n70+3=73, 73-3=70\n\\boxed{73}"
    )
    assert "(41-6)*2=70" in write_solution(rng, chain, "prose", 1.0)
    assert word_problem(rng, chain, "expression", RARE) == "Find the value of ((41-6)*2)+3."


def test_the_vocabulary_has_no_token_twice():
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 110


def test_text_and_ids_determine_each_other_and_no_token_is_unknown(tokenizer):
    texts = [f"<bos>{p.problem}\n{p.solution or ''}<eos>" for split in arithmetic.SPLITS for p in PROBLEMS[split]]
    texts += [f"<bos>{problem}\n{solution}<eos>" for problem, solution in some_documents(3000)]
    ids = tokenizer(texts, add_special_tokens=False).input_ids
    assert not any(tokenizer.unk_token_id in row for row in ids)
    assert tokenizer.batch_decode(ids) == texts
    used = {token for row in ids for token in row}
    assert {VOCABULARY[i] for i in set(range(len(VOCABULARY))) - used} == {"<pad>", "<unk>"}


def test_prompt_and_completion_encode_apart_as_they_do_together(tokenizer):
    problem = PROBLEMS["demonstrations"][0]
    prompt, completion = f"<bos>{problem.problem}\n", problem.solution
    apart = [tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, completion)]
    assert apart[0] + apart[1] == tokenizer(prompt + completion, add_special_tokens=False).input_ids
    assert apart[0][0] == tokenizer.bos_token_id and tokenizer(prompt).input_ids == apart[0]


def test_graders_find_the_answer_in_decoded_completions(tokenizer):
    boxed = VOCABULARY.index("\\boxed{")
    ids = [boxed, *tokenizer.convert_tokens_to_ids(["1", "2", "}"]), tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "\\boxed{12}"
    assert tokenizer.decode([boxed, *tokenizer.convert_tokens_to_ids(["-", "4", "7", "}"])]) == "\\boxed{-47}"


def test_text_outside_the_vocabulary_becomes_unknown_and_not_an_error(tokenizer):
    assert tokenizer("Prove it.").input_ids[0] == tokenizer.unk_token_id
