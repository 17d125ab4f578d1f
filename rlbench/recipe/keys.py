"""Keys of a recipe in words: every key that a recipe may have, with its type, its default and what it does.

The words are the docstrings below the fields of ``tables``; a new key is documented there.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlbench.recipe.tables import Component, MethodConfig, OnlineConfig, Recipe, TrainingConfig

# Tables that are checked apart, as recipes share or overwrite their keys.
_OPEN: dict[str, type[BaseModel]] = {
    "training": TrainingConfig,
    "methods.NAME": MethodConfig,
    "methods.NAME.online": OnlineConfig,
}


@dataclass(frozen=True)
class Key:
    """One key: where it stands (``evaluation.samples``), the values it takes, its default and what it does.

    ``default`` is None where the key has to be given or is empty by default; ``required`` tells the two apart.
    """

    key: str
    values: str
    default: Any
    required: bool
    description: str

    def as_json(self) -> dict[str, Any]:
        """Plain data, for scripts."""
        return asdict(self)


def keys() -> list[Key]:
    """Every key of a recipe, in the order of its tables."""
    return list(_keys_of(Recipe, "", {}))


def _keys_of(table: type[BaseModel], prefix: str, told: dict[type[BaseModel], str]) -> Iterator[Key]:
    """``told`` says where the keys of a table stand already."""
    for name, field in table.model_fields.items():
        key = f"{prefix}{name}"
        if key == "methods":
            yield from _keys_of(MethodConfig, "methods.NAME.", told)
            continue
        inner = _OPEN.get(key) or _table_of(field.annotation)
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        if isinstance(default, BaseModel) and inner is not Component:
            default = None  # its own keys have their defaults
        if isinstance(default, Component):
            default = default.name
        if default in ((), {}):
            default = None
        words = " ".join((field.description or "").split())
        if inner in told:
            words += f" Its keys are those of {told[inner]}."
        yield Key(key, _values(field), default, field.is_required(), words)
        if inner is not None and inner not in told:
            told[inner] = key
            yield from _keys_of(inner, f"{key}.", told)


def _table_of(annotation: Any) -> type[BaseModel] | None:
    """The table that a field is, be it optional or one of several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _table_of(part)) is not None), None)


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "table", Any: "any value"}


def _values(field: FieldInfo) -> str:
    bounds = [_bound(item) for item in field.metadata]
    return " ".join([_kind(field.annotation), *(bound for bound in bounds if bound)])


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [_bound(item) for extra in parts[1:] for item in getattr(extra, "metadata", [extra])]
        return " ".join([_kind(parts[0]), *(bound for bound in bounds if bound)])
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in parts if part is not type(None))
    if origin is tuple:
        kinds = list(dict.fromkeys(_kind(part) for part in parts if part is not Ellipsis))
        return f"list of {' and '.join(kinds)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return _NAMES.get(origin or annotation, str(annotation))


def _bound(item: Any) -> str:
    """A constraint in words; empty for one that says nothing of values."""
    for name, words in (("gt", "above"), ("ge", "from"), ("lt", "below"), ("le", "up to")):
        if (limit := getattr(item, name, None)) is not None:
            return f"{words} {limit:g}"
    return ""
