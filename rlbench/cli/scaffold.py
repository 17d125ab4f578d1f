"""A plug-in to start from: the file of a new objective, begun as a copy of one that is there, and its test."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlbench.objectives import registry, source
from rlbench.records import UserError

_COMMENTS = """\
# What the engine has to know is literal here, because it is read without running this file:
#   rows       "sequences"; "pairs" (the chosen sequence before the rejected one, one loss per pair); "groups" (all
#              samples of a prompt)
#   reads      fields beyond batch.logp: {readable}
#   reduction  how the engine makes one number of the losses: {reductions}
# The keyword arguments are the hyper-parameters, with the only place of their defaults; they are set in a recipe by
# name. A batch holds T trained tokens of S sequences, flat and without padding: there is no mask. Helpers:
# batch.sequence_sum(x) and batch.sequence_mean(x) make [S] of [T], batch.expand(x) makes [T] of [S], batch.pairs(x)
# makes (chosen [N], rejected [N]) of [S]. Return the loss of each token [T], sequence [S] or pair [N], unreduced. What
# is held fixed goes through stop_gradient (not .detach()), log-ratios through bounded_ratio."""

_TEST = '''\
"""Tests of NAME.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlbench import TokenBatch
from rlbench.objectives.reduction import as_loss
from rlbench.objectives.registry import load
from rlbench.testing import check_objective

NAME = load("objective", "NAME", [Path(__file__).with_name("NAME.py")])


def test_NAME_conforms() -> None:
    check_objective(NAME)


def test_NAME_has_its_golden_value() -> None:
    # Two sequences, of three tokens and of one. These are the values of MODEL: work out yours by hand.
    fields = {
FIELDS,
    }
    batch = TokenBatch.from_lengths([3, 1], reward=[1.0, 0.0], group=[0, 0], **fields)
    values = as_loss(NAME(batch)).terms[0].values
    assert values.tolist() == pytest.approx(VALUES, rel=1e-4)
'''


def new_objective(name: str, like: str, folder: Path, plugins: Sequence[Path] = ()) -> tuple[Path, Path]:
    """Write ``NAME.py``, an objective begun as a copy of ``like``, and ``test_NAME.py``; return both paths.

    Raises:
        UserError: the name is no Python name or is taken, ``like`` is unknown, or one of the files is there already.
    """
    catalogue = registry.describe(plugins)
    other = next((kind for kind in source.KINDS if like in catalogue.of(kind)), "objective")
    if other != "objective":
        raise UserError(
            f"--like {like}: it is {'an' if other == 'advantage' else 'a'} {other}; `new` begins with an objective"
        )
    model = catalogue.find(like, "objective")
    _check_name(name, source.code(model))
    if name in catalogue.objectives:
        taken = catalogue.objectives[name]
        raise UserError(f"objective {name!r} is already defined in {taken.path}:{taken.line}; choose another name")
    files = (folder / f"{name}.py", folder / f"test_{name}.py")
    for file in files:
        if file.exists():
            raise UserError(f"{file} is there already; it is not written over")
    texts = (_plugin(name, model), _test(name, model, plugins))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    return files


def _check_name(name: str, body: str) -> None:
    """UserError where a function and a file of that name would not do."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name) or name == "new":
        raise UserError(
            f"objective {name!r}: a name of letters, digits and _ is needed, since the function is called so"
        )
    taken = {node.id for text in (body, _TEST) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    taken |= {alias.name for node in ast.parse(_TEST).body if isinstance(node, ast.ImportFrom) for alias in node.names}
    taken |= set(sys.stdlib_module_names) - {"NAME"}
    if name in taken or importlib.util.find_spec(name) is not None:
        raise UserError(
            f"objective {name!r}: something else that Python imports or the code uses has this name; choose another"
        )


def _renamed(name: str, model: source.Description) -> tuple[str, str]:
    """The model's code under another name: what stands before its decorator, and what begins with it."""
    body = source.code(model)
    node = next(n for n in ast.parse(body).body if isinstance(n, ast.FunctionDef) and n.name == model.function)
    lines = body.splitlines()
    first = min(decorator.lineno for decorator in node.decorator_list)
    reads = "".join(f'"{field}", ' for field in model.reads).strip()
    decorator = f'@objective("{name}", rows="{model.rows}", reads=({reads}), reduction="{model.reduction}")'
    lines[node.lineno - 1] = lines[node.lineno - 1].replace(f"def {model.function}(", f"def {name}(", 1)
    return "\n".join([*lines[: first - 1], ""]) if first > 1 else "", "\n".join([decorator, *lines[node.lineno - 1 :]])


def _plugin(name: str, model: source.Description) -> str:
    before, after = _renamed(name, model)
    comments = _COMMENTS.format(readable=", ".join(source.READABLE), reductions=", ".join(source.REDUCTIONS))
    docstring = f'''"""{name}: an objective of your own, begun as a copy of {model.name}.

Check it:  python -m rlbench.testing {name}.py
Test it:   pytest test_{name}.py
Run it:    rlbench run quickstart --set \'plugins=["{name}.py"]\' {_row(name, model)}
"""'''
    return "\n\n".join([docstring, _imports(model, before + after), f"\n{before}{comments}\n{after}"]) + "\n"


def _row(name: str, model: source.Description) -> str:
    """The options of a run whose one row has the new objective."""
    if "value" in model.reads:
        return f"--only ppo --set 'methods.ppo.critic.objective=\"{name}\"'"
    extra = ', advantage="group_norm"' if model.uses_advantage else ""
    return f'--only {name} --set \'methods.{name}={{objective="{name}", data="{_data(model)}"{extra}}}\''


def _data(model: source.Description) -> str:
    if model.rows == "pairs":
        return "rollouts.pairs"
    if model.uses_advantage or model.rows == "groups" or "batch.reward" in model.source:
        return "rollouts.groups"
    return "rollouts.correct" if {"sampler_logp", "old_logp"} & set(model.reads) else "demonstrations"


def _imports(model: source.Description, body: str) -> str:
    """The imports of the model's file that its code uses, those of rlbench by their public names."""
    tree = ast.parse(model.path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    public = {"objective"}
    others = []
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "module", "") == "__future__":
            continue
        kept = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlbench"):
            public |= {alias.name for alias in kept}
        elif kept and not any(alias.name.startswith("rlbench") for alias in kept):
            others.append(ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), "names": kept})))
    lines = ["from __future__ import annotations", "", *others, *([""] if others else [])]
    return "\n".join([*lines, f"from rlbench import {', '.join(sorted(public))}"])


def _test(name: str, model: source.Description, plugins: Sequence[Path]) -> str:
    fields = {"logp": [0.5, 0.25, 0.1, 0.8], **{field: _example(field) for field in model.reads}}
    if model.uses_advantage:
        fields["advantage"] = [1.0, 1.0, 1.0, -0.5]
    values = _golden(model, fields, plugins)
    lines = ",\n".join(f'        "{key}": torch.tensor({numbers}){_log(key)}' for key, numbers in fields.items())
    texts = {"FIELDS": lines, "VALUES": str(values), "MODEL": model.name, "NAME": name}
    test = _TEST
    for word, text in texts.items():
        test = test.replace(word, text)
    return test


def _example(field: str) -> list[float]:
    """Numbers for a field of four tokens: probabilities where its logarithm is taken, see ``_log``."""
    return {
        "value": [0.2, 0.4, 0.6, 0.1],
        "old_value": [0.1, 0.3, 0.5, 0.1],
        "returns": [1.0, 1.0, 1.0, 0.0],
        "entropy": [1.0, 0.5, 2.0, 0.3],
    }.get(field, [0.4, 0.3, 0.2, 0.4])


def _log(field: str) -> str:
    return ".log()" if field.endswith("logp") else ""


def _golden(model: source.Description, fields: dict[str, list[float]], plugins: Sequence[Path]) -> list[float]:
    import torch

    from rlbench.objectives.batch import TokenBatch
    from rlbench.objectives.reduction import as_loss

    tensors: dict[str, Any] = {key: torch.tensor(numbers, dtype=torch.float64) for key, numbers in fields.items()}
    read: dict[str, Any] = {key: tensor.log() if _log(key) else tensor for key, tensor in tensors.items()}
    batch = TokenBatch.from_lengths([3, 1], reward=[1.0, 0.0], group=[0, 0], **read)
    function = registry.load("objective", model.name, plugins)
    return [
        round(value, 6)
        for value in as_loss(registry.call(function, batch, model.hyperparameters)).terms[0].values.tolist()
    ]
