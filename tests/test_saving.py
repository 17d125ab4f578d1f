"""What is saved is what was loaded: every file of the tokenizer, every key, whatever loading has accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from broken_models import UNUSUAL, Kind, edit, make, other_model, pickled, weights_of, write
from foreign_models import admitted, recipe_of
from tiny_model import Context, sequences, write_model, write_sequences
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from training_tables import offline_config
from transformers import PreTrainedTokenizerFast

from rlbench import models
from rlbench.models.saving import NotFaithful, save_model
from rlbench.models.tokenizer_admission import TEXTS
from rlbench.planning.build import build
from rlbench.recipe import load_recipe
from rlbench.training import offline

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789+-*/=.,?{}\\"]


FILES = ["vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "qwen.tiktoken"]
FILES += ["tekken.json", "vocab.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"]
FILES += ["preprocessor_config.json", "processor_config.json", "source.spm"]


def trained(folder: Path, dtype: str = "float32") -> torch.nn.Module:
    """A model whose weights are no longer those of its folder."""
    model = models.load_model(folder, dtype=dtype)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    return model


def saved(folder: Path, output: Path, dtype: str = "float32") -> Path:
    output.mkdir()
    save_model(trained(folder, dtype), folder, output)
    return output


# Tokenizers in the forms that they come in ----------------------------------------------------------------------------


def vocab_txt(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    names = {"eos_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    edit(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer", **names)


def vocab_and_merges(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    vocabulary = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "12": 256, "<end>": 257}))
    (folder / "merges.txt").write_text("#version: 0.2\n1 2\n")
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<end>")
    edit(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", pad_token="<end>", **names)


def added_tokens(folder: Path) -> None:
    tokenizer = models.load_tokenizer(folder)
    tokenizer.add_tokens(["reason", "step"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    tokenizer.save_pretrained(folder)


def chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")


def of_another_model(folder: Path) -> None:
    backend = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", pad_token="[PAD]")
    tokenizer.save_pretrained(folder)


def byte_pairs(folder: Path) -> None:
    vocabulary = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    backend = Tokenizer(BPE(vocab={**vocabulary, "<end>": 256}, merges=[]))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(folder)


TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "vocab_txt": vocab_txt,
    "vocab_and_merges": vocab_and_merges,
    "added_tokens": added_tokens,
    "chat_template": chat_template,
    "word_pieces": of_another_model,
    "byte_pairs": byte_pairs,
}


@pytest.mark.parametrize("change", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_trained_row_has_the_tokenizer_of_its_base(change: Callable[[Path], None], tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", vocab_size=300)
    change(base)
    before = models.load_tokenizer(base)
    after = models.load_tokenizer(saved(base, tmp_path / "saved"))
    assert len(after) == len(before) and after.special_tokens_map == before.special_tokens_map
    for text in (*TEXTS, "reason step by step <think>", "12 + 12 = 24", "abc"):
        assert after.encode(text) == before.encode(text)
        assert after.decode(after.encode(text)) == before.decode(before.encode(text))
    assert after.chat_template == before.chat_template


@pytest.mark.parametrize(
    "name",
    [
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "qwen.tiktoken",
        "tekken.json",
        "vocab.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.json",
        "preprocessor_config.json",
        "processor_config.json",
        "source.spm",
    ],
)
def test_files_of_tokenizers_and_processors_travel_byte_for_byte(name: str, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    (base / name).write_text("{}")
    for other in ("README.md", "optimizer.pt", "training_args.bin", "modelling.py"):
        (base / other).write_text("{}")
    found = {path.name for path in saved(base, tmp_path / "saved").iterdir()}
    assert name in found and not found & {"README.md", "optimizer.pt", "training_args.bin", "modelling.py"}
    assert (tmp_path / "saved" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", UNUSUAL.values(), ids=UNUSUAL)
def test_whatever_is_admitted_can_be_trained_and_saved_and_is_then_the_same_but_its_weights(
    kind: Kind, tmp_path: Path
) -> None:
    base = admitted(make(kind, tmp_path / "theirs"), tmp_path / "base")
    first = saved(base, tmp_path / "first")
    second = saved(first, tmp_path / "second")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, second))
    free = {"architectures", "dtype", "torch_dtype", "transformers_version", "auto_map", "transformers_weights"}
    free |= {"temperature", "top_p", "do_sample"}  # transformers moves them to the generation configuration
    assert {key: after.get(key) for key in before if key not in free} == {
        key: value for key, value in before.items() if key not in free
    }
    assert models.generation_config(second).to_dict().keys() == models.generation_config(base).to_dict().keys()
    assert models.generation_config(second).eos_token_id == models.generation_config(base).eos_token_id
    weights = [dict(models.load_model(folder).named_parameters()) for folder in (base, second)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value * 1.5**2)


ARCHITECTURES = {
    "GPT2LMHeadModel": {},
    "OPTForCausalLM": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "GPTNeoXForCausalLM": {},
    "Qwen3ForCausalLM": {"head_dim": 16, "num_key_value_heads": 2},
    "Gemma2ForCausalLM": {"head_dim": 16, "num_key_value_heads": 2},
    "MixtralForCausalLM": {"num_local_experts": 4, "num_key_value_heads": 2},
    "Qwen2MoeForCausalLM": {"num_experts": 4, "moe_intermediate_size": 16, "num_key_value_heads": 2},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_whose_tensors_have_other_names_in_files_are_admitted_and_saved(name: str, tmp_path: Path) -> None:
    model = make(Kind(other_model(name, **ARCHITECTURES[name])), tmp_path / "theirs")
    output = saved(admitted(model, tmp_path / "base"), tmp_path / "saved")
    for key, value in models.load_model(model).named_parameters():
        torch.testing.assert_close(dict(models.load_model(output).named_parameters())[key], value * 1.5)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "GPTJForCausalLM", "GPTNeoXForCausalLM"])
def test_buffers_that_older_versions_saved_are_left_aside(name: str, tmp_path: Path) -> None:
    model = make(Kind(other_model(name, rotary_dim=8)), tmp_path / "theirs")
    weights, expected = weights_of(model), models.load_model(model).state_dict()
    (bias,) = {key.rsplit(".", 2)[0] for key in weights if re.search(r"\.(c_attn|q_proj|query_key_value)\.weight", key)}
    mask = {f"{bias}.bias": torch.ones(1, 1, 64, 64).tril().bool(), f"{bias}.masked_bias": torch.tensor(-float("inf"))}
    write(model, {**weights, **mask})
    found = models.load_model(admitted(model, tmp_path / "base")).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_type_and_ties_survive(dtype: str, tied: bool, tmp_path: Path) -> None:
    folder = saved(write_model(tmp_path / "base", tie_word_embeddings=tied), tmp_path / "saved", dtype)
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["tie_word_embeddings"]) == (dtype, tied)
    model = models.load_model(folder, dtype=dtype)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied


def test_a_generation_configuration_that_is_not_saved_is_kept_byte_for_byte(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    edit(base, "generation_config.json", do_sample=False, temperature=0.6, top_p=0.9, eos_token_id=[2, 0])
    folder = saved(base, tmp_path / "saved")
    assert (folder / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()
    stops = models.stop_token_ids(models.generation_config(folder), models.load_tokenizer(folder))
    assert stops == models.stop_token_ids(models.generation_config(base), models.load_tokenizer(base)) == (0, 2)


def test_training_saves_a_row_on_a_base_with_what_saving_refuses(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    edit(base, "generation_config.json", do_sample=False, temperature=0.6)
    edit(base, "config.json", trained_by="somebody")
    data = write_sequences(tmp_path / "data", sequences(8))
    (tmp_path / "out").mkdir()
    inputs = {"model": base, "sequences": data}
    offline.train(offline_config("dft"), inputs, tmp_path / "out", Context(tmp_path / "scratch"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["trained_by"] == "somebody"
    models.load_model(tmp_path / "out")


def test_a_saved_model_that_is_another_one_is_found_before_it_is_published(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    model, other = trained(base), models.load_model(base)
    model.save_pretrained = other.save_pretrained  # type: ignore[method-assign]
    (tmp_path / "saved").mkdir()
    with pytest.raises(NotFaithful, match="is not the trained one"):
        save_model(model, base, tmp_path / "saved")


def test_a_saved_model_that_computes_otherwise_is_found_before_it_is_published(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    model = trained(base)
    model.config.rms_norm_eps = 0.5  # not what its layers were made with
    (tmp_path / "saved").mkdir()
    with pytest.raises(NotFaithful, match="logits"):
        save_model(model, base, tmp_path / "saved")


def test_a_saved_tokenizer_that_is_another_one_is_found_before_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_model(tmp_path / "base")
    vocab_txt(base)
    monkeypatch.setattr("rlbench.models.saving._travels", lambda name, *_, **__: name != "vocab.txt")
    (tmp_path / "saved").mkdir()
    with pytest.raises((NotFaithful, Exception), match="token"):
        save_model(trained(base), base, tmp_path / "saved")


def test_pickled_weights_are_saved_as_safetensors(tmp_path: Path) -> None:
    base = make(Kind(pickled(dict)), tmp_path / "base")
    assert {path.name for path in saved(base, tmp_path / "saved").iterdir()} >= {"model.safetensors", "config.json"}


def test_the_plan_of_a_foreign_base_names_what_was_admitted(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    (tmp_path / "problems.jsonl").write_text('{"id": "a", "problem": "1+1", "answer": "2", "solution": "2"}\n')
    from rlbench.planning.describe import plan_text, recipe_text

    plan = build(load_recipe(recipe_of(base, base, tmp_path), ["model.trust_remote_code=true"]))
    assert "trust_remote_code" in recipe_text(plan) and "trust_remote_code" in plan_text(plan, set())
