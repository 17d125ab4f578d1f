"""The prompts of a recipe: wherever a template is named it may be a name, a text, a file or the chat template."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from broken_tokenizers import KINDS, edit_json, write_tokenizer
from tiny_model import write_model

from rlbench.planning.build import Plan, build
from rlbench.planning.describe import plan_text, recipe_json, recipe_text
from rlbench.recipe import load_recipe
from rlbench.records import UserError
from rlbench.tasks.templates import TEMPLATES

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.toml"
CONTROL = 'methods.control={checkpoint="base", template="bare"}'
PROBE = "evaluation.contamination={share=0.6, template='raw'}"
KEYS = (
    "data.template",
    "rollouts.template",
    "evaluation.template",
    "methods.control.template",
    "evaluation.contamination.template",
)


def plan(*overrides: str) -> Plan:
    return build(load_recipe(RECIPE, [CONTROL, PROBE, *overrides]), RECIPE)


def toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@pytest.mark.parametrize("key", KEYS)
def test_the_text_is_what_counts_not_how_it_was_brought(key: str, tmp_path: Path) -> None:
    text = TEMPLATES["qwen-cot"]
    (tmp_path / "mine.txt").write_text(text, encoding="utf-8")
    (tmp_path / "mine").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    wanted = plan(f"{key}=qwen-cot").fingerprint
    assert plan(f"{key}={toml(text)}").fingerprint == wanted
    assert plan(f"{key}={tmp_path / 'mine'}").fingerprint == wanted
    (tmp_path / "mine.txt").write_text(text + "\n", encoding="utf-8")
    assert plan(f"{key}={tmp_path / 'mine.txt'}").fingerprint == wanted
    (tmp_path / "mine.txt").write_text(text + "!", encoding="utf-8")
    assert plan(f"{key}={tmp_path / 'mine.txt'}").fingerprint != wanted


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("qwen-boxd", r"unknown template 'qwen-boxd' \(did you mean 'qwen-boxed'\?\)"),
        ("Solve {question} now", r"'Solve {question} now' has no {problem} .*mean '{problem}' by '{question}'"),
        ("Solve it.", "has no {problem}"),
        ("", "has no {problem}"),
        ("prompts/none.txt", r"there is no file 'prompts/none.txt'"),
        ("FOLDER/empty.txt", r"empty.txt has no {problem}"),
        ("FOLDER/wrong.txt", r"wrong.txt has no {problem} .*by '{problm}'"),
        ("FOLDER/mine.txt2", r"'.*mine.txt2' has no {problem}"),
        ("FOLDER/mind.txt", r"no file '.*mind.txt' \(did you mean '.*mine.txt'\?\)"),
        ("FOLDER/latin.txt", "no text in UTF-8"),
        ("FOLDER/folder.txt", "cannot be read"),
    ],
)
def test_what_is_no_template_is_refused_with_its_key_and_file(key: str, value: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("{problem}")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "wrong.txt").write_text("{problm}")
    (tmp_path / "latin.txt").write_bytes(b"\xe9 {problem}")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(UserError, match=text) as error:
        plan(f"{key}={toml(value.replace('FOLDER', str(tmp_path)))}")
    assert str(error.value).startswith(f"{RECIPE}: `{key}`: ") and "\n" not in str(error.value)


def model(folder: Path) -> str:
    return f"model.source={write_tokenizer(write_model(folder), KINDS['byte_level']())}"


@pytest.mark.parametrize("key", KEYS)
def test_markers_that_are_no_tokens_are_told_with_the_key(key: str, tmp_path: Path) -> None:
    source = model(tmp_path)
    plain = [f"{other}={toml('{problem}')}" for other in KEYS]
    assert plan(source, *plain).warnings == ()
    (warning,) = plan(source, *plain, f"{key}=qwen-boxed").warnings
    assert warning.startswith(
        f"`{key}`: the template qwen-boxed writes <|im_start|>, <|im_end|>, which the tokenizer of"
    )
    assert plan(source, *plain, f"{key}={toml('<|begin|>{problem}<|end|>')}").warnings == ()
    (warning,) = plan(source, *plain, f"{key}={toml('<s><|begin|>{problem}<think></s>')}").warnings
    assert "writes <s>, </s>, which" in warning


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"])
def test_a_marker_is_a_token_whichever_file_says_so(file: str, tmp_path: Path) -> None:
    source = model(tmp_path)
    edits = {
        "tokenizer.json": lambda d: d["added_tokens"].append({"id": 9, "content": "<|im_start|>"}),
        "tokenizer_config.json": lambda d: d.update(added_tokens_decoder={"9": {"content": "<|im_start|>"}}),
        "added_tokens.json": lambda d: d.update({"<|im_start|>": 9}),
    }
    (tmp_path / "added_tokens.json").write_text("{}")
    edit_json(tmp_path / file, edits[file])
    plain = [f"{other}={toml('<|im_start|>{problem}')}" for other in KEYS]
    assert plan(source, *plain).warnings == ()


def test_the_miniature_and_models_that_are_not_here_are_judged_by_what_is_known() -> None:
    assert plan("methods.control.template=miniature-raw").warnings == ()
    assert "<|im_start|>" in plan("methods.control.template=few-shot").warnings[0]
    foreign = ("model.source=nobody/has-this", "evaluation.template=few-shot")
    assert plan(*foreign).warnings == ()


def test_a_foreign_checkpoints_own_tokenizer_is_what_its_prompts_are_judged_by(tmp_path: Path) -> None:
    model(tmp_path)
    (warning,) = plan(f'methods.other={{checkpoint="{tmp_path}"}}').warnings
    assert warning.startswith("`evaluation.template`: the template miniature writes <bos>") and str(tmp_path) in warning


def test_chat_takes_a_tokenizer_with_a_chat_template(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`evaluation.template`: the tokenizer of 'miniature' has no chat template"):
        plan("evaluation.template=chat")
    source = model(tmp_path)
    others = [f"{key}={toml('{problem}')}" for key in KEYS]
    with pytest.raises(UserError, match="has no chat template"):
        plan(source, *others, "evaluation.template=chat")
    chat = "<|im_start|>{{ messages[0].content }}"
    (tmp_path / "chat_template.jinja").write_text(chat)
    planned = plan(source, *others, "evaluation.template=chat")
    assert "`evaluation.template`: the template chat writes <|im_start|>" in planned.warnings[0]
    assert chat in recipe_text(planned)
    assert {s.config["template"] for s in planned.stages if s.kind == "evaluate"} == {"{chat}", "{problem}"}
    (tmp_path / "chat_template.jinja").unlink()
    edit_json(
        tmp_path / "tokenizer_config.json", lambda d: d.update(chat_template=[{"name": "default", "template": "hi"}])
    )
    assert plan(source, *others, "evaluation.template=chat").warnings == ()


def test_prompts_that_no_row_needs_are_not_told_of() -> None:
    recipe = load_recipe(RECIPE, ["data.template=few-shot", "rollouts.template=qwen-bare"], only=["sft"])
    assert [text.split(":")[0] for text in build(recipe).warnings] == ["`data.template`"]
    recipe = load_recipe(RECIPE, ["data.template=few-shot", "rollouts.template=qwen-bare"], only=["base"])
    assert build(recipe).warnings == ()


def test_plan_and_show_tell_of_markers_and_show_the_prompts(tmp_path: Path) -> None:
    own = "Q: {problem}\nA:"
    planned = plan(model(tmp_path), f"evaluation.template={toml(own)}", "data.template=qwen-bare")
    text = recipe_text(planned)
    assert "evaluation: 'Q: {problem}\\nA:'\n    | Q: {problem}\n    | A:" in text
    assert recipe_json(planned)["warnings"] == list(planned.warnings) and planned.warnings
    assert plan_text(planned, set())
    command = [sys.executable, "-m", "rlbench.cli", "plan", str(RECIPE), "--set", "evaluation.template=few-shot"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "<|im_start|>" in done.stderr
