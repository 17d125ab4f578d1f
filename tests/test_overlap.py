"""Problems that sets share: the same text however it is spelled, 13 words in a row, one text with two answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbench.planning.build import build
from rlbench.planning.overlaps import overlaps_before
from rlbench.recipe import load_recipe
from rlbench.records import Problem
from rlbench.running.runner import Results, report, run
from rlbench.tasks import arithmetic
from rlbench.tasks.overlap import STOCK_PHRASE, WORDS, Overlap, ProblemSet, Role, find_overlaps, normal_form, words_of

RECIPES = Path(__file__).parents[1] / "recipes"


def problem_set(name: str, role: Role, texts: Sequence[str], answers: Sequence[str] = (), **options: str) -> ProblemSet:
    given = [(Problem(f"{name}{i}", text, answers[i] if answers else "1"), i + 1) for i, text in enumerate(texts)]
    return ProblemSet(name, role, given, **options)


def counts(found: Sequence[Overlap]) -> dict[tuple[str, str, str], int]:
    return {(overlap.kind, overlap.one, overlap.other): overlap.count for overlap in found}


# The normal form ------------------------------------------------------------------------------------------------------

TOKENS = st.lists(
    st.sampled_from(
        ["find", "Let", "x", "12", "3.5", "+", "-", r"\frac{1}{2}", "=", "(", ")", "y^2", "apples", r"\pi"]
    ),
    min_size=1,
)
SPELLINGS = {
    "case": str.upper,
    "full width": lambda t: "".join(chr(ord(c) + 0xFEE0) if c.isdigit() or c in "+=()" else c for c in t),
    "thin space": lambda t: t.replace(" ", "\u2009"),
    "no-break space": lambda t: t.replace(" ", "\u00a0"),
    "lines": lambda t: t.replace(" ", "\n\t ") + "\n",
    "latex space": lambda t: t.replace(" ", r" \, ").replace(") ", r")\quad "),
    "dollars": lambda t: f"${t}$",
    "display": lambda t: rf"\[{t}\]",
    "sizes": lambda t: t.replace("(", r"\left(").replace(")", r"\right)").replace(r"\frac", r"\dfrac"),
    "sentence": lambda t: t.replace("apples ", "apples, ").replace("find ", "find: ") + "?",
    "end": lambda t: t + ".",
    "minus": lambda t: t.replace("-", "\u2212"),
    "joined signs": lambda t: t.replace(" + ", "+").replace(" = ", "="),
    "byte order mark": lambda t: "\ufeff" + t,
    "soft hyphen": lambda t: t.replace("apples", "app\u00adles"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=40, deadline=None)
@given(TOKENS)
def test_another_spelling_of_a_text_is_the_same_problem(spelling: str, tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert normal_form(SPELLINGS[spelling](text)) == normal_form(text)


DIFFERENT = [
    ("What is 2+3?", "What is 2-3?"),
    ("What is 2.5?", "What is 25?"),
    ("What is .5?", "What is 5?"),
    ("What is 5!?", "What is 5?"),
    ("What is 5²?", "What is 52?"),
    ("What is x²?", "What is x2?"),
    ("What is 5½?", "What is 51/2?"),
    ("What is a₁?", "What is a1?"),
    ("f(1,2)", "f(12)"),
    ("(1+2)*3", "1+2*3"),
    ("x < 3", "x > 3"),
    ("2:3", "23"),
    ("f'(x)", "f(x)"),
    ("|x|", "x"),
    (r"\sin x", r"\cos x"),
    (r"\frac{1}{23}", r"\frac{12}{3}"),
    ("1 2", "12"),
    ("50%", "50"),
    ("ab", "a b"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_changes_the_problem_is_kept(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


# Comparing ------------------------------------------------------------------------------------------------------------

words = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=18).map(" ".join)
some = st.lists(words, max_size=6)


def rows(text: str) -> set[tuple[str, ...]]:
    found = words_of(text)
    return {tuple(found[i : i + WORDS]) for i in range(len(found) - WORDS + 1)}


@settings(max_examples=150, deadline=None)
@given(some, some, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4)), max_size=3))
def test_what_is_found_is_what_comparing_every_pair_finds(
    test: list[str], train: list[str], copied: list[tuple]
) -> None:
    for source, place, cut in copied:  # parts of test problems, put before what is trained on
        if test and train:
            part = test[source % len(test)].split()[cut:]
            train[place % len(train)] = " ".join([*part, *train[place % len(train)].split()][: 18 + cut])
    same = sum(text in train for text in test)
    near = sum(text not in train and any(rows(text) & rows(other) for other in train) for text in test)
    found = counts(find_overlaps([problem_set("a", "test", test), problem_set("b", "training", train)]))
    assert found == {key: n for key, n in {("same", "a", "b"): same, ("near", "a", "b"): near}.items() if n}


SENTENCE = "the quick brown fox jumps over a lazy dog and then runs home to sleep until the next day begins"
LONG = SENTENCE.split()


def test_twelve_words_in_a_row_are_not_enough_and_a_short_problem_is_compared_whole() -> None:
    test = [" ".join([*LONG[:13], "x"]), " ".join([*LONG[5:17], "y"]), "What is 1 + 1?"]
    train = [" ".join(["z", *LONG[:13]]), " ".join(["w", *LONG[5:17], "v"]), "What is 1+1", "what is 1 + 1 + 1"]
    found = find_overlaps([problem_set("a", "test", test), problem_set("b", "training", train)])
    assert counts(found) == {("same", "a", "b"): 1, ("near", "a", "b"): 1}
    assert found[0].examples == ("'a2' (line 3) and 'b2' (line 3)",)
    assert found[0].text == "1 of 3 problems of a stand in b too, which is trained on: 'a2' (line 3) and 'b2' (line 3)"


@pytest.mark.parametrize(("texts", "near"), [(STOCK_PHRASE - 1, 1), (STOCK_PHRASE, 0)])
def test_a_stock_phrase_is_nobodys_own_and_repeating_one_text_does_not_make_one(texts: int, near: int) -> None:
    test = [" ".join([*LONG[:13], "x"])]
    train = [" ".join([f"y{i}", *LONG[:13]]) for i in range(texts)]
    found = find_overlaps([problem_set("a", "test", test), problem_set("b", "training", train * 30)])
    assert counts(found).get(("near", "a", "b"), 0) == near


def test_roles_say_what_is_compared() -> None:
    text = " ".join(LONG)
    sets = [
        problem_set(name, role, [text])
        for name, role in (("t", "test"), ("d", "development"), ("m", "training"), ("n", "training"))
    ]
    pairs = [("t", "d"), ("t", "m"), ("t", "n"), ("d", "m"), ("d", "n")]
    assert counts(find_overlaps(sets)) == {("same", one, other): 1 for one, other in pairs}
    assert find_overlaps([]) == find_overlaps([problem_set("t", "test", [])]) == []


def test_one_text_with_two_answers_is_found_within_and_across_sets_and_equal_answers_are_one() -> None:
    texts = ["What is X?", "what is  $x$ ", "Who?", "How?", "WHO"]
    one = problem_set("a", "training", texts, ["1/2", "0.5", "Bob", "5", "Eve"])
    other = problem_set("b", "test", ["How", "What is x?", "Who"], ["5.0", "0.6", ""])
    found = find_overlaps([one, other])
    answers = {key: n for key, n in counts(found).items() if key[0] == "answers"}
    assert answers == {("answers", "a", "a"): 1, ("answers", "b", "a"): 1}
    assert found[-2].text == (
        "1 of 5 problems of a stand there with another answer: 'a4' (line 5) says 'Eve', 'a2' (line 3) 'Bob'"
    )


def test_sets_of_the_same_templates_are_compared_by_whole_problems_alone() -> None:
    test, train = [" ".join([*LONG, "x"]), "same"], [" ".join([*LONG, "y"]), "same"]
    for other, expected in (("m", {"same"}), (None, {"same", "near"})):
        sets = [
            problem_set("a", "test", test, templates="m"),
            ProblemSet("b", "training", problem_set("b", "training", train).problems, other),
        ]
        assert {overlap.kind for overlap in find_overlaps(sets)} == expected


def test_no_problem_of_the_miniature_is_in_two_of_its_splits() -> None:
    splits = [split for split in arithmetic.SPLITS if not split.startswith("demonstrations/")]
    role = {"prompts": "training", "demonstrations": "training", "development": "development"}
    sets = [
        ProblemSet(s, role.get(s.partition("/")[0], "test"), [(p, None) for p in arithmetic.load(s)], "arithmetic")  # type: ignore[arg-type]
        for s in splits
    ]
    assert find_overlaps(sets) == []


@pytest.mark.parametrize("name", ["quickstart", "objective_zoo", "controls", "dft_vs_rl"])
def test_the_recipes_that_come_with_it_have_nothing_to_warn_of(name: str) -> None:
    path = RECIPES / f"{name}.toml"
    assert overlaps_before(build(load_recipe(path), path)) == []


# Where it is told -----------------------------------------------------------------------------------------------------


def lines(path: Path, problems: Sequence[Problem]) -> Path:
    rows = [{"id": p.id, "problem": p.problem, "answer": p.answer, "solution": p.solution} for p in problems]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a recipe whose test set has two problems of its demonstrations, one of them with another answer."""
    folder = tmp_path_factory.mktemp("sources")
    demonstrations = arithmetic.load("demonstrations", limit=8)
    first, second = demonstrations[:2]
    test = [*arithmetic.load("test/in_domain", limit=2), Problem("copy", first.problem.upper(), first.answer)]
    test.append(Problem("other", second.problem, str(int(second.answer) + 1)))
    train_path, test_path = lines(folder / "train.jsonl", demonstrations), lines(folder / "held_out.jsonl", test)
    return [f'data.demonstrations="{train_path}"', f'evaluation.benchmarks=["{test_path}"]']


SAME = "2 of 4 problems of held_out stand in train too, which is trained on"
ANSWERS = "1 of 4 problems of held_out stand in train with another answer"


def test_plan_warns_with_ids_and_lines(sources: list[str], tiny_recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlbench.cli", "plan", str(tiny_recipe), "--only", "sft", "--json"]
    options = [part for source in sources for part in ("--set", source)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{SAME}: 'copy' (line 3) and 'demonstrations/0000' (line 1);" in done.stderr
    assert f"{ANSWERS}: 'other' (line 4) says" in done.stderr
    assert json.loads(done.stdout)["stages"]


def test_the_report_tells_of_what_was_really_used(
    sources: list[str], tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="stand in train too"):
        found = run(
            tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local", only=["sft"], overrides=sources
        )
    assert [overlap["kind"] for overlap in found.manifest["overlaps"]["found"]] == ["same", "answers"]
    assert found.manifest["overlaps"]["compared"] == ["train", "held_out"]
    for text in ((found.out / "report.md").read_text(), (report(found.out).out / "report.html").read_text()):
        assert SAME in text and ANSWERS in text and "Problems that sets share" in text and "demonstrations/0000" in text
    clean = tiny_run.manifest["overlaps"]
    assert clean["found"] == [] and clean["generated"] == ["arithmetic"] and "arithmetic:prompts" in clean["compared"]
    assert "no problem of a set is in one that is trained or chosen on" in (tiny_run.out / "report.md").read_text()
