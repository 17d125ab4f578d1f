"""Admission of a model folder: it is what it says, or it is refused in one line, before anything is computed with it.

``inspect`` reads configuration and headers and needs neither torch nor transformers, so a plan can refuse; ``admit``
asks transformers which tensors the model wants and looks at every value. Both raise what is wrong by the name that the
user gave the folder. A further reason to refuse is one more function in the list of either.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models.completeness import refuse_incomplete
from rlbench.models.folder import first_line, model_files, read_json
from rlbench.models.loading import quietly
from rlbench.models.values import refuse_not_finite, refuse_types, refuse_untied
from rlbench.models.weights import Stored, refuse_pointers, stored_tensors, weight_files
from rlbench.records import UserError, nearest

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
    r"(^|\.)lora_[AB]\.|\.base_layer\.": "an adapter's (LoRA); merge it into its base and save that",
    r"^(\w+\.)?(v_head|value_head)\.": "a value head's; save the language model without it",
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
    except (UserError, OSError) as error:
        file = Path(str(getattr(error, "filename", None) or folder)).name
        text = f"{file} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        text = text.replace(str(folder), name)
        raise UserError(text if text.startswith("model ") else f"model {name!r}: {text}") from error


# Without torch --------------------------------------------------------------------------------------------------------


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
        inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f"; its folder {inside[-1]!r} holds one" if inside else ""
        raise UserError(f"the folder holds no config.json, so it is no Hugging Face model{hint}")


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
        makers = " in ".join(WRAPPERS[part] for part in re.findall("|".join(map(re.escape, WRAPPERS)), found))
        raise UserError(
            f"every tensor's name begins with {found!r} (saved from within {makers}); {offer(found, options)}"
        )
    for pattern, whose in OTHER_TENSORS.items():
        if other := next((name for name in stored if re.search(pattern, name.removeprefix(prefix or ""))), None):
            raise UserError(f"{other} is {whose}")


def common_wrapper(names: Mapping[str, Stored]) -> str | None:
    """The longest row of wrappers' prefixes that stands before all names; None where there is none."""
    found = [WRAPPED.match(name) for name in names]
    shortest = min((match.group() if match else "" for match in found), key=len)
    return shortest if shortest and all(name.startswith(shortest) for name in names) else None


def offer(prefix: str, options: Options) -> str:
    """How to say that a prefix is to be taken away."""
    return f'to have it stripped, set {options.table}.strip_prefix = "{prefix}" (evaluate: --strip-prefix {prefix})'


# With transformers ----------------------------------------------------------------------------------------------------


def admit(folder: Path, name: str, options: Options = Options()) -> None:
    """Refuse a folder that transformers would not load whole: every parameter from its files, all their tensors used.

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
        places = refuse_incomplete(model, stored, lambda prefix: offer(prefix, options))
        refuse_types(model, stored, places)
        refuse_untied(model, weights, places)
        refuse_not_finite(weights, places)


def refuse_quantised(config: Mapping[str, Any]) -> bool:
    """Whether it is quantised. UserError: it is, and the package that reads it is not installed."""
    table = config.get("quantization_config", config.get("compression_config"))
    if not isinstance(table, Mapping):
        return False
    bits = {"load_in_4bit", "load_in_8bit"} & set(table)
    method = str(table.get("quant_method") or ("bitsandbytes" if bits else None))
    packages = QUANTISED_BY.get(method)
    if packages is None:
        raise UserError(
            f"quantised by {method!r} (`quantization_config`), which is not known here; give the model it was made from"
        )
    if not any(_installed(package) for package in packages):
        need = " or ".join(packages)
        raise UserError(
            f"quantised ({method}) without its package: pip install {need}, or give the model that it was made from"
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
    """A configuration's causal language model without values. UserError: there is none, or its code may not run."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=options.trust_remote_code)
    except Exception as error:
        raise _refusal(error, raw, options, "no model can be made from config.json") from error


def _refusal(error: Exception, raw: Mapping[str, Any], options: Options, what: str) -> UserError:
    if "trust_remote_code" in str(error) and not options.trust_remote_code:
        return UserError(needs_code(next(iter((raw.get("auto_map") or {"": "its own code"}).values())), options))
    if "does not recognize this architecture" in str(error):
        from transformers import CONFIG_MAPPING, __version__

        kind = str(raw.get("model_type"))
        return UserError(f"transformers {__version__} knows no model type {kind!r}{nearest(kind, CONFIG_MAPPING)}")
    if "Unrecognized configuration class" in str(error):
        return UserError(f"transformers has no causal language model of type {raw.get('model_type')!r}")
    return UserError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")


def needs_code(code: object, options: Options) -> str:
    """How to let code run that comes with a model, where it is needed."""
    return (
        f"it needs code of its own ({code}), which never runs unless the recipe says {options.table}.trust_remote_code "
        "= true (evaluate: --trust-remote-code)"
    )


def refuse_encoder(model: PreTrainedModel) -> None:
    """A model whose attention sees the tokens to come: transformers would load an encoder as a language model."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    looks = {module.is_causal for module in decoder.modules() if isinstance(getattr(module, "is_causal", None), bool)}
    if looks == {False} or (not looks and getattr(model.config, "is_decoder", None) is False):
        raise UserError(f"with this config.json {type(model).__name__} sees the tokens to come, so it is an encoder")


def refuse_generation_config(folder: Path, config: PretrainedConfig) -> None:
    """A generation configuration that transformers cannot read, and would leave aside with its stop tokens."""
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
