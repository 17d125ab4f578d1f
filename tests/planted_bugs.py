"""Plants wrong objectives, estimators and engine code, and asks which of the suite's nets catches each: kit, goldens,
oracles.

    python tests/planted_bugs.py [--json]

A bug is an edit of the real source: a snippet that has to be found there exactly once, and what takes its place. The
edited file of an objective is loaded as a plug-in; estimators and engine code are changed in this process, function by
function, and changed back. The nets are the conformance kit (``rlbench.testing.examine``), the golden values worked out
by hand (``goldens.py``, for estimators the tests of their golden values in ``test_objectives.py``) and TRL's trainers
(``oracles.py``). First the source as it is has to pass through all of them.

A table goes to stderr, and with ``--json`` the same as JSON to stdout. Exit codes: 0 every bug was caught; 1 some were
not; 2 the script itself is wrong: a snippet is not there, an edit does not run, or the unedited source is caught.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from rlbench.graph.machine import single_thread_environment

os.environ.update(single_thread_environment())  # before anything imports torch

import rlbench
from rlbench.objectives import registry, source
from rlbench.records import StageFailure, UserError

ROOT = Path(rlbench.__file__).parent
NETS = ("kit", "goldens", "oracles")
TOLERANCE = 1e-5
BONUS = "bonus"
"""The oracle for what the engine does and no registered objective needs, ``oracles.BONUS``."""
NOT_RUNNING = ("NameError", "UnboundLocalError", "ImportError", "SyntaxError", "TypeError")
"""What an edit raises that was written wrong: it would count as caught and show nothing."""


class Unsound(Exception):
    """The script is wrong, and not what it judges."""


@dataclass(frozen=True)
class Bug:
    """``new`` in the place of ``old`` in a file of rlbench, and the registered functions ``judged`` that it makes
    wrong.

    ``kind`` is what they are; ``engine`` says that it is not their own file that is edited, and ``BONUS`` can be judged
    too.
    """

    what: str
    file: str
    old: str
    new: str
    judged: tuple[str, ...]
    kind: str = "objective"

    @property
    def registered(self) -> source.Kind:
        """What the functions judged are registered as."""
        return "advantage" if self.kind == "advantage" else "objective"

    def source(self) -> str:
        """The file as it is."""
        return (ROOT / self.file).read_text(encoding="utf-8")

    def text(self) -> str:
        """The edited source. Unsound: the snippet is not there exactly once, or the edit changes nothing."""
        source = self.source()
        if source.count(self.old) != 1 or self.old == self.new:
            raise Unsound(
                f"{self.what}: {self.old!r} is in {self.file} {source.count(self.old)} times, and has to be there once"
            )
        return source.replace(self.old, self.new)


def of(file: str, kind: str = "objective") -> Callable[..., Bug]:
    """A maker of bugs in one file: ``(judged, what, old, new)``."""
    return lambda judged, what, old, new: Bug(
        what, file, old, new, (judged,) if isinstance(judged, str) else judged, kind
    )


_sft, _dft, _iw = of("objectives/sft.py"), of("objectives/dft.py"), of("objectives/iw_sft.py")
_probability, _asft, _eaft = of("objectives/probability.py"), of("objectives/asft.py"), of("objectives/eaft.py")
_proximal, _reinforce, _preference = (
    of("objectives/proximal.py"),
    of("objectives/reinforce.py"),
    of("objectives/preference.py"),
)
_clipped, _value, _advantages = (
    of("objectives/clipped.py"),
    of("objectives/value.py"),
    of("objectives/advantages.py", "advantage"),
)
_batch, _reduction = of("objectives/batch.py", "engine"), of("objectives/reduction.py", "engine")
_batching, _policy, _step = (of(f"training/{name}.py", "engine") for name in ("batching", "policy", "step"))

_DPO = """    chosen, rejected = batch.pairs(batch.sequence_sum(batch.logp - batch.ref_logp))
    margin = beta * (chosen - rejected)
    return _loss(-logsigmoid(margin), margin)
"""
_TOPR = """    tapered = bounded_ratio(batch.sequence_sum(batch.logp - batch.old_logp)).clamp(max=1)
    right = batch.reward > 0
    weight = stop_gradient(torch.where(right, torch.ones_like(tapered), tapered))
    signed = torch.where(right, weight, -weight)
    return Loss([Term(-batch.expand(signed) * batch.logp)], {"weight": weight})
"""
_TOPR_A_TOKEN = (
    _TOPR.replace("batch.sequence_sum(batch.logp - batch.old_logp)", "batch.logp - batch.old_logp")
    .replace("batch.reward > 0", "batch.expand(batch.reward) > 0")
    .replace("batch.expand(signed)", "signed")
)
_GSPO = """    log_ratio = batch.sequence_mean(batch.logp - batch.old_logp)
    return _surrogate(log_ratio, batch.sequence_mean(batch.advantage), clip_low, clip_high)
"""
_REWARD = "    reward = batch.old_value.new_zeros("
_BOOTSTRAP = """    ends = torch.arange(batch.n_sequences)
    value[ends, batch.lengths] = value[ends, batch.lengths - 1]
"""
_SURROGATE = "    ratio = bounded_ratio(log_ratio)\n    unclipped = ratio * advantage\n"

BUGS = (
    # Likelihoods and their weights.
    _sft("sft", "wrong sign", "return -batch.logp", "return batch.logp"),
    _sft("sft", "takes the mean itself", "return -batch.logp", "return -batch.logp.mean()"),
    _sft("sft", "divides by the micro-batch's tokens", "return -batch.logp", "return -batch.logp / batch.n_tokens"),
    _dft("dft", "no stop_gradient", "    weight = stop_gradient(weight)\n", ""),
    _dft(
        "dft",
        "detach in place of stop_gradient",
        "    weight = stop_gradient(weight)\n",
        "    weight = weight.detach()\n",
    ),
    _dft("dft", "the loss -p, whose gradient is right", "Term(-weight * logp)", "Term(-logp.exp())"),
    _dft(
        "dft_geo",
        "arithmetic mean of p",
        "batch.sequence_mean(batch.logp).exp()",
        "batch.sequence_mean(batch.logp.exp())",
    ),
    _iw("iw_sft", "no cap on the weight", "ratio.clamp(max=weight_max)", "ratio"),
    _iw(
        "iw_sft",
        "gradient through the weight",
        "stop_gradient(ratio.clamp(max=weight_max))",
        "ratio.clamp(max=weight_max)",
    ),
    _iw("iw_sft", "ratio of the whole sequence", "batch.sequence_mean(", "batch.sequence_sum("),
    _probability("focal", "sign of the exponent", "** gamma\n", "** -gamma\n"),
    _probability(
        "focal",
        "weight held fixed",
        '    return Loss([Term(-weight * batch.logp)], {"weight": stop_gradient(weight)})',
        '    weight = stop_gradient(weight)\n    return Loss([Term(-weight * batch.logp)], {"weight": weight})',
    ),
    _probability("prob_power", "not divided by k", "-torch.expm1(k * batch.logp) / k", "-torch.expm1(k * batch.logp)"),
    _probability(
        "chord_phi", "p in place of p (1 - p)", "-batch.logp.exp() * torch.expm1(batch.logp)", "batch.logp.exp()"
    ),
    _asft(
        "asft",
        "KL of the other direction",
        "_split_kl(batch.ref_logp, batch.logp)",
        "_split_kl(batch.logp, batch.ref_logp)",
    ),
    _asft("asft", "alpha forgotten", "Term(kl, coefficient=alpha)", "Term(kl)"),
    _eaft("eaft", "gradient through the entropy", "stop_gradient(batch.entropy)", "batch.entropy"),
    _eaft("eaft", "weight not capped at 1", ".clamp(0, 1)", ".clamp(min=0)"),
    _proximal("psft", "clipped on the wrong side", "ratio.clamp(max=1 + clip)", "ratio.clamp(min=1 - clip)"),
    # Policy gradients without a clip.
    _reinforce(
        "reinforce", "wrong sign", "return -batch.advantage * batch.logp", "return batch.advantage * batch.logp"
    ),
    _reinforce("topr", "ratio not clipped", "batch.old_logp)).clamp(max=1)", "batch.old_logp))"),
    _reinforce("topr", "ratio of the mean", "bounded_ratio(batch.sequence_sum(", "bounded_ratio(batch.sequence_mean("),
    _reinforce("topr", "ratio a token", _TOPR, _TOPR_A_TOKEN),
    _reinforce(
        "topr", "gradient through the ratio", "weight = stop_gradient(torch.where(", "weight = torch.clone(torch.where("
    ),
    _reinforce(
        "topr", "wrong answers pushed up", "torch.where(right, weight, -weight)", "torch.where(right, weight, weight)"
    ),
    _reinforce("dro", "square not halved", "square = 0.5 * ", "square = "),
    # Pairs.
    _preference("dpo", "mean in place of sum", _DPO, _DPO.replace("sequence_sum", "sequence_mean")),
    _preference(
        "dpo",
        "reference and policy swapped",
        _DPO,
        _DPO.replace("batch.logp - batch.ref_logp", "batch.ref_logp - batch.logp"),
    ),
    _preference("dpo", "chosen and rejected swapped", _DPO, _DPO.replace("chosen, rejected =", "rejected, chosen =")),
    _preference("dpo", "beta forgotten", _DPO, _DPO.replace("beta * (", "(")),
    _preference("dpo", "reference forgotten", _DPO, _DPO.replace("batch.logp - batch.ref_logp", "batch.logp")),
    _preference("dpo", "rows not declared", '@objective("dpo", rows="pairs", ', '@objective("dpo", '),
    _preference(
        "hinge",
        "undeclared read",
        '@objective("hinge", rows="pairs", reads=("ref_logp",), ',
        '@objective("hinge", rows="pairs", ',
    ),
    _preference("hinge", "wrong side of the hinge", "relu(1 - margin)", "relu(1 + margin)"),
    _preference("ipo", "target 1 / beta", "1 / (2 * beta)", "1 / beta"),
    _preference(
        "ipo",
        "sum in place of mean",
        "batch.sequence_mean(batch.logp - batch.ref_logp)",
        "batch.sequence_sum(batch.logp - batch.ref_logp)",
    ),
    _preference("simpo", "sign of gamma", "-logsigmoid(margin - gamma)", "-logsigmoid(margin + gamma)"),
    _preference(
        "simpo",
        "declared and not read",
        '@objective("simpo", rows="pairs", ',
        '@objective("simpo", rows="pairs", reads=("ref_logp",), ',
    ),
    # The clipped surrogate and its family.
    _clipped("grpo", "max in place of min", "torch.minimum(unclipped, clipped)", "torch.maximum(unclipped, clipped)"),
    _clipped("grpo", "wrong sign", "-torch.minimum(unclipped, clipped)", "torch.minimum(unclipped, clipped)"),
    _clipped("dr_grpo", "always clipped", "-torch.minimum(unclipped, clipped)", "-clipped"),
    _clipped(
        "dapo", "bounds swapped", "ratio.clamp(1 - clip_low, 1 + clip_high)", "ratio.clamp(1 - clip_high, 1 + clip_low)"
    ),
    _clipped("ppo", "ratio upside down", _SURROGATE, _SURROGATE.replace("(log_ratio)", "(-log_ratio)")),
    _clipped(
        "grpo", "log-ratio not bounded", _SURROGATE, _SURROGATE.replace("bounded_ratio(log_ratio)", "log_ratio.exp()")
    ),
    _clipped(
        "grpo",
        "gradient of the ratio cut off",
        _SURROGATE,
        _SURROGATE.replace("bounded_ratio(log_ratio)", "stop_gradient(bounded_ratio(log_ratio))"),
    ),
    _clipped(
        "reinforce_pp",
        "advantages whitened in each micro-batch",
        _SURROGATE,
        "    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)\n" + _SURROGATE,
    ),
    _clipped(
        "dr_grpo",
        "another reduction",
        'reads=("old_logp",), reduction="constant")',
        'reads=("old_logp",), reduction="sequence-mean")',
    ),
    _clipped(
        "gspo",
        "ratio of the sum",
        "log_ratio = batch.sequence_mean(batch.logp - batch.old_logp)",
        "log_ratio = batch.sequence_sum(batch.logp - batch.old_logp)",
    ),
    _clipped("gspo", "ratio a token", _GSPO, _GSPO.replace("batch.sequence_mean", "")),
    _clipped(
        "rloo",
        "ratio of the mean",
        "log_ratio = batch.sequence_sum(batch.logp - batch.old_logp)",
        "log_ratio = batch.sequence_mean(batch.logp - batch.old_logp)",
    ),
    _clipped(
        "cispo",
        "gradient through the weight",
        "log_ratio = stop_gradient(batch.logp - batch.old_logp)",
        "log_ratio = batch.logp - batch.old_logp",
    ),
    _clipped("cispo", "bound as a distance from 1", "-ratio.clamp(max=weight_max)", "-ratio.clamp(max=1 + weight_max)"),
    # The critic.
    _value("value", "no clip", "0.5 * torch.maximum(plain, clipped)", "0.5 * plain"),
    _value("value", "min in place of max", "torch.maximum(plain, clipped)", "torch.minimum(plain, clipped)"),
    _value(
        "value",
        "clipped around the returns",
        "batch.old_value + (batch.value - batch.old_value).clamp(-clip, clip)",
        "batch.returns + (batch.value - batch.returns).clamp(-clip, clip)",
    ),
    # Advantages.
    _advantages(
        "group_norm", "standard deviation of the population", "(count - 1).clamp(min=1)).sqrt()", "count).sqrt()"
    ),
    _advantages(
        "group_norm",
        "over the whole batch",
        "_groups(batch.group)\n    return batch.reward",
        "_groups(0 * batch.group)\n    return batch.reward",
    ),
    _advantages(
        "group_norm",
        "groups by place",
        "torch.unique(group, return_inverse=True, return_counts=True)",
        "torch.unique(torch.arange(len(group)) // 4, return_inverse=True, return_counts=True)",
    ),
    _advantages(
        "leave_one_out",
        "K for K - 1",
        "centred * (count / (count - 1).clamp(min=1))[index]",
        "centred * (count / count)[index]",
    ),
    _advantages("gae", "bootstraps past the end", _REWARD, _BOOTSTRAP + _REWARD),
    _advantages("gae", "lambda dropped", "gamma * lam * later", "gamma * later"),
    _advantages("gae", "gamma dropped from the next value", "reward + gamma * value[:, 1:]", "reward + value[:, 1:]"),
    _advantages(
        "gae",
        "reward at the first token",
        "device=reward.device), batch.lengths - 1]",
        "device=reward.device), 0 * batch.lengths]",
    ),
    _advantages("gae", "returns without the value", "returns = raw + batch.old_value", "returns = raw"),
    _advantages(
        "batch_norm",
        "over sequences, not tokens",
        "_whitened(batch.expand(reward), eps)",
        "batch.expand(_whitened(reward, eps))",
    ),
    _advantages("signed_reward", "0 and 1", "2 * batch.reward - 1", "batch.reward"),
    # What all objectives share.
    _batching(("sft", "grpo"), "predicted from one token earlier", "[sequence] + place\n", "[sequence] + place - 1\n"),
    _batching(("sft", "simpo"), "prompts are trained on", "ids[len(row.prompt_ids) :]", "ids[1:]"),
    _reduction(
        ("sft", "dapo"), "token-mean over the micro-batch", "values.sum() / totals.tokens", "values.sum() / tokens"
    ),
    _reduction(
        ("grpo", "gspo"),
        "sequence-mean over tokens",
        "    return values.sum() / totals.sequences\n",
        "    return values.sum() / totals.tokens\n",
    ),
    _reduction(
        "grpo", "sequence-mean of sums", "values = batch.sequence_mean(values)", "values = batch.sequence_sum(values)"
    ),
    _reduction(
        ("dpo", "simpo"),
        "pair-mean over sequences",
        "values.sum() / (totals.sequences // 2)",
        "values.sum() / totals.sequences",
    ),
    _reduction(
        "dr_grpo",
        "constant of the micro-batch",
        "totals.sequences * totals.constant_length",
        "totals.sequences * int(batch.lengths.max())",
    ),
    _reduction(BONUS, "a term's own reduction ignored", "term.reduction or reduction", "reduction"),
    _step(
        BONUS,
        "coefficients forgotten",
        "return as_loss(result)",
        "return Loss([type(t)(t.values, 1.0, t.reduction) for t in as_loss(result).terms])",
    ),
    _step(
        ("sft", "cispo"),
        "sequences counted as tokens",
        "Totals(token_count(examples), len(examples), ",
        "Totals(len(examples), len(examples), ",
    ),
    _step(
        ("sft", "rloo"),
        "only the last micro-batch",
        "            part.backward()\n",
        "            self.optimiser.zero_grad()\n            part.backward()\n",
    ),
    _policy(("grpo", BONUS), "temperature ignored", "if temperature != 1.0:", "if temperature < 0:"),
    _policy(
        BONUS,
        "entropy in bits",
        "validate_args=False).entropy()",
        "validate_args=False).entropy() / 0.6931471805599453",
    ),
    _policy(("sft", "dpo"), "attention looks ahead", "is_causal=mask is None", "is_causal=False"),
    _batch("dpo", "chosen and rejected swapped", "return x[0::2], x[1::2]", "return x[1::2], x[0::2]"),
    _batch(("gspo", "ipo"), "mean over the longest", "/ self.lengths.clamp(min=1)", "/ self.lengths.max()"),
    _batch(
        "grpo", "log-ratios not bounded", "log_ratio.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()", "log_ratio.exp()"
    ),
    _batch("dft", "stop_gradient stops nothing", "    return x.detach()\n", "    return x\n"),
)


# The nets.


def main(arguments: list[str]) -> int:
    """Plant every bug and report; returns the exit code."""
    began = time.monotonic()
    warnings.simplefilter("ignore")  # of what edits make torch warn about
    try:
        edits = [bug.text() for bug in BUGS]
        _sound()
        caught = [_judge(bug, text) for bug, text in zip(BUGS, edits, strict=True)]
    except Unsound as error:
        print(f"planted_bugs: {error}", file=sys.stderr)
        return 2
    rows = [
        {"what": bug.what, "file": bug.file, "judged": list(bug.judged), **by}
        for bug, by in zip(BUGS, caught, strict=True)
    ]
    missed = [row for row in rows if not any(row[net] for net in NETS)]
    _table(rows)
    result = {
        "planted": len(rows),
        "caught": len(rows) - len(missed),
        "by": {net: sum(bool(row[net]) for row in rows) for net in NETS},
        "seconds": round(time.monotonic() - began, 1),
        "missed": missed,
        "bugs": rows,
    }
    print(f"{result['caught']} of {result['planted']} caught in {result['seconds']} s: {result['by']}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps(result))
    return 1 if missed else 0


def _table(rows: list[dict[str, Any]]) -> None:
    mark = {True: "caught", False: ".", None: "-"}
    for row in [{"judged": ["judged"], "what": "bug", **{net: net for net in NETS}}, *rows]:
        cells = [f"{mark.get(row[net], row[net]):<8}" for net in NETS]
        print(f"{' '.join(row['judged']):<14} {row['what']:<42} {' '.join(cells)}", file=sys.stderr)


def _sound() -> None:
    """Unsound: the unedited source is caught, be it as it stands or planted as the bugs are."""
    each = {(name, bug.kind, bug.file if bug.kind == "objective" else ""): bug for bug in BUGS for name in bug.judged}
    for (name, _, _), bug in each.items():
        with _planted(bug, bug.source()) as load:
            for net, found in _nets(name, bug.registered, load(name)).items():
                if found:
                    raise Unsound(f"{bug.registered} {name!r} as it is is caught by: {net}: {found}")


def _judge(bug: Bug, text: str) -> dict[str, bool | None]:
    """By net: whether it caught the bug; None where it does not look at what is judged."""
    with _planted(bug, text) as load:
        found = [_nets(name, bug.registered, load(name)) for name in bug.judged]
    said = " ".join(str(each[net]) for each in found for net in NETS)
    if any(error in said for error in NOT_RUNNING):
        raise Unsound(f"{bug.what}: the edit does not run: {said}")
    looked = {net: [each[net] for each in found if each[net] is not None] for net in NETS}
    return {net: any(results) if results else None for net, results in looked.items()}


def _nets(name: str, kind: str, function: Callable[..., Any] | None) -> dict[str, str | None]:
    """By net: what it has against a function, empty if nothing; None where it does not look at it."""
    import oracles
    from goldens import GOLDENS, holds

    from rlbench.testing import examine

    if function is None:
        return {
            "kit": None,
            "goldens": None,
            "oracles": _deviates(lambda: oracles.BONUS(oracles.entropy_bonus), TOLERANCE),
        }
    if kind == "advantage":
        oracle, most, golden = oracles.ADVANTAGE_ORACLES.get(name), 1e-6, _golden_tests(name)
    else:
        oracle, most = oracles.ORACLES.get(name), TOLERANCE
        golden = "" if name in GOLDENS and holds(name, function) else "no golden holds"
    kit = "; ".join(examine(function).failures)
    return {
        "kit": kit,
        "goldens": golden,
        "oracles": _deviates(lambda: oracle(function), most) if oracle is not None else None,
    }


def _deviates(deviation: Callable[[], float], most: float) -> str:
    """What is wrong with a deviation: it is too large, or it cannot be computed because the function raises or returns
    no loss.

    Unsound: it cannot be computed for another reason, so that nothing was compared.
    """
    try:
        found = deviation()
    except (UserError, StageFailure) as error:
        if not str(error).startswith(
            ("objective ", "advantage ")
        ):  # the engine refused something else than what is judged
            raise Unsound(f"an oracle could not look: {error}") from error
        return f"{type(error).__name__}: {error}"
    return "" if found <= most else f"off by {found:.2e}"


def _golden_tests(name: str) -> str:
    """What the tests of an estimator's golden values have against it."""
    import test_objectives

    tests = [test for title, test in vars(test_objectives).items() if title.startswith("test_") and name in title]
    tests = [test for test in tests if test.__code__.co_argcount == 0 and not hasattr(test, "hypothesis")]
    if not tests:
        raise Unsound(f"no test in test_objectives.py is of {name!r}")
    for test in tests:
        try:
            test()
        except Exception as error:
            return f"{test.__name__}: {type(error).__name__}: {error}"
    return ""


# Planting.


@contextlib.contextmanager
def _planted(bug: Bug, text: str) -> Iterator[Callable[[str], Callable[..., Any] | None]]:
    """Plant a bug; gives what loads a registered function with it, and None for ``BONUS``."""

    def load(name: str, *plugins: Path) -> Callable[..., Any] | None:
        return None if name == BONUS else registry.load(bug.registered, name, plugins)

    if bug.kind != "objective":
        # The engine's own guard would refuse every model, and no net would get to see what it is asked about.
        with _replaced(bug, text), mock.patch("rlbench.training.policy._check_architecture"):
            yield load
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(bug.file).name
        path.write_text(text, encoding="utf-8")
        yield lambda name: load(name, path)


@contextlib.contextmanager
def _replaced(bug: Bug, text: str) -> Iterator[None]:
    """Give the functions of a module that differ in the edited text their code from there, for
    everyone who holds them.
    """
    module = importlib.import_module("rlbench." + bug.file.removesuffix(".py").replace("/", "."))
    before, after = (_functions(ast.parse(source)) for source in (bug.source(), text))
    changed = [name for name in before if ast.dump(before[name]) != ast.dump(after[name])]
    codes = {code.co_qualname: code for code in _codes(compile(text, str(ROOT / bug.file), "exec"))}
    functions = [(_find(module, name), codes[name]) for name in changed]
    plain = all(isinstance(function, types.FunctionType) for function, _ in functions)
    if not plain or (not functions and text != bug.source()):
        raise Unsound(f"{bug.what}: the edit is not in a plain function of {bug.file}")
    kept = [(function, function.__code__) for function, _ in functions]
    try:
        for function, code in functions:
            function.__code__ = code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def _functions(tree: ast.AST, prefix: str = "") -> dict[str, ast.FunctionDef]:
    """The functions of a module and the methods of its classes, by qualified name."""
    found = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            found[prefix + node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= _functions(node, f"{prefix}{node.name}.")
    return found


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _find(module: types.ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = vars(found)[part]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
