"""Every objective's loss and gradient worked out by hand, and ``holds``, which asks whether a function has them.

A case's numbers are written out from the probabilities in it: no value here was made by running the code. p, q are the
probabilities of the trained tokens under the policy and under the older or the reference policy, r = p / q, and log
means the natural one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch
from rlbench.objectives.reduction import as_loss

TRAINED = ("logp", "entropy", "value")
TOLERANCE = 1e-9

L2, L3, L5 = math.log(2), math.log(3), math.log(5)
# -log of 0.5, 0.25, 0.1 and 0.8, the probabilities of most cases.
N50, N25, N10, N80 = L2, 2 * L2, L2 + L5, L5 - 2 * L2


@dataclass(frozen=True)
class Expected:
    """One term: its values, its coefficient, and its reduction where it is not the objective's own."""

    values: tuple[float, ...]
    coefficient: float = 1.0
    reduction: str | None = None


@dataclass(frozen=True)
class Case:
    """An input with what has to come out of it.

    ``fields`` are those of the tokens [T]; ``logp``, ``old_logp``, ``ref_logp`` are given as probabilities.
    ``gradient`` is that of the sum of all terms, each times its coefficient, with respect to ``logp`` and, where they
    are read, ``entropy`` and ``value``.
    """

    lengths: tuple[int, ...]
    fields: Mapping[str, tuple[float, ...]]
    terms: tuple[Expected, ...]
    gradient: Mapping[str, tuple[float, ...]]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    reward: tuple[float, ...] = ()

    def batch(self, dtype: torch.dtype = torch.float64) -> TokenBatch:
        """The input, what is trained a leaf that takes a gradient."""
        values = {name: torch.tensor(numbers, dtype=dtype) for name, numbers in self.fields.items()}
        values = {name: x.log() if name.endswith("logp") else x for name, x in values.items()}
        for name in TRAINED:
            if name in values:
                values[name].requires_grad_()
        return TokenBatch.from_lengths(
            self.lengths, reward=self.reward or None, group=[0] * len(self.lengths), **values
        )


@dataclass(frozen=True)
class Golden:
    """An objective's cases, and the reduction that it is registered with."""

    reduction: str
    cases: tuple[Case, ...]


def holds(name: str, function: Callable[..., Tensor | Loss]) -> bool:
    """Whether ``function`` gives what the golden of ``name`` says, in float64; False too where it raises.

    Compared are each term's values, shape, coefficient and reduction, and the gradients. The reduction that an
    objective is registered with is compared if the function carries it, so an undecorated function may be given.
    """
    golden = GOLDENS[name]
    try:
        return all(_case_holds(golden, case, function) for case in golden.cases)
    except Exception:
        return False


def _case_holds(golden: Golden, case: Case, function: Callable[..., Tensor | Loss]) -> bool:
    batch = case.batch()
    loss = as_loss(function(batch, **case.hyperparameters))
    own = getattr(function, "__rlbench__", {}).get("reduction", golden.reduction)
    if len(loss.terms) != len(case.terms):
        return False
    if not all(
        _term_holds(golden, found, expected, own) for found, expected in zip(loss.terms, case.terms, strict=True)
    ):
        return False
    leaves = {name: getattr(batch, name) for name in TRAINED if name in case.fields}
    total = sum(term.coefficient * term.values.sum() for term in loss.terms)
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    found = {
        name: torch.zeros_like(x) if g is None else g for (name, x), g in zip(leaves.items(), gradients, strict=True)
    }
    return found.keys() == case.gradient.keys() and all(
        _close(found[name], numbers) for name, numbers in case.gradient.items()
    )


def _term_holds(golden: Golden, found: Term, expected: Expected, own: str) -> bool:
    reduction = expected.reduction or golden.reduction
    return (
        (found.reduction or own) == reduction
        and abs(found.coefficient - expected.coefficient) <= TOLERANCE
        and _close(found.values, expected.values)
    )


def _close(found: Tensor, expected: Sequence[float]) -> bool:
    wanted = torch.tensor(expected, dtype=torch.float64)
    return found.shape == wanted.shape and torch.allclose(
        found.detach().double(), wanted, rtol=TOLERANCE, atol=TOLERANCE
    )


def _one(values: tuple[float, ...]) -> tuple[Expected, ...]:
    return (Expected(values),)


P = (0.5, 0.25, 0.1, 0.8)
Q = (0.25, 0.25, 0.2, 0.4)  # r = 2, 1, 1/2, 2


def _likelihood(weights: tuple[float, ...], **options: Any) -> Case:
    """A case of -sg(w) log p at the probabilities P of a sequence of three and one of one: values -w log p, gradient
    -w.
    """
    nll = (N50, N25, N10, N80)
    values = tuple(w * n for w, n in zip(weights, nll, strict=True))
    fields = {"logp": P, **options.pop("fields", {})}
    gradient = {"logp": tuple(-w for w in weights), **options.pop("gradient", {})}
    return Case((3, 1), fields, _one(values), gradient, **options)


def _surrogate(clip_low_name: str, clip_high_name: str) -> tuple[Case, ...]:
    """The clipped surrogate at both sides of both bounds with both signs of the advantage; the
    gradient of r A is r A.
    """
    # r = 2, 1/2, 2, 1/2 with A = 1, 1, -1, -1 and bounds 0.8, 1.2: held at 1.2; below the range and left alone; above
    # it and left alone, since it is the worse of -2 and -1.2; held at 0.8. Then r = 1.1 inside the range with A = 2,
    # -2.
    every_side = Case(
        (4, 2),
        {
            "logp": (0.5, 0.25, 0.5, 0.25, 0.55, 0.55),
            "old_logp": (0.25, 0.5, 0.25, 0.5, 0.5, 0.5),
            "advantage": (1.0, 1.0, -1.0, -1.0, 2.0, -2.0),
        },
        _one((-1.2, -0.5, 2.0, 0.8, -2.2, 2.2)),
        {"logp": (0.0, -0.5, 2.0, 0.0, -2.2, 2.2)},
        {clip_low_name: 0.2, clip_high_name: 0.2},
    )
    if clip_low_name == clip_high_name:
        return (every_side,)
    # r = 1.25 with A = 1 is inside bounds of 0.9 and 1.3, r = 0.85 with A = -1 is held at 0.9.
    two_bounds = Case(
        (1, 1),
        {"logp": (0.5, 0.34), "old_logp": (0.4, 0.4), "advantage": (1.0, -1.0)},
        _one((-1.25, 0.9)),
        {"logp": (-1.25, 0.0)},
        {clip_low_name: 0.1, clip_high_name: 0.3},
    )
    return every_side, two_bounds


def _default_bounds(low: float, high: float) -> Case:
    """The default bounds alone: r = 3 with A = 1 and r = 1/4 with A = -1 are held at them."""
    fields = {"logp": (0.75, 0.1), "old_logp": (0.25, 0.4), "advantage": (1.0, -1.0)}
    return Case((1, 1), fields, _one((-1 - high, 1 - low)), {"logp": (0.0, 0.0)})


# Pairs. The first: log-ratios log 2, log 4, 0 (sum 3 log 2, mean log 2) against log 2. The second: 0 against log 2
# twice.
PAIR_LENGTHS = (3, 1, 1, 2)
PAIR_P = (0.5, 0.4, 0.1, 0.8, 0.5, 0.5, 0.5)
PAIR_Q = (0.25, 0.1, 0.1, 0.4, 0.5, 0.25, 0.25)
PAIRS = {"logp": PAIR_P, "ref_logp": PAIR_Q}

GOLDENS: dict[str, Golden] = {
    "sft": Golden("token-mean", (_likelihood((1.0, 1.0, 1.0, 1.0)),)),
    "dft": Golden("token-mean", (_likelihood(P),)),  # each token's weight is its p
    # p of the first sequence: 0.5 x 0.25 x 0.1 = 1/80.
    "dft_seq": Golden("token-mean", (_likelihood((1 / 80, 1 / 80, 1 / 80, 0.8)),)),
    # The geometric mean of 1/2, 1/4, 1/8 is 1/4; that of 0.8 alone is 0.8.
    "dft_geo": Golden(
        "token-mean",
        (
            Case(
                (3, 1),
                {"logp": (0.5, 0.25, 0.125, 0.8)},
                _one((0.25 * L2, 0.25 * 2 * L2, 0.25 * 3 * L2, 0.8 * N80)),
                {"logp": (-0.25, -0.25, -0.25, -0.8)},
            ),
        ),
    ),
    "iw_sft": Golden(
        "token-mean",
        (
            # r = 2, 4, 1: geometric mean 2 (their product is 8); r = 1/2 alone; with the bound at 1.5 only the first is
            # cut.
            Case(
                (3, 1),
                {"logp": (0.5, 0.4, 0.1, 0.2), "ref_logp": (0.25, 0.1, 0.1, 0.4)},
                _one((2 * N50, 2 * (L5 - L2), 2 * N10, 0.5 * L5)),
                {"logp": (-2.0, -2.0, -2.0, -0.5)},
            ),
            Case(
                (3, 1),
                {"logp": (0.5, 0.4, 0.1, 0.2), "ref_logp": (0.25, 0.1, 0.1, 0.4)},
                _one((1.5 * N50, 1.5 * (L5 - L2), 1.5 * N10, 0.5 * L5)),
                {"logp": (-1.5, -1.5, -1.5, -0.5)},
                {"weight_max": 1.5},
            ),
            # r = 32 is beyond the default bound of 16.
            Case((1,), {"logp": (0.8,), "ref_logp": (0.025,)}, _one((16 * N80,)), {"logp": (-16.0,)}),
        ),
    ),
    "focal": Golden(
        "token-mean",
        (
            # (1-p)^2 = 1/4, 9/16, 0.81, 0.04; the gradient is -(1-p)^2 - 2 (1-p) p (-log p).
            Case(
                (3, 1),
                {"logp": P},
                _one((0.25 * N50, 0.5625 * N25, 0.81 * N10, 0.04 * N80)),
                {"logp": (-0.25 - 0.5 * N50, -0.5625 - 0.375 * N25, -0.81 - 0.18 * N10, -0.04 - 0.32 * N80)},
            ),
            # gamma = 1/2 at p = 3/4: (1-p)^gamma = 1/2, its slope -gamma p (1-p)^(gamma-1) = -3/4.
            Case(
                (1,),
                {"logp": (0.75,)},
                _one((0.5 * (2 * L2 - L3),)),
                {"logp": (-0.5 - 0.75 * (2 * L2 - L3),)},
                {"gamma": 0.5},
            ),
        ),
    ),
    "prob_power": Golden(
        "token-mean",
        (
            # k = 2: (1 - p^2) / 2, gradient -p^2.
            Case(
                (3, 1),
                {"logp": P},
                _one((0.375, 0.46875, 0.495, 0.18)),
                {"logp": (-0.25, -0.0625, -0.01, -0.64)},
                {"k": 2.0},
            ),
            Case((1,), {"logp": (0.5,)}, _one(((1 - 1 / 1024) / 10,)), {"logp": (-1 / 1024,)}),
            Case((1,), {"logp": (0.5,)}, _one((L2,)), {"logp": (-1.0,)}, {"k": 0.0}),
        ),
    ),
    "chord_phi": Golden("token-mean", (_likelihood((0.25, 0.1875, 0.09, 0.16)),)),  # p (1-p)
    # KL of (q, 1-q) to (p, 1-p): 1/4 log 1/2 + 3/4 log 3/2; 0; 1/5 log 2 + 4/5 log 8/9; 2/5 log 1/2 + 3/5 log 3. Its
    # gradient is (p-q)/(1-p) = 1/2, 0, -1/9, 2, and that of the first term -p.
    "asft": Golden(
        "token-mean",
        tuple(
            Case(
                (3, 1),
                {"logp": P, "ref_logp": Q},
                (
                    Expected((0.5 * N50, 0.25 * N25, 0.1 * N10, 0.8 * N80)),
                    Expected((0.75 * L3 - L2, 0.0, 2.6 * L2 - 1.6 * L3, 0.6 * L3 - 0.4 * L2), alpha),
                ),
                {"logp": (-0.5 + alpha / 2, -0.25, -0.1 - alpha / 9, -0.8 + 2 * alpha)},
                hyperparameters,
            )
            for alpha, hyperparameters in ((0.05, {}), (0.5, {"alpha": 0.5}))
        ),
    ),
    "eaft": Golden(
        "token-mean",
        (
            # H / 3 of H = 1.5, 3, 6, 0.75, at most 1; no gradient to the entropy.
            _likelihood(
                (0.5, 1.0, 1.0, 0.25), fields={"entropy": (1.5, 3.0, 6.0, 0.75)}, gradient={"entropy": (0.0,) * 4}
            ),
            # H / 2, at most 1, squared.
            _likelihood(
                (0.5625, 0.25, 1.0, 0.0),
                fields={"entropy": (1.5, 1.0, 6.0, 0.0)},
                gradient={"entropy": (0.0,) * 4},
                hyperparameters={"alpha": 2.0, "scale": 2.0},
            ),
        ),
    ),
    # r = 2, 1, 1/2 and 5/4; the gradient of r is r.
    "psft": Golden(
        "token-mean",
        (
            Case(
                (3, 1),
                {"logp": (0.5, 0.25, 0.1, 0.5), "old_logp": (0.25, 0.25, 0.2, 0.4)},
                _one((-1.28, -1.0, -0.5, -1.25)),
                {"logp": (0.0, -1.0, -0.5, -1.25)},
            ),
            Case(
                (3, 1),
                {"logp": (0.5, 0.25, 0.1, 0.5), "old_logp": (0.25, 0.25, 0.2, 0.4)},
                _one((-1.1, -1.0, -0.5, -1.1)),
                {"logp": (0.0, -1.0, -0.5, 0.0)},
                {"clip": 0.1},
            ),
        ),
    ),
    "raft_pp": Golden(
        "sequence-mean",
        (
            Case(
                (3, 1),
                {"logp": (0.5, 0.25, 0.1, 0.5), "old_logp": (0.25, 0.25, 0.2, 0.4)},
                _one((-1.2, -1.0, -0.5, -1.2)),
                {"logp": (0.0, -1.0, -0.5, 0.0)},
            ),
            Case(
                (3, 1),
                {"logp": (0.5, 0.25, 0.1, 0.5), "old_logp": (0.25, 0.25, 0.2, 0.4)},
                _one((-1.5, -1.0, -0.5, -1.25)),
                {"logp": (0.0, -1.0, -0.5, -1.25)},
                {"clip": 0.5},
            ),
        ),
    ),
    "reinforce": Golden(
        "sequence-mean-token-sum",
        (
            Case(
                (3, 1),
                {"logp": P, "advantage": (1.0, -2.0, 0.5, 3.0)},
                _one((N50, -2 * N25, 0.5 * N10, 3 * N80)),
                {"logp": (-1.0, 2.0, -0.5, -3.0)},
            ),
        ),
    ),
    # Rewards 1, 0, 0, -1, 1/1000. Products of r: 5/16, and a right answer is not tapered; 5/8 x 2/5 = 1/4; 2, held at
    # 1; 1/2; 2.
    "topr": Golden(
        "sequence-mean-token-sum",
        (
            Case(
                (2, 2, 1, 1, 1),
                {"logp": (0.5, 0.25, 0.5, 0.25, 0.8, 0.1, 0.8), "old_logp": (0.8, 0.5, 0.8, 0.625, 0.4, 0.2, 0.4)},
                _one((N50, N25, -0.25 * N50, -0.25 * N25, -N80, -0.5 * N10, N80)),
                {"logp": (-1.0, -1.0, 0.25, 0.25, 1.0, 0.5, -1.0)},
                reward=(1.0, 0.0, 0.0, -1.0, 0.001),
            ),
        ),
    ),
    # log r = log 2, 0, -log 2, log 2; the gradient is beta log r - A.
    "dro": Golden(
        "token-mean",
        tuple(
            Case(
                (3, 1),
                {"logp": P, "old_logp": Q, "advantage": (1.0, -1.0, 2.0, 0.5)},
                _one((N50 + beta / 2 * L2**2, -N25, 2 * N10 + beta / 2 * L2**2, 0.5 * N80 + beta / 2 * L2**2)),
                {"logp": (beta * L2 - 1, 1.0, -beta * L2 - 2, beta * L2 - 0.5)},
                hyperparameters,
            )
            for beta, hyperparameters in ((0.05, {}), (0.5, {"beta": 0.5}))
        ),
    ),
    # beta = 1/2: margins log 2 and -log 2, so log(1 + 1/2) and log(1 + 2); sigmoid(-margin) = 1/3 and 2/3, times beta.
    "dpo": Golden(
        "pair-mean",
        (
            Case(
                PAIR_LENGTHS,
                PAIRS,
                _one((L3 - L2, L3)),
                {"logp": (-1 / 6, -1 / 6, -1 / 6, 1 / 6, -1 / 3, 1 / 3, 1 / 3)},
                {"beta": 0.5},
            ),
            # beta = 0.1: the margin 0.2 log 2.
            Case(
                PAIR_LENGTHS[:2],
                {name: x[:4] for name, x in PAIRS.items()},
                _one((math.log1p(2**-0.2),)),
                {"logp": (-0.1 / (1 + 2**0.2),) * 3 + (0.1 / (1 + 2**0.2),)},
            ),
        ),
    ),
    # beta = 1/2: 1 - log 2 and 1 + log 2; beta = 2: 1 - 4 log 2 < 0 gives nothing; beta = 0.1: 1 - 0.2 log 2.
    "hinge": Golden(
        "pair-mean",
        (
            Case(
                PAIR_LENGTHS,
                PAIRS,
                _one((1 - L2, 1 + L2)),
                {"logp": (-0.5, -0.5, -0.5, 0.5, -0.5, 0.5, 0.5)},
                {"beta": 0.5},
            ),
            Case(
                PAIR_LENGTHS,
                PAIRS,
                _one((0.0, 1 + 4 * L2)),
                {"logp": (0.0, 0.0, 0.0, 0.0, -2.0, 2.0, 2.0)},
                {"beta": 2.0},
            ),
            Case(
                PAIR_LENGTHS[:2],
                {name: x[:4] for name, x in PAIRS.items()},
                _one((1 - 0.2 * L2,)),
                {"logp": (-0.1, -0.1, -0.1, 0.1)},
            ),
        ),
    ),
    # Means of log r: log 2 against log 2, and 0 against log 2. beta = 1/2 has the target 1: 1 and (log 2 + 1)^2,
    # gradients 2 (difference - target) over the sequence's length. beta = 0.1 has the target 5.
    "ipo": Golden(
        "pair-mean",
        (
            Case(
                PAIR_LENGTHS,
                PAIRS,
                _one((1.0, (L2 + 1) ** 2)),
                {"logp": (-2 / 3, -2 / 3, -2 / 3, 2.0, -2 * (L2 + 1), L2 + 1, L2 + 1)},
                {"beta": 0.5},
            ),
            Case(
                PAIR_LENGTHS,
                PAIRS,
                _one((25.0, (L2 + 5) ** 2)),
                {"logp": (-10 / 3, -10 / 3, -10 / 3, 10.0, -2 * (L2 + 5), L2 + 5, L2 + 5)},
            ),
        ),
    ),
    # Means of log p: -2 log 2 against -3 log 2, and -log 2 against -log 2 (of two tokens). Margins: 2 log 2 - gamma and
    # -gamma.
    "simpo": Golden(
        "pair-mean",
        (
            # gamma = log 2: log 2 and -log 2, as for dpo, times beta = 2 over the sequence's length.
            Case(
                PAIR_LENGTHS,
                {"logp": (0.5, 0.25, 0.125, 0.125, 0.5, 0.5, 0.5)},
                _one((L3 - L2, L3)),
                {"logp": (-2 / 9, -2 / 9, -2 / 9, 2 / 3, -4 / 3, 2 / 3, 2 / 3)},
                {"gamma": L2},
            ),
            # The defaults: 2 log 2 - 1, so log(1 + e/4).
            Case(
                PAIR_LENGTHS[:2],
                {"logp": (0.5, 0.25, 0.125, 0.125)},
                _one((math.log1p(math.e / 4),)),
                {"logp": (-2 / 3 / (1 + 4 / math.e),) * 3 + (2 / (1 + 4 / math.e),)},
            ),
            # beta = 1 and gamma = log 2: the margin is 0.
            Case(
                PAIR_LENGTHS[:2],
                {"logp": (0.5, 0.25, 0.125, 0.125)},
                _one((L2,)),
                {"logp": (-1 / 6, -1 / 6, -1 / 6, 0.5)},
                {"beta": 1.0, "gamma": L2},
            ),
        ),
    ),
    "ppo": Golden("token-mean", (*_surrogate("clip", "clip"), _default_bounds(0.2, 0.2))),
    "reinforce_pp": Golden("token-mean", (*_surrogate("clip", "clip"), _default_bounds(0.2, 0.2))),
    "grpo": Golden("sequence-mean", (*_surrogate("clip_low", "clip_high"), _default_bounds(0.2, 0.2))),
    "dr_grpo": Golden("constant", (*_surrogate("clip_low", "clip_high"), _default_bounds(0.2, 0.2))),
    "dapo": Golden("token-mean", (*_surrogate("clip_low", "clip_high"), _default_bounds(0.2, 0.28))),
    "gspo": Golden(
        "sequence-mean",
        (
            # Sequences of three with r = 2, 4, 1 (geometric mean 2) and one of two with r = 1/2, 1/2: held above, left
            # alone above, held below, left alone below. The gradient of s A is s A over the length.
            Case(
                (3, 3, 2, 2),
                {
                    "logp": (0.5, 0.4, 0.1, 0.5, 0.4, 0.1, 0.2, 0.1, 0.2, 0.1),
                    "old_logp": (0.25, 0.1, 0.1, 0.25, 0.1, 0.1, 0.4, 0.2, 0.4, 0.2),
                    "advantage": (1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 1.0),
                },
                _one((-1.3, 2.0, 0.9, -0.5)),
                {"logp": (0.0, 0.0, 0.0, 2 / 3, 2 / 3, 2 / 3, 0.0, 0.0, -0.25, -0.25)},
                {"clip_low": 0.1, "clip_high": 0.3},
            ),
            # The defaults: s = 1.00035 is inside, 1.0005 is held at 1.0004, 0.9996 at 0.9997.
            Case(
                (1, 1, 1),
                {"logp": (0.500175, 0.50025, 0.4998), "old_logp": (0.5, 0.5, 0.5), "advantage": (1.0, 1.0, -1.0)},
                _one((-1.00035, -1.0004, 0.9997)),
                {"logp": (-1.00035, 0.0, 0.0)},
            ),
        ),
    ),
    "rloo": Golden(
        "sequence-mean",
        (
            # Products of r: 2 x 0.55 = 1.1 inside, 4 held at 1.2, 4 left alone, 1/4 held at 0.8, 1/4 left alone; the
            # gradient of s A is s A.
            Case(
                (2, 2, 2, 2, 2),
                {
                    "logp": (0.5, 0.22, 0.5, 0.5, 0.5, 0.5, 0.2, 0.1, 0.2, 0.1),
                    "old_logp": (0.25, 0.4, 0.25, 0.25, 0.25, 0.25, 0.4, 0.2, 0.4, 0.2),
                    "advantage": (2.0, 2.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 1.0),
                },
                _one((-2.2, -1.2, 4.0, 0.8, -0.25)),
                {"logp": (-2.2, -2.2, 0.0, 0.0, 4.0, 4.0, 0.0, 0.0, -0.25, -0.25)},
            ),
            # Bounds 0.9 and 1.3: 1.25 is inside, 0.85 is held at 0.9.
            Case(
                (1, 1),
                {"logp": (0.5, 0.34), "old_logp": (0.4, 0.4), "advantage": (1.0, -1.0)},
                _one((-1.25, 0.9)),
                {"logp": (-1.25, 0.0)},
                {"clip_low": 0.1, "clip_high": 0.3},
            ),
        ),
    ),
    "cispo": Golden(
        "token-mean",
        (
            # r = 8, cut to 5, with both signs; r = 2 with both; r = 1/8, not cut. The gradient is -w A.
            Case(
                (3, 2),
                {
                    "logp": (0.8, 0.8, 0.5, 0.5, 0.1),
                    "old_logp": (0.1, 0.1, 0.25, 0.25, 0.8),
                    "advantage": (1.0, -1.0, 2.0, -2.0, 1.0),
                },
                _one((5 * N80, -5 * N80, 4 * N50, -4 * N50, 0.125 * N10)),
                {"logp": (-5.0, 5.0, -4.0, 4.0, -0.125)},
            ),
            Case(
                (1,),
                {"logp": (0.5,), "old_logp": (0.25,), "advantage": (1.0,)},
                _one((1.5 * N50,)),
                {"logp": (-1.5,)},
                {"weight_max": 1.5},
            ),
        ),
    ),
    "value": Golden(
        "token-mean",
        (
            # near is V held within 1/2 of the old value, and the larger of two squares, 1/2 (V-R)^2 and 1/2 (near-R)^2,
            # counts. Old values 0: V = 1, R = 2, near 1/2, the error 3/2 has no gradient; V = -1, R = -2 likewise; V =
            # -2, R = 1, near -1/2, the error 3 of V counts. Old values 1.2, 1 and 1: V = 0.9, R = 0, near 0.9 too; V =
            # 3, R = 2.5, near 1.5, the error 1 of near counts; V = 1.2, R = 1.7, near 1.2 too.
            Case(
                (3, 3),
                {
                    "value": (1.0, -1.0, -2.0, 0.9, 3.0, 1.2),
                    "old_value": (0.0, 0.0, 0.0, 1.2, 1.0, 1.0),
                    "returns": (2.0, -2.0, 1.0, 0.0, 2.5, 1.7),
                },
                _one((1.125, 1.125, 4.5, 0.405, 0.5, 0.125)),
                {"value": (0.0, 0.0, -3.0, 0.9, 0.0, -0.5)},
            ),
            # clip = 0.1: near = 0.1 from 0, with the error 1.9.
            Case(
                (1,),
                {"value": (1.0,), "old_value": (0.0,), "returns": (2.0,)},
                _one((0.5 * 1.9**2,)),
                {"value": (0.0,)},
                {"clip": 0.1},
            ),
        ),
    ),
}
