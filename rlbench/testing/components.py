"""The checks of advantage estimators, filters and rewards."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlbench.records import FinishReason, Rollout, StageFailure, Verdict
from rlbench.testing.probes import ProbeBatch, changed, hold_reads, probe, smallest, snapshot
from rlbench.testing.report import Check, Wrong, checked, for_each_setting
from rlbench.training.credit import choice, estimate
from rlbench.training.online import reward_of
from rlbench.training.step import BoundComponent

KNOWN = {"advantage": ("sampler_logp", "old_value"), "filter": ("sampler_logp",)}
"""Fields that are there when it is called: both come before the training begins, and a filter before the critic has
seen anything.
"""
CALLED = {"advantage": "an advantage estimator", "filter": "a filter"}
ROUNDING = 1e-5
"""Relative, in float32: what the order of a sum over a batch may change."""


def checks(kind: str, settings: Sequence[BoundComponent], problem: str | None) -> list[Check]:
    """All checks of an advantage estimator, a filter or a reward, under each setting of its hyper-parameters."""
    function = settings[0].function
    if kind == "reward":
        found = [checked(function, "result", partial(for_each_setting, settings, check_reward))]
        return (
            [*found, checked(function, "purity", partial(for_each_setting, settings, check_reward_purity))]
            if found[0].ok
            else found
        )
    found = [
        checked(function, "reads", lambda: check_reads(kind, settings, problem)),
        checked(function, "result", lambda: for_each_setting(settings, partial(check_result, kind))),
    ]
    if found[-1].ok:  # the others would only say it again
        names = {"purity": check_purity, "order": check_order}
        found += [
            checked(function, name, partial(for_each_setting, settings, partial(check, kind)))
            for name, check in names.items()
        ]
    return found


def _batches() -> list[tuple[ProbeBatch, str]]:
    """Steps with mixed rewards, with all the same, and of one sequence."""
    mixed = probe("sequences", 0, 0.5)
    every = [(mixed, "mixed rewards")]
    for reward in (0.0, 1.0):
        same = dataclasses.replace(mixed, reward=(reward,) * len(mixed.lengths))
        every += [
            (same, f"every reward {reward:g}"),
            (smallest(mixed, reward), f"one sequence of one token and reward {reward:g}"),
        ]
    return every


def check_reads(kind: str, settings: Sequence[BoundComponent], problem: str | None) -> str:
    """``reads`` names what is read, nothing else, and nothing that is not there yet."""

    def refusal(name: str) -> str | None:
        return None if name in KNOWN[kind] else f"which is not there yet when {CALLED[kind]} is called"

    return hold_reads(settings, [whole for whole, _ in _batches()], refusal, problem)


def check_result(kind: str, component: BoundComponent) -> str:
    """A filter's [S] of bool; an estimator's finite [S] or [T], or a ``Credit`` of two of them."""
    for whole, what in _batches():
        try:
            _outcome(kind, component, whole)
        except StageFailure as failure:
            raise StageFailure(f"{failure}, for {what}") from None
    return (
        "a bool for each sequence"
        if kind == "filter"
        else "finite and of the right shape, also where all rewards are the same"
    )


def check_purity(kind: str, component: BoundComponent) -> str:
    """The batch is as before, and a second call gives the same."""
    for whole, _ in _batches():
        batch = _batch(component, whole)
        before = snapshot(batch)
        component(batch)
        if names := changed(batch, before):
            raise Wrong(f"it changes batch.{names[0]}: make a new tensor, not one changed in place (x - y, not x -= y)")
        first, second = (_outcome(kind, component, whole) for _ in range(2))
        if not all(torch.equal(first[name], second[name]) for name in first):
            raise Wrong(
                "two calls with the same batch differ: it must draw no random numbers and keep nothing from call to "
                "call"
            )
    return "the batch is left as it is, and two calls agree to the bit"


def check_order(kind: str, component: BoundComponent) -> str:
    """Each sequence has the same outcome in whatever order the sequences of the step stand."""
    whole = _batches()[0][0]
    expected = _outcome(kind, component, whole)
    for seed in range(3):
        order = torch.randperm(len(whole.lengths), generator=torch.Generator().manual_seed(seed)).tolist()
        for name, found in _outcome(kind, component, whole.take(order)).items():
            wanted = expected[name][whole.tokens(order) if len(found) == len(whole.token_id) else torch.tensor(order)]
            apart = (found.double() - wanted.double()).abs() > ROUNDING * (1 + wanted.double().abs().max())
            if apart.any():
                place = int(apart.nonzero()[0])
                raise Wrong(
                    f"its {name} depends on the order of the sequences: {found[place].item()} at place {place} of "
                    f"the order {order}, "
                    f"{wanted[place].item()} before; find a group's sequences by batch.group and not by their place"
                )
    return "the same for every sequence in any order of the sequences"


def _batch(component: BoundComponent, whole: ProbeBatch) -> Any:
    """The batch that the engine would give it: float32, and of the fields only those declared."""
    return whole.batch(torch.float32, names=component.reads)[0]


def _outcome(kind: str, component: BoundComponent, whole: ProbeBatch) -> dict[str, Tensor]:
    batch = _batch(component, whole)
    return {"choice": choice(component, batch)} if kind == "filter" else estimate(component, batch)


def _rollouts() -> list[Rollout]:
    """Samples of every verdict, finished and cut off, some without an answer, of one token and of several."""

    def rollout(
        index: int, verdict: Verdict, answer: str | None, finish: FinishReason, text: str, tokens: list[int]
    ) -> Rollout:
        logp, right = [-0.5] * len(tokens), float(verdict == "correct")
        return Rollout(f"p{index // 2}", index, [5, 6], tokens, logp, text, answer, verdict, right, finish)

    return [
        rollout(0, "correct", "4", "stop", "2 + 2 = \\boxed{4}", [7, 8, 9, 2]),
        rollout(1, "wrong", "5", "stop", "2 + 2 = \\boxed{5}", [7, 8, 10, 2]),
        rollout(2, "unparsed", None, "stop", "I do not know", [11, 2]),
        rollout(3, "unparsed", None, "length", "2 + 2 = 2 + 2 =", [7, 7, 7, 7]),
        rollout(4, "correct", "4", "length", "\\boxed{4} and so", [9, 7, 7, 7]),
        rollout(5, "timeout", "2^(2^64)", "stop", "\\boxed{2^{2^{64}}}", [12, 2]),
        rollout(6, "error", None, "stop", "", [2]),
    ]


def check_reward(component: BoundComponent) -> str:
    """A finite number for every kind of rollout."""
    for rollout in _rollouts():
        try:
            reward_of(component, rollout)
        except StageFailure as failure:
            ended = f"finish reason {rollout.finish_reason!r} and answer {rollout.answer!r}"
            what = f"a rollout with verdict {rollout.verdict!r}, {ended}"
            raise StageFailure(f"{failure}, for {what}") from None
    return f"a finite number for {len(_rollouts())} rollouts: correct, wrong, unparsed, cut off, timed out, empty"


def check_reward_purity(component: BoundComponent) -> str:
    """The same number for the same rollout, which is left as it is."""
    for rollout in _rollouts():
        given = copy.deepcopy(rollout)
        values = [float(component(given)) for _ in range(2)]
        if values[0] != values[1] or float(component(copy.deepcopy(rollout))) != values[0]:
            raise Wrong(
                f"the same rollout has the rewards {values[0]:g} and {values[1]:g}: it must not draw random numbers "
                "or keep anything; "
                "what is to look random is a hash of the rollout"
            )
        if given != rollout:
            raise Wrong("it changes the rollout that it is given: copy a list before changing it")
    return "the same rollout always has the same reward, and is left as it is"
