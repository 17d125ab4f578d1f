"""The stage that trains the miniature base, on a budget of a few steps."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlbench.graph.stage import StageContext
from rlbench.records import Problem, StageFailure, UserError, write_problems
from rlbench.tasks import arithmetic
from rlbench.tasks.arithmetic_documents import FORMS
from rlbench.tasks.arithmetic_tokenizer import build_tokenizer
from rlbench.training import pretraining
from rlbench.training.pretraining import (
    PretrainingConfig,
    build_batches,
    documents,
    excluded_expressions,
    learning_rate,
    pretrain,
)

# A change of the documents, or of what is kept out of them, changes the digest, and then pretraining.VERSION rises with
# it.
GOLDEN_VERSION = 1
GOLDEN = "eaa02c1a4c228b7a44532a8af8af8a8a3573c5634ec6d4fd08392207ef0f4abf"

TINY = {"tokens": 12_000, "seed": 0}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def train(folder, name, **changes):
    output, context = folder / name, StageContext(folder / f"scratch-{name}", "cpu")
    output.mkdir()
    pretrain({**TINY, **changes}, {}, output, context)
    return output, context


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("base"), "base")


def test_documents_change_only_with_the_version(tokenizer):
    settings = PretrainingConfig.resolve({"tokens": 100_000})
    drawn = list(documents(settings, 0, arithmetic.held_out(), tokenizer))
    digest = hashlib.sha256(json.dumps([sorted(arithmetic.held_out()), drawn]).encode()).hexdigest()
    assert (pretraining.VERSION, digest) == (GOLDEN_VERSION, GOLDEN)


def test_documents_are_prompt_and_solution_with_no_unknown_token_up_to_the_budget(tokenizer):
    drawn = list(documents(PretrainingConfig.resolve({"tokens": 100_000}), 1, frozenset(), tokenizer))
    assert 0 <= sum(len(ids) for ids, _ in drawn) - 100_000 < PretrainingConfig.context
    for ids, prompt in drawn:
        assert tokenizer.unk_token_id not in ids and len(ids) <= PretrainingConfig.context
        text = tokenizer.decode(ids)
        assert re.fullmatch(r"<bos>[^\n]+\n(.*\n)*.*\\boxed\{\d+\}<eos>", text)
        assert tokenizer.decode(ids[:prompt]).endswith("\n") and "\n" not in tokenizer.decode(ids[: prompt - 1])


def test_no_document_asks_what_a_held_out_or_an_excluded_problem_asks(tokenizer, tmp_path):
    extra = arithmetic.load("prompts")
    write_problems(tmp_path / "problems.jsonl", extra)
    excluded = excluded_expressions({"exclude_prompts": tmp_path})
    assert excluded == arithmetic.held_out() | {problem.meta["expression"] for problem in extra}
    settings = PretrainingConfig.resolve({"tokens": 200_000})
    texts = [tokenizer.decode(ids[1:prompt]) for ids, prompt in documents(settings, 0, excluded, tokenizer)]
    asked = {match[1] for text in texts if (match := re.search(r"([\d(][\d()+\-*]+)[.?]\n$", text))}
    assert len(asked) > 500 and not asked & excluded
    held_out = {problem.problem for split in arithmetic.HELD_OUT for problem in arithmetic.load(split)}
    assert not {text.removesuffix("\n") for text in texts} & held_out


def test_an_excluded_problem_of_another_task_is_refused(tmp_path):
    write_problems(tmp_path / "problems.jsonl", [Problem("q1", "How much?", "1")])
    with pytest.raises(UserError, match=r"exclude_other: problem 'q1' has no meta\.expression"):
        excluded_expressions({"exclude_other": tmp_path})


def test_every_document_is_in_one_batch_and_batches_keep_to_their_size(tokenizer):
    settings = PretrainingConfig.resolve({"tokens": 100_000})
    batches = build_batches(settings, 0, frozenset(), tokenizer)
    drawn = list(documents(settings, 0, frozenset(), tokenizer))
    assert sorted(document for batch in batches for document in batch) == sorted(drawn)
    assert all(len(batch) * max(len(ids) for ids, _ in batch) <= settings.batch_tokens for batch in batches)
    assert sum(len(batch) * max(len(ids) for ids, _ in batch) for batch in batches) < 1.1 * settings.tokens


def test_padding_changes_no_loss(tokenizer):
    settings = PretrainingConfig.resolve({"tokens": 2_000})
    drawn = list(documents(settings, 0, frozenset(), tokenizer))[:6]
    torch.manual_seed(0)
    model = pretraining.build_model(settings, tokenizer).eval()
    with torch.no_grad():
        together = pretraining._loss(model, *pretraining._tensors(drawn, 0.1))
        losses = [pretraining._loss(model, *pretraining._tensors([document], 0.1)) for document in drawn]
    weights = torch.tensor([0.1 * (prompt - 1) + len(ids) - prompt for ids, prompt in drawn])
    assert together.item() == pytest.approx(((torch.stack(losses) * weights).sum() / weights.sum()).item(), rel=1e-5)


def test_learning_rate_warms_up_stays_and_falls_to_its_share():
    settings = PretrainingConfig()
    rates = [learning_rate(settings, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(3e-3 / 50) and set(rates[50:300]) == {3e-3}
    assert rates[300:] == sorted(rates[300:], reverse=True) and rates[-1] == pytest.approx(0.02 * 3e-3, rel=0.01)


def test_the_base_loads_as_a_model_and_learnt_something(trained, tokenizer):
    output, context = trained
    model, loaded = AutoModelForCausalLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    assert loaded.eos_token_id == model.generation_config.eos_token_id and model.dtype == torch.float32
    assert sum(p.numel() for p in model.parameters()) == 306_144
    assert 12_000 <= context.counters["tokens"] < 12_256
    drawn = list(documents(PretrainingConfig.resolve({"tokens": 5_000}), 9, frozenset(), loaded))
    with torch.no_grad():
        assert pretraining._loss(model, *pretraining._tensors(drawn, 0.1)).item() < 4.5  # ln 110 = 4.7


def test_the_tokenizer_beside_the_weights_is_loaded_as_it_was_built(trained, tokenizer):
    # Beside a config.json the type of the model has a say in what AutoTokenizer makes of a folder.
    loaded = AutoTokenizer.from_pretrained(trained[0])
    for problem in arithmetic.load("demonstrations", limit=100):
        text = f"<bos>{problem.problem}\n{problem.solution}<eos>"
        ids = loaded(text, add_special_tokens=False).input_ids
        assert ids == tokenizer(text, add_special_tokens=False).input_ids and loaded.decode(ids) == text


def test_the_same_seed_gives_the_same_bytes_whatever_the_state_of_torch_and_another_seed_others(trained, tmp_path):
    output, _ = trained
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again, _ = train(tmp_path, "again")
    assert contents(again) == contents(output)
    assert torch.equal(torch.get_rng_state(), state)
    other, _ = train(tmp_path, "other", seed=1)
    assert contents(other)["model.safetensors"] != contents(output)["model.safetensors"]


def test_a_killed_run_goes_on_from_its_snapshot_to_the_same_bytes(trained, tmp_path, monkeypatch):
    output, _ = trained
    scratch = tmp_path / "scratch"
    steps = []

    class Killed(Exception):
        pass

    class Context(StageContext):
        def progress(self, done, total, note=""):
            steps.append(done)
            if done == 6 and len(steps) == 6:
                raise Killed

    monkeypatch.setattr(pretraining, "_SNAPSHOT_SECONDS", 0.0)
    for attempt in ("killed", "resumed"):
        (tmp_path / attempt).mkdir()
        try:
            pretrain(dict(TINY), {}, tmp_path / attempt, Context(scratch, "cpu"))
        except Killed:
            shutil.rmtree(tmp_path / attempt)
    assert steps[:7] == [1, 2, 3, 4, 5, 6, 6]
    assert contents(tmp_path / "resumed") == contents(output)


def test_a_loss_that_is_no_number_fails_the_stage_with_its_reason(tmp_path):
    with pytest.raises(StageFailure, match=r"loss of pre-training is nan at step \d+; the learning rate is 1e\+30"):
        train(tmp_path, "broken", learning_rate=1e30)


def test_knobs_survive_json_and_a_form_is_replaced_alone():
    plain = json.loads(json.dumps(dataclasses.asdict(PretrainingConfig())))
    assert PretrainingConfig.resolve(plain) == PretrainingConfig()
    changed = PretrainingConfig.resolve({"habits": {"let": {"steps": 1.0}}})
    assert changed.habits["let"] == {"steps": 1.0} and changed.habits["story"] == PretrainingConfig().habits["story"]
    assert set(changed.habits) == set(FORMS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learnin_rate": 1.0}, "unknown key 'learnin_rate' \\(did you mean 'learning_rate'"),
        ({"tokens": 1e5}, "pretraining.tokens: 100000.0 is not a whole number"),
        ({"long_share": "0.1"}, "pretraining.long_share: '0.1' is not a number"),
        ({"habits": {"stroy": {}}}, "pretraining.habits: unknown key 'stroy' \\(did you mean 'story'"),
        (
            {"habits": {"story": {"direkt": 1}}},
            "pretraining.habits.story: unknown key 'direkt' \\(did you mean 'direct'",
        ),
        ({"habits": {"story": {"direct": 0.0}}}, "at least one is above"),
    ],
)
def test_wrong_knobs_are_refused_by_name(overrides, message):
    with pytest.raises(UserError, match=message):
        PretrainingConfig.resolve(overrides)
