"""Reading from source what a file registers, without running any of it, and which of its code belongs to which
function.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rlbench.records import UserError, nearest

Kind = Literal["objective", "advantage", "reward", "filter"]
ROWS = ("sequences", "pairs", "groups")
REDUCTIONS = ("token-mean", "sequence-mean", "sequence-mean-token-sum", "pair-mean", "constant")
READABLE = ("ref_logp", "old_logp", "sampler_logp", "old_value", "returns", "entropy", "value")
"""Fields that a function may read only if it declares them, because each costs a forward pass or needs data that not
every method has.
"""

DECORATORS: dict[str, Kind] = {
    "objective": "objective",
    "advantage": "advantage",
    "reward": "reward",
    "row_filter": "filter",
}
ARGUMENTS: dict[Kind, tuple[str, ...]] = {
    "objective": ("rows", "reads", "reduction"),
    "advantage": ("reads",),
    "reward": (),
    "filter": ("reads",),
}
KINDS = tuple(ARGUMENTS)
Plugin = str | Path | Mapping[str, str]
"""A file, or its ``path`` and ``source`` where a stage carries the text along."""


@dataclass(frozen=True)
class Description:
    """The description of one registered function, made without running it.

    ``rows``, ``reads`` and ``reduction`` are those of the decorator (``rows`` and ``reduction`` are None but for
    objectives). ``uses_advantage`` says that the function reads ``batch.advantage``, so that its method has to name an
    estimator. ``source`` is the code of its file that it rests on: another function of the file, and what only that one
    uses, changes the source of no other. ``module`` is the dotted name to import, None for a plug-in that is a file.
    ``problem`` says, with file and line, why the function is not to be used although it can be read: what uses it
    fails, and nothing else does.
    """

    kind: Kind
    name: str
    rows: str | None
    reads: tuple[str, ...]
    reduction: str | None
    hyperparameters: Mapping[str, Any]
    uses_advantage: bool
    docstring: str
    function: str
    path: Path
    line: int
    source: str
    module: str | None
    problem: str | None = None


def text_of(plugin: Plugin) -> tuple[Path, str]:
    """A plug-in's path and source, which a stage may carry along.

    Raises:
        UserError: the file is not there, or is no text.
    """
    if isinstance(plugin, Mapping):
        return Path(plugin["path"]), plugin["source"]
    path = Path(plugin).expanduser()
    try:
        return Path(plugin), path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        taken = "" if path.is_absolute() else f" in {Path.cwd()}; a relative path is taken from where rlbench is run"
        raise UserError(f"plug-in {plugin}: there is no such file{taken}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"plug-in {plugin} cannot be read: {error}") from None


def read(path: Path, text: str, module: str | None) -> tuple[Description, ...]:
    """The functions that a file of this text registers; ``module`` is its dotted name if it is not a plug-in file.

    Raises:
        UserError: it is not Python, or a decorator or a signature is not as it has to be.
    """
    found = _parsed(path, text, module)
    foreign = _import_from_beside(path, ast.parse(text)) if module is None else None
    return tuple(dataclasses.replace(one, problem=one.problem or foreign) for one in found) if foreign else found


@lru_cache(maxsize=256)
def _parsed(path: Path, text: str, module: str | None) -> tuple[Description, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise UserError(f"{path}{line}: not Python: {error.msg}") from None
    registered: dict[str, tuple[ast.FunctionDef, ast.Call, Kind]] = {}
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and (found := _decorator(node)) is not None
        ):
            if not isinstance(node, ast.FunctionDef):
                raise UserError(f"{path}:{node.lineno}: {node.name!r} has to be a plain function to be registered")
            if node.name in registered:
                first = registered[node.name][0].lineno
                raise UserError(
                    f"{path}:{node.lineno}: the function {node.name!r} replaces that of line {first}; give it "
                    "another name"
                )
            registered[node.name] = (node, *found)
    return tuple(_describe(path, module, node, call, kind, tree) for node, call, kind in registered.values())


def _decorator(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> tuple[ast.Call, Kind] | None:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            called = decorator.func
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if name in DECORATORS:
                return decorator, DECORATORS[name]
    return None


def _import_from_beside(path: Path, tree: ast.Module) -> str | None:
    """Why a plug-in file is not to be used: what it imports from beside it is not in its rows' fingerprints, so an edit
    would go unseen.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for top in {module.split(".")[0] for module in modules} - {"rlbench"} - sys.stdlib_module_names:
                if relative or any(_lies_in(folder, top) for folder in (path.expanduser().parent, Path.cwd())):
                    mend = "put it into this file, or install it as a package"
                    reason = f"whose code would not be in the fingerprint of its rows: {mend}"
                    return f"{path}:{node.lineno}: it imports {top or 'a module'!r} from beside it, {reason}"
    return None


def _lies_in(folder: Path, module: str) -> bool:
    """True where a folder holds a module that is not there as an installed package."""
    there = (folder / f"{module}.py").is_file() or any((folder / module).glob("*.py"))
    return there and module not in importlib.metadata.packages_distributions()


def _slice(tree: ast.Module, function: str) -> str:
    """The module's code that a function rests on: what it uses, what is run in any case, and what those use."""
    mentioned = _mentioned(tree.body)
    always = [node for node in tree.body if not _needless(node, mentioned)]
    body = _used(tree, [function, *_mentioned(always)])
    if any(_name_of(part) in REFLECTION for node in body for part in ast.walk(node)):  # then who knows what it uses
        return ast.unparse(tree)
    return ast.unparse(ast.Module(body=[node for node in tree.body if node in body or node in always], type_ignores=[]))


REFLECTION = {
    "globals",
    "locals",
    "vars",
    "eval",
    "exec",
    "compile",
    "__import__",
    "import_module",
    "getmodule",
    "get_type_hints",
    "__globals__",
    "__subclasses__",
    "__dict__",
    "modules",
}
"""Names whose use says that a function may reach code that it does not mention."""


def _name_of(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _needless(node: ast.stmt, mentioned: Mapping[str, None]) -> bool:
    """True where a statement does nothing but define names, so that it can be left out where those are not used."""
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        defaults = [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]
        plain = all(isinstance(default, ast.Name) or _is_literal(default) for default in defaults)
        return plain and all(_is_ours(decorator) for decorator in node.decorator_list)
    if isinstance(node, ast.ClassDef):  # a base class or a decorator may take note of it
        body = [part for part in node.body if not isinstance(part, ast.Pass) and not _is_docstring(part)]
        return not (node.bases or node.keywords or node.decorator_list) and all(
            _needless(part, mentioned) for part in body
        )
    if isinstance(node, ast.Import | ast.ImportFrom):  # one that nobody mentions is there for what it does
        return all(name in mentioned for name in _names_of(node))
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(isinstance(target, ast.Name) for target in targets) and _is_literal(node.value)
    return False


def _is_ours(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (
        called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    ) in DECORATORS


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_literal(value: ast.expr | None) -> bool:
    try:
        return value is None or ast.literal_eval(value) is not Ellipsis
    except (ValueError, TypeError):
        return False


def _used(tree: ast.Module, names: Iterable[str]) -> list[ast.stmt]:
    """The statements of a module that define the names, those that they use, and so on, in the module's order."""
    defined: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in _names_of(node):
            defined.setdefault(name, []).append(node)
    wanted: set[ast.stmt] = set()
    todo = list(names)
    while todo:
        for node in defined.pop(todo.pop(), ()):
            if node not in wanted:
                wanted.add(node)
                todo += _mentioned([node])
    return [node for node in tree.body if node in wanted]


def _mentioned(body: Iterable[ast.stmt]) -> dict[str, None]:
    """The names that stand in some statements, each once, those in quotes too: an annotation, the key of a table."""
    parts = [part for node in body for part in ast.walk(node)]
    quoted = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return dict.fromkeys(
        [*(part.id for part in parts if isinstance(part, ast.Name)), *(text for text in quoted if text.isidentifier())]
    )


def _names_of(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines: a function, a class, constants, or what it imports."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]


def _describe(
    path: Path, module: str | None, node: ast.FunctionDef, call: ast.Call, kind: Kind, tree: ast.Module
) -> Description:
    given = _decorator_arguments(call, kind, f"{path}:{node.lineno}")
    name = given["name"]
    what = f"{path}:{node.lineno}: {kind} {name!r}"
    check_decorator(given, what)
    reads = tuple(given.get("reads", ()))
    batch = _batch_parameter(node, what)
    fields = _fields_read(
        node, batch, {part.name: part for part in tree.body if isinstance(part, ast.FunctionDef)}, set()
    )
    undeclared = next(
        (field for field in fields if field in READABLE and field not in reads and kind != "reward"), None
    )
    problem = None
    if undeclared:
        where = f"{path}:{fields[undeclared]}"
        problem = f"{where}: {kind} {name!r} reads {undeclared!r} and does not declare it: add it to reads"
    is_objective = kind == "objective"
    return Description(
        kind,
        name,
        given.get("rows", "sequences") if is_objective else None,
        reads,
        given.get("reduction", "token-mean") if is_objective else None,
        _hyperparameters(node, what),
        is_objective and "advantage" in fields,
        ast.get_docstring(node) or "",
        node.name,
        path,
        node.lineno,
        _slice(tree, node.name),
        module,
        problem,
    )


def _fields_read(
    node: ast.FunctionDef, batch: str, functions: Mapping[str, ast.FunctionDef], done: set[tuple[str, str]]
) -> dict[str, int]:
    """The attributes of its parameter ``batch`` that a function reads, itself or by functions of its file, each with a
    line.
    """
    found: dict[str, int] = {}
    done.add((node.name, batch))
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == batch:
            found.setdefault(part.attr, part.lineno)
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in functions:
            helper = functions[part.func.id]
            names = [argument.arg for argument in (*helper.args.posonlyargs, *helper.args.args)]
            given = [*zip(names, part.args, strict=False), *((keyword.arg, keyword.value) for keyword in part.keywords)]
            for name, value in given:
                if isinstance(value, ast.Name) and value.id == batch and name and (helper.name, name) not in done:
                    found = {**_fields_read(helper, name, functions, done), **found}
    return found


def _decorator_arguments(call: ast.Call, kind: Kind, where: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    known = ("name", *ARGUMENTS[kind])
    if len(call.args) > 1:
        raise UserError(f"{where}: only the name of a {kind} is positional; write {', '.join(known[1:])} as keywords")
    for key, value in [
        *(("name", argument) for argument in call.args),
        *((keyword.arg, keyword.value) for keyword in call.keywords),
    ]:
        if key not in known:
            raise UserError(f"{where}: a {kind} has no decorator argument {key!r}{nearest(str(key), known)}")
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, TypeError):
            raise UserError(
                f"{where}: decorator argument {key!r} has to be a literal, not {ast.unparse(value)!r}"
            ) from None
    if not isinstance(given.get("name"), str) or not given["name"]:
        raise UserError(f"{where}: the decorator names the {kind} by a string")
    return given


def check_decorator(given: Mapping[str, Any], what: str) -> None:
    """UserError where ``rows``, ``reduction`` or ``reads`` of a decorator is not what it may be."""
    for key, allowed in (("rows", ROWS), ("reduction", REDUCTIONS)):
        if key in given and given[key] not in allowed:
            raise UserError(f"{what}: {key} is one of {', '.join(allowed)}, not {given[key]!r}")
    reads = given.get("reads", ())
    if not isinstance(reads, tuple | list) or not all(isinstance(field, str) for field in reads):
        raise UserError(f"{what}: reads is a tuple of field names, not {reads!r}")
    for field in reads:
        if field not in READABLE:
            raise UserError(
                f"{what}: nothing called {field!r} can be read{nearest(field, READABLE)}; known: {', '.join(READABLE)}"
            )


def _batch_parameter(node: ast.FunctionDef, what: str) -> str:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if len(positional) != 1 or arguments.vararg or arguments.kwarg:
        raise UserError(
            f"{what} takes one positional parameter and no *args or **kwargs; put a `*` before its hyper-parameters"
        )
    return positional[0].arg


def _hyperparameters(node: ast.FunctionDef, what: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is None:
            raise UserError(f"{what}: hyper-parameter {argument.arg!r} needs a default")
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError):
            raise UserError(
                f"{what}: the default of {argument.arg!r} has to be a literal, not {ast.unparse(default)!r}"
            ) from None
        defaults[argument.arg] = json_value(value, f"{what}: the default of {argument.arg!r}")
    return defaults


def json_value(value: Any, what: str) -> Any:
    """A hyper-parameter's value as it stands in a configuration. UserError: it has no place there."""
    if isinstance(value, (list, tuple)):
        return [json_value(item, what) for item in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(f"{what} is a finite number, a string, a list of them or None, not {value!r}")


def code(description: Description) -> str:
    """The text, comments and all, of a registered function and of the functions and constants of
    its file that it uses.
    """
    text = text_of(description.path)[1]
    lines = text.splitlines()
    used = [
        node
        for node in _used(ast.parse(text), [description.function])
        if not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return "\n\n\n".join("\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in used)


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
