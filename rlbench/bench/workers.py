"""How sampling scales: the rollout bank of a recipe in shards, over pools of so many workers, each with an engine of
its own.

Pools take turns round by round. Time runs from the start of the first shard to the end of the last, so it holds the
opening of the engines and none of what Ray needs to start; every round begins with an empty store but for the model and
the problems.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlbench.graph.artifact import Store
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.ray_executor import RayExecutor
from rlbench.graph.schedule import Event, Finished, OnEvent, Started
from rlbench.graph.stage import Stage
from rlbench.planning.build import banks
from rlbench.planning.engines import engine_of
from rlbench.recipe import Recipe
from rlbench.records import UserError


def bank_of(recipe: Recipe, *, prompts: int, samples: int, shards: int) -> Stage:
    """The first bank of a recipe, with ``samples`` completions of its first ``prompts`` prompts, in about so many
    ``shards``.
    """
    source = recipe.data.prompts.model_copy(update={"limit": prompts})
    changes = {
        "data": recipe.data.model_copy(update={"prompts": source}),
        "rollouts": recipe.rollouts.model_copy(update={"samples": samples}),
        "sampling": recipe.sampling.model_copy(update={"shard_samples": max(1, prompts * samples // shards)}),
    }
    return banks(recipe.model_copy(update=changes))[0]


def bench_workers(
    bank: Stage,
    store: Path,
    workers: Sequence[int] = (1, 2),
    *,
    rounds: int = 3,
    address: str | None = None,
    on_event: OnEvent | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Measure pools of ``workers`` on a bank, ``rounds`` times each.

    Args:
        bank: see ``bank_of``; its model and problems are made first if the store has them not.
        store: the artifact store.
        workers: sizes of the pools.
        rounds: how often each pool samples all of it.
        address: of a running Ray cluster.
        on_event: told of the stages that are made first.
        say: told what is being measured.

    Returns: One table a pool: ``workers`` that took part, of as many as were ``asked`` for, ``engine``,
        ``tokens_per_second`` and ``seconds`` (medians), ``shards``, ``tokens``, ``rounds``.

    Raises:
        UserError: an input cannot be made, or a shard failed.
    """
    opened = Store(store)
    upstream = list(bank.parts[0].inputs.values())
    for result in LocalExecutor().execute(upstream, opened, on_event=on_event).values():
        if result.status != "done":
            raise UserError(f"{result.stage.name}: {result.reason}")
    measured: dict[int, list[tuple[float, int, int]]] = {count: [] for count in workers}
    for number in range(rounds):
        for count in workers:
            say(f"round {number + 1} of {rounds}: {count} worker{'s' * (count != 1)}")
            measured[count].append(_measure(bank, upstream, opened, RayExecutor(address, count)))
    return [
        {
            "workers": max(used for _, _, used in found),
            "asked": count,
            "engine": engine_of(bank.config),
            "tokens_per_second": statistics.median(tokens / seconds for seconds, tokens, _ in found),
            "seconds": statistics.median(seconds for seconds, _, _ in found),
            "shards": len(bank.parts),
            "tokens": found[0][1],
            "rounds": rounds,
        }
        for count, found in measured.items()
    ]


def _measure(bank: Stage, upstream: Sequence[Stage], source: Store, executor: RayExecutor) -> tuple[float, int, int]:
    """Seconds, tokens and workers of one sampling of the bank, in a store that has nothing but what
    it is sampled from.
    """
    starts: list[float] = []
    ends: list[float] = []
    used: set[str] = set()

    def note(event: Event) -> None:
        if isinstance(event, Started) and event.stage in bank.parts:
            used.add(event.worker)
        if isinstance(event, Finished) and not event.result.cached and event.result.stage in bank.parts:
            ends.append(time.perf_counter())
            starts.append(ends[-1] - event.result.seconds)

    with source.folder(bank.fingerprint) as folder:
        store = Store(folder)
        for stage in upstream:
            shutil.copytree(source.open(stage.fingerprint), store.path(stage.fingerprint))
        results = executor.execute([bank], store, on_event=note)
    for part in (*bank.parts, bank):
        if (result := results[part.fingerprint]).status != "done":
            raise UserError(f"{part.name}: {result.reason}")
    tokens = sum(int(results[part.fingerprint].counters["tokens"]) for part in bank.parts)
    return max(ends) - min(starts), tokens, len(used)
