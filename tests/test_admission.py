"""A model folder is admitted whole, by its own name, or refused in one line before anything is computed with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from broken_models import BROKEN, PREFIXES, UNUSUAL, Kind, make, pickled, prefixed, shard, weights_of
from click.testing import CliRunner
from foreign_models import admitted, evaluate, good_model, recipe_of
from safetensors.torch import save_file
from tiny_model import write_model

from rlbench import models
from rlbench.cli.main import cli
from rlbench.models.admission import Options, inspect
from rlbench.models.values import is_finite
from rlbench.planning.build import build
from rlbench.records import UserError
from rlbench.running.runner import run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_model(tmp_path_factory.mktemp("admission"))


def made(store: Path) -> set[str]:
    """The kinds of stages that a store holds."""
    return {json.loads(path.read_text())["name"].split("/")[0] for path in store.glob("**/manifest.json")}


def refusal(model: Path, good: Path, folder: Path, says: tuple[str, ...]) -> str:
    with pytest.raises(UserError) as error:
        evaluate(model, good, folder)
    text = str(error.value)
    assert "\n" not in text and len(text) < 420 and str(folder / "store") not in text, text
    assert model.name in text
    for part in says:
        assert part in text
    return text


@pytest.mark.parametrize("kind", BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_in_one_line_before_anything_is_sampled(
    kind: Kind, good: Path, tmp_path: Path
) -> None:
    refusal(make(kind, tmp_path / "theirs"), good, tmp_path, kind.says)
    assert not made(tmp_path / "store")
    assert not (tmp_path / "CODE_RAN").exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_folder_is_admitted_with_the_values_of_its_files(kind: Kind, tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole", **kind.shape)
    folder = admitted(make(kind, tmp_path / "theirs"), tmp_path / "store")
    assert not (tmp_path / "CODE_RAN").exists()
    expected, found = models.load_model(whole).state_dict(), models.load_model(folder).state_dict()
    coarse = {"bfloat16": torch.bfloat16, "float16": torch.float16, "mixed": torch.bfloat16}
    dtype = next((coarse[name] for name, other in UNUSUAL.items() if other is kind and name in coarse), torch.float32)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].to(dtype), value.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["incomplete-untied_head_missing", "prefix-_orig_mod.", "config-own_code"])
def test_a_broken_folder_ends_a_run_that_names_it_as_base_or_as_a_row(name: str, good: Path, tmp_path: Path) -> None:
    model = make(BROKEN[name], tmp_path / "theirs")
    row = f'methods.other={{checkpoint="{model}"}}'
    for base, overrides, table in ((model, [], "model."), (good, [row], "methods.other.")):
        with pytest.raises(UserError, match="theirs") as error:
            run(
                recipe_of(base, good, tmp_path),
                out=tmp_path / "run",
                store=tmp_path / "store",
                executor="local",
                overrides=overrides,
            )
        assert name == "incomplete-untied_head_missing" or table in str(error.value)
        assert made(tmp_path / "store") <= {"model"}


@pytest.mark.parametrize("form", ["safetensors", "shards", "bin"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_that_the_recipe_names_is_stripped(prefix: str, form: str, good: Path, tmp_path: Path) -> None:
    model = make(Kind(prefixed(prefix)), tmp_path / "theirs")
    if form == "shards":
        shard(model)
    elif form == "bin":
        pickled(dict)(model)
    folder = admitted(model, tmp_path / "store", strip_prefix=prefix)
    expected, found = models.load_model(good).state_dict(), models.load_model(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_stripped_folder_scores_as_the_one_it_was_made_from(good: Path, tmp_path: Path) -> None:
    model = make(Kind(prefixed("_orig_mod.")), tmp_path / "theirs")
    plain, stripped = evaluate(good, good, tmp_path), evaluate(model, good, tmp_path, strip_prefix="_orig_mod.")
    assert {"model", "problems", "evaluate"} <= made(tmp_path / "store")
    assert stripped.samples["output"].tolist() == plain.samples["output"].tolist()
    assert "'_orig_mod.' stripped" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod", "x."])
def test_a_prefix_that_is_not_before_every_name_or_not_all_of_it_is_refused(
    prefix: str, good: Path, tmp_path: Path
) -> None:
    model = make(Kind(prefixed("_orig_mod.")), tmp_path / "theirs")
    with pytest.raises(UserError, match=r"theirs"):
        evaluate(model, good, tmp_path, strip_prefix=prefix)


def test_code_runs_where_the_recipe_says_so_and_the_report_shows_it(good: Path, tmp_path: Path) -> None:
    model = make(BROKEN["config-own_code"], tmp_path / "theirs")
    overrides = ["model.trust_remote_code=true"]
    found = run(
        recipe_of(model, good, tmp_path),
        out=tmp_path / "run",
        store=tmp_path / "store",
        executor="local",
        overrides=overrides,
    )
    assert found.exit_code == 0 and (tmp_path / "CODE_RAN").exists()
    assert "trust_remote_code" in (tmp_path / "run" / "report.md").read_text()
    assert found.manifest["recipe"]["model"]["trust_remote_code"] is True


def test_the_command_asks_nobody_whether_code_may_run(good: Path, tmp_path: Path) -> None:
    model = make(BROKEN["config-own_code"], tmp_path / "theirs")
    line = ["run", str(recipe_of(model, good, tmp_path)), "--executor", "local"]
    line += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, line, input="yes\n" * 20, standalone_mode=False)
    assert isinstance(done.exception, UserError) and "trust_remote_code = true" in str(done.exception)
    assert not (tmp_path / "CODE_RAN").exists() and not (tmp_path / "run").exists()


def test_evaluate_has_both_keys_as_options(good: Path, tmp_path: Path) -> None:
    models_ = {
        "--strip-prefix=_orig_mod.": make(Kind(prefixed("_orig_mod.")), tmp_path / "wrapped"),
        "--trust-remote-code": make(BROKEN["config-own_code"], tmp_path / "own"),
    }
    for option, model in models_.items():
        line = ["evaluate", str(model), "--benchmarks", str(good.parent / "problems.jsonl"), "--template", "bare"]
        line += ["--samples", "1", "--max-new-tokens", "4", "--executor", "local", "--engine", "transformers"]
        line += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / model.name / "run")]
        assert isinstance(CliRunner().invoke(cli, line, standalone_mode=False).exception, UserError)
        result = CliRunner().invoke(cli, [*line, option], standalone_mode=False)
        assert result.exception is None and result.return_value == 0, result.output


def test_what_a_recipe_does_not_say_is_not_in_a_fingerprint(good: Path, tmp_path: Path) -> None:
    def config(*overrides: str) -> dict:
        from rlbench.recipe import load_recipe

        plan = build(load_recipe(recipe_of(good, good, tmp_path), overrides))
        return next(dict(stage.config) for stage in plan.stages if stage.kind == "model")

    assert config() == {"sha256": models.content_digest(good)}
    assert config("model.trust_remote_code=true") == {**config(), "trust_remote_code": True}


def test_a_model_json_of_somebody_elses_is_no_pointer_and_gives_no_trust(tmp_path: Path) -> None:
    model = make(BROKEN["config-own_code"], tmp_path / "theirs")
    (model / "model.json").write_text('{"trust_remote_code": true, "source": "somebody/else", "revision": "main"}')
    with pytest.raises(UserError, match="trust_remote_code = true"):
        admitted(model, tmp_path / "store")
    assert not (tmp_path / "CODE_RAN").exists()


@pytest.mark.parametrize("broken", [None, "not_finite-nan float32 model.embed_tokens.weight", "config-own_code"])
def test_a_model_of_the_hubs_cache_goes_through_the_same_admission(
    broken: str | None, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    cached = tmp_path / "hub" / "models--somebody--theirs"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    source = make(BROKEN[broken], tmp_path / "source") if broken else good
    shutil.copytree(source, cached / "snapshots" / commit)
    for name, value in {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": True}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    if broken:
        with pytest.raises(UserError, match=r"'somebody/theirs'") as error:
            evaluate("somebody/theirs", good, tmp_path)
        assert str(tmp_path / "hub") not in str(error.value) and not (tmp_path / "CODE_RAN").exists()
        return
    plain, theirs = evaluate(good, good, tmp_path), evaluate("somebody/theirs", good, tmp_path)
    assert theirs.samples["output"].tolist() == plain.samples["output"].tolist()
    linked = next(stage for stage in theirs.manifest["stages"] if stage["name"] == "model/theirs")
    (folder,) = (tmp_path / "store").glob(f"**/{linked['fingerprint']}")
    assert json.loads((folder / "model.json").read_text()) == {"source": "somebody/theirs", "revision": commit}
    saved = tmp_path / "saved"
    saved.mkdir()
    models.save_model(models.load_model(folder), folder, saved)
    assert (saved / "tokenizer.json").read_bytes() == (good / "tokenizer.json").read_bytes()


def test_planning_refuses_what_headers_show_without_torch(tmp_path: Path) -> None:
    model = make(BROKEN["prefix-_orig_mod."], tmp_path / "theirs")
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'safetensors', 'numpy'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\nfrom rlbench.models.admission import inspect\n"
        f"inspect(Path({str(model)!r}), 'theirs')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'strip_prefix = "_orig_mod."' in done.stderr.splitlines()[-1]


def test_what_an_older_version_let_in_is_looked_at_again(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(BROKEN["incomplete-untied_head_missing"], tmp_path / "theirs")
    with monkeypatch.context() as older:
        older.setattr("rlbench.models.link.admit", lambda *_: None)
        older.setattr("rlbench.models.link.ADMISSION", 0)
        admitted_then = evaluate(good, good, tmp_path)
        with pytest.raises(UserError):
            evaluate(model, good, tmp_path)
    assert {stage["cached"] for stage in evaluate(good, good, tmp_path).manifest["stages"]} == {True}
    assert admitted_then.exit_code == 0
    refusal(model, good, tmp_path, ("lm_head.weight",))


def test_what_is_finite_and_what_is_not_in_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlbench.models.values.CHUNK", 8)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        values = torch.randn(5, 7).to(dtype)
        assert is_finite(values) and is_finite(values[:0])
        for place in (0, 7, 8, 34):
            for bad in (float("nan"), float("inf"), -float("inf")):
                broken = values.clone()
                broken.view(-1)[place] = bad
                assert not is_finite(broken)


def test_an_inspected_folder_keeps_its_files(good: Path, tmp_path: Path) -> None:
    before = models.content_digest(good)
    inspect(good, "good", Options())
    admitted(good, tmp_path / "store")
    assert models.content_digest(good) == before == models.content_digest(tmp_path / "store")


def test_a_folder_that_changes_after_planning_is_refused_by_name(good: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "theirs")
    digest = models.content_digest(model)
    save_file({name: value * 2 for name, value in weights_of(model).items()}, model / "model.safetensors")
    with pytest.raises(UserError, match=r"theirs.*changed"):
        admitted(model, tmp_path / "store", sha256=digest)
