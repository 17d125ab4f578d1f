"""The contents of a run's ``manifest.json``: its stages with their costs, its rows, and where everything came from."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlbench.evaluation.selection import SELECTION
from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.graph.provenance import git_state, machine
from rlbench.graph.result import StageResult
from rlbench.graph.stage import Stage, topological
from rlbench.planning.describe import admitted_with
from rlbench.planning.engines import engine_of, vllm_version
from rlbench.planning.overlaps import problem_sets
from rlbench.planning.rows import Plan, Row
from rlbench.recipe import BASE, DEVELOPMENT, MethodConfig, ModelConfig
from rlbench.records import Problem, UserError, read_problems, stream_problems
from rlbench.tasks.base import content_digest
from rlbench.tasks.overlap import Overlap, find_overlaps
from rlbench.tasks.templates import label
from rlbench.training import trl_support


def manifest_of(
    plan: Plan, store: Store, results: Mapping[str, StageResult], failures: Mapping[Any, str], command: str
) -> dict[str, Any]:
    """Everything about the run but its samples. Tokens and seconds are those of when a stage was made, cached or not.

    A stage's ``rows`` is the number of rows, each method and seed, that rest on it: what is shared is there once and
    has many.
    """
    rows = Counter(stage.fingerprint for row in plan.rows for stage in topological(row.all_evaluations))
    stages = []
    for stage in plan.stages:
        result = results.get(stage.fingerprint)
        if result is None:
            continue
        stages.append(
            {
                "name": stage.name,
                "fingerprint": stage.fingerprint,
                "status": result.status,
                "cached": result.cached,
                "reason": result.reason,
                "seconds": result.seconds,
                "cpu_seconds": result.cpu_seconds,
                "tokens": result.counters.get("tokens"),
                "counters": result.counters,
                "notes": result.notes,
                "peak_memory_bytes": result.peak_memory_bytes,
                "versions": _versions_of(stage, store),
                "engine": engine_of(stage.config),
                "rows": rows[stage.fingerprint],
            }
        )
    found, compared = _overlaps(plan, store)
    return {
        "recipe": plan.recipe.model_dump(mode="json"),
        "fingerprint": plan.fingerprint,
        "device": plan.device,
        "benchmarks": [source.label for source in plan.recipe.evaluation.benchmarks],
        "clean": [source.label for source in plan.recipe.evaluation.clean],
        "command": command,
        "versions": _installed(),
        "git": git_state(),
        "machine": machine(),
        "problem_sets": _problem_sets(plan, store, results),
        "overlaps": {**compared, "found": [dataclasses.asdict(overlap) for overlap in found]},
        "rows": [
            _row_info(plan, method, store, results, failures)
            for method in dict.fromkeys(row.method for row in plan.rows)
        ],
        "stages": stages,
        "examples": _examples(plan, store, results),
        "notes": [*plan.warnings, *_stage_notes(plan, store), *(f"{overlap.summary}." for overlap in found)],
    }


def _stage_notes(plan: Plan, store: Store) -> list[str]:
    """Notes of stages for readers, also those that this run did not need, as what rests on them was there; each text
    once, with the first of the stages that say it.
    """
    first: dict[str, str] = {}
    for stage in plan.stages:
        with contextlib.suppress(MissingArtifact):
            for text in store.manifest(stage.fingerprint).get("notes", ()):
                first.setdefault(text, stage.name)
    return [f"{name}: {text}" for text, name in first.items()]


def _versions_of(stage: Stage, store: Store) -> dict[str, str]:
    """The libraries with which a stage's artifact was made, under the names of their packages."""
    try:
        versions = store.manifest(stage.fingerprint)["versions"]
    except (MissingArtifact, UserError):  # not there, or not to be read
        return {}
    return {name.replace("math_verify", "math-verify"): version for name, version in versions.items()}


def _installed() -> dict[str, str]:
    """Versions of Python, rlbench and what it computes with; workers may import what this process does not."""
    versions = {"python": platform.python_version()}
    if version := vllm_version():
        versions["vllm"] = version
    for name in ("rlbench", "torch", "transformers", "trl", "math-verify", "datasets", "pandas", "ray"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _problem_sets(plan: Plan, store: Store, results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    """Every problem set that something was evaluated on: ``name``, ``split``, ``problems``, and ``content``, see
    ``content_digest``.
    """
    sets: dict[tuple[str, str], Stage] = {}
    for row in plan.rows:
        parts: tuple[tuple[str, Mapping[Any, Stage]], ...] = (
            (plan.recipe.evaluation.split, row.evaluations),
            (DEVELOPMENT, row.development),
        )
        for split, evaluations in parts:
            sets |= {(split, benchmark): stage.inputs["problems"] for (benchmark, _), stage in evaluations.items()}
    found = []
    for (split, name), stage in sets.items():
        if is_done(stage, results):
            problems = read_problems(store.open(stage.fingerprint) / "problems.jsonl")
            found.append({"name": name, "split": split, "problems": len(problems), "content": content_digest(problems)})
    return found


def _overlaps(plan: Plan, store: Store) -> tuple[list[Overlap], dict[str, list[str]]]:
    """What the problem sets of the run share that they should not, and which sets were ``compared``: those whose
    problems are in the store. Splits of the tasks under ``generated`` were compared by whole problems alone.
    """

    def load(stage: Stage) -> Iterator[tuple[Problem, int | None]] | None:
        try:
            path = store.open(stage.fingerprint) / "problems.jsonl"
        except MissingArtifact:
            return None
        return ((problem, None) for problem in stream_problems(path))

    compared = problem_sets(plan, load)
    generated = Counter(problems.templates for problems in compared if problems.templates is not None)
    return find_overlaps(compared), {
        "compared": [problems.name for problems in compared],
        "generated": [name for name, count in generated.items() if count > 1],
    }


def _row_info(
    plan: Plan, method: str, store: Store, results: Mapping[str, StageResult], failures: Mapping[Any, str]
) -> dict[str, Any]:
    """A method's entry, all that the report says beside its scores: costs are means over the seeds that finished."""
    rows = [row for row in plan.rows if row.method == method]
    config = plan.recipe.methods.get(method)
    reasons = {
        str(row.seed) if row.seed is not None else "null": failures[method, row.seed]
        for row in rows
        if (method, row.seed) in failures
    }
    trained = [
        results[row.trained.fingerprint] for row in rows if row.trained is not None and is_done(row.trained, results)
    ]
    banks = [row.bank for row in rows if row.bank is not None and is_done(row.bank, results)]
    return {
        "method": method,
        "label": rows[0].label,
        "objective": config.objective if config else None,
        "data": config.data if config else None,
        "is_base": method == BASE,
        "reason": next(iter(reasons.values())) if len(reasons) == len(rows) else None,
        "reasons_by_seed": reasons,
        "train_tokens": _mean(result.counters.get("tokens") for result in trained),
        "train_seconds": _mean(result.seconds for result in trained),
        "sampled_tokens": _mean(result.counters.get("sampled_tokens") for result in trained),
        "bank_tokens": _mean(_tokens(bank, results) for bank in banks),
        "learning_rate": plan.recipe.training_of(config).learning_rate if config and config.objective else None,
        "deviations": _deviations(rows[0], config or plan.recipe.model),
        "selection": {str(row.seed): _selection(row, store, results) for row in rows if row.model.kind == "select"},
        "test_models": {str(row.seed): _test_models(plan, row) for row in rows},
    }


def _deviations(row: Row, config: MethodConfig | ModelConfig) -> tuple[str, ...]:
    """Sentences on how a row deviates from all others, and on a foreign model."""
    found = admitted_with(config)
    if isinstance(config, ModelConfig):
        return found
    if config.backend == "trl" and row.trained is not None:
        found += trl_support.differences(row.trained.config, str(config.data))
    return (*found, *((f"evaluated with the prompt {label(config.template)}",) if config.template else ()))


def _test_models(plan: Plan, row: Row) -> int:
    """How many of the models that a row's training has kept were evaluated on the reported split: 1 where nothing was
    chosen on it.
    """
    kept = {row.model.fingerprint}
    if row.trained is not None:
        kept |= {row.trained.fingerprint}
        kept |= {stage.fingerprint for stage in plan.stages if stage.inputs.get("trained") is row.trained}
    evaluated = (s for s in plan.stages if s.kind == "evaluate" and s.config["split"] == plan.recipe.evaluation.split)
    return len({stage.inputs["model"].fingerprint for stage in evaluated} & kept)


def _selection(row: Row, store: Store, results: Mapping[str, StageResult]) -> dict[str, Any] | None:
    """The checkpoint that was chosen, and how good all of them were on the development sets."""
    if not is_done(row.model, results):
        return None
    return json.loads((store.open(row.model.fingerprint) / SELECTION).read_text(encoding="utf-8"))


def is_done(stage: Stage, results: Mapping[str, StageResult]) -> bool:
    return stage.fingerprint in results and results[stage.fingerprint].status == "done"


def _tokens(stage: Stage, results: Mapping[str, StageResult]) -> float | None:
    """The tokens that a finished stage counts, or its shards do; None where one of them has no result, as its artifact
    was not needed.
    """
    counts = [results[part.fingerprint].counters.get("tokens") for part in stage.parts if part.fingerprint in results]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(stage.parts) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _examples(plan: Plan, store: Store, results: Mapping[str, StageResult]) -> list[tuple[str, str, str]]:
    """(benchmark, id, text) of the one problem of each benchmark whose outputs the page shows: the smallest id, never a
    chosen one.
    """
    sources = {
        benchmark: stage.inputs["problems"] for row in plan.rows for (benchmark, _), stage in row.evaluations.items()
    }
    examples = []
    for benchmark, source in sources.items():
        if is_done(source, results):
            problem = min(
                read_problems(store.open(source.fingerprint) / "problems.jsonl"), key=lambda problem: problem.id
            )
            examples.append((benchmark, problem.id, problem.problem))
    return examples


def failures_of(plan: Plan, results: Mapping[str, StageResult]) -> dict[tuple[str, int | None], str]:
    """The reasons of rows that lack something: that of its first evaluation that is not there, or of the base's first
    contamination probe.
    """
    failures: dict[tuple[str, int | None], str] = {}
    for row in plan.rows:
        for stage in row.all_evaluations:
            result = results[stage.fingerprint]
            if result.status != "done":
                failures.setdefault((row.method, row.seed), result.reason or result.status)
    for seed, stage in plan.probes:
        if not is_done(stage, results):
            result = results[stage.fingerprint]
            failures.setdefault((BASE, seed), f"`{stage.name}`: {result.reason or result.status}")
    return failures
