"""Model folders of all kinds that people have: broken ones that have to be refused, and unusual ones that are right.

Each kind is a function that is given a good folder and changes it; ``BROKEN`` and ``UNUSUAL`` hold every kind with its
members, by name. What else a refusal has to say beside the folder's name stands with it.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_model import write_model
from torch import Tensor

from rlbench.tasks.arithmetic_tokenizer import build_tokenizer

SAFETENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
Change = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """A change to a good folder, whose configuration ``shape`` changes before; ``says`` are parts of the refusal."""

    change: Change
    says: tuple[str, ...] = ()
    shape: dict[str, Any] = field(default_factory=dict)


def make(kind: Kind, folder: Path) -> Path:
    """A folder of a kind."""
    write_model(folder, **kind.shape)
    kind.change(folder)
    return folder


# Tools ----------------------------------------------------------------------------------------------------------------


def edit(folder: Path, name: str, **values: Any) -> None:
    """Change keys of a JSON file; None takes a key away."""
    path = folder / name
    table = json.loads(path.read_text()) if path.exists() else {}
    table |= values
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / SAFETENSORS)


def write(folder: Path, weights: dict[str, Tensor], name: str = SAFETENSORS) -> None:
    save_file(weights, folder / name, metadata={"format": "pt"})


def rewrite(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    """A change of the tensors alone."""
    return lambda folder: write(folder, change(weights_of(folder)))


def shard(folder: Path, parts: int = 2, suffix: str = "safetensors") -> list[str]:
    """Split the weights into shards with an index; returns the shards' names."""
    weights, stem = weights_of(folder), "model" if suffix == "safetensors" else "pytorch_model"
    (folder / SAFETENSORS).unlink()
    names = [f"{stem}-{number:05}-of-{parts:05}.{suffix}" for number in range(1, parts + 1)]
    where = {key: names[i % parts] for i, key in enumerate(weights)}
    for name in names:
        held = {key: weights[key] for key, place in where.items() if place == name}
        write(folder, held, name) if suffix == "safetensors" else torch.save(held, folder / name)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return names


# Broken: names and shapes ---------------------------------------------------------------------------------------------


def prefixed(prefix: str) -> Change:
    return rewrite(lambda weights: {prefix + name: value for name, value in weights.items()})


def wrapped_inside(wrapper: str) -> Change:
    """Every layer wrapped by itself."""
    return rewrite(
        lambda weights: {name.replace(".mlp.", f".{wrapper}.mlp."): value for name, value in weights.items()}
    )


def without(part: str) -> Change:
    return rewrite(lambda weights: {name: value for name, value in weights.items() if part not in name})


def with_tensor(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Change:
    return rewrite(lambda weights: {**weights, name: torch.ones(shape).to(dtype)})


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Change:
    return rewrite(lambda weights: {**weights, name: change(weights[name])})


def says_in(name: str, **values: Any) -> Change:
    return lambda folder: edit(folder, name, **values)


def named_twice(folder: Path) -> None:
    weights = weights_of(folder)
    write(folder, {**weights, "norm.weight": weights["model.norm.weight"] * 2})


# Broken: files --------------------------------------------------------------------------------------------------------


def missing_shard(folder: Path) -> None:
    (folder / shard(folder)[1]).unlink()


def no_index(folder: Path) -> None:
    shard(folder)
    (folder / INDEX).unlink()


def tensor_in_two_shards(folder: Path) -> None:
    first, second = shard(folder)
    both = load_file(folder / first)
    write(folder, {**load_file(folder / second), next(iter(both)): next(iter(both.values()))}, second)


def index_names_more(folder: Path) -> None:
    first = shard(folder)[0]
    table = json.loads((folder / INDEX).read_text())
    table["weight_map"]["model.layers.2.mlp.up_proj.weight"] = first
    (folder / INDEX).write_text(json.dumps(table))


def index_names_less(folder: Path) -> None:
    shard(folder)
    table = json.loads((folder / INDEX).read_text())
    del table["weight_map"]["model.norm.weight"]
    (folder / INDEX).write_text(json.dumps(table))


def index_names_another_shard(folder: Path) -> None:
    names = shard(folder)
    table = json.loads((folder / INDEX).read_text())
    held = table["weight_map"]["model.norm.weight"]
    table["weight_map"]["model.norm.weight"] = next(name for name in names if name != held)
    (folder / INDEX).write_text(json.dumps(table))


def index_leaves_the_folder(folder: Path) -> None:
    shard(folder)
    table = json.loads((folder / INDEX).read_text())
    table["weight_map"] = {name: f"../{folder.name}/{place}" for name, place in table["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(table))


def index_is_empty(folder: Path) -> None:
    shard(folder)
    edit(folder, INDEX, weight_map={})


def stale_shard(folder: Path) -> None:
    names = shard(folder)
    shutil.copyfile(folder / names[0], folder / "model-00001-of-00003.safetensors")


def two_sets(folder: Path) -> None:
    whole = weights_of(folder)
    shard(folder)
    write(folder, whole)


def replaced(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content) and None


def pointer(name: str) -> Change:
    return replaced(name, b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n")


def cut(share: float) -> Change:
    def change(folder: Path) -> None:
        content = (folder / SAFETENSORS).read_bytes()
        (folder / SAFETENSORS).write_bytes(content[: int(share * len(content))])

    return change


def longer(folder: Path) -> None:
    with (folder / SAFETENSORS).open("ab") as stream:
        stream.write(b"\0" * 16)


def wrong_sizes(folder: Path) -> None:
    """A header whose shapes are not what its offsets hold."""
    content = (folder / SAFETENSORS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["model.norm.weight"]["shape"] = [31]
    text = json.dumps(header).encode()
    (folder / SAFETENSORS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def overlapping(folder: Path) -> None:
    """A header in which one tensor has the bytes of another, and nobody those that it had."""
    content = (folder / SAFETENSORS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    one, other = "model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight"
    header[one]["data_offsets"] = header[other]["data_offsets"]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / SAFETENSORS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def inside_a_folder(folder: Path) -> None:
    (folder / "checkpoint-3").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(folder / "checkpoint-3" / path.name)


def not_finite_in(suffix: str) -> Change:
    def change(folder: Path) -> None:
        changed(PLACES[2], partial(_put, float("nan"), torch.float32))(folder)
        shard(folder, 2, suffix)

    return change


def old_pickle(folder: Path) -> None:
    weights = weights_of(folder)
    (folder / SAFETENSORS).unlink()
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def own_tokenizer(folder: Path) -> None:
    marker = folder.parent / "CODE_RAN"
    (folder / "tokenization.py").write_text(
        f"open({str(marker)!r}, 'w').write('x')\nfrom transformers import PreTrainedTokenizer\n\n\n"
        "class Mine(PreTrainedTokenizer):\n    pass\n"
    )
    (folder / "tokenizer.json").unlink()
    edit(
        folder, "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["tokenization.Mine", None]}
    )


def only(name: str, content: bytes = b"x" * 64) -> Change:
    def change(folder: Path) -> None:
        (folder / SAFETENSORS).unlink()
        (folder / name).write_bytes(content)

    return change


def pickled(values: Callable[[dict[str, Tensor]], Any]) -> Change:
    def change(folder: Path) -> None:
        held = values(weights_of(folder))
        (folder / SAFETENSORS).unlink()
        torch.save(held, folder / "pytorch_model.bin")

    return change


class Runs:
    """A pickle that writes a file where it is read by anything that lets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def pickled_code(folder: Path) -> None:
    pickled(lambda weights: {**weights, "extra": Runs(folder.parent / "CODE_RAN")})(folder)


def cut_pickle(folder: Path) -> None:
    pickled(dict)(folder)
    content = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(content[: len(content) // 2])


def adapter(folder: Path) -> None:
    only("adapter_model.safetensors")(folder)
    edit(folder, "adapter_config.json", base_model_name_or_path="somebody/base", peft_type="LORA")


def own_code(folder: Path, model_type: str | None = "mine") -> None:
    """A folder whose configuration and model are classes of its own, which write a file when they are imported."""
    own = {"AutoConfig": "configuration.Mine", "AutoModelForCausalLM": "modelling.Mine"}
    edit(folder, "config.json", auto_map=own, model_type=model_type)
    marker = folder.parent / "CODE_RAN"
    (folder / "configuration.py").write_text(
        f"open({str(marker)!r}, 'w').write('x')\nfrom transformers import LlamaConfig\n\n\n"
        "class Mine(LlamaConfig):\n    model_type = 'mine'\n"
    )
    (folder / "modelling.py").write_text(
        f"open({str(marker)!r}, 'w').write('x')\nfrom transformers import LlamaForCausalLM\n\n"
        "from .configuration import Mine as Config\n\n\n"
        "class Mine(LlamaForCausalLM):\n    config_class = Config\n"
    )


def other_model(name: str, **options: Any) -> Change:
    """Somebody else's architecture, small and random, under the same tokenizer."""

    def change(folder: Path) -> None:
        import transformers

        for path in folder.iterdir():
            path.unlink()
        sizes = {"vocab_size": 112, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 48, "d_model": 32, "d_kv": 8, "num_layers": 1, "encoder_layers": 1}
        sizes |= {"decoder_layers": 1, "d_ff": 48, "n_embd": 32, "n_layer": 1, "n_head": 2}
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        kind = getattr(transformers, name)
        kind(kind.config_class(**sizes, **ids, **options)).save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)

    return change


PREFIXES = ("_orig_mod.", "module.", "base_model.model.", "_fsdp_wrapped_module.", "module._orig_mod.", "model.")
PREFIXES += ("pretrained_model.", "policy.", "actor.module.", "state_dict.net_")
QUANTISED: dict[str, Any] = {
    "gptq": {"bits": 4},
    "awq": {"bits": 4},
    "bitsandbytes": {"load_in_4bit": True},
    "compressed-tensors": {"format": "pack-quantized"},
    "fp8": {"weight_block_size": [128, 128]},
    "unheard_of": {},
}
PLACES = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight")


def _put(value: float, dtype: torch.dtype, tensor: Tensor) -> Tensor:
    tensor = tensor.clone().to(dtype)
    tensor.view(-1)[-1] = value
    return tensor


MIXTURE = other_model("MixtralForCausalLM", num_local_experts=4, num_key_value_heads=2)


def mixture(change: Change) -> Change:
    """A mixture of experts, whose tensors transformers puts together as it loads them, with a change."""

    def both(folder: Path) -> None:
        MIXTURE(folder)
        change(folder)

    return both


def _families() -> dict[str, dict[str, Kind]]:
    untied = {"tie_word_embeddings": False}
    found: dict[str, dict[str, Kind]] = {}
    found["prefix"] = {
        f"{prefix}{'' if tied else ' untied'}": Kind(
            prefixed(prefix), (f'strip_prefix = "{prefix}"',), {"tie_word_embeddings": tied}
        )
        for prefix in PREFIXES
        for tied in (True, False)
        if prefix != "state_dict.net_"
    }
    found["wrapped_inside"] = {name: Kind(wrapped_inside(name), (name,)) for name in ("_orig_mod", "_checkpoint")}
    found["incomplete"] = {
        "untied_head_missing": Kind(without("lm_head"), ("lm_head.weight", "tie_word_embeddings"), untied),
        "embeddings_missing": Kind(without("embed"), ("model.embed_tokens.weight",), untied),
        "embeddings_missing_tied": Kind(without("embed"), ("2 of 21 parameters",)),
        "norm_missing": Kind(without("model.norm"), ("model.norm.weight",)),
        "a_layer_missing": Kind(without("layers.1."), ("num_hidden_layers", "model.layers.1.")),
        "too_few_layers": Kind(says_in("config.json", num_hidden_layers=3), ("3", "hold 2")),
        "too_many_layers": Kind(says_in("config.json", num_hidden_layers=1), ("1", "hold 2")),
        "biases_too_much": Kind(with_tensor("model.layers.0.self_attn.q_proj.bias", 32), ("q_proj.bias",)),
        "named_twice": Kind(named_twice, ("norm.weight", "keep one")),
        "nothing": Kind(rewrite(lambda weights: {}), ("no tensor",)),
    }
    found["shape"] = {
        "norm": Kind(changed("model.norm.weight", lambda t: t[:16].clone()), ("[16]", "[32]")),
        "empty": Kind(changed("model.norm.weight", lambda t: t[:0].clone()), ("[0]", "[32]")),
        "transposed": Kind(changed("model.layers.0.mlp.up_proj.weight", lambda t: t.T.contiguous()), ("up_proj",)),
        "vocabulary_smaller": Kind(says_in("config.json", vocab_size=100), ("vocab_size", "100")),
        "vocabulary_larger": Kind(says_in("config.json", vocab_size=128), ("vocab_size", "128"), untied),
        "width": Kind(says_in("config.json", intermediate_size=64), ("64",)),
    }
    found["other_model"] = {
        "reward": Kind(with_tensor("score.weight", 1, 32), ("score.weight", "reward")),
        "value_head": Kind(with_tensor("v_head.summary.weight", 1, 32), ("v_head",)),
        "classifier": Kind(says_in("config.json", architectures=["LlamaForSequenceClassification"]), ("Llama",)),
        "classifier_saved": Kind(other_model("LlamaForSequenceClassification"), ("LlamaForSequenceClassification",)),
        "lora": Kind(with_tensor("model.layers.0.self_attn.q_proj.lora_A.weight", 4, 32), ("adapter",)),
        "masked": Kind(other_model("BertForMaskedLM"), ("BertForMaskedLM",)),
        "encoder": Kind(other_model("BertLMHeadModel"), ("encoder",)),
        "roberta_encoder": Kind(other_model("RobertaForCausalLM"), ("encoder",)),
        "seq2seq": Kind(other_model("T5ForConditionalGeneration"), ("T5", "encoder-decoder")),
        "bart": Kind(other_model("BartForConditionalGeneration"), ("Bart", "encoder-decoder")),
        "adapter": Kind(adapter, ("somebody/base", "adapter")),
        "adapter_beside": Kind(says_in("adapter_config.json", base_model_name_or_path="b"), ("adapter",)),
    }
    found["mixture"] = {
        "expert_missing": Kind(mixture(without("experts.1.w1")), ("MixtralForCausalLM", "missing")),
        "prefix": Kind(mixture(prefixed("module.")), ('strip_prefix = "module."',)),
        "other_prefix": Kind(mixture(prefixed("actor.")), ('strip_prefix = "actor."',)),
        "expert_too_much": Kind(mixture(with_tensor("model.layers.1.mlp.gate.weight", 4, 32)), ("layers.1",)),
    }
    found["tied"] = {
        "distinct_head": Kind(with_tensor("lm_head.weight", 110, 32), ("lm_head.weight", "tie_word_embeddings")),
    }
    found["not_finite"] = {
        f"{value} {str(dtype)[6:]} {place}": Kind(changed(place, partial(_put, value, dtype)), (place, "NaN"))
        for value, dtype, place in [
            (float("nan"), torch.float32, PLACES[0]),
            (float("inf"), torch.float32, PLACES[1]),
            (-float("inf"), torch.bfloat16, PLACES[2]),
            (float("nan"), torch.float16, PLACES[1]),
        ]
    }
    found["not_finite"] |= {
        f"in {suffix} shards": Kind(not_finite_in(suffix), ("model.norm.weight", "NaN"))
        for suffix in ("safetensors", "bin")
    }
    found["type"] = {
        "int8": Kind(changed(PLACES[1], lambda t: (t * 10).to(torch.int8)), ("I8", "quantization_config")),
        "fp8": Kind(changed(PLACES[1], lambda t: t.to(torch.float8_e4m3fn)), ("F8_E4M3", "quantization_config")),
    }
    found["quantised"] = {
        method: Kind(
            says_in("config.json", quantization_config={"quant_method": method, **more}), (method, "quantised")
        )
        for method, more in QUANTISED.items()
    }
    found["shards"] = {
        "missing": Kind(missing_shard, ("1 of 2 shards", "model-00002-of-00002.safetensors")),
        "no_index": Kind(no_index, (INDEX, "missing")),
        "twice": Kind(tensor_in_two_shards, ("two shards",)),
        "index_names_more": Kind(index_names_more, ("no shard holds", "layers.2")),
        "index_names_less": Kind(index_names_less, ("model.norm.weight", "does not name")),
        "index_names_another": Kind(index_names_another_shard, ("model.norm.weight",)),
        "index_leaves": Kind(index_leaves_the_folder, ("outside",)),
        "index_is_empty": Kind(index_is_empty, ("weight_map",)),
        "stale": Kind(stale_shard, ("model-00001-of-00003.safetensors",)),
        "two_sets": Kind(two_sets, ("two sets",)),
    }
    found["file"] = {
        "pointer": Kind(pointer(SAFETENSORS), ("git lfs pull", SAFETENSORS)),
        "pointer_tokenizer": Kind(pointer("tokenizer.json"), ("git lfs pull", "tokenizer.json")),
        "cut_in_values": Kind(cut(0.7), ("cut off",)),
        "cut_in_header": Kind(cut(0.005), ("cut off",)),
        "empty": Kind(replaced(SAFETENSORS, b""), ("cut off",)),
        "html": Kind(replaced(SAFETENSORS, b"<!DOCTYPE html><html>404" + b"." * 500), ("no safetensors",)),
        "longer": Kind(longer, ("longer",)),
        "overlapping": Kind(overlapping, (SAFETENSORS, "cannot be read")),
        "inside_a_folder": Kind(inside_a_folder, ("no config.json", "'checkpoint-3'")),
        "wrong_sizes": Kind(wrong_sizes, ("model.norm.weight",)),
        "training_args": Kind(only("training_args.bin"), ("no weights", "training_args.bin")),
        "gguf": Kind(only("model-Q4_K_M.gguf"), ("GGUF",)),
        "pth": Kind(only("consolidated.00.pth"), ("no weights", "consolidated.00.pth")),
        "other_name": Kind(only("weights.safetensors"), ("no weights", "weights.safetensors")),
        "pickled_table": Kind(pickled(lambda weights: {"state_dict": weights, "step": 3}), ("state_dict",)),
        "pickled_list": Kind(pickled(lambda weights: list(weights.values())), ("no tensors by name",)),
        "pickled_code": Kind(pickled_code, ("pytorch_model.bin", "more than tensors")),
        "pickled_meta": Kind(
            pickled(lambda weights: {name: value.to("meta") for name, value in weights.items()}), ("without values",)
        ),
        "pickled_cut": Kind(cut_pickle, ("pytorch_model.bin", "cannot be read")),
        "pickled_garbage": Kind(only("pytorch_model.bin"), ("pytorch_model.bin", "cannot be read")),
        "pickled_prefix": Kind(
            pickled(lambda weights: {f"module.{name}": value for name, value in weights.items()}),
            ('strip_prefix = "module."',),
        ),
    }
    found["config"] = {
        "no_json": Kind(replaced("config.json", b"{"), ("config.json",)),
        "a_list": Kind(replaced("config.json", b"[]"), ("config.json",)),
        "no_type": Kind(says_in("config.json", model_type=None), ("config.json",)),
        "unknown_type": Kind(says_in("config.json", model_type="llamma"), ("llamma", "did you mean 'llama'")),
        "heads": Kind(says_in("config.json", num_attention_heads="four"), ("config.json", "four")),
        "generation_no_json": Kind(replaced("generation_config.json", b"{"), ("generation_config.json",)),
        "generation_wrong": Kind(says_in("generation_config.json", max_new_tokens=-1), ("generation_config.json",)),
        "named_weights": Kind(says_in("config.json", transformers_weights="mine.safetensors"), ("mine.safetensors",)),
        "own_tokenizer": Kind(own_tokenizer, ("tokenizer", "trust_remote_code = true")),
        "own_code": Kind(own_code, ("configuration.Mine", "trust_remote_code = true")),
    }
    return found


BROKEN = {f"{family}-{name}": kind for family, members in _families().items() for name, kind in members.items()}


# Unusual and right ----------------------------------------------------------------------------------------------------


def with_rotary_buffers(folder: Path) -> None:
    """As older versions saved them; one holds what a NaN check must not stumble over."""
    weights = weights_of(folder)
    buffers = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.full((4,), float("inf")) for i in range(2)}
    write(folder, {**weights, **buffers})


def without_the_base_prefix(folder: Path) -> None:
    write(folder, {name.removeprefix("model."): value for name, value in weights_of(folder).items()})


def head_in_place_of_embeddings(folder: Path) -> None:
    weights = weights_of(folder)
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    write(folder, weights)


def head_beside_equal_embeddings(folder: Path) -> None:
    weights = weights_of(folder)
    write(folder, {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()})


def everything_beside(folder: Path) -> None:
    """What trainers and hubs leave in a folder."""
    for name in ("README.md", "training_args.bin", "optimizer.pt", "rng_state.pth", "model.onnx", "model.json"):
        (folder / name).write_text("{}")
    shutil.copyfile(folder / SAFETENSORS, folder / "pytorch_model.bin")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_text("x")


def index_of_one_file(folder: Path) -> None:
    where = dict.fromkeys(weights_of(folder), SAFETENSORS)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def of_type(dtype: torch.dtype) -> Change:
    return rewrite(lambda weights: {name: value.to(dtype) for name, value in weights.items()})


def named_file(folder: Path) -> None:
    (folder / SAFETENSORS).rename(folder / "mine.safetensors")
    edit(folder, "config.json", transformers_weights="mine.safetensors")


def no_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


UNUSUAL = {
    "tied": Kind(lambda folder: None),
    "untied": Kind(lambda folder: None, shape={"tie_word_embeddings": False}),
    "sharded": Kind(lambda folder: shard(folder, 3) and None),
    "pickled": Kind(pickled(dict)),
    "pickled_old": Kind(old_pickle),
    "pickled_shards": Kind(lambda folder: shard(folder, 2, "bin") and None),
    "bfloat16": Kind(of_type(torch.bfloat16)),
    "float16": Kind(of_type(torch.float16)),
    "mixed": Kind(changed("model.norm.weight", lambda t: t.to(torch.bfloat16))),
    "rotary_buffers": Kind(with_rotary_buffers),
    "base_names": Kind(without_the_base_prefix),
    "head_for_embeddings": Kind(head_in_place_of_embeddings),
    "head_beside": Kind(head_beside_equal_embeddings),
    "everything_beside": Kind(everything_beside),
    "index_of_one_file": Kind(index_of_one_file),
    "named_file": Kind(named_file),
    "no_architectures": Kind(says_in("config.json", architectures=None)),
    "no_generation_config": Kind(no_generation_config),
    "more_keys": Kind(says_in("config.json", trained_by="somebody", training={"steps": 3})),
    "generation_without_sampling": Kind(says_in("generation_config.json", do_sample=False, temperature=0.6, top_p=0.9)),
    "generation_in_config": Kind(says_in("config.json", temperature=0.6, top_p=0.9, do_sample=True)),
    "own_code_not_needed": Kind(partial(own_code, model_type="llama")),
}
