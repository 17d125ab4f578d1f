"""Loading of recipes: TOML merged over what it ``extends``, overridden by ``--set``, checked, and
its sweep expanded.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rlbench.recipe.names import BASE
from rlbench.recipe.packaged import locate, suggestion
from rlbench.recipe.tables import MethodConfig, OnlineConfig, Recipe, TrainingConfig
from rlbench.records import UserError, nearest

OF_THE_MODEL = ("revision", "strip_prefix", "trust_remote_code")


def load_recipe(
    path: str | Path, overrides: Iterable[str] = (), *, only: Iterable[str] = (), seeds: Iterable[int] = ()
) -> Recipe:
    """Read a recipe with what it extends, apply ``key=value`` overrides, keep the methods named in ``only``, expand its
    sweep. ``path`` is a file, or the name of a recipe that comes with rlbench.

    Raises:
        UserError: the file, a key or a value is wrong; the message names it.
    """
    path = Path(path)
    raw = _read(locate(path), ())
    for text in overrides:
        apply_override(raw, text)
    chosen, wanted = list(seeds), list(only)
    if chosen:
        raw["seeds"] = chosen
    recipe = _checked(Recipe, raw, "", path)
    _checked(TrainingConfig, {"learning_rate": 0.0, **recipe.training}, "training", path)
    methods = _expand_sweep(recipe, path)
    rows, reference = [BASE, *recipe.methods, *methods], recipe.evaluation.reference
    if reference is not None and reference not in rows:  # asked before --only, which may leave it out
        raise UserError(f"{path}: `evaluation.reference`: {reference!r} is no row{nearest(reference, rows)}")
    if wanted:
        for name in wanted:
            if name != BASE and not any(name in (key, key.split("@")[0]) for key in methods):
                raise UserError(
                    f"{path}: --only names method {name!r}, which the recipe has not{nearest(name, methods)}"
                )
        methods = {key: value for key, value in methods.items() if key in wanted or key.split("@")[0] in wanted}
    recipe = recipe.model_copy(update={"methods": methods, "sweep": {}})
    for name, method in recipe.methods.items():
        if method.objective is None:
            continue
        _checked(TrainingConfig, {**recipe.training, **method.training}, f"methods.{name}.training", path)
        if method.online is not None:
            _checked(OnlineConfig, method.online, f"methods.{name}.online", path)
    return recipe


def recipe_of_model(source: str, benchmarks: Iterable[str], *, limit: int | None = None, **options: Any) -> Recipe:
    """A recipe that evaluates one model and trains nothing.

    Args:
        source: a Hugging Face folder or hub id.
        benchmarks: names of tasks, or JSONL files.
        limit: how many problems of each, from the first.
        options: ``revision``, ``strip_prefix`` and ``trust_remote_code`` of the model, ``dtype``, ``device``,
            ``engine`` (of ``SamplingConfig``), and keys of ``EvaluationConfig``; None is the default.

    Raises:
        UserError: an option is wrong; the message names it.
    """
    given = {key: value for key, value in options.items() if value is not None}
    data = [{"source": name, "limit": limit} for name in benchmarks]
    if not data:
        raise UserError("rlbench evaluate: `evaluation.benchmarks`: name at least one")
    raw: dict[str, Any] = {
        "name": "evaluate",
        "title": f"Scores of {source}",
        "model": {"source": source, **{key: given.pop(key) for key in OF_THE_MODEL if key in given}},
        "sampling": {"engine": given.pop("engine", "auto")},
        **{key: given.pop(key) for key in ("dtype", "device") if key in given},
        "data": {"prompts": data[0]},
        "evaluation": {"benchmarks": data, **given},
        "methods": {"none": {"checkpoint": source}},
    }
    return _checked(Recipe, raw, "", Path("rlbench evaluate")).model_copy(update={"methods": {}})


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in chain:
        raise UserError("runs in a circle")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"recipe {path} does not exist{suggestion(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from None
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise UserError(f"{path}: `extends` is the path or name of one recipe, not {parent!r}")
    try:
        below = _read(locate(parent, path.parent), (*chain, resolved))
    except UserError as error:
        raise UserError(f"{path}: `extends`: {error}") from None
    return _merge(below, raw)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def apply_override(raw: dict[str, Any], text: str, example: str = "rollouts.samples=8") -> None:
    """Put the value of ``a.b=value``, TOML or else a string, into nested tables, which are made where there are none.

    Raises:
        UserError: the text is not of that form, or a value stands where a table would have to.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text!r}: write it as key=value, for instance --set {example}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    *parents, last = [part.strip() for part in key.split(".")]
    node: Any = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {text!r}: {parent!r} is a value, not a table")
    node[last] = parsed


def _checked(kind: type[Any], raw: Any, prefix: str, path: Path) -> Any:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        methods = raw.get("methods") if isinstance(raw, dict) else None
        raise UserError(
            f"{path}: {_explain(kind, error, prefix, list(methods) if isinstance(methods, dict) else [])}"
        ) from None


def _explain(kind: type[BaseModel], error: ValidationError, prefix: str, raw_methods: list[str]) -> str:
    """One line for the first thing pydantic found wrong, naming the key as it is written in the file."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in (prefix, *first["loc"]) if part != "")
    if first["type"] == "extra_forbidden":
        return f"unknown key `{where}`{nearest(str(first['loc'][-1]), _fields_at(kind, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"`{where}` is missing"
    problem = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if len(first["loc"]) == 2 and first["loc"][0] == "methods" and isinstance(first["input"], dict):
        others = [name for name in raw_methods if name != first["loc"][1]]
        problem += nearest(str(first["loc"][1]), others)
    given = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
    return f"`{where}`: {problem[:1].lower()}{problem[1:]}{given}" if where else problem


def _fields_at(kind: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys that the table at ``location`` may hold."""
    from typing import get_args

    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        candidates = [kind, *get_args(kind)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        kind = models[0] if models else kind
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _expand_sweep(recipe: Recipe, path: Path) -> dict[str, MethodConfig]:
    """Each trained method once for every combination of the sweep's values, named ``method@key=value``."""
    if not recipe.sweep:
        return recipe.methods
    expanded: dict[str, MethodConfig] = {}
    for name, method in recipe.methods.items():
        if method.objective is None:
            expanded[name] = method
            continue
        for values in itertools.product(*recipe.sweep.values()):
            raw = method.model_dump(exclude_unset=True)
            short = []
            for key, value in zip(recipe.sweep, values, strict=True):
                apply_override(raw, f"{key}={value!r}")
                short.append(
                    f"{key.rsplit('.', 1)[-1]}={value:g}"
                    if isinstance(value, float)
                    else f"{key.rsplit('.', 1)[-1]}={value}"
                )
            label = f"{method.label or name}, {', '.join(short)}"
            expanded[f"{name}@{','.join(short)}"] = _checked(
                MethodConfig, {**raw, "label": label}, f"methods.{name}", path
            )
    return expanded
