"""Admission of a model folder: it is what it says, or it is refused in one line, before anything is computed with it.

``inspect`` reads configuration and headers and needs neither torch nor transformers, so a plan can refuse; ``admit``
asks transformers which tensors the model wants and looks at every value. Both raise what is wrong by the name that the
user gave the folder. A further reason to refuse is one more function in the list of either.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models.folder import first_line, model_files, read_json
from rlbench.models.weights import (
    SAFETENSORS,
    Stored,
    WeightFiles,
    refuse_pointers,
    stored_tensors,
    torch_dtypes,
    values_of,
    weight_files,
)
from rlbench.records import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

WRAPPERS = {
    "_orig_mod": "torch.compile",
    "module": "DistributedDataParallel or DeepSpeed",
    "_fsdp_wrapped_module": "FSDP",
    "base_model.model": "PEFT",
}
"""What a wrapper puts before every name, without the dot, and who does."""
WRAPPED = re.compile(rf"(?:(?:{'|'.join(map(re.escape, WRAPPERS))})\.)+")
OTHER_HEADS = re.compile(
    r"For(Sequence|Token|Audio|Image)Classification|ForQuestionAnswering|ForMaskedLM|ForMultipleChoice"
    r"|ForNextSentencePrediction|RewardModel|WithValueHead|ForTextEncoding|ForEmbedding"
)
"""In the name of an architecture: a model that gives no next token."""
OTHER_TENSORS = {
    r"(^|\.)lora_[AB]\.|\.base_layer\.": "of an adapter (LoRA); merge it into its base with merge_and_unload and save that",
    r"^(\w+\.)?(v_head|value_head)\.": "of a value head; save the language model alone",
    r"^(\w+\.)?(score|classifier|reward_head|regression_head|qa_outputs)\.": "of a classification or reward head",
}
"""Names of tensors that no causal language model has, and whose they are."""
QUANTISED_BY = {
    "gptq": ("gptqmodel",),
    "awq": ("gptqmodel", "autoawq"),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed-tensors",),
    "hqq": ("hqq",),
    "quanto": ("optimum-quanto",),
    "aqlm": ("aqlm",),
    "eetq": ("eetq",),
    "torchao": ("torchao",),
    "vptq": ("vptq",),
    "spqr": ("spqr-quant",),
    "auto-round": ("auto-round",),
    "quark": ("amd-quark",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "mxfp4": ("kernels",),
    "fp8": ("kernels",),
}
"""Methods of quantisation and the packages of which one has to be installed."""
FLOATS = ("F64", "F32", "F16", "BF16")
CHUNK = 1 << 24  # elements looked at together


@dataclass(frozen=True)
class Options:
    """What the recipe says about a foreign model beside where it lies.

    ``strip_prefix`` stands before the name of every tensor and is taken away; ``trust_remote_code`` lets code that
    comes with it run; ``table`` is the recipe's table that says so, for messages.
    """

    strip_prefix: str | None = None
    trust_remote_code: bool = False
    table: str = "model"


@contextlib.contextmanager
def refusing(name: str, folder: Path) -> Iterator[None]:
    """Whatever is wrong inside is told of a model by its own name, never by where the store keeps it."""
    try:
        yield
    except UserError as error:
        text = str(error).replace(str(folder), name)
        raise UserError(text if text.startswith("model ") else f"model {name!r}: {text}") from error


# Without torch ----------------------------------------------------------------------------------------------------------


def inspect(folder: Path, name: str, options: Options = Options()) -> None:
    """Refuse a folder whose configuration and headers show that it holds no causal language model, or a broken one.

    Pickled weights are not looked into.

    Raises:
        UserError: it is refused; the message names the model, what is wrong and what would be right.
    """
    with refusing(name, folder):
        refuse_pointers(folder)
        refuse_adapter(folder)
        config = read_json(folder / "config.json")
        refuse_other_architecture(config)
        files = [file.name for file in model_files(folder)]
        if not any(
            file.startswith(("token", "vocab", "spiece", "merges", "tekken")) or file.endswith((".model", ".tiktoken"))
            for file in files
        ):
            raise UserError("no tokenizer: the folder holds neither tokenizer.json nor tokenizer_config.json")
        weights = weight_files(folder)
        if weights.files[0].suffix == ".safetensors":
            refuse_names(stored_tensors(weights), options)


def refuse_adapter(folder: Path) -> None:
    """A folder of PEFT's holds no model, or one that transformers would change as it loads it."""
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise UserError(
            f"an adapter of {base!r} (adapter_config.json), not a model; merge it with merge_and_unload and save that"
        )
    if not (folder / "config.json").is_file():
        raise UserError("the folder holds no config.json, so it is no Hugging Face model")


def refuse_other_architecture(config: Mapping[str, Any]) -> None:
    """Encoders, sequence-to-sequence models and classifiers do not say which token comes next."""
    names = [str(name) for name in config.get("architectures") or ()]
    if other := next((name for name in names if OTHER_HEADS.search(name)), None):
        raise UserError(f"config.json says that it is a {other}, which is no causal language model")
    if config.get("is_encoder_decoder") is True:
        kind = names[0] if names else config.get("model_type")
        raise UserError(f"config.json says that it is an encoder-decoder ({kind}), which is no causal language model")


def refuse_names(stored: Mapping[str, Stored], options: Options) -> None:
    """Names of tensors that are not a causal language model's, and prefixes that the recipe does not say, or wrongly.

    What a model's names have to be only transformers knows; this is about what they cannot be.
    """
    prefix = options.strip_prefix
    if prefix is not None:
        if other := next((name for name in stored if not name.startswith(prefix) or name == prefix), None):
            raise UserError(
                f"`{options.table}.strip_prefix`: not every tensor's name begins with {prefix!r}, such as {other}"
            )
    elif (found := common_wrapper(stored)) is not None:
        makers = ", ".join(WRAPPERS[part] for part in WRAPPERS if f"{part}." in found)
        raise UserError(
            f"every tensor's name begins with {found!r} (saved from within {makers}); {offer(found, options)}"
        )
    for pattern, whose in OTHER_TENSORS.items():
        if other := next((name for name in stored if re.search(pattern, name.removeprefix(prefix or ""))), None):
            raise UserError(f"{other} is {whose}, so this is no causal language model")


def common_wrapper(names: Mapping[str, Stored]) -> str | None:
    """The longest row of wrappers' prefixes that stands before all names; None where there is none."""
    found = [WRAPPED.match(name) for name in names]
    shortest = min((match.group() if match else "" for match in found), key=len)
    return shortest if shortest and all(name.startswith(shortest) for name in names) else None


def offer(prefix: str, options: Options) -> str:
    """How to say that a prefix is to be taken away."""
    return f'to have it stripped, set {options.table}.strip_prefix = "{prefix}" (evaluate: --strip-prefix {prefix})'


# With transformers ------------------------------------------------------------------------------------------------------


def admit(folder: Path, name: str, options: Options = Options()) -> None:
    """Refuse a folder that transformers would not load whole: every parameter from its files, every tensor of them used.

    No code of the folder runs unless ``options`` trust it. Values are read once, from disk and a piece at a time; the
    model itself is never in memory.

    Raises:
        UserError: see ``inspect``.
    """
    inspect(folder, name, options)
    with refusing(name, folder), quietly():
        raw = read_json(folder / "config.json")
        quantised = refuse_quantised(raw)
        config = load_config(folder, raw, options)
        model = skeleton(config, raw, options)
        refuse_encoder(model)
        refuse_generation_config(folder, config)
        if quantised:
            return  # its tensors are the quantising package's business; loading is checked all the same
        weights = weight_files(folder)
        stored = stored_tensors(weights)
        places = refuse_incomplete(model, stored, options)
        refuse_types(model, stored, places)
        refuse_untied(model, weights, places)
        refuse_not_finite(model, weights, places)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """transformers prints no report of what it could not load; it is told in one line."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def refuse_quantised(config: Mapping[str, Any]) -> bool:
    """Whether it is quantised. UserError: it is, and the package that reads it is not installed."""
    table = config.get("quantization_config")
    if not isinstance(table, Mapping):
        return False
    method = str(table.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in table else None))
    packages = QUANTISED_BY.get(method)
    if packages is None:
        raise UserError(
            f"quantised by {method!r} (`quantization_config`), which rlbench does not know; give the model it was made from"
        )
    if not any(_installed(package) for package in packages):
        need = " or ".join(packages)
        raise UserError(
            f"quantised ({method}), and its package is not installed: pip install {need}, or give the model it was made from"
        )
    return True


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load_config(folder: Path, raw: Mapping[str, Any], options: Options) -> PretrainedConfig:
    """The configuration as transformers reads it. UserError: it cannot, or only by running code of the folder."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    except Exception as error:  # a foreign configuration can raise anything
        raise _refusal(error, raw, options, "config.json cannot be read") from error


def skeleton(config: PretrainedConfig, raw: Mapping[str, Any], options: Options) -> PreTrainedModel:
    """The causal language model of a configuration without values. UserError: there is none, or its code may not run."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=options.trust_remote_code)
    except Exception as error:
        raise _refusal(error, raw, options, "no model can be made from config.json") from error


def _refusal(error: Exception, raw: Mapping[str, Any], options: Options, what: str) -> UserError:
    if "trust_remote_code" in str(error) and not options.trust_remote_code:
        code = next(iter((raw.get("auto_map") or {"": "its own code"}).values()))
        return UserError(
            f"it needs code of its own ({code}), which never runs unless the recipe says {options.table}.trust_remote_code = true "
            "(evaluate: --trust-remote-code)"
        )
    if "Unrecognized configuration class" in str(error):
        return UserError(f"transformers has no causal language model of type {raw.get('model_type')!r}")
    return UserError(f"{what}: {first_line(error)}")


def refuse_encoder(model: PreTrainedModel) -> None:
    """A model whose attention sees the tokens to come: transformers would load an encoder as a language model."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    looks = {module.is_causal for module in decoder.modules() if isinstance(getattr(module, "is_causal", None), bool)}
    if looks == {False} or (not looks and getattr(model.config, "is_decoder", None) is False):
        raise UserError(f"with this config.json {type(model).__name__} sees the tokens to come, so it is an encoder")


def refuse_generation_config(folder: Path, config: PretrainedConfig) -> None:
    """A generation configuration that transformers cannot read: it would leave it aside, and with it the stop tokens."""
    from transformers import GenerationConfig

    try:
        if (folder / "generation_config.json").is_file():
            read_json(folder / "generation_config.json")
            GenerationConfig.from_pretrained(folder)
        else:
            GenerationConfig.from_model_config(config)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"generation_config.json cannot be read: {first_line(error)}") from error


@dataclass(frozen=True)
class Verdict:
    """What transformers says of tensors that it is given: the model's names without one, names that it has no use for,
    and (name, shape given, shape wanted) of those of another shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every parameter has its tensor and every tensor its parameter."""
        return not (self.missing or self.unexpected or self.mismatched)


def judge(model: PreTrainedModel, shapes: Mapping[str, tuple[int, ...]]) -> Verdict:
    """Let transformers load tensors of these names and shapes, without values, into a model like this one.

    It knows which names it converts, which parameters are tied and which old buffers can be left out; nothing here
    repeats that.
    """
    import torch

    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        _, info = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=state,
            device_map={"": "meta"},
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"its tensors do not make the model of config.json: {first_line(error)}") from error
    return verdict_of(info)


def verdict_of(info: Mapping[str, Any]) -> Verdict:
    """The loading info of ``from_pretrained`` in order."""
    shapes = sorted((name, tuple(given), tuple(wanted)) for name, given, wanted in info["mismatched_keys"])
    return Verdict(tuple(sorted(info["missing_keys"])), tuple(sorted(info["unexpected_keys"])), tuple(shapes))


def refuse_incomplete(model: PreTrainedModel, stored: Mapping[str, Stored], options: Options) -> dict[str, str]:
    """Refuse tensors that are not just those of the model; return the model's name of each that has the same shape.

    Raises:
        UserError: where taking away one prefix would make it complete, the message says which.
    """
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    verdict = judge(model, shapes)
    if not verdict.complete:
        for prefix in _prefixes(model, shapes):
            if judge(model, {name.removeprefix(prefix): shape for name, shape in shapes.items()}).complete:
                raise UserError(
                    f"every tensor's name begins with {prefix!r}, which is not the model's; {offer(prefix, options)}"
                )
        raise UserError(describe(verdict, model, stored))
    wanted, base = set(model.state_dict()), model.base_model_prefix
    extra = f"{base}."
    if all(name.startswith(extra) and name.removeprefix(extra) in wanted for name in shapes) and not wanted >= set(
        shapes
    ):
        raise UserError(f"every tensor's name begins with one {extra!r} too many; {offer(extra, options)}")
    places = {name: _place(name, wanted, base) for name in shapes}
    twice = defaultdict(list)
    for name, place in places.items():
        twice[place].append(name)
    if both := next((names for place, names in twice.items() if place in wanted and len(names) > 1), None):
        raise UserError(f"{both[0]} and {both[1]} are both the model's {places[both[0]]}; keep one")
    return places


def _place(name: str, wanted: set[str], base: str) -> str:
    """The model's own name of a stored tensor: the same, or with or without the base model's prefix."""
    others = (name, f"{base}.{name}", name.removeprefix(f"{base}."))
    return next((other for other in others if other in wanted), name)


def _prefixes(model: PreTrainedModel, names: Mapping[str, Any]) -> list[str]:
    """Prefixes that all names have, and without which the first of them would be one of the model's; shortest first."""
    first = min(names)
    base = f"{model.base_model_prefix}."
    wanted = {part for name in model.state_dict() for part in (name, name.removeprefix(base))}
    found = {first[: -len(name)] for name in wanted if first.endswith(f".{name}")}
    return sorted((prefix for prefix in found if all(name.startswith(prefix) for name in names)), key=len)


def describe(verdict: Verdict, model: PreTrainedModel, stored: Mapping[str, Stored]) -> str:
    """One line for what is missing, too much or of another shape."""
    if verdict.mismatched:
        name, given, wanted = verdict.mismatched[0]
        vocabulary = getattr(model.config.get_text_config(), "vocab_size", None)
        hint = (
            f" (`vocab_size` = {vocabulary})"
            if vocabulary in wanted and name.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight"))
            else ""
        )
        more = f"; {len(verdict.mismatched) - 1} more differ" if len(verdict.mismatched) > 1 else ""
        return f"{name} is {list(given)} in {_file(name, stored)} and {list(wanted)} by config.json{hint}{more}"
    parts = []
    if verdict.missing:
        head = (
            "; config.json does not tie it to the embeddings (`tie_word_embeddings`)"
            if verdict.missing == ("lm_head.weight",)
            else ""
        )
        total = len(model.state_dict())
        parts.append(
            f"{len(verdict.missing)} of its {total} parameters are not in its files, such as {verdict.missing[0]}{head}"
        )
    if verdict.unexpected:
        parts.append(
            f"{len(verdict.unexpected)} of the {len(stored)} tensors in its files are none of the model's, such as {verdict.unexpected[0]}"
        )
    return "; ".join(parts) + _layers(verdict, model, stored)


def _layers(verdict: Verdict, model: PreTrainedModel, stored: Mapping[str, Stored]) -> str:
    """What the files say of the number of layers, where config.json says another."""
    configured = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    numbers = [int(found.group(1)) for name in stored if (found := re.search(r"\.?(?:layers|h|blocks)\.(\d+)\.", name))]
    there = max(numbers, default=-1) + 1
    if configured is None or not numbers or there == configured:
        return ""
    return f" (config.json has `num_hidden_layers` = {configured}, the files hold {there})"


def _file(name: str, stored: Mapping[str, Stored]) -> str:
    return stored[name].file.name if name in stored else SAFETENSORS


def refuse_types(model: PreTrainedModel, stored: Mapping[str, Stored], places: Mapping[str, str]) -> None:
    """Whole numbers or eight-bit floats where the model has a weight: quantised values without their scales."""
    wanted, known = model.state_dict(), torch_dtypes()
    for name, tensor in stored.items():
        place = wanted.get(places[name])
        if tensor.dtype not in FLOATS and (place is None or place.is_floating_point() or tensor.dtype not in known):
            raise UserError(
                f"{name} is stored as {tensor.dtype} without a `quantization_config`; a weight is one of {', '.join(FLOATS)}"
            )


def refuse_untied(model: PreTrainedModel, weights: WeightFiles, places: Mapping[str, str]) -> None:
    """Two parameters that config.json ties, stored with two values: engines disagree about which of them counts."""
    import torch

    names = {place: name for name, place in places.items()}
    for target, source in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        if target in names and source in names:
            values = dict(values_of(weights.files, [names[target], names[source]]))
            one, other = values[names[target]], values[names[source]]
            if one.dtype != other.dtype or not torch.equal(one, other):
                raise UserError(
                    f"{names[target]} is stored beside {names[source]} with other values, and config.json ties them; if the former is "
                    'meant, set "tie_word_embeddings": false there'
                )


def refuse_not_finite(model: PreTrainedModel, weights: WeightFiles, places: Mapping[str, str]) -> None:
    """NaN or infinity in a weight, looked for a piece at a time."""
    wanted = set(model.state_dict())
    bad = [
        name
        for name, tensor in values_of(weights.files)
        if tensor.is_floating_point() and not _ignored(model, name, places, wanted) and not is_finite(tensor)
    ]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more} holds NaN or infinity; save the model before its training diverged")


def _ignored(model: PreTrainedModel, name: str, places: Mapping[str, str], wanted: set[str]) -> bool:
    """Whether transformers leaves a stored tensor aside: a buffer that the model makes itself."""
    patterns = [*(model._keys_to_ignore_on_load_unexpected or ()), r"rotary_emb\.inv_freq", r"(^|\.)position_ids$"]
    return places[name] not in wanted and any(re.search(pattern, name) for pattern in patterns)


def is_finite(tensor: Any) -> bool:
    """Whether every value of a floating-point tensor is a finite number; it needs memory for nothing but a piece."""
    import torch

    for piece in tensor.reshape(-1).split(CHUNK):
        if piece.numel():
            low, high = torch.aminmax(piece)  # NaN in a piece is both
            if not (torch.isfinite(low) and torch.isfinite(high)):
                return False
    return True
