"""The process of one engine of ``rlbench bench generate``: it loads, says so, and samples the whole job for each line
that it reads.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from rlbench.bench.generate import MARK
from rlbench.models import encode_prompts, load_model, load_tokenizer, stop_token_ids
from rlbench.records import StageFailure, UserError, read_problems
from rlbench.sampling.engine import Engine, Request, SamplingParams, request_seed


def main() -> None:
    """``python -m rlbench.bench.worker ENGINE JOB``."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    try:
        engine, tokenizer, stop_ids = _opened(name, job)
        problems = read_problems(Path(job["problems"]))[: job["prompts"]]
        prompts = encode_prompts(tokenizer, job["template"], problems)
        params = SamplingParams(job["temperature"], job["max_new_tokens"], stop_ids)
        requests = [
            Request(tuple(prompt), request_seed("bench", problem.id, index))
            for problem, prompt in zip(problems, prompts, strict=True)
            for index in range(job["samples"])
        ]
        engine.generate(requests[: max(1, len(requests) // 8)], params)
        _say({"ready": True})
        for _ in sys.stdin:
            _say({**_round(engine, requests, params), "peak_memory_bytes": _peak_memory(job["device"])})
    except (UserError, StageFailure) as error:
        _say({"error": str(error)})


def _say(answer: dict[str, Any]) -> None:
    print(MARK + json.dumps(answer), flush=True)


def _opened(name: str, job: dict[str, Any]) -> tuple[Engine, Any, tuple[int, ...]]:
    folder = Path(job["model"])
    if name != "generate":
        from rlbench.sampling.engines import open_engine

        return open_engine({**job, "engine": name}, folder, job["device"])
    from rlbench.bench.yardstick import GenerateEngine

    model, tokenizer = load_model(folder, dtype=job["dtype"], device=job["device"]), load_tokenizer(folder)
    return GenerateEngine(model.eval()), tokenizer, stop_token_ids(model.generation_config, tokenizer)


def _round(engine: Engine, requests: list[Request], params: SamplingParams) -> dict[str, Any]:
    _forget(engine)
    start = time.perf_counter()
    engine.generate(requests[:1], SamplingParams(params.temperature, 1, params.stop_ids))
    first = time.perf_counter() - start
    _forget(engine)
    start, cpu = time.perf_counter(), time.process_time()
    completions = engine.generate(requests, params)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    tokens = sum(len(completion.token_ids) for completion in completions)
    return {"tokens": tokens, "seconds": seconds, "cpu_seconds": cpu, "first_token_seconds": first}


def _forget(engine: Engine) -> None:
    """Each round reads its prompts anew: vLLM keeps those of the round before in its cache."""
    if (llm := getattr(engine, "llm", None)) is not None:
        llm.reset_prefix_cache()


def _peak_memory(device: str) -> int:
    """Bytes of the device's memory, or of this process's."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
