"""The registry: which objectives, advantage estimators, rewards and filters there are, read from source without importing it.

An author writes a function and decorates it; everything that a plan needs to know (name, rows, reads, reduction, hyper-parameters
with their defaults) is literal in the decorator and in the signature, so ``describe`` finds it in the syntax tree. That keeps
``rlbench plan`` free of torch and lets a plug-in be judged before any of its code runs. ``load`` imports the one function needed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import math
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from rlbench.records import StageFailure, UserError, nearest

Kind = Literal["objective", "advantage", "reward", "filter"]
ROWS = ("sequences", "pairs", "groups")
REDUCTIONS = ("token-mean", "sequence-mean", "sequence-mean-token-sum", "pair-mean", "constant")
READABLE = ("ref_logp", "old_logp", "sampler_logp", "old_value", "returns", "entropy", "value")
"""What a function may read only if it declares it, because each costs a forward pass or needs data that not every method has."""

ENTRY_POINTS = "rlbench.objectives"
_DECORATORS: dict[str, Kind] = {"objective": "objective", "advantage": "advantage", "reward": "reward", "row_filter": "filter"}
_ARGUMENTS: dict[Kind, tuple[str, ...]] = {
    "objective": ("rows", "reads", "reduction"), "advantage": ("reads",), "reward": (), "filter": ("reads",),
}  # fmt: skip
_BUILT_IN = Path(__file__).parent
Function = TypeVar("Function", bound=Callable[..., Any])
Plugin = str | Path | Mapping[str, str]


@dataclass(frozen=True)
class Description:
    """What is known of one registered function without running it.

    ``rows``, ``reads`` and ``reduction`` are those of the decorator (``rows`` and ``reduction`` are None but for objectives).
    ``uses_advantage`` says that the function reads ``batch.advantage``, so that its method has to name an estimator. ``source`` is
    the file's code without the other registered functions that this one does not call: adding a function to a file changes the
    source of no other. ``module`` is the dotted name to import, None for a plug-in that is a file. ``problem`` says, with file and
    line, why the function cannot work although it can be read: what uses it fails, and nothing else does.
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


@dataclass(frozen=True)
class Catalogue:
    """Everything that is registered, by kind and name. ``broken`` says which installed plug-ins could not be read, and why."""

    objectives: Mapping[str, Description]
    advantages: Mapping[str, Description]
    rewards: Mapping[str, Description]
    filters: Mapping[str, Description]
    broken: tuple[str, ...] = ()

    def of(self, kind: Kind) -> Mapping[str, Description]:
        """The registered functions of one kind."""
        return {"objective": self.objectives, "advantage": self.advantages, "reward": self.rewards, "filter": self.filters}[kind]

    def find(self, name: str, kind: Kind) -> Description:
        """The function of that name.

        Raises:
            UserError: there is none; the nearest name is suggested.
        """
        known = self.of(kind)
        if name not in known:
            broken = f" (an installed plug-in cannot be read: {'; '.join(self.broken)})" if self.broken else ""
            raise UserError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(sorted(known))}{broken}")
        return known[name]

    def resolve(self, name: str, kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyper-parameters of a function: those given over its defaults, an integer given for a float made one.

        Raises:
            UserError: the name or a key is unknown (the nearest is suggested), or a value's type is not its default's.
        """
        return resolved(self.find(name, kind), given)


def resolved(found: Description, given: Mapping[str, Any]) -> dict[str, Any]:
    """As ``Catalogue.resolve``, of one function."""
    values, what = dict(found.hyperparameters), f"{found.kind} {found.name!r}"
    for key, value in given.items():
        if key not in values:
            raise UserError(f"{what} has no hyper-parameter {key!r}{nearest(key, values)}; it has: {', '.join(values) or 'none'}")
        values[key] = _like_default(value, values[key], f"hyper-parameter {key!r} of {what}")
    return values


# The decorators: they only attach what they are given, since `describe` reads the same from the source.


def objective(
    name: str, *, rows: str = "sequences", reads: tuple[str, ...] = (), reduction: str = "token-mean"
) -> Callable[[Function], Function]:
    """Register a loss ``f(batch: TokenBatch, *, hyperparameter=default, ...) -> Tensor [T], [S] or [N], or Loss``.

    Args:
        name: the name that recipes use.
        rows: what it takes: ``sequences``, ``pairs`` (two sequences, chosen first) or whole ``groups``.
        reads: the fields of the batch, beyond those always there, that it reads: see ``READABLE``.
        reduction: how the engine makes one number of its values: see ``rlbench.objectives.reduction``.
    """
    return _attach("objective", name, {"rows": rows, "reads": tuple(reads), "reduction": reduction})


def advantage(name: str, *, reads: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Register an advantage estimator ``f(batch: TokenBatch, *, ...) -> Tensor [S] or [T]``, or ``Credit(advantage, returns)``."""
    return _attach("advantage", name, {"reads": tuple(reads)})


def reward(name: str) -> Callable[[Function], Function]:
    """Register a reward ``f(rollout: Rollout, *, ...) -> float``."""
    return _attach("reward", name, {})


def row_filter(name: str, *, reads: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Register a filter ``f(batch: TokenBatch, *, ...) -> Tensor [S]`` of bool, true where a sequence is kept."""
    return _attach("filter", name, {"reads": tuple(reads)})


def _attach(kind: Kind, name: str, attributes: Mapping[str, Any]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        function.__rlbench__ = types.MappingProxyType({"kind": kind, "name": name, **attributes})  # type: ignore[attr-defined]
        return function

    return decorate


def describe(plugins: Sequence[str | Path] = ()) -> Catalogue:
    """Read what is built in, what installed plug-ins add under the entry-point group, and the given plug-in files; run none of it.

    Raises:
        UserError: a file is missing or not Python, a decorator or signature is not as it has to be, or a name is taken.
    """
    found: dict[Kind, dict[str, Description]] = {kind: {} for kind in _ARGUMENTS}
    broken = []
    for path, module in _built_in_files():
        _add(found, _read_file(path, module))
    for name, locate in _installed():
        try:  # what somebody installed long ago must not keep anybody from running what does not use it
            _add(found, _read_file(*locate()))
        except UserError as error:
            broken.append(f"{name}: {error}")
    for plugin in plugins:
        registered = _read_file(Path(plugin), None)
        if not registered:
            decorators = ", ".join(f"@{name}(...)" for name in _DECORATORS)
            raise UserError(f"{plugin} registers nothing: put one of {decorators} before a function of the file")
        _add(found, registered)
    return Catalogue(found["objective"], found["advantage"], found["reward"], found["filter"], tuple(broken))


def _add(found: Mapping[Kind, dict[str, Description]], descriptions: Sequence[Description]) -> None:
    """Add all of a file's functions, or none: UserError where a name is taken."""
    added: dict[tuple[Kind, str], Description] = {}
    for new in descriptions:
        other = found[new.kind].get(new.name) or added.get((new.kind, new.name))
        if other is not None:
            where = f"{other.path}:{other.line}"
            raise UserError(f"{new.path}:{new.line}: {new.kind} {new.name!r} is already defined in {where}; give it another name")
        added[new.kind, new.name] = new
    for (kind, name), new in added.items():
        found[kind][name] = new


def call(function: Callable[..., Any], argument: Any, hyperparameters: Mapping[str, Any]) -> Any:
    """Call a registered function.

    Raises:
        UserError: it raised; the message names it, with its file and the line. Not a StageFailure, which would be remembered:
            what made it raise may lie outside its source.
    """
    try:
        return function(argument, **hyperparameters)
    except (StageFailure, UserError):
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # no fault of the function's
            raise
        raise UserError(f"{called(function, error)}: {type(error).__name__}: {error}") from error


def called(function: Callable[..., Any], error: BaseException | None = None) -> str:
    """What a message calls a function: kind, name, file and line, the line being that in its file at which ``error`` came up."""
    attached = getattr(function, "__rlbench__", {})
    code = getattr(function, "__code__", None)
    what = f"{attached.get('kind', 'function')} {attached.get('name', getattr(function, '__name__', '?'))!r}"
    if code is None:
        return what
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == code.co_filename] if error else []
    return f"{what} ({code.co_filename}:{lines[-1] if lines else code.co_firstlineno})"


def load(kind: Kind, name: str, plugins: Sequence[Plugin] = ()) -> Callable[..., Any]:
    """Import a registered function.

    Args:
        kind: what it is.
        name: its registered name.
        plugins: plug-in files as paths, or as mappings with ``path`` and ``source`` where a stage carries the text along; a
            source given runs instead of the file, which need not exist on this machine.

    Raises:
        UserError: there is no such function, or its file fails to import.
    """
    for plugin in plugins:
        path, text = _plugin_text(plugin)
        for description in _read_text(path, text, None):
            if (description.kind, description.name) == (kind, name):
                return getattr(_execute(path, text), description.function)
    found = describe().find(name, kind)
    try:
        return getattr(importlib.import_module(str(found.module)), found.function)
    except (Exception, SystemExit) as error:
        raise _import_failure(found.path, error) from error


def code(description: Description) -> str:
    """The text, comments and all, of a registered function and of the functions and constants of its file that it uses."""
    text = _plugin_text(description.path)[1]
    tree = ast.parse(text)
    lines = text.splitlines()
    named = {name: node for node in tree.body for name in _names_of(node)}
    wanted, todo = set(), [description.function]
    while todo:
        node = named[todo.pop()]
        if id(node) not in wanted:
            wanted.add(id(node))
            todo += [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in named]
    return "\n\n\n".join("\n".join(lines[_first_line(n) - 1 : n.end_lineno]) for n in tree.body if id(n) in wanted)


def _names_of(node: ast.stmt) -> list[str]:
    """What a statement of a module defines: a function, a class, or constants."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return []
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])


# Reading source.


def _built_in_files() -> list[tuple[Path, str | None]]:
    return [(path, f"rlbench.objectives.{path.stem}") for path in sorted(_BUILT_IN.glob("*.py")) if path.name != "registry.py"]


def _installed() -> list[tuple[str, Callable[[], tuple[Path, str]]]]:
    """The entry points by name, each with a function that finds its source file without importing the package that it is in."""
    points = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: (point.module, point.name))
    by_module = {point.module: point.name for point in reversed(points)}
    return [(name, partial(_locate, module)) for module, name in sorted(by_module.items())]


def _locate(module: str) -> tuple[Path, str]:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise UserError(f"module {module!r} is not there")
    base = Path(spec.origin).parent.joinpath(*rest)
    candidates = [base.with_suffix(".py"), base / "__init__.py"] if rest else [Path(spec.origin)]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0]), module


def _read_file(path: Path, module: str | None) -> list[Description]:
    return _read_text(path, _plugin_text(path)[1], module)


def _plugin_text(plugin: Plugin) -> tuple[Path, str]:
    if isinstance(plugin, Mapping):
        return Path(plugin["path"]), plugin["source"]
    try:
        return Path(plugin), Path(plugin).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"plug-in {plugin} cannot be read: {error}") from None


@lru_cache(maxsize=256)
def _read_text(path: Path, text: str, module: str | None) -> tuple[Description, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise UserError(f"{path}{line}: not Python: {error.msg}") from None
    registered = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (found := _decorator(node)) is not None:
            if not isinstance(node, ast.FunctionDef):
                raise UserError(f"{path}:{node.lineno}: {node.name!r} has to be a plain function to be registered")
            if node.name in registered:
                first = registered[node.name][0].lineno
                raise UserError(f"{path}:{node.lineno}: the function {node.name!r} replaces that of line {first}; give it another name")
            registered[node.name] = (node, *found)
    return tuple(
        _describe_function(path, module, node, call, kind, tree, _slice(tree, node, set(registered)))
        for node, call, kind in registered.values()
    )


def _decorator(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> tuple[ast.Call, Kind] | None:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            called = decorator.func
            name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            if name in _DECORATORS:
                return decorator, _DECORATORS[name]
    return None


def _slice(tree: ast.Module, node: ast.FunctionDef, registered: set[str]) -> str:
    """The module's code without the registered functions that ``node`` and the helpers beside it do not mention."""
    kept = {node.name}
    while True:
        body = [part for part in tree.body if not isinstance(part, ast.FunctionDef) or part.name not in registered or part.name in kept]
        names = {name.id for part in body for name in ast.walk(part) if isinstance(name, ast.Name)}
        if names & registered <= kept:
            return ast.unparse(ast.Module(body=body, type_ignores=[]))
        kept |= names & registered


def _describe_function(
    path: Path, module: str | None, node: ast.FunctionDef, call: ast.Call, kind: Kind, tree: ast.Module, source: str
) -> Description:
    where = f"{path}:{node.lineno}"
    given = _decorator_arguments(call, kind, where)
    name = given["name"]
    for key, allowed in (("rows", ROWS), ("reduction", REDUCTIONS)):
        if key in given and given[key] not in allowed:
            raise UserError(f"{where}: {kind} {name!r}: {key} is one of {', '.join(allowed)}, not {given[key]!r}")
    reads = _names(given.get("reads", ()), f"{where}: {kind} {name!r}")
    batch = _batch_parameter(node, f"{where}: {kind} {name!r}")
    fields = _fields_read(node, batch, {part.name: part for part in tree.body if isinstance(part, ast.FunctionDef)}, set())
    undeclared = next((field for field in fields if field in READABLE and field not in reads and kind != "reward"), None)
    problem = undeclared and f"{path}:{fields[undeclared]}: {kind} {name!r} reads {undeclared!r} and does not declare it: add it to reads"
    is_objective = kind == "objective"
    return Description(
        kind, name, given.get("rows", "sequences") if is_objective else None, reads,
        given.get("reduction", "token-mean") if is_objective else None, _hyperparameters(node, f"{where}: {kind} {name!r}"),
        is_objective and "advantage" in fields, ast.get_docstring(node) or "", node.name, path, node.lineno, source, module, problem,
    )  # fmt: skip


def _fields_read(
    node: ast.FunctionDef, batch: str, functions: Mapping[str, ast.FunctionDef], done: set[tuple[str, str]]
) -> dict[str, int]:
    """The attributes of its parameter ``batch`` that a function reads, itself or by functions of its file, each with a line."""
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
    known = ("name", *_ARGUMENTS[kind])
    if len(call.args) > 1:
        raise UserError(f"{where}: only the name of a {kind} is positional; write {', '.join(known[1:])} as keywords")
    for key, value in [*(("name", argument) for argument in call.args), *((keyword.arg, keyword.value) for keyword in call.keywords)]:
        if key not in known:
            raise UserError(f"{where}: a {kind} has no decorator argument {key!r}{nearest(str(key), known)}")
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, TypeError):
            raise UserError(f"{where}: decorator argument {key!r} has to be a literal, not {ast.unparse(value)!r}") from None
    if not isinstance(given.get("name"), str) or not given["name"]:
        raise UserError(f"{where}: the decorator names the {kind} by a string")
    return given


def _names(reads: Any, what: str) -> tuple[str, ...]:
    if not isinstance(reads, tuple | list) or not all(isinstance(field, str) for field in reads):
        raise UserError(f"{what}: reads is a tuple of field names, not {reads!r}")
    for field in reads:
        if field not in READABLE:
            raise UserError(f"{what}: nothing called {field!r} can be read{nearest(field, READABLE)}; known: {', '.join(READABLE)}")
    return tuple(reads)


def _batch_parameter(node: ast.FunctionDef, what: str) -> str:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if len(positional) != 1 or arguments.vararg or arguments.kwarg:
        raise UserError(f"{what} takes one positional parameter and no *args or **kwargs; put a `*` before its hyper-parameters")
    return positional[0].arg


def _hyperparameters(node: ast.FunctionDef, what: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is None:
            raise UserError(f"{what}: hyper-parameter {argument.arg!r} needs a default")
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError):
            raise UserError(f"{what}: the default of {argument.arg!r} has to be a literal, not {ast.unparse(default)!r}") from None
        defaults[argument.arg] = _json_value(value, f"{what}: the default of {argument.arg!r}")
    return defaults


def _json_value(value: Any, what: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json_value(item, what) for item in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(f"{what} is a finite number, a string, a list of them or None, not {value!r}")


def _like_default(value: Any, default: Any, what: str) -> Any:
    value = _json_value(value, what)
    if type(default) is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise UserError(f"{what} is a {type(default).__name__} such as {default!r}, not {value!r}")
    return value


def _execute(path: Path, text: str) -> types.ModuleType:
    """The plug-in's module, run once a process for each text."""
    name = f"rlbench_plugin_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failure(path, error) from error
    return module


def _import_failure(path: Path, error: BaseException) -> UserError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return UserError(f"plug-in {where} failed while it was imported: {type(error).__name__}: {error}")
