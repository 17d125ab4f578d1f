"""Sampling by vLLM, in this process: the engine of GPU machines, and of the CPU where its CPU build is installed.

What is asked of it is what is asked of any engine: token ids and one seed a request, so vLLM tokenises nothing, decodes
nothing, and ends a completion at the stop ids that it is given and at nothing else. Requests are handed over sorted by
what they are, so their order does not enter; which of them are computed together moves logits in their last bits, as in
every engine that batches.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.models import first_line, locate, trusts_code
from rlbench.recipe import VllmConfig
from rlbench.records import StageFailure, UserError
from rlbench.sampling.engine import Completion, Progress, Request, SamplingParams, check_requests, sorted_order

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = {
    # The engine core in this process: nothing outlives a killed worker, and runs repeat.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
CPU_SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1"}
"""GiB; vLLM would take half of the machine's memory."""
MEMORY_SHARE = {"cpu": 0.3, "cuda": 0.9}
COLOCATED_SHARE = 0.3  # beside a policy that is trained, with its gradients and the optimiser's state
CPU_SEQUENCES = 512
"""Sampled together on a CPU where the recipe does not say: vLLM's own 256 leave a sixth of the speed to what a step
costs by itself.
"""
LARGEST_SEED = 2**63 - 1  # vLLM's seeds are signed


class VllmEngine:
    """The engine around a model folder or hub model. A process has one at a time; ``close`` makes room for the next.

    Args:
        folder: the model.
        dtype: of weights and computation.
        device: ``cpu`` or ``cuda``.
        options: by default those of a recipe that says nothing.
        share: how much of the device this process has, of which the engine takes its part where the options do not say
            how much.
        colocated: a policy is trained beside it in this process: take less memory, and give it back in ``sleep``.

    Raises:
        UserError: vLLM is not installed, cannot load the model, or has not the memory for it.
    """

    name = "vllm"

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str,
        device: str,
        options: VllmConfig | None = None,
        share: float = 1.0,
        colocated: bool = False,
    ) -> None:
        options = options or VllmConfig()
        # Asleep beside another process on one GPU, it could neither be sure to get its memory back nor let that one
        # measure its own.
        self.device, self.sleeps, self.asleep = device, colocated and device == "cuda" and share >= 1, False
        vllm = _vllm(device)
        source, revision = locate(folder)
        memory = COLOCATED_SHARE if colocated else MEMORY_SHARE[device]
        memory = options.gpu_memory_utilization or memory * min(share, 1.0)
        arguments: dict[str, Any] = {
            "model": source,
            "revision": revision,
            "trust_remote_code": trusts_code(folder),
            "dtype": dtype,
            "skip_tokenizer_init": True,
            "logprobs_mode": "processed_logprobs",
            "disable_log_stats": True,
            "seed": 0,
            "gpu_memory_utilization": memory,
            "enforce_eager": options.enforce_eager or device == "cpu",
            "enable_prefix_caching": options.enable_prefix_caching,
            "max_model_len": options.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "enable_sleep_mode": self.sleeps,
        }
        if device == "cpu":
            # A prompt that is read in two pieces sets back its request's generator, which those of the CPU cannot (vLLM
            # 0.32).
            arguments |= {"distributed_executor_backend": "uni", "enable_chunked_prefill": False}
            arguments["max_num_seqs"] = options.max_num_seqs or CPU_SEQUENCES
        try:
            self.llm = vllm.LLM(**{key: value for key, value in arguments.items() if value is not None})
        except (ValueError, RuntimeError, OSError, AssertionError, NotImplementedError, KeyError) as error:
            raise UserError(f"vLLM cannot serve model {str(source)!r}: {first_line(error)}") from error
        self.context = int(self.llm.llm_engine.model_config.max_model_len)

    def generate(
        self, requests: Sequence[Request], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """Return one completion a request, in the order of the requests; see ``engine.Engine``."""
        from vllm import TokensPrompt

        check_requests(requests, self.context)
        engine = self.llm.llm_engine
        completions: dict[int, Completion] = {}
        tokens = 0
        try:
            for i in sorted_order(requests):
                prompt = TokensPrompt(prompt_token_ids=list(requests[i].prompt_ids))
                engine.add_request(str(i), prompt, self._params(requests[i], params))
            while engine.has_unfinished_requests():
                for output in engine.step():
                    completion = completions[int(output.request_id)] = _completion(output.outputs[0], params)
                    tokens += len(completion.token_ids)
                if progress is not None:
                    progress(len(completions), len(requests), tokens)
        except BaseException:
            # What is left unfinished would be answered in the next call, under its numbers.
            engine.abort_request([str(i) for i in range(len(requests)) if i not in completions])
            raise
        return [completions[i] for i in range(len(requests))]

    def _params(self, request: Request, params: SamplingParams) -> Any:
        from vllm import SamplingParams as VllmParams
        from vllm.sampling_params import RequestOutputKind

        room = self.context - len(request.prompt_ids)
        return VllmParams(
            temperature=params.temperature,
            max_tokens=min(params.max_new_tokens, room),
            stop_token_ids=list(params.stop_ids),
            seed=request.seed & LARGEST_SEED if params.temperature > 0 else None,
            logprobs=0,
            ignore_eos=True,
            detokenize=False,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            repetition_penalty=1.0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite the weights in place by those of a transformers model of the same architecture, by name, tied ones
        once.
        """
        dtype = self.llm.llm_engine.model_config.dtype
        items = ((name, weight.detach().to(dtype)) for name, weight in weights)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": items})
        if self.device == "cpu":
            self.llm.apply_model(_pack_tied_head)
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM's prefix cache cannot be reset, so states of the old weights would be used")

    def sleep(self) -> None:
        """Give the device's memory back until ``wake``, the weights put aside. It does so where it is colocated on a
        CUDA device alone.
        """
        if self.sleeps and not self.asleep:
            self.llm.sleep(level=1)
            self.asleep = True

    def wake(self) -> None:
        """Take the memory again."""
        if self.asleep:
            self.llm.wake_up()
            self.asleep = False

    def close(self) -> None:
        """Free the weights and the cache; the engine can do nothing afterwards."""
        if self.llm is not None:
            self.wake()  # what is freed has to be mapped, or the allocator fails in the next engine of this process
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
        raise UserError(
            f'vLLM cannot be imported ({first_line(error)}); set sampling.engine = "transformers", or install it'
        ) from error
    return vllm


def _pack_tied_head(model: Any) -> None:
    """Pack the output layer anew: on the CPU it is a packed copy of the embeddings it is tied to, which a reload leaves
    as it was.
    """
    if getattr(model.config, "tie_word_embeddings", False):
        model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def _completion(output: Any, params: SamplingParams) -> Completion:
    ids = list(output.token_ids)
    logps = [step[token].logprob for token, step in zip(ids, output.logprobs, strict=True)]
    if not all(-float("inf") < logp < float("inf") for logp in logps):
        raise StageFailure("logits are not finite: the model's weights or activations hold NaN or infinity")
    return Completion(ids, logps, "stop" if ids and ids[-1] in params.stop_ids else "length")
