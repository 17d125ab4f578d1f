"""The registry: which objectives, advantage estimators, rewards and filters there are, read from source without
importing it.

An author writes a function and decorates it; everything that a plan needs to know (name, rows, reads, reduction,
hyper-parameters with their defaults) is literal in the decorator and in the signature, so ``describe`` finds it in the
syntax tree. That keeps ``rlbench plan`` free of torch and lets a plug-in be judged before any of its code runs.
``load`` imports the one function needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rlbench.objectives import source
from rlbench.objectives.source import Description, Kind, Plugin
from rlbench.records import StageFailure, UserError, nearest

ENTRY_POINTS = "rlbench.objectives"
_BUILT_IN = Path(__file__).parent
_REGISTRATION = "__rlbench__"
"""The attribute that a decorator leaves on its function; ``registration`` reads it."""
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Catalogue:
    """Everything that is registered, by kind and name. ``broken`` says which installed plug-ins could not be read, and
    why.
    """

    objectives: Mapping[str, Description]
    advantages: Mapping[str, Description]
    rewards: Mapping[str, Description]
    filters: Mapping[str, Description]
    broken: tuple[str, ...] = ()

    def of(self, kind: Kind) -> Mapping[str, Description]:
        """The registered functions of one kind."""
        return {
            "objective": self.objectives,
            "advantage": self.advantages,
            "reward": self.rewards,
            "filter": self.filters,
        }[kind]

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
            raise UserError(
                f"{what} has no hyper-parameter {key!r}{nearest(key, values)}; it has: {', '.join(values) or 'none'}"
            )
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
        reads: the fields of the batch, beyond those always there, that it reads: see ``source.READABLE``.
        reduction: how the engine makes one number of its values: see ``rlbench.objectives.reduction``.
    """
    return _attach("objective", name, {"rows": rows, "reads": reads, "reduction": reduction})


def advantage(name: str, *, reads: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Register an advantage estimator ``f(batch: TokenBatch, *, ...) -> Tensor [S] or [T]``, or ``Credit(advantage,
    returns)``.
    """
    return _attach("advantage", name, {"reads": reads})


def reward(name: str) -> Callable[[Function], Function]:
    """Register a reward ``f(rollout: Rollout, *, ...) -> float``."""
    return _attach("reward", name, {})


def row_filter(name: str, *, reads: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Register a filter ``f(batch: TokenBatch, *, ...) -> Tensor [S]`` of bool, true where a sequence is kept."""
    return _attach("filter", name, {"reads": reads})


def _attach(kind: Kind, name: str, attributes: Mapping[str, Any]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        setattr(function, _REGISTRATION, types.MappingProxyType({"kind": kind, "name": name, **attributes}))
        return function

    return decorate


def registration(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The registration of a function: ``kind``, ``name`` and what else its decorator says; empty if it was not."""
    found: Mapping[str, Any] = getattr(function, _REGISTRATION, {})
    return found


def describe(plugins: Sequence[str | Path] = ()) -> Catalogue:
    """Read what is built in, what installed plug-ins add under the entry-point group, and the given plug-in files; run
    none of it.

    Raises:
        UserError: a file is missing or not Python, a decorator or signature is not as it has to be, or a name is taken.
    """
    found: dict[Kind, dict[str, Description]] = {kind: {} for kind in source.KINDS}
    broken = []
    for path, module in _built_in_files():
        _add(found, _read(path, module))
    for name, locate in _installed():
        try:  # what somebody installed long ago must not keep anybody from running what does not use it
            _add(found, _read(*locate()))
        except UserError as error:
            broken.append(f"{name}: {error}")
    for plugin in plugins:
        registered = _read(Path(plugin), None)
        if not registered:
            decorators = ", ".join(f"@{name}(...)" for name in source.DECORATORS)
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
            if where == f"{new.path}:{new.line}":
                raise UserError(f"plug-in {new.path} is named twice: leave one out")
            raise UserError(
                f"{new.path}:{new.line}: {new.kind} {new.name!r} is already defined in {where}; give it another name"
            )
        added[new.kind, new.name] = new
    for (kind, name), new in added.items():
        found[kind][name] = new


def call(function: Callable[..., Any], argument: Any, hyperparameters: Mapping[str, Any]) -> Any:
    """Call a registered function.

    Raises:
        UserError: it raised; the message names it, with its file and the line. Not a StageFailure, which would be
            remembered: what made it raise may lie outside its source.
    """
    with blamed(function), _as_it_was(lambda: name_and_place(function)):
        return function(argument, **hyperparameters)


@contextlib.contextmanager
def blamed(function: Callable[..., Any]) -> Iterator[None]:
    """Make what is raised meanwhile the fault of a registered function, as ``call`` says."""
    try:
        yield
    except (StageFailure, UserError):
        raise
    except (Exception, SystemExit) as error:
        if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError") or "DefaultCPUAllocator" in str(error):
            raise  # no fault of the function's
        raise UserError(f"{name_and_place(function, error)}: {type(error).__name__}: {error}") from error


def name_and_place(function: Callable[..., Any], error: BaseException | None = None) -> str:
    """The name of a function in messages: kind, name, file and line, the line being that in its file at which ``error``
    came up.
    """
    attached = registration(function)
    code = getattr(function, "__code__", None)
    what = f"{attached.get('kind', 'function')} {attached.get('name', getattr(function, '__name__', '?'))!r}"
    if code is None:
        return what
    lines = (
        [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == code.co_filename] if error else []
    )
    return f"{what} ({code.co_filename}:{lines[-1] if lines else code.co_firstlineno})"


def load(kind: Kind, name: str, plugins: Sequence[Plugin] = ()) -> Callable[..., Any]:
    """Import a registered function.

    Args:
        kind: what it is.
        name: its registered name.
        plugins: plug-in files as paths, or as mappings with ``path`` and ``source`` where a stage carries the text
            along; a source given runs instead of the file, which need not exist on this machine.

    Raises:
        UserError: there is no such function, its file fails to import, or what it leaves under the name is not that
            function.
    """
    for plugin in plugins:
        path, text = source.text_of(plugin)
        for description in source.read(path, text, None):
            if (description.kind, description.name) == (kind, name):
                return _registered(_execute(path, text), description)
    found = describe().find(name, kind)
    try:
        with _as_it_was(lambda: str(found.path)):
            module = importlib.import_module(str(found.module))
    except UserError:
        sys.modules.pop(str(found.module), None)  # else it would be taken for good the next time
        raise
    except (Exception, SystemExit) as error:
        raise _import_failure(found.path, error) from error
    return _registered(module, found)


def _registered(module: types.ModuleType, description: Description) -> Callable[..., Any]:
    function = getattr(module, description.function, None)
    attached = registration(function) if function is not None else {}
    if function is None or (attached.get("kind"), attached.get("name")) != (description.kind, description.name):
        what = f"{description.path}:{description.line}: {description.kind} {description.name!r}"
        raise UserError(
            f"{what}: once its file has run, {description.function!r} is something else: define it once, its "
            "decorator on top"
        )
    return function


def _here() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _go_back(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


@contextlib.contextmanager
def _as_it_was(what: Callable[[], str]) -> Iterator[None]:
    """Put back what a plug-in has no business to change, since every other row of the process works with it.

    Raises:
        UserError: something was changed.
    """
    import torch

    state: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "the working directory": (_here, _go_back),
        "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    }
    before = {name: get() for name, (get, _) in state.items()}
    changed = []
    try:
        yield
    finally:
        for name, (get, put) in state.items():
            if get() != before[name]:
                put(before[name])
                changed.append(name)
    if changed:
        raise UserError(f"{what()} changes {' and '.join(changed)}, which all rows share: leave it as it is")


def _built_in_files() -> list[tuple[Path, str | None]]:
    return [(path, f"rlbench.objectives.{path.stem}") for path in sorted(_BUILT_IN.glob("*.py"))]


def _installed() -> list[tuple[str, Callable[[], tuple[Path, str]]]]:
    """The entry points by name, each with a function that finds its source file without importing the package that it
    is in.
    """
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


def _read(path: Path, module: str | None) -> tuple[Description, ...]:
    return source.read(path, source.text_of(path)[1], module)


def _like_default(value: Any, default: Any, what: str) -> Any:
    value = source.json_value(value, what)
    if type(default) is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise UserError(f"{what} is a {type(default).__name__} such as {default!r}, not {value!r}")
    return value


def _execute(path: Path, text: str) -> types.ModuleType:
    """The plug-in's module, run once a process for each path and text."""
    name = f"rlbench_plugin_{hashlib.sha256(f'{path}|{text}'.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        with _as_it_was(lambda: f"plug-in {path}"):
            exec(compile(text, str(path), "exec"), module.__dict__)
    except UserError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failure(path, error) from error
    return module


def _import_failure(path: Path, error: BaseException) -> UserError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return UserError(f"plug-in {where} failed while it was imported: {type(error).__name__}: {error}")
