"""The stage that trains on data that was there before: demonstrations, correct rollouts, pairs, groups."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rlbench import models
from rlbench.evaluation.selection import STEPS, checkpoint_folder, checkpoint_steps
from rlbench.objectives import registry
from rlbench.objectives.advantages import Credit
from rlbench.objectives.batch import TokenBatch
from rlbench.recipe import TrainingConfig
from rlbench.records import StageFailure, TrainingSequence, read_records
from rlbench.training.batching import Example, examples_of, flatten_units, pack, step_batches, store, units_of
from rlbench.training.policy import Policy, annotate, snapshot
from rlbench.training.step import BoundComponent, BoundObjective, Learner

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext


def train(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """Train a copy of ``inputs["model"]`` on the rows of ``inputs["sequences"]``.

    Args:
        config: ``objective`` {name, hyperparameters, rows, reads, reduction}, ``training`` (a ``TrainingConfig``),
            ``seed``, ``dtype``, ``advantage`` and ``filters`` {name, hyperparameters}; ``checkpoints``, how many are
            kept, where that is more than the last.
        inputs: ``model``, a model folder, and ``sequences``, a folder with ``sequences.parquet``.
        output: gets the model folder, ``training.jsonl`` (one line an optimiser step) and ``training.json`` (the sums).
        context: takes progress; counts ``tokens`` (trained, each epoch anew) and ``steps``; its hint ``plugins`` is the
            plug-in files that the components come from, ``{path, source}`` each (their code is in the fingerprint
            through the components).

    Raises:
        StageFailure: no row is left, the data lacks what the objective reads, or the loss is not finite.
    """
    set_seed(config["seed"])
    training = TrainingConfig.model_validate(config["training"])
    plugins = context.unhashed.get("plugins", ())
    objective = BoundObjective.load(config["objective"], plugins)
    sequences = read_records(inputs["sequences"] / "sequences.parquet", TrainingSequence)
    examples = prepare_rows(examples_of(sequences, objective.rows), config, plugins)
    model = models.load_model(inputs["model"], device=context.device)
    policy = Policy(model, dtype=config["dtype"], checkpointing=training.gradient_checkpointing)
    add_initial_logp(policy, examples, objective.reads, training.tokens_per_microbatch)
    units = units_of(examples)
    batches = step_batches(len(units), training.batch_size, training.epochs, config["seed"], training.max_steps)
    learner = Learner(
        policy,
        objective,
        training,
        learning_rate=training.learning_rate,
        steps=len(batches),
        constant_length=training.max_length,
        device=policy.device,
    )
    keep = Checkpoints(policy, config, inputs["model"], output, len(batches))
    log = []
    for number, batch in enumerate(batches):
        refresh_old_logp(policy, units, batches, number, objective.reads, training)
        logged = learner.step(flatten_units(units, batch), number)
        log.append({"step": number + 1, **logged})
        context.count(tokens=int(logged["tokens"]), steps=1)
        context.progress(number + 1, len(batches), f"loss {logged['loss']:.4f}")
        keep.after(number + 1)
    write_log(output, log)
    save_policy(policy, config["dtype"], inputs["model"], output)


def set_seed(seed: int) -> None:
    """Seed every generator of the process; nothing in a stage is meant to draw from them, and a
    model's own code might.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def prepare_rows(examples: list[Example], config: Mapping[str, Any], plugins: Sequence[Any] = ()) -> list[Example]:
    """Apply the filters to whole units, in their order, and give every token its advantage.

    A unit is kept where all of its sequences are. Estimators and filters see the whole data as one batch.

    Raises:
        StageFailure: nothing is left, or the estimator reads what there is not, such as a critic's values.
    """
    examples = filtered(examples, config, plugins)
    if not examples:
        raise StageFailure("the filters left no row to train on")
    if config.get("advantage") is not None:
        credit(BoundComponent.load("advantage", config["advantage"], plugins), examples)
    return examples


def filtered(examples: list[Example], config: Mapping[str, Any], plugins: Sequence[Any]) -> list[Example]:
    """The examples whose whole unit passes every filter."""
    for component in config.get("filters") or ():
        if not examples:
            return examples
        row_filter = BoundComponent.load("filter", component, plugins)
        keep = choice(row_filter, whole_batch(examples, row_filter.reads))
        dropped = {example.unit for example, kept in zip(examples, keep.tolist(), strict=True) if not kept}
        examples = [example for example in examples if example.unit not in dropped]
    return examples


def choice(row_filter: BoundComponent, batch: TokenBatch) -> Tensor:
    """What a filter keeps of a batch, [S] of bool. UserError: it raised. StageFailure: it returned something else."""
    keep, sequences = row_filter(batch), batch.n_sequences
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool or keep.shape != (sequences,):
        found = f"{keep.dtype} {tuple(keep.shape)}" if isinstance(keep, Tensor) else type(keep).__name__
        raise StageFailure(
            f"{registry.name_and_place(row_filter.function)} has to return a bool for each of {sequences} sequences, "
            f"not {found}"
        )
    return keep


def whole_batch(examples: Sequence[Example], reads: Sequence[str]) -> TokenBatch:
    """All examples as one ``TokenBatch`` on the CPU with the fields in ``reads``, without
    log-probabilities to train.
    """
    return pack(examples).token_batch(reads, {})


def credit(estimator: BoundComponent, examples: Sequence[Example]) -> Tensor | None:
    """Run an estimator over all examples; store ``advantage``, and ``returns`` where it makes some, with each; return
    the returns [T].

    Raises: as ``estimate``.
    """
    batch = whole_batch(examples, estimator.reads)
    found = {
        name: batch.expand(x) if len(x) == batch.n_sequences else x for name, x in estimate(estimator, batch).items()
    }
    for name, values in found.items():
        store(examples, name, values)
    return found.get("returns")


def estimate(estimator: BoundComponent, batch: TokenBatch) -> dict[str, Tensor]:
    """An estimator's ``advantage``, and its ``returns`` where it makes some, each [S] or [T].

    Raises:
        UserError: the estimator raised.
        StageFailure: what it returned is not finite, or of another shape.
    """
    result = estimator(batch)
    made = (
        {"advantage": result.advantage, "returns": result.returns}
        if isinstance(result, Credit)
        else {"advantage": result}
    )
    where, tokens, sequences = registry.name_and_place(estimator.function), batch.n_tokens, batch.n_sequences
    for name, values in made.items():
        if not isinstance(values, Tensor) or values.dim() != 1 or len(values) not in (sequences, tokens):
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise StageFailure(
                f"{where}: its {name} is {found}, and has to be [T] or [S], here with T={tokens}, S={sequences}"
            )
        if not torch.isfinite(values).all():
            raise StageFailure(f"{where}: its {name} is not finite")
    return made


def add_initial_logp(policy: Policy, examples: Sequence[Example], reads: Sequence[str], token_budget: int) -> None:
    """Store what ``reads`` needs of the policy as it is before training: it is the reference, and it drew the bank.

    ``old_logp`` is computed by the trainer, as online, because the sampler's own values differ from it by rounding (in
    bfloat16 by more), which a ratio, and all the more one of a whole sequence, would take for a change of the policy.
    """
    wanted = [name for name in ("ref_logp", "old_logp") if name in reads]
    if wanted:
        annotate(policy, examples, {"logp": wanted[0]}, token_budget, policy.device)
    for example in examples:
        for name in wanted[1:]:
            example.fields[name] = example.fields[wanted[0]]


def refresh_old_logp(
    policy: Policy,
    units: Sequence[list[Example]],
    batches: Sequence[np.ndarray],
    number: int,
    reads: Sequence[str],
    training: TrainingConfig,
) -> None:
    """Where ``training.refresh_interval`` asks for it at step ``number``, make the policy as it now is the old one.

    Its log-probabilities become the ``old_logp`` of every unit that comes up before the next such step.
    """
    interval = training.refresh_interval
    if interval is None or "old_logp" not in reads or number % interval:
        return
    ahead = np.unique(np.concatenate(batches[number : number + interval]))
    annotate(policy, flatten_units(units, ahead), {"logp": "old_logp"}, training.tokens_per_microbatch, policy.device)


def write_log(output: Path, log: Sequence[Mapping[str, Any]]) -> None:
    """Write ``training.jsonl`` and, of its lines, ``training.json``."""
    lines = "".join(json.dumps(line) + "\n" for line in log)
    (output / "training.jsonl").write_text(lines, encoding="utf-8")
    losses = [line["loss"] for line in log if line["loss"] is not None]
    sums = {
        "steps": len(losses),
        "sequences": int(sum(line["sequences"] for line in log)),
        "tokens": int(sum(line["tokens"] for line in log)),
        "first_loss": losses[0] if losses else None,
        "final_loss": losses[-1] if losses else None,
    }
    (output / "training.json").write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


class Checkpoints:
    """The models that a run keeps beside its last, see ``rlbench.evaluation.selection``; by default none. ``steps`` is
    how many the run has.
    """

    def __init__(self, policy: Policy, config: Mapping[str, Any], like: Path, output: Path, steps: int) -> None:
        self.policy, self.dtype, self.like, self.output = policy, config["dtype"], like, output
        count = config.get("checkpoints", 1)
        self.steps = checkpoint_steps(steps, count)
        if count > 1:
            (output / STEPS).write_text(json.dumps(self.steps) + "\n")

    def after(self, step: int) -> None:
        """``step`` is done, counted from 1."""
        if step in self.steps[:-1] and step != self.steps[-1]:
            folder = checkpoint_folder(self.output, step)
            folder.mkdir(parents=True)
            save_policy(snapshot(self.policy), self.dtype, self.like, folder)


def save_policy(policy: Policy, dtype: str, like: Path, output: Path) -> None:
    """Write the trained model in the precision that it will be evaluated in, with plain attention
    in its configuration.
    """
    model = policy.module.to(getattr(torch, dtype)).cpu().eval()
    model.set_attn_implementation("sdpa")
    models.save_model(model, like, output)
