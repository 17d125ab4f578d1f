"""The conformance kit: everything built in conforms, and every check finds what it is for and says where."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.objectives import registry, source
from rlbench.objectives.advantages import Credit
from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import advantage, objective, reward, row_filter
from rlbench.records import Rollout, UserError
from rlbench.testing import ConformanceReport, NotConforming, check_file, check_objective, examine, examine_all

ALL = ["reads", "result", "purity", "locality", "micro-batches", "extremes", "finite differences", "processes"]
OBJECTIVES = sorted(registry.describe().objectives)
OTHERS = [(kind, name) for kind in ("advantage", "reward", "filter") for name in registry.describe().of(kind)]  # type: ignore[arg-type]


pytestmark = pytest.mark.filterwarnings("ignore:std():UserWarning")


def failing(report: ConformanceReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.ok}


# What is built in.


@pytest.fixture(scope="module")
def built_in() -> dict[str, ConformanceReport]:
    functions = [registry.load("objective", name) for name in OBJECTIVES]
    return dict(zip(OBJECTIVES, examine_all(functions, processes=True), strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_built_in_objective_conforms(name: str, built_in: dict[str, ConformanceReport]) -> None:
    assert built_in[name].failures == ()
    assert [check.name for check in built_in[name].checks] == ALL


@pytest.mark.parametrize(("kind", "name"), OTHERS)
def test_every_built_in_estimator_reward_and_filter_conforms(kind: source.Kind, name: str) -> None:
    report = examine(registry.load(kind, name))
    assert report.failures == ()
    assert (report.kind, report.name) == (kind, name) and len(report.checks) >= 2


# Objectives that break one promise each, with the checks that have to find it.


def older(batch: TokenBatch) -> Tensor:
    return batch.old_logp


@objective("undeclared")
def undeclared(batch: TokenBatch) -> Tensor:
    return -bounded_ratio(batch.logp - older(batch))


@objective("unread", reads=("ref_logp", "entropy"))
def unread(batch: TokenBatch) -> Tensor:
    return -batch.logp + 0.0 * batch.ref_logp


@objective("two_networks", reads=("value", "returns"))
def two_networks(batch: TokenBatch) -> Tensor:
    return (batch.value - batch.returns).square() - batch.logp


@objective("scalar")
def scalar(batch: TokenBatch) -> Tensor:
    return -batch.logp.mean()


@objective("by_group", reduction="sequence-mean")
def by_group(batch: TokenBatch) -> Tensor:
    return -batch.sequence_sum(batch.logp)[: len(batch.group.unique())]


@objective("nothing")
def nothing(batch: TokenBatch) -> None:
    return None


@objective("pairs_of_what", reduction="pair-mean")
def pairs_of_what(batch: TokenBatch) -> Tensor:
    chosen, rejected = batch.pairs(batch.sequence_sum(batch.logp))
    return rejected - chosen


@objective("detached")
def detached(batch: TokenBatch) -> Tensor:
    return -batch.logp.detach()


@objective("flat")
def flat(batch: TokenBatch) -> Tensor:
    return -batch.logp * 0


@objective("cast")
def cast(batch: TokenBatch) -> Tensor:
    return -batch.logp.float()


@objective("spread", reduction="sequence-mean")
def spread(batch: TokenBatch) -> Tensor:
    lonely = torch.stack([batch.logp[batch.sequence == s].std() for s in range(batch.n_sequences)])
    return lonely - batch.sequence_sum(batch.logp)


@objective("logs_the_loss")
def logs_the_loss(batch: TokenBatch) -> Loss:
    return Loss([Term(-batch.logp)], {"loss": -stop_gradient(batch.logp)})


@objective("raises")
def raises(batch: TokenBatch) -> Tensor:
    return -batch.logp.no_such_method()


@objective("in_place")
def in_place(batch: TokenBatch) -> Tensor:
    batch.advantage -= batch.advantage.min()
    return -batch.logp


@objective("clamps_in_place")
def clamps_in_place(batch: TokenBatch) -> Tensor:
    return -batch.logp.clamp_(max=-0.5)


@objective("noisy")
def noisy(batch: TokenBatch) -> Tensor:
    return -batch.logp * torch.rand(batch.n_sequences)[batch.sequence]


CALLS = itertools.count()


@objective("remembers")
def remembers(batch: TokenBatch) -> Tensor:
    return -batch.logp * (1 + next(CALLS))


@objective("whitened")
def whitened(batch: TokenBatch) -> Tensor:
    return -batch.logp * (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-4)


@objective("neighbour", reduction="sequence-mean")
def neighbour(batch: TokenBatch) -> Tensor:
    return -batch.sequence_mean(batch.logp) * (1 + batch.reward.roll(1))


@objective("group_baseline", reduction="sequence-mean")
def group_baseline(batch: TokenBatch) -> Tensor:
    _, index, count = batch.group.unique(return_inverse=True, return_counts=True)
    mean = torch.zeros(len(count)).index_add(0, index, batch.reward) / count
    return -batch.sequence_mean(batch.logp) * (batch.reward - mean[index] + 0.1)


@objective("group_baseline_of_groups", rows="groups", reduction="sequence-mean")
def group_baseline_of_groups(batch: TokenBatch) -> Tensor:
    return group_baseline(batch)


@objective("across_in_its_gradient_only")
def across_in_its_gradient_only(batch: TokenBatch) -> Tensor:
    mean = batch.logp.mean()
    return -batch.logp + 0.5 * (mean - stop_gradient(mean))


@objective("large_batches_differ")
def large_batches_differ(batch: TokenBatch) -> Tensor:
    return -batch.logp * (1.001 if batch.n_tokens > 32 else 1.0)


@objective("unbounded", reads=("old_logp",))
def unbounded(batch: TokenBatch) -> Tensor:
    return -(batch.logp - batch.old_logp).exp()


@objective("odds")
def odds(batch: TokenBatch) -> Tensor:
    return (1 - batch.logp.exp()).log() - batch.logp


@objective("statistic_overflows", reads=("ref_logp",))
def statistic_overflows(batch: TokenBatch) -> Loss:
    return Loss([Term(-batch.logp)], {"ratio": stop_gradient((batch.logp - batch.ref_logp).exp())})


@objective("plain_detach")
def plain_detach(batch: TokenBatch) -> Tensor:
    return -batch.logp.exp().detach() * batch.logp


@objective("no_grad", reads=("entropy",))
def no_grad(batch: TokenBatch) -> Tensor:
    with torch.no_grad():
        weight = batch.entropy.clamp(max=3.0)
    return -weight * batch.logp


@objective("one_small_term_detached", reads=("ref_logp",))
def one_small_term_detached(batch: TokenBatch) -> Loss:
    return Loss([Term(-batch.logp), Term((batch.logp - batch.ref_logp).square().detach(), coefficient=1e-6)])


@objective("critic_detached", reads=("value", "returns"))
def critic_detached(batch: TokenBatch) -> Tensor:
    return (batch.value - batch.returns).square() * (1 + batch.value.detach())


@objective("stops_now_and_then")
def stops_now_and_then(batch: TokenBatch) -> Tensor:
    weight = stop_gradient(batch.logp.exp())
    return -weight * batch.logp + (0 * stop_gradient(weight) if next(CALLS) % 2 else 0)


@objective("stops_where_it_is_sure")
def stops_where_it_is_sure(batch: TokenBatch) -> Tensor:
    # A stop for every digit of the first log-probability that happens to be 7.
    extra = sum(stop_gradient(batch.logp[:1]) * 0 for digit in f"{batch.logp[0].item():.14f}" if digit == "7")
    return -batch.logp + extra


@objective("centred_and_back")
def centred_and_back(batch: TokenBatch) -> Tensor:
    shift = 1e3 * stop_gradient(batch.logp.sum())
    return -stop_gradient((batch.logp + shift) - shift) * batch.logp


@objective("weight_of_the_batch")
def weight_of_the_batch(batch: TokenBatch) -> Tensor:
    return -batch.logp * batch.expand(batch.weight / batch.weight.mean())


@objective("logs_a_mean")
def logs_a_mean(batch: TokenBatch) -> Loss:
    return Loss([Term(-batch.logp)], {"probability": stop_gradient(batch.logp.exp().mean())})


@objective("logs_its_neighbours")
def logs_its_neighbours(batch: TokenBatch) -> Loss:
    return Loss([Term(-batch.logp)], {"rank": stop_gradient(batch.logp - batch.logp.max())})


@objective("bent")
def bent(batch: TokenBatch) -> Tensor:
    return (stop_gradient(batch.logp) - batch.logp).relu() - 0.5 * batch.logp


BAD: list[tuple[Callable[..., Any], set[str], str, str]] = [
    (
        undeclared,
        {"reads", "micro-batches"},
        "reads",
        r"reads 'old_logp' at \S+test_testing\.py:\d+ and does not declare it: add it to reads",
    ),
    (unread, {"reads"}, "reads", r"declares 'entropy', which is never read .* take it out of reads"),
    (
        two_networks,
        {"reads", "micro-batches"},
        "reads",
        r"reads 'logp' at \S+, which the policy gives, .* make two objectives",
    ),
    (scalar, {"result"}, "result", r"takes values of \[30\].*returned \(\): return the losses unreduced"),
    (by_group, {"result"}, "result", r"'sequence-mean' takes values of \[30\] or \[8\].*returned \(3,\)"),
    (nothing, {"result"}, "result", r"returned NoneType, not a tensor or a Loss"),
    (pairs_of_what, {"result"}, "result", r"'pair-mean' does not go with rows='sequences'"),
    (detached, {"result"}, "result", r"no gradient flows from what it returns"),
    (flat, {"result"}, "result", r"its gradient is 0 at every token"),
    (cast, {"result"}, "result", r"returns torch.float32 for a batch of torch.float64: leave out the cast"),
    (spread, {"result"}, "result", r"not finite for an ordinary batch of 8 sequences"),
    (logs_the_loss, {"result"}, "result", r"statistic 'loss' is called as one of the engine's own"),
    (raises, {"result"}, "result", r"AttributeError.*no_such_method"),
    (in_place, {"purity"}, "purity", r"changes batch\.advantage: make a new tensor"),
    (clamps_in_place, {"purity"}, "purity", r"changes batch\.logp: make a new tensor"),
    (
        noisy,
        {"purity", "locality", "micro-batches", "finite differences"},
        "purity",
        r"two calls with the same batch differ",
    ),
    (
        remembers,
        {"purity", "locality", "micro-batches", "finite differences"},
        "purity",
        r"keep nothing from call to call",
    ),
    (
        whitened,
        {"locality", "micro-batches", "extremes"},
        "locality",
        r"the loss of sequences \[0\] alone is \S+ at place 0, and \S+ in the whole batch",
    ),
    (neighbour, {"locality", "micro-batches"}, "locality", r"promises that no sequence depends on its neighbours"),
    (group_baseline, {"locality", "micro-batches"}, "locality", r"the loss of sequences \[0\] alone"),
    (
        across_in_its_gradient_only,
        {"locality"},
        "locality",
        r"the gradient with respect to logp of sequences \[0\] alone",
    ),
    (
        large_batches_differ,
        {"micro-batches"},
        "micro-batches",
        r"gradient of a step changes by \d\.\de-04 of its size w",
    ),
    (
        centred_and_back,
        {"micro-batches"},
        "micro-batches",
        r"in float32 the gradient of a step changes .* added and taken away again",
    ),
    (weight_of_the_batch, {"locality"}, "locality", r"the loss of sequences \[0\] alone"),
    (logs_a_mean, {"result"}, "result", r"its statistic 'probability' has shape \(\): return it unreduced"),
    (logs_its_neighbours, {"locality"}, "locality", r"the statistic 'rank' of sequences \[1\] alone"),
    (
        unbounded,
        {"extremes"},
        "extremes",
        r"not finite for .* log-probabilities of 0, older ones of -100 .* with bounded_ratio",
    ),
    (odds, {"extremes"}, "extremes", r"not finite for .* with log-probabilities of 0.* clamp what is divided by"),
    (statistic_overflows, {"extremes"}, "extremes", r"statistic 'ratio' is not finite"),
    (
        plain_detach,
        {"finite differences"},
        "finite differences",
        r"has to go through stop_gradient\(x\), not \.detach\(\)",
    ),
    (
        no_grad,
        {"finite differences"},
        "finite differences",
        r"derivative with respect to entropy is 0, and finite differences give",
    ),
    (
        one_small_term_detached,
        {"finite differences"},
        "finite differences",
        r"derivative with respect to logp is 0, and finite differences",
    ),
    (critic_detached, {"finite differences"}, "finite differences", r"derivative with respect to value"),
    (
        stops_now_and_then,
        {"finite differences"},
        "finite differences",
        r"calls stop_gradient \d times and, .* (more often|\d times):",
    ),
    (
        stops_where_it_is_sure,
        {"finite differences"},
        "finite differences",
        r"calls stop_gradient \d times and, for nearly the same batch",
    ),
    (bent, {"finite differences"}, "finite differences", r"bends or jumps at 90 of 90 random places"),
]


@pytest.mark.parametrize(("function", "checks", "told_by", "message"), BAD, ids=[case[0].__name__ for case in BAD])
def test_what_is_wrong_with_an_objective_is_found_by_its_check_and_no_other(
    function: Callable[..., Any], checks: set[str], told_by: str, message: str
) -> None:
    found = failing(examine(function))
    assert found.keys() == checks
    assert found[told_by].startswith(f"objective {function.__name__!r} ({__file__}:")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found[told_by])


def test_what_a_function_raises_is_told_with_the_line_at_which_it_did() -> None:
    line = raises.__code__.co_firstlineno + 2
    assert f"({__file__}:{line}): AttributeError" in failing(examine(raises))["result"]


def test_what_stop_gradient_gives_back_may_be_changed_in_place() -> None:
    @objective("halved")
    def halved(batch: TokenBatch) -> Tensor:
        weight = stop_gradient(batch.logp.exp())
        weight *= 0.5
        return -weight * batch.logp

    assert examine(halved).failures == ()


def test_an_objective_of_groups_may_depend_on_its_group() -> None:
    assert examine(group_baseline_of_groups).failures == ()


def test_an_objective_that_is_not_one_is_told_so_and_raises_nothing() -> None:
    report = examine(older)
    assert (report.ok, list(failing(report))) == (False, ["registered"])
    assert 'put @objective("its name")' in report.failures[0]


def test_not_conforming_lists_every_failure() -> None:
    with pytest.raises(NotConforming) as caught:
        check_objective(neighbour)
    assert isinstance(caught.value, AssertionError)
    lines = str(caught.value).splitlines()
    assert lines[0] == "objective 'neighbour' does not conform:"
    assert [line.split(":")[0] for line in lines[1:]] == ["locality", "micro-batches"]
    assert check_objective(registry.load("objective", "sft")).ok


@objective("power")
def power(batch: TokenBatch, *, k: float = 1.0) -> Tensor:
    return -batch.logp - (0 if k == 1.0 else k * batch.logp.mean())


def test_hyperparameters_given_are_checked_beside_the_defaults_and_named() -> None:
    assert examine(power).ok
    found = failing(examine(power, hyperparameters={"k": 2.0}))
    assert "with {'k': 2.0} the loss of sequences" in found["locality"]
    with pytest.raises(UserError, match="has no hyper-parameter 'kk'"):
        examine(power, hyperparameters={"kk": 2.0})


def test_a_field_that_the_code_reads_under_some_hyperparameter_only_may_be_declared() -> None:
    @objective("anchored", reads=("ref_logp",))
    def anchored(batch: TokenBatch, *, beta: float = 0.0) -> Tensor:
        return -batch.logp + (beta * (batch.logp - batch.ref_logp).square() if beta else 0)

    report = examine(anchored)
    assert report.ok and report.checks[0].detail.endswith("not under these hyper-parameters: ref_logp")
    assert examine(anchored, hyperparameters={"beta": 0.1}).checks[0].detail.endswith("what is read: ref_logp")


def test_the_kit_leaves_no_trace_in_the_process() -> None:
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.random.get_rng_state())
    examine(plain_detach), examine(raises)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    assert stop_gradient(torch.ones(1)).tolist() == [1.0]  # nothing is being replayed


# Estimators, filters and rewards.


@advantage("halves")
def halves(batch: TokenBatch) -> Tensor:
    return batch.reward[: len(batch.reward) // 2]


@advantage("divides")
def divides(batch: TokenBatch) -> Credit:
    whitened = (batch.reward - batch.reward.mean()) / batch.reward.std(correction=0)
    return Credit(batch.reward, whitened)


@advantage("centres_in_place")
def centres_in_place(batch: TokenBatch) -> Tensor:
    batch.reward -= batch.reward.mean()
    return batch.reward


@advantage("running_mean")
def running_mean(batch: TokenBatch) -> Tensor:
    return batch.reward - batch.reward.cumsum(0) / torch.arange(1, len(batch.reward) + 1)


@advantage("surprise", reads=("entropy",))
def surprise(batch: TokenBatch) -> Tensor:
    return batch.entropy


def sampled(batch: TokenBatch) -> Tensor:
    return batch.sampler_logp


@advantage("forgets_to_declare")
def forgets_to_declare(batch: TokenBatch) -> Tensor:
    return batch.expand(batch.reward) - sampled(batch)


@advantage("declares_too_much", reads=("old_value",))
def declares_too_much(batch: TokenBatch) -> Tensor:
    return batch.reward


@advantage("draws")
def draws(batch: TokenBatch) -> Tensor:
    return batch.reward + torch.rand(len(batch.reward))


@row_filter("scores")
def scores(batch: TokenBatch) -> Tensor:
    return batch.reward


@row_filter("first_half")
def first_half(batch: TokenBatch) -> Tensor:
    return torch.arange(len(batch.reward)) < len(batch.reward) / 2


@row_filter("too_early", reads=("old_logp",))
def too_early(batch: TokenBatch) -> Tensor:
    return batch.sequence_mean(batch.old_logp) > -1


@reward("needs_an_answer")
def needs_an_answer(rollout: Rollout) -> float:
    return float(len(rollout.answer))  # type: ignore[arg-type]


@reward("none_if_cut_off")
def none_if_cut_off(rollout: Rollout) -> float | None:
    return None if rollout.finish_reason == "length" else 1.0


@reward("infinite")
def infinite(rollout: Rollout) -> float:
    return float("inf") if rollout.verdict == "timeout" else 0.0


@reward("rolls_dice")
def rolls_dice(rollout: Rollout) -> float:
    return random.random()


@reward("eats_tokens")
def eats_tokens(rollout: Rollout) -> float:
    rollout.token_ids.append(0)
    return 1.0


BAD_COMPONENTS: list[tuple[Callable[..., Any], set[str], str]] = [
    (
        halves,
        {"result"},
        r"its advantage is \(4,\), and has to be \[T\] or \[S\], here with T=30, S=8, for mixed rewards",
    ),
    (divides, {"result"}, r"its returns is not finite, for every reward 0"),
    (centres_in_place, {"purity"}, r"changes batch\.reward"),
    (running_mean, {"order"}, r"its advantage depends on the order of the sequences"),
    (surprise, {"reads"}, r"reads 'entropy' at \S+, which is not there yet when an advantage estimator is called"),
    (forgets_to_declare, {"reads", "result"}, r"reads 'sampler_logp' at \S+ and does not declare it"),
    (declares_too_much, {"reads"}, r"declares 'old_value', which is never read"),
    (draws, {"purity", "order"}, r"two calls with the same batch differ"),
    (scores, {"result"}, r"has to return a bool for each of 8 sequences, not torch.float32 \(8,\), for mixed rewards"),
    (first_half, {"order"}, r"its choice depends on the order"),
    (too_early, {"reads"}, r"reads 'old_logp' at \S+, which is not there yet when a filter is called"),
    (needs_an_answer, {"result"}, r"TypeError: object of type 'NoneType' has no len"),
    (none_if_cut_off, {"result"}, r"has to return a finite number, not None, for a rollout .* finish reason 'length'"),
    (infinite, {"result"}, r"not inf, for a rollout with verdict 'timeout'"),
    (rolls_dice, {"purity"}, r"what is to look random is a hash of the rollout"),
    (eats_tokens, {"purity"}, r"changes the rollout that it is given"),
]


@pytest.mark.parametrize(
    ("function", "checks", "message"), BAD_COMPONENTS, ids=[case[0].__name__ for case in BAD_COMPONENTS]
)
def test_what_is_wrong_with_an_estimator_a_filter_or_a_reward_is_found(
    function: Callable[..., Any], checks: set[str], message: str
) -> None:
    found = failing(examine(function))
    assert found.keys() == checks
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(next(iter(found.values())))
    assert all(f"{function.__name__!r} ({__file__}:" in detail for detail in found.values())


# Files and the command line.

GOOD = """
from rlbench import advantage, bounded_ratio, objective, reward, row_filter, stop_gradient

def weight(batch):
    return stop_gradient(bounded_ratio(batch.logp - batch.ref_logp).clamp(max=4))

@objective("weighted", reads=("ref_logp",))
def weighted(batch, *, power: float = 0.5):
    return -weight(batch) ** power * batch.logp

@advantage("centred")
def centred(batch):
    return batch.reward - batch.reward.mean()

@reward("short")
def short(rollout):
    return float(len(rollout.token_ids) < 4)

@row_filter("finished")
def finished(batch):
    return batch.reward >= 0
"""

TWO_BAD = """
import torch.distributed
from rlbench import objective, reward

@objective("asks_its_rank")
def asks_its_rank(batch):
    return -batch.logp * (2.0 if torch.distributed.is_initialized() else 1.0)

@reward("half")
def half(rollout):
    return None
"""


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "rlbench.testing", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_a_file_that_conforms_exits_0_with_a_line_for_each_check(tmp_path: Path) -> None:
    file = tmp_path / "good.py"
    file.write_text(GOOD)
    done = command(file, "--no-processes")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"objective weighted ({file}:7)"
    assert [line.split()[1] for line in lines[1:8]] == [
        "reads",
        "result",
        "purity",
        "locality",
        "micro-batches",
        "extremes",
        "finite",
    ]
    assert "BAD" not in done.stdout and "advantage centred" in done.stdout and "reward short" in done.stdout


def test_a_file_with_failures_exits_1_and_two_processes_find_what_asks_where_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(TWO_BAD)
    done = command(file, "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    first, second = json.loads(done.stdout)
    assert (first["name"], first["ok"], second["kind"], second["name"], second["ok"]) == (
        "asks_its_rank",
        False,
        "reward",
        "half",
        False,
    )
    found = {check["name"]: check["detail"] for check in first["checks"] if not check["ok"]}
    assert list(found) == ["processes"]
    assert f"({file}:5): over two processes the gradient of a step changes by 1.0e+00" in found["processes"]


def test_hyperparameters_are_set_on_the_command_line_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "power.py"
    file.write_text(
        'from rlbench import objective\n@objective("power")\ndef power(batch, *, k: float = 1.0):\n'
        "    return -batch.logp - (0 if k == 1.0 else k * batch.logp.mean())\n"
    )
    assert command(file, "--no-processes").returncode == 0
    done = command(file, "--no-processes", "--set", "power.k=2")
    assert done.returncode == 1 and "with {'k': 2.0} the loss of sequences" in done.stdout
    for wrong, message in (
        ("power.kk=2", "no hyper-parameter 'kk'"),
        ("k=2", "write it as NAME.key=value"),
        ("powr.k=2", "registers nothing called 'powr' (did you mean 'power'?)"),
        ("power.k=x", "a float"),
    ):
        done = command(file, "--set", wrong)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and message in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("def f(:\n", ":1: not Python"),
        ("def f(batch):\n    return -batch.logp\n", "registers nothing: put one of @objective(...)"),
        ('@objective("sft")\ndef f(batch):\n    return -batch.logp\n', ":2: objective 'sft' is already defined in"),
    ],
)
def test_a_file_that_cannot_be_checked_exits_2_with_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "file.py"
    if text is not None:
        file.write_text(text)
    done = command(file)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith(f"rlbench.testing: {file}") and message in done.stderr and done.stderr.count("\n") == 1
    )


def test_a_file_that_fails_while_it_is_imported_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("import nowhere_to_be_found\n" + GOOD)
    with pytest.raises(UserError, match=rf"{file}:1 failed while it was imported"):
        check_file(file)


def test_a_file_is_checked_as_the_commandline_does_and_built_in_files_are_too(tmp_path: Path) -> None:
    file = tmp_path / "good.py"
    file.write_text(GOOD.replace('@reward("short")', '@reward("centred")'))
    assert list(check_file(file)) == ["weighted", "advantage centred", "reward centred", "finished"]
    filters = registry.describe().filters["positive"].path
    assert all(report.ok for report in check_file(filters).values())


def test_what_only_the_source_shows_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "rare.py"
    file.write_text(
        'from rlbench import objective\n@objective("rare")\ndef rare(batch):\n'
        "    return -batch.logp if batch.n_tokens < 10**6 else -batch.ref_logp\n"
    )
    assert (
        f"{file}:4: objective 'rare' reads 'ref_logp' and does not declare it"
        in failing(check_file(file)["rare"])["reads"]
    )


def test_two_processes_need_a_function_that_both_can_load() -> None:
    @objective("local")
    def local(batch: TokenBatch) -> Tensor:
        return -batch.logp

    found = failing(examine(local, processes=True))
    assert list(found) == ["processes"] and "define it at the top level of a file" in found["processes"]
