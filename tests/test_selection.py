"""Choosing among a run's checkpoints on development sets, and that nothing else ever meets the test sets."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from tiny_model import Context, sequences, write_model, write_sequences
from training_tables import stage_config

from rlbench.evaluation import selection
from rlbench.models import load_model
from rlbench.planning.build import build
from rlbench.recipe import load_recipe
from rlbench.records import EvalSample, UserError, write_records
from rlbench.running.runner import Results, run
from rlbench.training import offline

DEVELOPMENT = (
    'evaluation.development=["arithmetic:development/in_domain", {source="arithmetic:development/steps", limit=4}]'
)


def test_checkpoints_are_at_like_distances_and_the_last_is_the_end() -> None:
    assert selection.checkpoint_steps(40, 4) == [10, 20, 30, 40]
    assert selection.checkpoint_steps(7, 3) == [3, 5, 7]
    assert selection.checkpoint_steps(2, 4) == [1, 1, 2, 2]
    assert selection.checkpoint_steps(9, 1) == [9]


def evaluated(folder: Path, right: list[bool]) -> Path:
    folder.mkdir()
    rows = [
        EvalSample(
            "development", "b", f"p{i}", "t1.0", 0, "", "1", "1", "correct" if r else "wrong", "rlbench", "stop", 3
        )
        for i, r in enumerate(right)
    ]
    write_records(folder / "samples.parquet", EvalSample, rows)
    return folder


def test_the_best_mean_over_benchmarks_is_taken_and_of_equals_the_earlier(tmp_path: Path) -> None:
    # Means over benchmarks 1/2 (0 and 1), 5/8, 5/8: the benchmarks count the same, however many problems they have.
    right = {
        (1, 1): [False] * 4,
        (1, 2): [True, True],
        (2, 1): [True] * 3 + [False],
        (2, 2): [True, False],
        (3, 1): [True, False] * 2,
    }
    right[3, 2] = [True, True, True, False]
    inputs = {}
    for number in (1, 2, 3):
        folder = inputs[f"checkpoint{number}"] = tmp_path / f"checkpoint{number}"
        folder.mkdir()
        (folder / "config.json").write_text(f"model {number}")
        for place in (1, 2):
            inputs[f"evaluation{number}_{place}"] = evaluated(tmp_path / f"e{number}{place}", right[number, place])
    (tmp_path / "out").mkdir()
    context = Context()
    selection.select(
        {"checkpoints": 3, "benchmarks": ["b", "c"], "decoding": "t1.0"}, inputs, tmp_path / "out", context
    )  # type: ignore[arg-type]
    assert (tmp_path / "out" / "config.json").read_text() == "model 2"
    table = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert table == {"chosen": 2, "decoding": "t1.0", "benchmarks": ["b", "c"], "scores": [50.0, 62.5, 62.5]}
    assert context.counters == {"chosen": 2}


def test_a_kept_checkpoint_is_the_model_as_it_was_after_that_step(tmp_path: Path) -> None:
    """A run of three steps that keeps three has after its first what a run that stops there has."""
    model, data = write_model(tmp_path / "model"), write_sequences(tmp_path / "data", sequences(16))
    outputs = {}
    for name, config in (("kept", stage_config("sft", checkpoints=3)), ("plain", stage_config("sft"))):
        outputs[name] = tmp_path / name
        outputs[name].mkdir()
        offline.train(config, {"model": model, "sequences": data}, outputs[name], Context(tmp_path / f"scratch-{name}"))  # type: ignore[arg-type]
    assert json.loads((outputs["kept"] / "checkpoints.json").read_text()) == [1, 2, 3]
    assert not (outputs["plain"] / "checkpoints.json").exists() and not (outputs["plain"] / "checkpoints").exists()
    weights = (outputs["plain"] / "model.safetensors").read_bytes()
    assert (outputs["kept"] / "model.safetensors").read_bytes() == weights  # keeping some changes nothing of the run
    states = []
    for number in (1, 2, 3):
        (tmp_path / f"c{number}").mkdir()
        context = Context()
        selection.checkpoint({"number": number}, {"trained": outputs["kept"]}, tmp_path / f"c{number}", context)  # type: ignore[arg-type]
        assert context.counters == {"step": number}
        states.append(load_model(tmp_path / f"c{number}").state_dict())
    assert (tmp_path / "c3" / "model.safetensors").read_bytes() == weights
    moved = [max((a[name] - b[name]).abs().max().item() for name in a) for a, b in pairwise(states)]
    assert min(moved) > 1e-6


@pytest.fixture(scope="module")
def selected(tiny_run: Results, tiny_recipe: Path, tiny_store: Path) -> Results:
    overrides = [DEVELOPMENT, "evaluation.checkpoints=3", 'methods.bare={checkpoint="base", template="miniature-raw"}']
    overrides += ['evaluation.contamination={template="miniature-raw"}', "evaluation.reference=sft"]
    folder, only = tiny_store.parent / "selected", ["sft", "grpo", "bare"]
    return run(tiny_recipe, out=folder, store=tiny_store, executor="local", only=only, overrides=overrides)


def test_a_row_is_evaluated_with_its_best_checkpoint_and_the_manifest_shows_that_the_test_was_read_once(
    selected: Results,
) -> None:
    assert selected.exit_code == 0
    rows = {row["method"]: row for row in selected.manifest["rows"]}
    for method in ("sft", "grpo"):
        found = rows[method]["selection"]["0"]
        assert len(found["scores"]) == 3 and found["scores"][found["chosen"] - 1] == max(found["scores"])
        assert rows[method]["test_models"] == {"0": 1}
    names = [stage["name"] for stage in selected.manifest["stages"]]
    for method in ("sft", "grpo"):
        assert [n for n in names if n.startswith(f"evaluate/{method}@")] == [
            f"evaluate/{method}@{number}/seed0/development-{benchmark}/t1.0"
            for number in (1, 2, 3)
            for benchmark in ("in_domain", "steps")
        ]
    splits = selected.samples.groupby("method")["split"].unique().map(set).to_dict()
    assert splits == {"base": {"test", "development"}, "sft": {"test"}, "grpo": {"test"}, "bare": {"test"}}
    assert "Checkpoints, chosen on development sets" in (selected.out / "report.md").read_text()


def test_the_bases_decoding_is_chosen_on_the_development_sets_even_if_they_have_other_names(selected: Results) -> None:
    assert set(selected.control["chosen_on"].dropna()) == {"development"}
    assert "chosen on development" in (selected.out / "report.md").read_text()


def test_problem_sets_stand_there_with_the_hash_of_their_content(selected: Results) -> None:
    sets = {(s["name"], s["split"]): s for s in selected.manifest["problem_sets"]}
    assert sets.keys() == {
        ("in_domain", "test"),
        ("add_sub", "test"),
        ("in_domain", "development"),
        ("steps", "development"),
    }
    assert all(len(s["content"]) == 64 for s in sets.values()) and sets["steps", "development"]["problems"] == 4


def test_the_base_under_another_prompt_is_a_row_that_says_so(selected: Results) -> None:
    bare = selected.samples[selected.samples["method"] == "bare"]
    plain = selected.samples[(selected.samples["method"] == "base") & (selected.samples["split"] == "test")]
    keys = ["benchmark", "problem_id", "decoding", "sample_index"]
    both = bare.merge(plain, on=keys)
    assert len(both) == len(bare) > 0 and (both["output_x"] != both["output_y"]).any()
    assert next(row for row in selected.manifest["rows"] if row["method"] == "bare")["deviations"] == [
        "evaluated with the prompt miniature-raw"
    ]


def test_probes_and_comparisons_with_a_reference_are_in_the_report(selected: Results) -> None:
    text = (selected.out / "report.md").read_text()
    assert "Contamination" in text and "Better or worse?" in text
    assert list(zip(selected.compared["method"], selected.compared["reference"], strict=True)) == [
        ("sft", "base"),
        ("grpo", "base"),
        ("bare", "base"),
        ("grpo", "sft"),
        ("bare", "sft"),
    ]


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("evaluation.checkpoints=2",), ["`evaluation.checkpoints`", "`evaluation.development`"]),
        (
            ('evaluation.development=["arithmetic:test/add_sub"]', 'evaluation.benchmarks=["arithmetic:test/add_sub"]'),
            ["`evaluation.development`", "not held out"],
        ),
        (("evaluation.reference=sfd",), ["`evaluation.reference`", "did you mean 'sft'"]),
        (('methods.x={checkpoint="base"}',), ["`methods.x`", "`template`"]),
        (('methods.x={checkpoint="base", template="miniatur"}',), ["did you mean 'miniature'"]),
        (
            ('methods.sft.backend="trl"', DEVELOPMENT, "evaluation.checkpoints=2"),
            ["`methods.sft.backend`", "evaluation.checkpoints is 1"],
        ),
        (("evaluation.contamination={share=1.5}",), ["`evaluation.contamination.share`", "less than 1"]),
    ],
)
def test_what_cannot_be_held_out_is_refused(overrides: tuple[str, ...], parts: list[str], tiny_recipe: Path) -> None:
    with pytest.raises(UserError) as caught:
        build(load_recipe(tiny_recipe, overrides), tiny_recipe)
    assert all(part in str(caught.value) for part in parts), caught.value
