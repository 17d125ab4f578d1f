"""The checks of an objective that need no network: what it reads, what it returns, what it depends on, and its
gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, recorded_stops, replayed_stops
from rlbench.objectives.reduction import Totals, reduce_loss
from rlbench.records import UserError
from rlbench.testing.probes import (
    LENGTHS,
    TRAINED,
    ProbeBatch,
    changed,
    default_dtype,
    hold_reads,
    probe,
    probes,
    smallest,
    snapshot,
)
from rlbench.testing.report import Wrong
from rlbench.training.step import BoundObjective

EXACT = 1e-9
"""Relative, in float64: what only the order of a sum may change."""
STEP = 1e-6
"""Of finite differences, in nats: their error is about 1e-10 from rounding, and less from curvature."""
POLICY = ("logp", "entropy")
LOGGED = ("loss", "grad_norm", "learning_rate", "tokens", "sequences", "step")
"""Names that the engine logs itself: a statistic of the same name would take its place."""


# What is read.


def check_reads(bounds: Sequence[BoundObjective], problem: str | None = None) -> str:
    """``reads`` names what is read in some probe under some hyper-parameters, and nothing else.

    ``problem`` is what the registry found in the source, where it is known.
    """
    critic = "value" in bounds[0].reads

    def refusal(name: str) -> str | None:
        return (
            "which the policy gives, beside 'value', which the critic gives: make two objectives"
            if critic and name in POLICY
            else None
        )

    return hold_reads(bounds, [*probes(bounds[0].rows), smallest(probe(bounds[0].rows, 0, 0.5))], refusal, problem)


# What is returned.


def check_result(bound: BoundObjective) -> str:
    """A loss that the reduction takes, finite, with a finite gradient that is not zero everywhere, and finite,
    unreduced statistics.
    """
    if (bound.reduction == "pair-mean") != (bound.rows == "pairs"):
        raise Wrong(
            f'the reduction {bound.reduction!r} does not go with rows={bound.rows!r}: rows="pairs" and "pair-mean" '
            "go together"
        )
    shapes: dict[str, None] = {}
    flows = False
    for whole, dtype in itertools.product(probes(bound.rows), (torch.float32, torch.float64)):
        loss, gradients = _ordinary(bound, whole, dtype)
        flows = flows or any(bool(gradient.any()) for gradient in gradients.values())
        shapes |= {f"[{'NST'[_kind(term.values, whole)]}]": None for term in loss.terms}
    if not flows:
        raise Wrong("its gradient is 0 at every token of every probe: nothing would be learned from it")
    statistics = ", ".join(loss.stats) or "none"
    return f"a loss of {' and '.join(shapes)} for {bound.reduction}, with a gradient; statistics: {statistics}"


def _ordinary(bound: BoundObjective, whole: ProbeBatch, dtype: torch.dtype) -> tuple[Loss, dict[str, Tensor]]:
    """The loss of a probe and its gradients once it is reduced; Wrong where something of them is
    not as it has to be.
    """
    with default_dtype(dtype):
        batch, leaves = whole.batch(dtype)
        loss = bound(batch)
        try:
            reduced = reduce_loss(loss, bound.reduction, batch, _totals(whole))
        except ValueError as error:
            scalar = any(term.values.dim() == 0 for term in loss.terms)
            raise Wrong(
                f"{error}{': return the losses unreduced, the mean is taken by the engine' if scalar else ''}"
            ) from None
        for term in loss.terms:
            if term.values.dtype != dtype:
                raise Wrong(
                    f"it returns {term.values.dtype} for a batch of {dtype}: leave out the cast, or take "
                    "batch.logp.dtype"
                )
        if not reduced.requires_grad:
            raise Wrong("no gradient flows from what it returns: all of it is detached")
        gradients = _gradients(reduced, leaves)
    _all_finite(reduced, gradients, loss.stats, f"an ordinary batch of {_size(whole)}")
    for name, values in loss.stats.items():
        if name in LOGGED:
            raise Wrong(f"its statistic {name!r} is called as one of the engine's own: give it another name")
        if values.dim() != 1 or len(values) not in _sizes(whole):
            raise Wrong(
                f"its statistic {name!r} has shape {tuple(values.shape)}: return it unreduced, one value a token, a "
                "sequence or a pair; "
                "the engine takes the mean over the whole step"
            )
    return loss, gradients


def _all_finite(
    reduced: Tensor, gradients: Mapping[str, Tensor], stats: Mapping[str, Tensor], what: str, advice: str = ""
) -> None:
    every = {"loss": reduced, **{f"gradient with respect to {name}": x for name, x in gradients.items()}}
    for name, values in {**every, **{f"statistic {name!r}": x for name, x in stats.items()}}.items():
        if values.numel() == 0:
            raise Wrong(f"its {name} is empty for {what}: there is nothing to take the mean of")
        if not torch.isfinite(values).all():
            raise Wrong(f"its {name} is not finite for {what}{advice}")


# What it changes and depends on.


def check_purity(bound: BoundObjective) -> str:
    """The batch is as before, and a second call gives the same."""
    for whole in probes(bound.rows)[:2]:
        batch, _ = whole.batch(torch.float32)
        before = snapshot(batch)
        bound(batch)
        if names := changed(batch, before):
            raise Wrong(
                f"it changes batch.{names[0]}: make a new tensor instead of changing one in place (x + y, not x += y)"
            )
        first, second = (
            list(itertools.chain(x, y.values(), z.values())) for x, y, z in (_weighted(bound, whole) for _ in range(2))
        )
        if len(first) != len(second) or not all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True)
        ):
            raise Wrong(
                "two calls with the same batch differ: it must draw no random numbers and keep nothing from call to "
                "call"
            )
    return "the batch is left as it is, and two calls agree to the bit"


def check_locality(bound: BoundObjective) -> str:
    """A unit's loss and gradient are the same alone, among some of the others, and in another order."""
    compared = 0
    for whole in probes(bound.rows)[:2]:
        units = whole.units
        order = torch.randperm(len(units), generator=torch.Generator().manual_seed(1)).tolist()
        parts = [([unit], "alone") for unit in units]
        parts += [
            ([units[i] for i in order[: len(order) // 2 + 1]], "among fewer"),
            ([units[i] for i in order], "in another order"),
        ]
        expected = _weighted(bound, whole)
        for chosen, how in parts:
            _compare(bound, whole, list(itertools.chain(*chosen)), expected, how)
        compared += len(parts)
    return (
        f"every {bound.rows.removesuffix('s')} has its own loss and gradient in {compared} parts and orders of batches"
    )


def _compare(bound: BoundObjective, whole: ProbeBatch, sequences: list[int], expected: Weighted, how: str) -> None:
    """Hold values, gradients and statistics of some sequences by themselves against those that they have in the whole
    batch.
    """
    unit = bound.rows.removesuffix("s")
    advice = (
        f"rows={bound.rows!r} promises that no {unit} depends on its neighbours: what normalises over a step is an "
        "advantage estimator, "
        "a sequence's mean is batch.sequence_mean, and the mean over the step is the engine's"
    )
    where = [_places(values, whole, sequences) for values in expected[0]]
    weights = [_weights(values)[places] for values, places in zip(expected[0], where, strict=True)]
    values, gradients, stats = _weighted(bound, whole.take(sequences), weights)
    pairs = [("loss", found, of[places], of) for found, of, places in zip(values, expected[0], where, strict=True)]
    if stats.keys() != expected[2].keys():
        raise Wrong(
            f"its statistics {how} are {', '.join(stats) or 'none'}, and in the whole batch "
            f"{', '.join(expected[2]) or 'none'}"
        )
    for name, of in expected[2].items():
        pairs.append((f"statistic {name!r}", stats[name], of[_places(of, whole, sequences)], of))
    tokens = whole.tokens(sequences)
    for name, found in gradients.items():
        pairs.append((f"gradient with respect to {name}", found, expected[1][name][tokens], expected[1][name]))
    for name, found, wanted, of_whole in pairs:
        apart = ~((found - wanted).abs() <= EXACT * (1 + of_whole.abs().max()))
        if apart.any():
            place = int(apart.nonzero()[0])
            raise Wrong(
                f"the {name} of sequences {sequences} {how} is {found[place].item():.6g} at place {place}, and "
                f"{wanted[place].item():.6g} "
                f"in the whole batch; {advice}"
            )


Weighted = tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]


def _weighted(bound: BoundObjective, part: ProbeBatch, weights: Sequence[Tensor] | None = None) -> Weighted:
    """Each term's values in float64, the gradients of their weighted sum, and the statistics.

    Raises:
        Wrong: the values are not as many as the weights given.
    """
    with default_dtype(torch.float64):
        batch, leaves = part.batch()
        loss = bound(batch)
        terms = loss.terms
        if weights is not None and [len(x) for x in weights] != [len(term.values) for term in terms]:
            found, wanted = ([len(x) for x in xs] for xs in ([term.values for term in terms], weights))
            raise Wrong(f"its terms have {found} values for {_size(part)}, and as part of a larger batch {wanted}")
        weights = [_weights(term.values) for term in terms] if weights is None else weights
        total = torch.stack(
            [term.coefficient * (w * term.values).sum() for term, w in zip(terms, weights, strict=True)]
        ).sum()
        gradients = _gradients(total, {name: leaf for name, leaf in leaves.items() if name in _trained(bound)})
    return (
        [term.values.detach() for term in terms],
        gradients,
        {name: values.detach().double() for name, values in loss.stats.items()},
    )


def _weights(values: Tensor) -> Tensor:
    """Unequal weights from 0.5 to 1.5, so that errors of opposite signs do not cancel; the same for every tensor of
    that length.
    """
    return 0.5 + torch.rand(len(values), generator=torch.Generator().manual_seed(len(values)), dtype=torch.float64)


def _kind(values: Tensor, whole: ProbeBatch) -> int:
    """0, 1, 2 for values of pairs, sequences, tokens of one of the probes, in which the three differ in number."""
    return _sizes(whole).index(len(values))


def _sizes(whole: ProbeBatch) -> tuple[int, int, int]:
    """N, S, T."""
    return len(whole.lengths) // 2, len(whole.lengths), len(whole.token_id)


def _places(of_whole: Tensor, whole: ProbeBatch, sequences: Sequence[int]) -> Tensor:
    """Where the values of some sequences stand among those of the whole batch."""
    chosen = torch.tensor(list(sequences))
    return (chosen[0::2] // 2, chosen, whole.tokens(sequences))[_kind(of_whole, whole)]


# The numbers that it meets.


def check_extremes(bound: BoundObjective) -> str:
    """Loss, gradient and statistics are finite in float32 wherever log-probabilities, ratios and advantages may go."""
    tried = 0
    for whole, what in _extremes(bound.rows):
        batch, leaves = whole.batch(torch.float32)
        loss = bound(batch)
        reduced = reduce_loss(loss, bound.reduction, batch, _totals(whole))
        advice = ": exponentiate log-ratios with bounded_ratio, and clamp what is divided by or taken the logarithm of"
        _all_finite(reduced, _gradients(reduced, leaves), loss.stats, f"{_size(whole)} with {what}", advice)
        tried += 1
    extremes = "log-probabilities from 0 to -200, ratios to e^200 either way and advantages to 1000"
    return f"finite for {tried} batches with {extremes}"


def _extremes(rows: str) -> Iterator[tuple[ProbeBatch, str]]:
    base = probe(rows, 0, 0.5)
    shapes = [base, *(smallest(base, reward) for reward in (0.0, 1.0))]
    entropies = itertools.cycle((0.0, -1e-7, 12.0))  # rounding makes an entropy of 0 a little less
    for logp, older, credit in itertools.product((0.0, -100.0, -200.0), (0.0, -100.0, -200.0), (0.0, 1e3, -1e3)):
        values: dict[str, Tensor | float] = {
            "logp": logp,
            "ref_logp": older,
            "old_logp": older,
            "sampler_logp": older,
            "advantage": credit,
            "entropy": next(entropies),
            "value": credit,
            "old_value": -credit,
            "returns": credit / 2,
        }
        for shape in shapes:
            yield (
                shape.replace(**values),
                f"log-probabilities of {logp:g}, older ones of {older:g} and advantages of {credit:g}",
            )
    random = torch.Generator().manual_seed(0)

    def mixed(*choices: float) -> Tensor:
        return torch.tensor(choices, dtype=torch.float64)[
            torch.randint(len(choices), base.token_id.shape, generator=random)
        ]

    for _ in range(8):
        fields = {
            name: mixed(0.0, -1e-7, -1.0, -100.0, -200.0) for name in ("logp", "ref_logp", "old_logp", "sampler_logp")
        }
        fields |= {name: mixed(0.0, 1e3, -1e3) for name in ("advantage", "value", "old_value", "returns")}
        yield base.replace(**fields, entropy=mixed(0.0, -1e-7, 12.0)), "extreme log-probabilities and advantages mixed"


# The gradient against finite differences.


def check_differences(bound: BoundObjective) -> str:
    """The gradient is that of central differences, what goes through ``stop_gradient`` held fixed."""
    with default_dtype(torch.float64):
        counts = [_differences(bound, whole) for whole in probes(bound.rows)]
    judged, kinks = (sum(column) for column in zip(*counts, strict=True))
    if kinks > judged:
        raise Wrong(f"it bends or jumps at {kinks} of {kinks + judged} random places: its gradient says nothing of it")
    return f"{judged} derivatives are those of central differences" + (
        f"; {kinks} at kinks were left out" if kinks else ""
    )


def _differences(bound: BoundObjective, whole: ProbeBatch) -> tuple[int, int]:
    """How many derivatives were compared, and how many were not because they stand at a kink."""
    with recorded_stops() as stops:
        sums, leaves = _term_sums(bound, whole)
    at = sums.detach()
    judged = kinks = 0
    for name, leaf in leaves.items():
        exact = torch.stack([_gradients(one, {name: leaf}, keep=True)[name] for one in sums])  # [terms, T]
        allowed = 1e-5 * exact.abs().amax(1) + 1e-8 * at.abs() + 1e-10
        for token in range(len(leaf)):
            up, down = (_replayed(bound, _moved(whole, name, token, step), stops) for step in (STEP, -STEP))
            measured = (up - down) / (2 * STEP)
            wrong = ~((exact[:, token] - measured).abs() <= allowed)
            right, left = (up - at) / STEP, (at - down) / STEP
            smooth = (right - left).abs() <= 1e-3 * (right.abs() + left.abs()) + allowed
            if (wrong & smooth).any():
                term = int((wrong & smooth).nonzero()[0])
                raise Wrong(
                    f"its derivative with respect to {name} is {exact[term, token].item() + 0.0:.6g}, and finite "
                    "differences give "
                    f"{measured[term].item():.6g}: what is held fixed has to go through stop_gradient(x), not "
                    ".detach(), .data, .item() "
                    "or torch.no_grad()"
                )
            judged, kinks = judged + int(not wrong.any()), kinks + int(wrong.any())
    return judged, kinks


def _term_sums(bound: BoundObjective, whole: ProbeBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of each term's values [terms], and the leaves."""
    batch, leaves = whole.batch()
    sums = torch.stack([(_weights(term.values) * term.values).sum() for term in bound(batch).terms])
    return sums, {name: leaf for name, leaf in leaves.items() if name in _trained(bound)}


def _moved(whole: ProbeBatch, name: str, token: int, step: float) -> ProbeBatch:
    values = whole.fields[name].clone()
    values[token] += step
    return whole.replace(**{name: values})


class _Replay(list[Tensor]):
    """Recorded values, given back one after another; it counts how often one was asked for."""

    asked = 0

    def __iter__(self) -> Iterator[Tensor]:
        for value in list.__iter__(self):
            self.asked += 1
            yield value
        self.asked += 1


def _replayed(bound: BoundObjective, whole: ProbeBatch, stops: list[Tensor]) -> Tensor:
    """The term sums with everything that goes through ``stop_gradient`` as it was recorded."""
    replay, failure, sums = _Replay(stops), None, torch.empty(0)
    try:
        with replayed_stops(replay):
            sums = _term_sums(bound, whole)[0].detach()
    except UserError as error:  # as it is where there is no further value to give back
        failure = error
    if replay.asked != len(stops):
        times = "more often" if replay.asked > len(stops) else f"{replay.asked} times"
        raise Wrong(
            f"it calls stop_gradient {len(stops)} times and, for nearly the same batch, {times}: how often must "
            "depend on nothing but the "
            "hyper-parameters, so that the same values can be held fixed"
        )
    if failure is not None:
        raise failure
    return sums


def _trained(bound: BoundObjective) -> tuple[str, ...]:
    """The fields that the gradient is taken with respect to: the outputs of the network that trains this objective."""
    return (
        ("value",)
        if "value" in bound.reads
        else tuple(name for name in TRAINED if name == "logp" or name in bound.reads)
    )


def _gradients(total: Tensor, leaves: Mapping[str, Tensor], keep: bool = False) -> dict[str, Tensor]:
    """The gradients of a scalar, zeros where none flows."""
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, retain_graph=keep)
    return {
        name: torch.zeros_like(leaf) if x is None else x for (name, leaf), x in zip(leaves.items(), found, strict=True)
    }


def _totals(whole: ProbeBatch) -> Totals:
    return Totals(len(whole.token_id), len(whole.lengths), max(LENGTHS))


def _size(whole: ProbeBatch) -> str:
    sequences, tokens = len(whole.lengths), len(whole.token_id)
    return f"{sequences} sequence{'s' * (sequences > 1)} with {tokens} token{'s' * (tokens > 1)}"
