"""The check of an objective in the real engine: its step's gradient on a tiny model, however the step is cut and shared
out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from rlbench.objectives import registry
from rlbench.objectives.reduction import Totals
from rlbench.recipe import TrainingConfig
from rlbench.records import StageFailure, TrainingSequence, UserError
from rlbench.testing.probes import default_dtype
from rlbench.testing.report import Check, Wrong
from rlbench.training.batching import Example, Packed, examples_of, pack, token_count, units_of
from rlbench.training.policy import Critic, Network, Policy, annotate
from rlbench.training.step import BoundObjective, Learner

VOCABULARY = 10
"""Few, and with weights far from zero, so that the trained tokens' probabilities go from 0.01 to 0.4."""
UNITS = 7
SHARE = 5
"""Units of the first of two processes; the second has what is left."""
CONSTANT_LENGTH = 12
CPU = torch.device("cpu")
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-9}
"""The change that a gradient may show, relative to what it is the sum of: float64 shows what is not rounding, and
float32 how much that is.
"""
PATIENCE = 120
"""Seconds that one process waits for the other."""
READY = "rlbench-testing: ready\n"


@lru_cache
def network(critic: bool, dtype: torch.dtype) -> Network:
    """A model of some 10 thousand parameters with random weights; the critic's head does not start at zero here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=40,
            max_position_embeddings=64,
            initializer_range=0.2,
            tie_word_embeddings=True,
        )
        model: Any = Qwen2ForCausalLM(config)  # whose `to` is typed as a function that wants the model twice
        policy = Policy(model.to(dtype))
        if not critic:
            return policy
        values = Critic(policy)
        nn.init.normal_(values.head.weight, std=0.2)
        values.head.to(dtype)
        return values


@lru_cache
def examples(rows: str, dtype: torch.dtype) -> tuple[Example, ...]:
    """Seven units of unequal lengths, with numbers in the place of everything that can be read."""
    draw = random.Random(0)
    sequences = []
    for unit in range(UNITS):
        for member in range({"pairs": 2, "groups": unit % 3 + 1}.get(rows, 1)):
            prompt, completion = (
                [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, longest))]
                for longest in (8, CONSTANT_LENGTH)
            )
            group = f"p{unit}" if rows == "groups" else f"p{unit // 2}"
            sequences.append(TrainingSequence(unit, group, prompt, completion, [], float((unit + member) % 2 == 0)))
    made = examples_of(sequences, rows)
    annotate(network(False, torch.float32), made, {"logp": "logp"}, 10_000, CPU)
    for example in made:
        logp = example.fields.pop("logp")
        older = {
            name: torch.tensor([draw.gauss(0, 0.3) for _ in logp]) + logp
            for name in ("ref_logp", "old_logp", "sampler_logp")
        }
        other = {name: torch.tensor([draw.gauss(0, 1) for _ in logp]) for name in ("advantage", "old_value", "returns")}
        example.fields = {name: values.to(dtype) for name, values in {**older, **other}.items()}
    return tuple(made)


def check_engine(bound: BoundObjective) -> str:
    """The step's gradient does not depend on micro-batches, packing or the order of the units, beyond rounding."""
    worst, where = _worst(bound, torch.float64)
    if not worst <= ROUNDING[torch.float64]:  # so that NaN is too much
        raise Wrong(
            f"the gradient of a step changes by {worst:.1e} of its size {where}, and not by rounding: the loss of each "
            f"{bound.rows.removesuffix('s')} has to be its own, and unreduced"
        )
    single, where = _worst(bound, torch.float32)
    if not single <= ROUNDING[torch.float32]:
        raise Wrong(
            f"in float32 the gradient of a step changes by {single:.1e} of its size {where}: something of the other "
            f"{bound.rows} is added and taken away again, which leaves its rounding behind"
        )
    within = f"within {single:.1e} of its size; {worst:.1e} in float64"
    return f"a step's gradient is the same however it is cut and ordered ({within})"


def _worst(bound: BoundObjective, dtype: torch.dtype) -> tuple[float, str]:
    """The largest change of the gradient, and what made it.

    Relative to the sum of the norms of the units' own gradients, and not to that of their sum, which may nearly cancel.
    """
    units = units_of(examples(bound.rows, dtype))
    whole = gradient(bound, [units], dtype)
    if not whole.any():
        raise Wrong("its gradient with respect to the weights is 0 for tokens with probabilities from 0.01 to 0.4")
    every, draw = list(itertools.chain(*units)), random.Random(1)
    cuts = {
        "when every unit is a micro-batch": [[unit] for unit in units],
        "when the units stand in the opposite order": [units[::-1]],
    }
    for number in range(2):
        order = draw.sample(units, len(units))
        ends = [0, *sorted(draw.sample(range(1, len(units)), number + 2)), len(units)]
        name = f"when it is cut into {len(ends) - 1} micro-batches in another order"
        cuts[name] = [order[start:end] for start, end in itertools.pairwise(ends)]
    found = {what: gradient(bound, cut, dtype) for what, cut in cuts.items()}
    found |= {f"with {budget} tokens a micro-batch": accumulated(bound, every, dtype, budget) for budget in (30, 60)}
    size = sum(gradient(bound, [[unit]], dtype, every).norm() for unit in units)
    changes = {what: ((one - whole).norm() / size).item() for what, one in found.items()}
    what = max(changes, key=lambda name: (math.isnan(changes[name]), changes[name]))
    return changes[what], what


class _Learner(Learner):
    """A learner that computes in the dtype of its network throughout; rewards come as float32."""

    def loss(self, packed: Packed, totals: Totals) -> tuple[Tensor, Mapping[str, Tensor]]:
        dtype = self.parameters[0].dtype
        with default_dtype(dtype):
            return super().loss(dataclasses.replace(packed, reward=packed.reward.to(dtype)), totals)


def gradient(
    bound: BoundObjective,
    cut: Sequence[Sequence[list[Example]]],
    dtype: torch.dtype,
    step: Sequence[Example] | None = None,
) -> Tensor:
    """The gradient of a step that is cut into the given micro-batches, each of some units in the order given.

    ``step`` is the whole step, where the micro-batches are not all of it.
    """
    learner, every = _learner(bound, dtype), step or [example for part in cut for unit in part for example in unit]
    for part in cut:
        loss, _ = learner.loss(pack(list(itertools.chain(*part))), _totals(every))
        loss.backward()
    return _taken(learner)


def accumulated(bound: BoundObjective, chosen: Sequence[Example], dtype: torch.dtype, budget: int = 60) -> Tensor:
    """The gradient as the engine makes it, summed over the processes where there are several."""
    learner = _learner(bound, dtype, budget)
    learner.accumulate(chosen, _totals(chosen).over_ranks(CPU))
    return _taken(learner)


def _totals(chosen: Sequence[Example]) -> Totals:
    return Totals(token_count(chosen), len(chosen), CONSTANT_LENGTH)


def _learner(bound: BoundObjective, dtype: torch.dtype, budget: int = 60) -> Learner:
    trained = network("value" in bound.reads, dtype)
    trained.module.zero_grad(set_to_none=True)  # the network is kept, and a failed check may have left gradients
    training = TrainingConfig(learning_rate=0.0, tokens_per_microbatch=budget)
    return _Learner(trained, bound, training, learning_rate=0.0, steps=1, constant_length=CONSTANT_LENGTH, device=CPU)


def _taken(learner: Learner) -> Tensor:
    found = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in learner.parameters]
    )
    learner.optimiser.zero_grad(set_to_none=True)
    return found


# Two processes.


class Beside:
    """A second process, which takes its share of every step. It starts to import when this is made, and is given its
    work later.
    """

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="rlbench-testing-")
        path = os.pathsep.join(entry for entry in sys.path if entry)
        single = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "PYTHONPATH": path}
        self.errors = Path(self.folder.name) / "errors.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from rlbench.testing.engine import second; second()"],
                env={**os.environ, **single},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def check(self, bounds: Sequence[BoundObjective]) -> list[Check]:
        """One check for each objective: that its gradient over two processes with unequal shares is that of one."""
        places = [_address(bound.function) for bound in bounds]
        sent = [(number, bound) for number, bound in enumerate(bounds) if places[number] is not None]
        if not sent:
            return [_two(bound, _UNREACHABLE) for bound in bounds]
        work = [
            {field.name: getattr(bound, field.name) for field in dataclasses.fields(bound)}
            | {"function": places[number]}
            for number, bound in sent
        ]
        found: dict[int, Tensor | str] = {}
        try:
            self._give({"folder": self.folder.name, "work": work})
            with _group(0, self.folder.name):
                for number, bound in sent:
                    found[number] = accumulated(bound, _share(bound.rows, 0), torch.float64)
        except (RuntimeError, OSError, ValueError, StageFailure, UserError) as error:
            said = self.errors.read_text().strip().splitlines()
            failure = said[-1] if said else " ".join(str(error).split())
            found = {**{number: f"the two processes came no further: {failure}" for number, _ in sent}, **found}
        return [_two(bound, found.get(number, _UNREACHABLE)) for number, bound in enumerate(bounds)]

    def _give(self, work: dict[str, Any]) -> None:
        """Hand the work over and wait until the process has loaded it; RuntimeError: it ended instead."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(work) + "\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline()) != READY:
            if not line:
                raise RuntimeError("the second process ended")


_UNREACHABLE = "a second process cannot load it: define it at the top level of a file that can be imported"


def _two(bound: BoundObjective, found: Tensor | str) -> Check:
    what = registry.name_and_place(bound.function)
    if isinstance(found, str):
        return Check("processes", False, f"{what}: {found}")
    whole = gradient(bound, [units_of(examples(bound.rows, torch.float64))], torch.float64)
    change = ((found - whole).norm() / whole.norm()).item()
    if not change <= ROUNDING[torch.float64]:
        changes = f"the gradient of a step changes by {change:.1e} of its norm"
        reason = f"over two processes {changes}: it must not ask where it runs"
        return Check("processes", False, f"{what}: {reason}")
    return Check(
        "processes", True, f"two processes with unequal shares have the gradient of one ({change:.1e} of its norm)"
    )


def _share(rows: str, rank: int) -> list[Example]:
    units = units_of(examples(rows, torch.float64))
    return [example for unit in (units[:SHARE] if rank == 0 else units[SHARE:]) for example in unit]


@contextlib.contextmanager
def _group(rank: int, folder: str) -> Iterator[None]:
    if dist.is_initialized():
        raise RuntimeError("this process is part of a process group already")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=PATIENCE)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def second() -> None:
    """The second process: read its work from stdin, and take its share of each step."""
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    bounds = [BoundObjective(**{**bound, "function": _loaded(bound["function"])}) for bound in given["work"]]
    sys.stdout.write(READY)
    sys.stdout.flush()
    with _group(1, given["folder"]):
        for bound in bounds:
            accumulated(bound, _share(bound.rows, 1), torch.float64)


def _address(function: Callable[..., Any]) -> dict[str, str] | None:
    """Where another process finds a function: in a module, or registered in a file. None: nowhere."""
    module = sys.modules.get(function.__module__)
    if (
        function.__module__ != "__main__"
        and getattr(module, "__file__", None)
        and not function.__module__.startswith("rlbench_plugin_")
    ):
        return (
            {"module": function.__module__, "name": function.__name__}
            if getattr(module, function.__name__, None) is function
            else None
        )
    path, attached = function.__code__.co_filename, registry.registration(function)
    try:
        loaded = registry.load("objective", attached["name"], [path])
    except UserError:
        return None
    return {"path": path, "name": attached["name"]} if loaded.__code__.co_filename == path else None


def _loaded(place: dict[str, str]) -> Callable[..., Any]:
    if "path" in place:
        return registry.load("objective", place["name"], [place["path"]])
    return getattr(importlib.import_module(place["module"]), place["name"])
