"""Running a plan: the executor, the run's folder, and what Python users get back.

The folder is written at the end from the store: all files beside, then each renamed into place, so that no file is ever
half a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rlbench.graph.artifact import Store
from rlbench.graph.local_executor import LocalExecutor
from rlbench.graph.result import StageResult
from rlbench.graph.schedule import Event, Finished, OnEvent
from rlbench.graph.stage import Stage, topological
from rlbench.models.link import ADMISSION, admit_linked
from rlbench.planning.build import banks, build
from rlbench.planning.engines import has_gpu
from rlbench.planning.functions import LINK
from rlbench.planning.methods import import_plugins
from rlbench.planning.overlaps import overlaps_before
from rlbench.planning.rows import Plan
from rlbench.recipe import Recipe, load_recipe
from rlbench.records import UserError
from rlbench.reporting.report import terminal_text, write_report
from rlbench.reporting.run import MANIFEST, PROBES, REGRADED, SAMPLE_KEYS, SAMPLES, Run, read_manifest, read_samples
from rlbench.running.execution import ON_RAY, Execution
from rlbench.running.manifest import failures_of, is_done, manifest_of

REGRADE_CHUNK = 5000
DEFAULT_STORE = Path(".rlbench")


@dataclass(frozen=True)
class Results:
    """A finished run: its folder and its frames. ``failures`` maps (method, seed) to why cells are empty.

    ``samples`` has one row an evaluation sample, ``summary`` one a method x benchmark x decoding (percent),
    ``metrics.csv``; ``scores`` is the summary for each seed by itself, ``control`` the sharpening control, ``compared``
    every comparison with its verdict, and ``text`` the tables for a terminal.
    """

    out: Path
    samples: pd.DataFrame
    summary: pd.DataFrame
    scores: pd.DataFrame
    control: pd.DataFrame
    compared: pd.DataFrame
    text: str
    manifest: Mapping[str, Any]
    failures: Mapping[tuple[str, int | None], str]

    @property
    def exit_code(self) -> int:
        """0 where every row is filled, else 1."""
        return 1 if self.failures else 0


def run(
    recipe: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    store: str | Path = DEFAULT_STORE,
    executor: str = "ray",
    address: str | None = None,
    workers: int | None = None,
    only: Iterable[str] = (),
    seeds: Iterable[int] = (),
    overrides: Iterable[str] = (),
    on_event: Callable[[Any], None] | None = None,
) -> Results:
    """Run a recipe to its table; what the store holds already is not done again.

    Args:
        recipe: a path, or a loaded recipe.
        out: the run's folder, ``runs/NAME-FINGERPRINT8`` by default.
        store: the artifact store.
        executor: ``ray`` (independent stages at once) or ``local`` (this process, one after the other, for a debugger).
        address: of a running Ray cluster.
        workers: how many stages run at once; the machine's cores by default.

    Raises:
        UserError: the recipe, or what it names, is wrong.
        KeyboardInterrupt: passed on; the same call goes on where it was stopped.
    """
    execution = Execution(executor, address, workers)
    only = only.split(",") if isinstance(only, str) else list(only or ())
    overrides = [overrides] if isinstance(overrides, str) else list(overrides or ())
    seeds = [seeds] if isinstance(seeds, int) else list(seeds or ())
    if not isinstance(recipe, Recipe):
        plan = build(load_recipe(recipe, overrides, only=only, seeds=seeds), recipe)
    elif only or overrides or seeds:
        raise UserError("only, seeds and overrides are for a recipe given by its path: give them to load_recipe")
    else:
        plan = build(recipe)
    for text in plan_warnings(plan):
        warnings.warn(text, stacklevel=2)
    return run_plan(plan, out=out, store=store, execution=execution, on_event=on_event)


def run_plan(
    plan: Plan,
    *,
    out: str | Path | None = None,
    store: str | Path = DEFAULT_STORE,
    execution: Execution = ON_RAY,
    on_event: Callable[[Any], None] | None = None,
    command: str | None = None,
) -> Results:
    """As ``run``, for a plan that was built already."""
    folder = Path(out) if out is not None else default_out(plan)
    if plan.device == "cuda" and execution.address is None and not has_gpu():
        raise UserError(
            "`device`: this machine shows no NVIDIA GPU; set device=cpu, or give the --address of a cluster that has "
            "some"
        )
    opened = Store(Path(store))
    _prepare(folder)
    try:
        admitted = _admit(plan.stages, opened, on_event)
        executor = execution.open(plan.recipe.resources.workers)
        results = executor.execute(plan.targets, opened, on_event=_without(admitted, on_event))
        results |= admitted
        _refuse_bad_input(plan.targets, plan.stages, results)
    except UserError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if it was made for this run
        raise
    return _publish(plan, opened, results, folder, command or f"rlbench run {plan.recipe.name}")


def sample_banks(
    recipe: Recipe,
    *,
    out: Path | None = None,
    store: str | Path = DEFAULT_STORE,
    execution: Execution = ON_RAY,
    on_event: Callable[[Any], None] | None = None,
) -> list[dict[str, Any]]:
    """Sample and grade a recipe's rollout banks and nothing else.

    Returns: One table a base model: ``name``, ``path`` of its ``rollouts.parquet`` (in ``out`` if that is given, else
        in the store), what ``bank.json`` holds, and ``cached``; ``reason`` in place of all but the name where there is
        no bank.

    Raises:
        UserError: the recipe, or what it names, is wrong.
    """
    opened, stages = Store(Path(store)), banks(recipe)
    admitted = _admit(topological(stages), opened, on_event)
    executor = execution.open(recipe.resources.workers)
    results = executor.execute(stages, opened, on_event=_without(admitted, on_event))
    _refuse_bad_input(stages, topological(stages), results)
    if out is not None:
        _prepare(out)
    found: list[dict[str, Any]] = []
    for stage in stages:
        result = results[stage.fingerprint]
        if result.status != "done":
            found.append({"name": stage.name, "reason": result.reason or result.status})
            continue
        folder = opened.open(stage.fingerprint)
        path = folder / "rollouts.parquet"
        if out is not None:
            path = Path(shutil.copyfile(path, out / f"{stage.name.replace('/', '-')}.parquet"))
        summary = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        found.append({"name": stage.name, "path": str(path), **summary, "cached": result.cached})
    return found


def plan_warnings(plan: Plan) -> list[str]:
    """Warnings known before anything runs: problems that sets share, and plug-ins that cannot work, whose rows will
    stay empty. It imports the plug-ins.
    """
    return [*plan.warnings, *(found.text for found in overlaps_before(plan)), *import_plugins(plan)]


def default_out(plan: Plan) -> Path:
    """``runs/NAME-FINGERPRINT8``."""
    return Path("runs") / f"{plan.recipe.name}-{plan.fingerprint[:8]}"


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"run folder {folder} cannot be written: {error.strerror or error}") from None


def _admit(stages: Iterable[Stage], store: Store, on_event: OnEvent | None) -> dict[str, StageResult]:
    """Take the foreign models into the store, in this process and before anything else: one that is refused ends a run
    that has done nothing. What ended by an error is left out, and tried again with the rest; what an older admission
    let in is looked at again.
    """
    links = [stage for stage in stages if stage.function == LINK]
    if not links:
        return {}

    def tell(event: Event) -> None:
        if on_event is not None and not (isinstance(event, Finished) and event.result.bad_input):
            on_event(event)  # a refusal is told once, by the error

    results = LocalExecutor().execute(links, store, on_event=tell)
    for result in results.values():
        if result.bad_input:
            raise UserError(str(result.reason))
        if result.status == "done" and result.counters.get("admitted", 0) < ADMISSION:
            admit_linked(store.open(result.stage.fingerprint), result.stage.config, result.stage.unhashed)
    return {key: result for key, result in results.items() if result.status == "done"}


def _without(told: Mapping[str, StageResult], on_event: OnEvent | None) -> OnEvent | None:
    """Pass on events of all stages but those whose end was told already."""
    if on_event is None or not told:
        return on_event
    return lambda event: (
        None if isinstance(event, Finished) and event.result.stage.fingerprint in told else on_event(event)
    )


def _refuse_bad_input(targets: Iterable[Stage], stages: Iterable[Stage], results: Mapping[str, StageResult]) -> None:
    """Tell the user once of bad input where it is why nothing that was wanted is there."""
    if any(is_done(stage, results) for stage in targets):
        return
    for stage in stages:
        result = results.get(stage.fingerprint)
        if result is not None and result.bad_input:
            raise UserError(f"`{stage.name}`: {result.reason}")


def _publish(plan: Plan, store: Store, results: Mapping[str, StageResult], folder: Path, command: str) -> Results:
    manifest = manifest_of(plan, store, results, failures_of(plan, results), command)
    with _beside(folder) as fresh:
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _samples(plan, store, results).to_parquet(fresh / SAMPLES, index=False)
        if (probes := _probes(plan, store, results)) is not None:
            probes.to_parquet(fresh / PROBES, index=False)
        finished = Run.load(fresh)
        write_report(finished, fresh)
    return _results(finished, folder)


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A new folder within ``folder`` whose files are moved into it at the end, each whole; nothing is changed where
    writing them fails.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as name:
            yield Path(name)
            for file in sorted(Path(name).iterdir()):
                os.replace(file, folder / file.name)
    except OSError as error:
        raise UserError(
            f"run folder {folder} cannot be written: {error.strerror or error}; what was computed is in the store"
        ) from error


def report(folder: str | Path) -> Results:
    """Write ``summary.csv``, ``report.md`` and ``report.html`` of a run's folder anew from its samples and manifest.

    The text of the result is as wide as the terminal, or 130 columns where there is none.

    Raises:
        UserError: the folder is no run's.
    """
    folder = Path(folder)
    finished = Run.load(folder)
    with _beside(folder) as fresh:
        write_report(finished, fresh)
    return _results(finished, folder)


def regrade(
    folder: str | Path, grader: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> Results:
    """Grade the samples of a run's folder by another grader, without generating, and write its report anew with both.

    The verdicts go to ``regraded-NAME.parquet`` in the folder, in the order of its samples.

    Raises:
        UserError: the folder is no run's, or there is no such grader.
    """
    from rlbench.grading.pool import Grader

    folder = Path(folder)
    read_manifest(folder)
    samples = read_samples(folder / SAMPLES)
    if grader in set(samples["grader"]):
        raise UserError(
            f"--grader {grader!r}: the samples of {folder} were graded by it already; the report is of its verdicts"
        )
    cases, graded = list(zip(samples["gold"], samples["output"], strict=True)), []
    with Grader(grader, workers=os.cpu_count() or 1) as other:
        for start in range(0, len(cases), REGRADE_CHUNK):
            graded += other.grade(cases[start : start + REGRADE_CHUNK])
            progress(len(graded), len(cases))
    found = samples[SAMPLE_KEYS].assign(
        answer=[g.answer for g in graded], verdict=[g.verdict for g in graded], grader=grader
    )
    with _beside(folder) as fresh:
        found.to_parquet(fresh / f"{REGRADED}{grader}.parquet", index=False)
    return report(folder)


def _results(finished: Run, folder: Path) -> Results:
    found = finished.findings
    return Results(
        out=folder,
        samples=finished.samples,
        summary=found.summary,
        scores=found.scores,
        control=found.control,
        compared=found.compared,
        text=terminal_text(finished, shutil.get_terminal_size((130, 24)).columns),
        manifest=finished.manifest,
        failures=finished.failures,
    )


def _samples(plan: Plan, store: Store, results: Mapping[str, StageResult]) -> pd.DataFrame:
    """Every evaluation sample with its method and seed, in the order of the plan."""
    from rlbench.records import EvalSample

    frames = []
    for row in plan.rows:
        for stage in row.all_evaluations:
            if results[stage.fingerprint].status == "done":
                frame = pd.read_parquet(store.open(stage.fingerprint) / SAMPLES)
                frame.insert(0, "method", row.method)
                frame.insert(1, "seed", pd.array([row.seed] * len(frame), dtype="Int64"))
                frames.append(frame)
    if frames:
        return pd.concat(frames, ignore_index=True)
    return pd.DataFrame(columns=["method", "seed", *(field.name for field in dataclasses.fields(EvalSample))])


def _probes(plan: Plan, store: Store, results: Mapping[str, StageResult]) -> pd.DataFrame | None:
    """Every contamination probe with the seed of its base; None where none was asked for."""
    frames = []
    for seed, stage in plan.probes:
        if is_done(stage, results):
            frame = pd.read_parquet(store.open(stage.fingerprint) / PROBES)
            frame.insert(0, "seed", pd.array([seed] * len(frame), dtype="Int64"))
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else None
