"""The optimiser step: micro-batches, the one reduction, clipping, AdamW, the schedule; the same for every objective and
the critic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlbench.objectives import registry, source
from rlbench.objectives.batch import Loss, TokenBatch
from rlbench.objectives.reduction import Totals, as_loss, reduce_loss
from rlbench.recipe import TrainingConfig
from rlbench.records import StageFailure, UserError
from rlbench.training.batching import Example, Packed, micro_batches, pack, token_count
from rlbench.training.policy import Network


@dataclass(frozen=True)
class BoundObjective:
    """An objective with its hyper-parameters, and what the engine has to know of it."""

    name: str
    function: Callable[..., Tensor | Loss]
    hyperparameters: Mapping[str, Any]
    rows: str
    reads: tuple[str, ...]
    reduction: str

    @classmethod
    def load(cls, config: Mapping[str, Any], plugins: Sequence[source.Plugin]) -> BoundObjective:
        """From a stage's table ``{name, hyperparameters, rows, reads, reduction}``.

        Raises:
            UserError: it cannot be loaded, or the table has a ``problem``, for which it is not to be used.
        """
        function = _loaded("objective", config, plugins)
        reads = tuple(config["reads"])
        return cls(config["name"], function, config["hyperparameters"], config["rows"], reads, config["reduction"])

    def __call__(self, batch: TokenBatch) -> Loss:
        """The unreduced loss of a micro-batch.

        Raises:
            UserError: the function raised; like the next, the message names its file and line.
            StageFailure: it returned no loss.
        """
        result = registry.call(self.function, batch, self.hyperparameters)
        try:
            return as_loss(result)
        except ValueError as error:
            raise StageFailure(f"{registry.name_and_place(self.function)}: {error}") from None


@dataclass(frozen=True)
class BoundComponent:
    """An advantage estimator, a reward or a filter with its hyper-parameters; called with the batch, or the rollout,
    alone.
    """

    name: str
    function: Callable[..., Any]
    hyperparameters: Mapping[str, Any]
    reads: tuple[str, ...]

    @classmethod
    def load(cls, kind: source.Kind, config: Mapping[str, Any], plugins: Sequence[source.Plugin]) -> BoundComponent:
        """From a stage's table ``{name, hyperparameters}``."""
        function = _loaded(kind, config, plugins)
        return cls(
            config["name"], function, config["hyperparameters"], tuple(registry.registration(function).get("reads", ()))
        )

    def __call__(self, argument: Any) -> Any:
        """Apply it. UserError: it raised; the message names its file and line."""
        return registry.call(self.function, argument, self.hyperparameters)


def _loaded(kind: source.Kind, config: Mapping[str, Any], plugins: Sequence[source.Plugin]) -> Callable[..., Any]:
    """The function of a stage's table. UserError: it cannot be loaded, or its source said already why it is not to be
    used.
    """
    if problem := config.get("problem"):
        raise UserError(problem)
    return registry.load(kind, config["name"], plugins)


def schedule_factor(step: int, steps: int, kind: str, warmup: float) -> float:
    """The factor of the learning rate at ``step`` (0-based) of ``steps``.

    It rises linearly over the first ``ceil(warmup x steps)`` steps, the last of which has 1, and from there falls to 0,
    which the step after the last one would have: no step is spent at 0.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[kind]


class Learner:
    """A network with its objective, its optimiser and its schedule over ``steps`` optimiser steps.

    Weight decay acts on weights of two dimensions or more, so on no bias and no norm. ``constant_length`` is the
    longest completion, for the reduction ``constant``.
    """

    def __init__(
        self,
        network: Network,
        objective: BoundObjective,
        training: TrainingConfig,
        *,
        learning_rate: float,
        steps: int,
        constant_length: int,
        device: torch.device,
    ) -> None:
        self.network, self.objective, self.training = network, objective, training
        self.learning_rate, self.steps, self.constant_length, self.device = (
            learning_rate,
            steps,
            constant_length,
            device,
        )
        self.parameters = [p for p in network.module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self.parameters if p.dim() >= 2], "weight_decay": training.weight_decay},
            {"params": [p for p in self.parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=training.betas, eps=training.eps, fused=True)

    def step(self, examples: Sequence[Example], number: int) -> dict[str, Any]:
        """Take optimiser step ``number`` (0-based) on ``examples``; return what there is to log of it, means over the
        whole step.

        A statistic that is not finite is None. UserError: the objective raised, or no gradient can be taken of what it
        returned.

        Raises:
            StageFailure: the loss or the gradient is not finite.
        """
        totals = Totals(token_count(examples), len(examples), self.constant_length).over_ranks(self.device)
        loss, stats = self.accumulate(examples, totals)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.training.clip_norm)
        rate = self.learning_rate * schedule_factor(number, self.steps, self.training.schedule, self.training.warmup)
        values = torch.stack(
            [loss, norm, *(total / count for total, count in stats.values())]
        ).tolist()  # the one wait for the device
        for name, value in (("loss", values[0]), ("gradient norm", values[1])):
            if not math.isfinite(value):
                what = registry.name_and_place(self.objective.function)
                raise StageFailure(f"{what}: the {name} became {value} at step {number + 1} of {self.steps}")
        if self.learning_rate > 0:  # at 0 even adding nothing could change a byte: -0.0 + 0.0 is 0.0
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        logged = {
            "loss": values[0],
            "grad_norm": values[1],
            "learning_rate": rate,
            "tokens": totals.tokens,
            "sequences": totals.sequences,
        }
        means = {name: value if math.isfinite(value) else None for name, value in zip(stats, values[2:], strict=True)}
        return {**means, **logged}  # a statistic takes the place of nothing that the engine logs

    def accumulate(self, examples: Sequence[Example], totals: Totals) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of the step's loss to the parameters; return the loss and, by name, each statistic's sum and
        count [2].
        """
        loss = torch.zeros((), device=self.device)
        stats: dict[str, Tensor] = {}
        for batch in micro_batches(examples, self.training.tokens_per_microbatch):
            part, logged = self.loss(pack(batch, self.device), totals)
            with registry.blamed(self.objective.function):  # what it changed in place is found here
                part.backward()
            loss += part.detach()
            for name, values in logged.items():
                summed = values.detach().float().sum()
                stats[name] = stats.get(name, 0) + torch.stack([summed, summed.new_tensor(values.numel())])
        self._sum_over_ranks(loss, *(stats[name] for name in sorted(stats)))
        return loss, stats

    def loss(self, packed: Packed, totals: Totals) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One micro-batch's part of the step's loss, and its statistics, unreduced.

        Raises:
            UserError: the objective raised.
            StageFailure: what it returned cannot be reduced, or has no gradient.
        """
        objective = self.objective
        outputs = self.network.outputs(packed, objective.reads)
        batch = packed.token_batch(objective.reads, outputs)
        loss = objective(batch)
        try:
            reduced = reduce_loss(loss, objective.reduction, batch, totals)
        except ValueError as error:
            raise StageFailure(f"{registry.name_and_place(objective.function)}: {error}") from None
        if not reduced.requires_grad:
            raise StageFailure(
                f"{registry.name_and_place(objective.function)}: no gradient flows from what it returned: is all of "
                "it detached?"
            )
        return reduced, loss.stats

    def _sum_over_ranks(self, *values: Tensor) -> None:
        # Sums and not means: the denominators already are those of all ranks.
        if dist.is_available() and dist.is_initialized():
            for value in (*values, *(p.grad for p in self.parameters if p.grad is not None)):
                dist.all_reduce(value)
