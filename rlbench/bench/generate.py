"""How fast engines sample: on the base model, prompts and sampling of a recipe, every engine in a process of its own,
round by round.

Rounds are interleaved, so that what else a machine does meanwhile falls on all engines alike; figures are medians over
rounds. The yardstick is ``model.generate`` of transformers as a user would call it, see ``yardstick.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlbench.graph.artifact import Store
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.machine import single_thread_environment
from rlbench.graph.schedule import OnEvent
from rlbench.graph.stage import Stage
from rlbench.planning.engines import vllm_version
from rlbench.planning.rows import Plan
from rlbench.records import UserError, nearest

MARK = "rlbench-bench:"
ENGINES = ("transformers", "vllm", "generate")


def available() -> tuple[str, ...]:
    """The engines that this machine has."""
    return ENGINES if vllm_version() is not None else ("transformers", "generate")


def bench_generate(
    plan: Plan,
    store: Path,
    engines: Sequence[str] = (),
    *,
    prompts: int = 512,
    samples: int = 4,
    rounds: int = 3,
    on_event: OnEvent | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Measure engines on the model and the prompts that a plan's rollout bank is sampled with.

    Args:
        plan: of a recipe that samples a bank; its model and problems are made first if the store has them not.
        store: the artifact store.
        engines: of ``ENGINES``; all that are installed by default.
        prompts: how many of the recipe's prompts, from the first.
        samples: completions of each.
        rounds: how often each engine does all of it; before the first round it does some of it unmeasured.
        on_event: told of the stages that are made.
        say: told what is being measured.

    Returns: One table an engine: ``engine``, ``device``, ``tokens_per_second`` and ``tokens_per_cpu_second`` (emitted
        tokens), ``first_token_seconds`` (one prompt alone), ``peak_memory_bytes``, ``tokens``, ``rounds``.

    Raises:
        UserError: there is no such engine, the recipe samples no bank, or an engine cannot sample the model.
    """
    for name in engines:
        if name not in ENGINES:
            raise UserError(f"--engine {name!r}: engines are {', '.join(ENGINES)}{nearest(name, ENGINES)}")
    job = _job(plan, store, prompts, samples, on_event)
    with tempfile.TemporaryDirectory(prefix="rlbench-bench-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        workers: list[_Worker] = []
        try:
            for name in engines or available():
                say(f"{name}: loading")
                workers.append(_Worker(name, path, job["device"]))
            for number in range(rounds):
                for worker in workers:
                    say(f"round {number + 1} of {rounds}: {worker.engine}")
                    worker.measure()
            return [worker.result(job["device"]) for worker in workers]
        finally:
            for worker in workers:
                worker.close()


def bank_of(plan: Plan) -> Stage:
    """The first bank that a plan samples; what is measured is its model on its prompts. UserError: there is none."""
    bank = next((stage for stage in plan.stages if stage.kind == "rollouts"), None)
    if bank is None:
        raise UserError(
            f"recipe {plan.recipe.name!r} samples no bank, so there is nothing to take model and prompts from"
        )
    return bank


def _job(plan: Plan, store: Path, prompts: int, samples: int, on_event: OnEvent | None) -> dict[str, Any]:
    bank, opened = bank_of(plan), Store(store)
    for result in LocalExecutor().execute(bank.inputs.values(), opened, on_event=on_event).values():
        if result.status != "done":
            raise UserError(f"{result.stage.name}: {result.reason}")
    config = bank.config
    sampling = plan.recipe.sampling
    return {
        "model": str(opened.open(bank.inputs["model"].fingerprint).resolve()),
        "problems": str(opened.open(bank.inputs["problems"].fingerprint).resolve() / "problems.jsonl"),
        "template": config["template"],
        "temperature": config["temperature"],
        "max_new_tokens": config["max_new_tokens"],
        "dtype": config["dtype"],
        "device": config["device"],
        "prompts": prompts,
        "samples": samples,
        "batch_rows": sampling.batch_rows,
        **sampling.vllm.model_dump(),
    }


class _Worker:
    """A process with one engine, which does the job when it is told to."""

    def __init__(self, engine: str, job: Path, device: str) -> None:
        self.engine = engine
        self.measured: list[Mapping[str, Any]] = []  # one answer a round
        environment = {**os.environ, **(single_thread_environment() if device == "cpu" else {})}
        self.errors = job.with_name(f"{engine}.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlbench.bench.worker", engine, str(job)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self._answer()

    def _answer(self) -> Mapping[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):  # else it is a library's
                answer = json.loads(line.removeprefix(MARK))
                if "error" in answer:
                    raise UserError(f"engine {self.engine}: {answer['error']}")
                return answer
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()]
        raise UserError(f"engine {self.engine}: its process ended: {said[-1] if said else 'without a word'}")

    def measure(self) -> None:
        """One round."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its answer says so
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        self.measured.append(self._answer())

    def result(self, device: str) -> dict[str, Any]:
        """The rounds so far, summed up."""

        def median(name: str) -> float:
            return statistics.median(round_[name] for round_ in self.measured)

        return {
            "engine": self.engine,
            "device": device,
            "tokens_per_second": statistics.median(r["tokens"] / r["seconds"] for r in self.measured),
            "tokens_per_cpu_second": statistics.median(r["tokens"] / r["cpu_seconds"] for r in self.measured),
            "first_token_seconds": median("first_token_seconds"),
            "peak_memory_bytes": max(r["peak_memory_bytes"] for r in self.measured),
            "tokens": int(median("tokens")),
            "rounds": len(self.measured),
        }

    def close(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()
