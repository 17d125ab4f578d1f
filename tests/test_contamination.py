"""The probe of what a model knows by heart."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import Context, write_model

from rlbench.evaluation.contamination import is_verbatim, probe, rouge_l, truncate
from rlbench.records import Probe, Problem, StageFailure, read_records, write_problems
from rlbench.running.runner import Results, run


@pytest.mark.parametrize(
    ("text", "share", "shown", "rest"),
    [
        ("one two three four five", 0.6, "one two three", "four five"),
        ("a  b\n c d", 0.5, "a  b", "c d"),
        ("a a a a", 0.5, "a a", "a a"),
        ("one two", 0.01, "one", "two"),
        ("one two", 0.99, "one", "two"),
    ],
)
def test_a_problem_is_cut_between_words_and_neither_part_is_empty(
    text: str, share: float, shown: str, rest: str
) -> None:
    assert truncate(text, share) == (shown, rest)


def test_verbatim_is_word_by_word_from_the_start_whatever_the_spaces() -> None:
    assert is_verbatim("is x + 1?", " is  x\n+ 1? Let us see.")
    assert not is_verbatim("is x + 1?", "is x + 2?")
    assert not is_verbatim("is x + 1?", "well, is x + 1?")
    assert not is_verbatim("is x + 1?", "is x")


def test_rouge_l_is_the_share_of_the_rests_words_in_their_order() -> None:
    assert rouge_l("a b c d", "a b c d and more") == 1.0
    assert rouge_l("a b c d", "b a c x") == 0.5
    assert rouge_l("a b", "x y z") == 0.0
    assert rouge_l("a b c d", "x x x x a b c d") == 0.0  # only as many words as the rest has
    assert rouge_l("a b c d", "") == 0.0


def test_the_stage_probes_every_problem_that_can_be_cut_and_grades_the_answer(tmp_path: Path) -> None:
    write_problems(
        tmp_path / "problems.jsonl", [Problem(f"p{i}", f"What is {i} + {i} now?", str(2 * i)) for i in range(1, 5)]
    )
    with (tmp_path / "problems.jsonl").open("a") as file:
        file.write('{"id": "short", "problem": "x?", "answer": "1"}\n')
    config = {
        "benchmark": "b",
        "share": 0.6,
        "template": "<bos>{problem}",
        "max_new_tokens": 12,
        "engine": "transformers",
        "batch_rows": 8,
        "dtype": "float32",
        "device": "cpu",
        "grader": {"name": "rlbench", "version": 1},
    }
    (tmp_path / "out").mkdir()
    context = Context()
    probe(config, {"model": write_model(tmp_path / "model"), "problems": tmp_path}, tmp_path / "out", context)  # type: ignore[arg-type]
    probes = read_records(tmp_path / "out" / "probes.parquet", Probe)
    assert [p.problem_id for p in probes] == ["p1", "p2", "p3", "p4"]
    assert all(
        p.rest in ("now?", "+ 1 now?", f"{p.problem_id[1]} now?") and not p.verbatim and 0 <= p.rouge_l <= 1
        for p in probes
    )
    assert context.counters["samples"] == 4


def test_a_probe_that_fails_is_told_as_a_missing_result_and_the_rows_stand(
    tiny_run: Results, tiny_recipe: Path, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str, share: float) -> tuple[str, str]:
        raise StageFailure("nothing can be cut here")

    monkeypatch.setattr("rlbench.evaluation.contamination.truncate", fail)
    overrides = ["evaluation.contamination={share=0.37}"]
    found = run(
        tiny_recipe, out=tmp_path / "run", store=tiny_store, executor="local", only=["sft"], overrides=overrides
    )
    assert found.exit_code == 1 and found.failures == {("base", 0): "`probe/seed0/in_domain`: nothing can be cut here"}
    assert found.summary["avg_at_k"].notna().all()
    assert "nothing can be cut here" in (tmp_path / "run" / "report.md").read_text()
