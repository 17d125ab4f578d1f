"""Sampling by vLLM, in this process: the engine of GPU machines, and of the CPU where its CPU build is installed.

What is asked of it is what is asked of any engine: token ids and one seed a request, so vLLM tokenises nothing, decodes nothing, and
ends a completion at the stop ids that it is given and at nothing else. Requests are handed over sorted by what they are, so their order
does not enter; which of them are computed together moves logits in their last bits, as in every engine that batches.
"""

from __future__ import annotations

import gc
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlbench.models import first_line, locate
from rlbench.recipe import VllmConfig
from rlbench.records import StageFailure, UserError
from rlbench.sampling.engine import Completion, Progress, Request, SamplingParams, check_requests, sorted_order

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine core in this process: nothing outlives a killed worker, and runs repeat
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
CPU_SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1"}
"""GiB; vLLM would take half of the machine's memory."""
MEMORY_SHARE = {"cpu": 0.3, "cuda": 0.9}
LARGEST_SEED = 2**63 - 1  # vLLM's seeds are signed


class VllmEngine:
    """The engine around a model folder or hub model. A process has one at a time; ``close`` makes room for the next.

    Raises:
        UserError: vLLM is not installed, cannot load the model, or has not the memory for it.
    """

    name = "vllm"

    def __init__(self, folder: Path, *, dtype: str, device: str, options: VllmConfig | None = None) -> None:
        options = options or VllmConfig()
        vllm = _vllm(device)
        source, revision = locate(folder)
        share = options.gpu_memory_utilization or MEMORY_SHARE[device]
        arguments: dict[str, Any] = {
            "model": source, "revision": revision, "dtype": dtype, "skip_tokenizer_init": True, "logprobs_mode": "processed_logprobs",
            "disable_log_stats": True, "seed": 0, "gpu_memory_utilization": share,
            "enforce_eager": options.enforce_eager or device == "cpu", "enable_prefix_caching": options.enable_prefix_caching,
            "max_model_len": options.max_model_len, "max_num_seqs": options.max_num_seqs,
        }  # fmt: skip
        if device == "cpu":
            # A prompt that is read in two pieces sets back its request's generator, which those of the CPU cannot (vLLM 0.32).
            arguments |= {"distributed_executor_backend": "uni", "enable_chunked_prefill": False}
        try:
            self.llm = vllm.LLM(**{key: value for key, value in arguments.items() if value is not None})
        except (ValueError, RuntimeError, OSError, AssertionError, NotImplementedError, KeyError) as error:
            raise UserError(f"vLLM cannot serve model {str(source)!r}: {first_line(error)}") from error
        self.context = int(self.llm.llm_engine.model_config.max_model_len)

    def generate(self, requests: Sequence[Request], params: SamplingParams, progress: Progress | None = None) -> list[Completion]:
        """Return one completion a request, in the order of the requests; see ``engine.Engine``."""
        from vllm import TokensPrompt

        check_requests(requests, self.context)
        order = sorted_order(requests)
        prompts = [TokensPrompt(prompt_token_ids=list(requests[i].prompt_ids)) for i in order]
        asked = [self._params(requests[i], params) for i in order]
        outputs = self.llm.generate(prompts, asked, use_tqdm=_bar(progress)) if requests else []
        completions: list[Completion | None] = [None] * len(requests)
        for index, output in zip(order, outputs, strict=True):
            completions[index] = _completion(output.outputs[0], params)
        return completions  # type: ignore[return-value]

    def _params(self, request: Request, params: SamplingParams) -> Any:
        from vllm import SamplingParams as VllmParams

        room = self.context - len(request.prompt_ids)
        return VllmParams(
            temperature=params.temperature, max_tokens=min(params.max_new_tokens, room), stop_token_ids=list(params.stop_ids),
            seed=request.seed & LARGEST_SEED if params.temperature > 0 else None, logprobs=0, ignore_eos=True, detokenize=False,
            top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0,
        )  # fmt: skip

    def close(self) -> None:
        """Free the weights and the cache; the engine can do nothing afterwards."""
        if self.llm is not None:
            self.llm.llm_engine.engine_core.shutdown()
            self.llm = None
            gc.collect()


def _vllm(device: str) -> Any:
    for name, value in {**SETTINGS, **(CPU_SETTINGS if device == "cpu" else {})}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("VLLM_CACHE_ROOT", str(Path(tempfile.gettempdir()) / f"rlbench-vllm-{os.getuid()}"))
    try:
        import vllm
    except ImportError as error:
        raise UserError(f"vLLM cannot be imported ({first_line(error)}); set sampling.engine = \"transformers\", or install it") from error
    return vllm


def _completion(output: Any, params: SamplingParams) -> Completion:
    ids = list(output.token_ids)
    logps = [step[token].logprob for token, step in zip(ids, output.logprobs, strict=True)]
    if not all(-float("inf") < logp < float("inf") for logp in logps):
        raise StageFailure("logits are not finite: the model's weights or activations hold NaN or infinity")
    return Completion(ids, logps, "stop" if ids and ids[-1] in params.stop_ids else "length")


def _bar(progress: Progress | None) -> Any:
    """vLLM's own progress bar, silent, its updates passed on; False where nobody listens."""
    if progress is None:
        return False
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "mininterval": 3600})

        def update(self, n: float | None = 1) -> bool | None:
            done = super().update(n)
            if self.iterable is None and self.total:  # the other bar is that of handing the requests over
                progress(int(self.n), int(self.total))
            return done

    return Bar
