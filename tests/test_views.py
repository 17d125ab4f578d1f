from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbench import views
from rlbench.records import (
    Problem,
    Rollout,
    StageFailure,
    TrainingSequence,
    UserError,
    Verdict,
    read_records,
    write_problems,
    write_records,
)

VERDICTS: tuple[Verdict, ...] = ("correct", "wrong", "unparsed", "timeout", "error")


def rollout(problem: str, sample: int, verdict: Verdict = "correct", length: int = 3, prompt: int = 2) -> Rollout:
    ids = [10 + sample] * length
    reward = float(verdict == "correct")
    return Rollout(problem, sample, [1] * prompt, ids, [-0.5] * length, "text", "1", verdict, reward, "stop")


@st.composite
def banks(draw: st.DrawFn) -> list[Rollout]:
    """A bank of any shape: problems with any number of samples, interleaved in any order."""
    keys = draw(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 7)), unique=True, min_size=1, max_size=30))
    return [
        rollout(problem, sample, draw(st.sampled_from(VERDICTS)), draw(st.integers(1, 9)), draw(st.integers(1, 4)))
        for problem, sample in keys
    ]


def key(sequence: TrainingSequence) -> tuple[str, int]:
    return sequence.group, sequence.token_ids[0] - 10


@given(banks())
def test_correct_keeps_all_correct_rollouts_and_no_other_in_the_banks_order(bank: list[Rollout]) -> None:
    expected = [(r.problem_id, r.sample_index) for r in bank if r.verdict == "correct"]
    if not expected:
        with pytest.raises(StageFailure, match=f"no correct rollout among {len(bank)}"):
            views.correct(bank)
        return
    rows = views.correct(bank)
    assert [key(row) for row in rows] == expected
    assert [row.unit for row in rows] == list(range(len(rows))) and {row.reward for row in rows} == {1.0}


@given(banks(), st.integers(1, 4), st.integers(0, 3))
def test_pairs_are_a_correct_and_a_wrong_sample_of_one_problem_each_used_once(
    bank: list[Rollout], per_problem: int, seed: int
) -> None:
    verdicts = {(r.problem_id, r.sample_index): r.verdict for r in bank}
    right = Counter(r.problem_id for r in bank if r.verdict == "correct")
    wrong = Counter(
        r.problem_id for r in bank if r.verdict in ("wrong", "unparsed")
    )  # what could not be graded is neither
    expected = {p: n for p in right if (n := min(right[p], wrong[p], per_problem))}
    if not expected:
        with pytest.raises(StageFailure, match="no pair: none of"):
            views.pairs(bank, per_problem, seed)
        return
    rows = views.pairs(bank, per_problem, seed)
    assert [row.unit for row in rows] == [i // 2 for i in range(len(rows))]
    assert len({key(row) for row in rows}) == len(rows)
    for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
        assert chosen.group == rejected.group and (chosen.reward, rejected.reward) == (1.0, 0.0)
        assert verdicts[key(chosen)] == "correct" and verdicts[key(rejected)] in ("wrong", "unparsed")
    assert Counter(row.group for row in rows[::2]) == expected
    assert rows == views.pairs(bank, per_problem, seed)


@given(banks(), st.integers(0, 3))
def test_the_pairs_of_a_problem_do_not_depend_on_the_rest_of_the_bank(bank: list[Rollout], seed: int) -> None:
    bank = [*bank, rollout("a", 100), rollout("a", 101, "wrong")]
    alone = views.pairs([r for r in bank if r.problem_id == "a"], 2, seed)
    among = [row for row in views.pairs(bank, 2, seed) if row.group == "a"]
    assert [key(row) for row in alone] == [key(row) for row in among]


def test_the_seed_chooses_among_all_samples() -> None:
    bank = [rollout("a", i, "correct" if i < 4 else "wrong") for i in range(8)]
    drawn = Counter(tuple(key(row)[1] for row in views.pairs(bank, seed=seed)) for seed in range(800))
    assert len(drawn) == 16 and min(drawn.values()) > 20 and max(drawn.values()) < 90  # 50 expected of each


@given(banks())
def test_groups_hold_every_rollout_with_its_reward_and_samples_of_a_problem_together(bank: list[Rollout]) -> None:
    rows = views.groups(bank)
    rewards = {(r.problem_id, r.sample_index): r.reward for r in bank}
    assert {key(row): row.reward for row in rows} == rewards and len(rows) == len(bank)
    runs = [row.group for i, row in enumerate(rows) if i == 0 or rows[i - 1].group != row.group]
    assert runs == list(dict.fromkeys(r.problem_id for r in bank))
    assert [row.unit for row in rows] == list(range(len(rows)))


@given(banks(), st.integers(1, 14), st.sampled_from(["drop", "truncate"]), st.sampled_from(["groups", "pairs"]))
def test_lengths_are_bounded_and_units_stay_whole(bank: list[Rollout], max_length: int, how: str, view: str) -> None:
    try:
        rows = views.groups(bank) if view == "groups" else views.pairs(bank, 3)
        kept, dropped = views.bound_length(rows, max_length, how)  # type: ignore[arg-type]
    except StageFailure:
        return
    assert len(kept) + dropped == len(rows)
    assert all(len(row.prompt_ids) + len(row.token_ids) <= max_length and row.token_ids for row in kept)
    assert all(len(row.sampler_logp) == len(row.token_ids) for row in kept)
    size = 1 if view == "groups" else 2
    assert [row.unit for row in kept] == [i // size for i in range(len(kept))]
    whole = {key(row) for row in rows if len(row.prompt_ids) + len(row.token_ids) <= max_length}
    if view == "groups":
        assert whole <= {key(row) for row in kept}
    if how == "drop":
        assert {key(row) for row in kept} <= whole


def test_truncation_cuts_the_completion_on_the_right() -> None:
    (row,), dropped = views.bound_length(
        [TrainingSequence(0, "a", [1, 2], [3, 4, 5], [-1.0, -2.0, -3.0], 1.0)], 4, "truncate"
    )
    assert (row.token_ids, row.sampler_logp, dropped) == ([3, 4], [-1.0, -2.0], 0)


def test_nothing_left_is_a_failure_with_its_reason() -> None:
    with pytest.raises(StageFailure, match="none of 1 sequences fits into max_length = 2 tokens"):
        views.bound_length(views.groups([rollout("a", 0)]), 2, "truncate")
    with pytest.raises(StageFailure, match="the bank is empty"):
        views.groups([])
    with pytest.raises(StageFailure, match="none of the 1 problems has a solution"):
        views.demonstrations([Problem("a", "p", "1")], lambda p: [1], lambda t: [2])
    with pytest.raises(UserError, match=r"`per_problem`.* at least 1, not 0"):
        views.pairs([rollout("a", 0)], per_problem=0)


def test_demonstrations_are_the_problems_with_a_solution() -> None:
    problems = [Problem("a", "p", "1", "s"), Problem("b", "p", "1"), Problem("c", "qq", "1", "tt")]
    rows = views.demonstrations(problems, lambda p: [len(p.problem)], lambda t: [len(t), 0])
    assert rows == [TrainingSequence(0, "a", [1], [1, 0], [], 1.0), TrainingSequence(1, "c", [2], [2, 0], [], 1.0)]


def test_an_unknown_view_or_option_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown view 'rollout.pairs'; views: demonstrations"):
        views.resolve("rollout.pairs", {})
    with pytest.raises(UserError, match=r"view 'rollouts.correct' has no option 'seed'; options: none"):
        views.resolve("rollouts.correct", {"seed": 1})
    assert views.resolve("rollouts.pairs", {"seed": 1})[1] == {"per_problem": 1, "seed": 1}


# The stage, with a real tokenizer -------------------------------------------------------------------------------------


class Context:
    """A stage's context, as far as the stage uses one."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.notes: list[str] = []

    def count(self, **numbers: float) -> None:
        self.counters.update(numbers)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<bos>", "<eos>", "\n", *"0123456789+?=", "\\boxed{", "}"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>")
    folder = tmp_path_factory.mktemp("model")
    fast.save_pretrained(folder)
    return folder


def built(
    folder: Path, model: Path, config: dict[str, object], **inputs: Path
) -> tuple[list[TrainingSequence], dict[str, int]]:
    output = folder / f"output{len(list(folder.iterdir()))}"
    output.mkdir()
    context = Context()
    full = {"options": {}, "template": "<bos>{problem}\n", "max_length": 64, "over_length": "truncate", **config}
    views.build(full, {"model": model, **inputs}, output, context)
    rows = read_records(output / "sequences.parquet", TrainingSequence)
    sizes = json.loads((output / "view.json").read_text())
    assert context.counters == {"sequences": len(rows)} == {"sequences": sizes["sequences"]}
    return rows, sizes


def test_the_stage_encodes_demonstrations_with_the_template_and_ends_them_with_the_end_of_text(
    tmp_path: Path, model: Path
) -> None:
    write_problems(tmp_path / "problems.jsonl", [Problem("a", "1+2?", "3", "=3"), Problem("b", "1?", "1", "=1")])
    rows, sizes = built(tmp_path, model, {"view": "demonstrations"}, problems=tmp_path)
    words = {word: i for i, word in enumerate(["<unk>", "<bos>", "<eos>", "\n", *"0123456789+?="])}
    assert rows[0] == TrainingSequence(
        0, "a", [words[w] for w in ("<bos>", *"1+2?\n")], [words["="], words["3"], words["<eos>"]], [], 1.0
    )
    assert sizes == {"sequences": 2, "units": 2, "tokens": 6, "problems": 2, "dropped_over_length": 0}


def test_the_stage_keeps_sampled_ids_and_encodes_prompts_anew_only_where_it_has_the_problems(
    tmp_path: Path, model: Path
) -> None:
    bank = [rollout("a", 0), rollout("a", 1, "wrong"), rollout("b", 0, "wrong")]
    write_records(tmp_path / "rollouts.parquet", Rollout, bank)
    write_problems(
        tmp_path / "problems.jsonl", [Problem("a", "1?", "1"), Problem("b", "2?", "1"), Problem("unused", "3?", "1")]
    )
    sampled, sizes = built(tmp_path, model, {"view": "rollouts.pairs", "options": {"seed": 1}}, rollouts=tmp_path)
    assert [(row.prompt_ids, row.token_ids) for row in sampled] == [([1, 1], [10, 10, 10]), ([1, 1], [11, 11, 11])]
    assert sizes == {"sequences": 2, "units": 1, "tokens": 6, "problems": 1, "dropped_over_length": 0}
    anew, _ = built(tmp_path, model, {"view": "rollouts.pairs"}, rollouts=tmp_path, problems=tmp_path)
    assert [row.prompt_ids for row in anew] == [[1, 5, 15, 3]] * 2 and [row.token_ids for row in anew] == [
        row.token_ids for row in sampled
    ]


def test_the_stage_counts_what_it_drops_for_its_length(tmp_path: Path, model: Path) -> None:
    write_records(
        tmp_path / "rollouts.parquet", Rollout, [rollout("a", 0, length=9), rollout("a", 1), rollout("b", 0, length=9)]
    )
    rows, sizes = built(
        tmp_path, model, {"view": "rollouts.groups", "max_length": 6, "over_length": "drop"}, rollouts=tmp_path
    )
    assert len(rows) == 1 and sizes["dropped_over_length"] == 2


def test_the_stage_writes_the_same_bytes_twice(tmp_path: Path, model: Path) -> None:
    write_records(tmp_path / "rollouts.parquet", Rollout, [rollout("a", i, VERDICTS[i % 2]) for i in range(8)])
    for _ in range(2):
        built(tmp_path, model, {"view": "rollouts.pairs", "options": {"per_problem": 3}}, rollouts=tmp_path)
    one, two = sorted(path.read_bytes() for path in tmp_path.glob("output*/sequences.parquet"))
    assert one == two


def test_a_rollout_of_an_unknown_problem_fails_by_name(tmp_path: Path, model: Path) -> None:
    write_records(tmp_path / "rollouts.parquet", Rollout, [rollout("a", 0)])
    write_problems(tmp_path / "problems.jsonl", [Problem("b", "1?", "1")])
    with pytest.raises(StageFailure, match="rollout of problem 'a'"):
        built(tmp_path, model, {"view": "rollouts.correct"}, rollouts=tmp_path, problems=tmp_path)


def test_log_probabilities_of_the_sampler_are_kept_only_with_the_prompt_that_they_followed() -> None:
    rows = [Rollout(f"p{i}", 0, [1, i], [7, 2], [-0.5, -1.0], "", "1", "correct", 1.0, "stop") for i in (3, 4)]
    same, other = views.with_prompts(rows, {"p3": [1, 3], "p4": [9, 9]})
    assert (same.prompt_ids, same.sampler_logp) == ([1, 3], [-0.5, -1.0])
    assert (other.prompt_ids, other.sampler_logp) == ([9, 9], [])
