"""Tasks: where problems come from, under a name that a recipe can write.

A task is a function from the name of a split to its problems, registered with ``@task``. A recipe writes
``name:split``, or ``name`` alone for the task's default split, or the path of a JSONL file (see
``rlbench.tasks.local``). Nothing here imports torch or datasets: ``rlbench plan`` resolves and fingerprints sources
without loading a problem from the hub.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlbench.records import Problem, UserError, nearest, write_problems
from rlbench.tasks import local

# The tasks that rlbench brings, by the module that registers them: imported when one of its names is asked for.
_BUILT_IN = {"arithmetic": "rlbench.tasks.arithmetic"} | {
    path.stem: f"rlbench.tasks.benchmarks.{path.stem}"
    for path in Path(__file__).with_name("benchmarks").glob("[a-z]*.py")
}
_REGISTRY: dict[str, Task] = {}


@dataclass(frozen=True)
class Loaded:
    """A load function's result where a list does not say enough: the problems, and how many rows could not
    be made into one.
    """

    problems: list[Problem]
    dropped: int = 0


@dataclass(frozen=True)
class Task:
    """A registered source of problems. ``version`` is raised whenever ``function`` would return other problems than
    before; ``generated`` says that they come out of templates of its own.
    """

    name: str
    splits: tuple[str, ...]
    default_split: str
    version: int
    function: Callable[..., list[Problem] | Loaded]
    takes_revision: bool
    sizes: Mapping[str, int]
    generated: bool = False

    def load(self, split: str | None = None, *, limit: int | None = None, revision: str | None = None) -> list[Problem]:
        """The first ``limit`` problems of a split, in the task's own order.

        Raises:
            UserError: no such split, a revision given to a task that has none, or the data cannot be had.
        """
        return self.load_counted(split, limit=limit, revision=revision).problems

    def load_counted(
        self, split: str | None = None, *, limit: int | None = None, revision: str | None = None
    ) -> Loaded:
        """As ``load``, with the number of rows that were dropped."""
        split = self.check(split, revision)
        options = {"revision": revision} if self.takes_revision else {}
        result = self.function(split, limit=limit, **options)
        loaded = result if isinstance(result, Loaded) else Loaded(list(result))
        if len({problem.id for problem in loaded.problems}) < len(loaded.problems):
            raise UserError(
                f"task {self.name!r}, split {split!r}: two problems have one id, so their samples could not be told "
                "apart"
            )
        return loaded

    def check(self, split: str | None, revision: str | None) -> str:
        """The split's name with the default filled in.

        Raises:
            UserError: the task has no such split, or takes no revision and one is given.
        """
        split = self.default_split if split is None else split
        if split not in self.splits:
            raise UserError(
                f"task {self.name!r} has no split {split!r}{nearest(split, self.splits)}; it has "
                f"{', '.join(self.splits)}"
            )
        if revision is not None and not self.takes_revision:
            raise UserError(
                f"task {self.name!r} is not loaded from the hub, so it takes no `revision` (given: {revision!r})"
            )
        return split


def task(
    name: str,
    *,
    splits: Iterable[str],
    version: int = 1,
    default_split: str | None = None,
    sizes: Mapping[str, int] | None = None,
    generated: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a load function as the task ``name``; the function itself is returned unchanged.

    The function is called as ``load(split, limit=...)`` and returns the first ``limit`` problems (all for ``None``) as
    a list of ``Problem`` whose ids are unique within the split and never change. If it has a parameter ``revision``,
    the recipe's pinned hub revision is passed too. It may return ``Loaded(problems, dropped)`` to have unusable rows
    counted in the manifest::

        @task("arithmetic", splits=("prompts", "test/steps"), version=1, default_split="prompts")
        def load(split: str, *, limit: int | None = None) -> list[Problem]: ...

    ``sizes`` says how many problems a split has, where that is known, for estimates before anything is loaded. Raise
    ``version`` whenever the same call would return other problems: it is what the fingerprint knows of the code. The
    default split is the first of ``splits`` unless ``default_split`` names another. ``generated`` says that the
    problems are made by the function itself, at once and without a network, out of templates: what words two of them
    share then says nothing of either (see ``rlbench.tasks.overlap``).

    Raises:
        ValueError: the name is taken by another function, or the splits are empty or lack the default.
    """
    names = tuple(splits)
    default = default_split if default_split is not None else next(iter(names), None)
    if default not in names:
        raise ValueError(f"task {name!r}: default split {default!r} is none of its splits {names}")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        taken = _REGISTRY.get(name)
        if taken is not None and _origin(taken.function) != _origin(function):
            raise ValueError(
                f"task {name!r} is registered twice: by {_origin(taken.function)} and by {_origin(function)}"
            )
        takes_revision = "revision" in inspect.signature(function).parameters
        _REGISTRY[name] = Task(name, names, default, version, function, takes_revision, dict(sizes or {}), generated)
        return function

    return register


def task_names() -> list[str]:
    """Every name that ``get_task`` knows now, sorted."""
    return sorted({*_BUILT_IN, *_REGISTRY})


def get_task(name: str) -> Task:
    """The task registered under ``name``; the module of a built-in one is imported when it is first asked for.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    if name not in _REGISTRY and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    if name not in _REGISTRY:
        is_path = Path(name).exists() or "/" in name or "\\" in name
        hint = (
            "; a local file must end in .jsonl"
            if is_path
            else f"{nearest(name, task_names())}; tasks: {', '.join(task_names())}"
        )
        raise UserError(f"unknown task {name!r}{hint}")
    return _REGISTRY[name]


def load_source(source: str, *, limit: int | None = None, revision: str | None = None) -> list[Problem]:
    """The problems of ``task:split``, of ``task`` (its default split), or of a path that ends in .jsonl or .json.

    Raises:
        UserError: the source is unknown, missing or invalid.
    """
    if local.is_file(source):
        return local.load(_without_revision(source, revision), limit=limit)
    name, split = _parts(source)
    return get_task(name).load(split, limit=limit, revision=revision)


def describe_source(
    source: str, *, limit: int | None = None, revision: str | None = None, content: str | None = None
) -> dict[str, Any]:
    """The description of a source, for the configuration of a ``problems_stage``, without loading anything from the
    hub.

    A task gives ``{task, split, limit, revision, version}``; a file ``{sha256, limit, reader}``: where it lies is not
    hashed, so moving a file re-runs nothing. With ``content``, the hash that the problems have to have
    (``content_digest``), it stands there too. A file is read and checked whole here, so that a bad line is found when a
    recipe is planned and not hours into its run.

    Raises:
        UserError: the source is unknown, missing or invalid.
    """
    pinned = {} if content is None else {"content": content}
    if local.is_file(source):
        path = _without_revision(source, revision)
        local.load(path)
        return {"sha256": local.digest(path), "limit": limit, "reader": local.READER, **pinned}
    name, split = _parts(source)
    found = get_task(name)
    split = found.check(split, revision)
    return {"task": name, "split": split, "limit": limit, "revision": revision, "version": found.version, **pinned}


def content_digest(problems: Iterable[Problem]) -> str:
    """The SHA-256 of what a set asks and expects: texts and golds in order. Two sets with one digest are the same
    benchmark.
    """
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps([problem.problem, problem.answer]).encode() + b"\n")
    return digest.hexdigest()


def expected_rows(source: Mapping[str, Any], unhashed: Mapping[str, Any]) -> int | None:
    """How many problems a source will give, as ``describe_source`` gave it, without loading it from the hub; None if
    unknown.
    """
    if "sha256" in source:
        size: int | None = local.count(Path(unhashed["path"]), source["sha256"])
    else:
        size = get_task(source["task"]).sizes.get(source["split"])
    return size if size is None or source["limit"] is None else min(source["limit"], size)


def load_offline(source: Mapping[str, Any], unhashed: Mapping[str, Any]) -> Iterable[tuple[Problem, int | None]] | None:
    """The problems of a source, as ``describe_source`` gave it, each with the number of its line where a file has it.

    None where they would have to be fetched: files and tasks that generate their problems are there at once.
    """
    if "sha256" in source:
        return [(problem, line) for line, problem in local.load_numbered(Path(unhashed["path"]))[: source["limit"]]]
    task = get_task(source["task"])
    if not task.generated:
        return None
    return [(problem, None) for problem in task.load(source["split"], limit=source["limit"])]


def problems_stage(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: write the problems of ``config["source"]``, as ``describe_source`` gave it, to
    ``problems.jsonl``; a file lies at the hint ``path``.

    Counts ``problems``, and ``dropped`` rows where a task dropped some.

    Raises:
        UserError: the data cannot be had, has no usable problem, or the file changed since it was planned.
    """
    source = config["source"]
    if "sha256" in source:
        loaded = Loaded(local.load(Path(context.unhashed["path"]), limit=source["limit"], sha256=source["sha256"]))
    else:
        loaded = get_task(source["task"]).load_counted(
            source["split"], limit=source["limit"], revision=source["revision"]
        )
    if not loaded.problems:
        raise UserError(f"source {source} has no problem that can be used ({loaded.dropped} rows dropped)")
    if (pinned := source.get("content")) and not (found := content_digest(loaded.problems)).startswith(pinned):
        name = source.get("task") or Path(context.unhashed["path"]).name
        raise UserError(
            f"problem set {name!r} is not the one that is pinned: its content is {found[:12]} and not {pinned[:12]}; "
            "a changed benchmark "
            "is a different benchmark, so change `content`, and compare with nothing that was measured before"
        )
    write_problems(output / "problems.jsonl", loaded.problems)
    context.count(problems=len(loaded.problems))
    if loaded.dropped:
        context.count(dropped=loaded.dropped)


def _parts(source: str) -> tuple[str, str | None]:
    name, colon, split = source.partition(":")
    return name, split if colon else None


def _without_revision(source: str, revision: str | None) -> Path:
    if revision is not None:
        raise UserError(
            f"source {source!r} is a file, so it takes no `revision` (given: {revision!r}); its content is what is "
            "hashed"
        )
    return Path(source).expanduser()


def _origin(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
