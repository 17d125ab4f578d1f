"""Training on data fixed before training starts: demonstrations, correct rollouts, pairs, groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench import models
from rlbench.recipe import TrainingConfig
from rlbench.records import TrainingSequence, read_records
from rlbench.training.batching import Example, examples_of, flatten_units, step_batches, units_of
from rlbench.training.credit import prepare_rows
from rlbench.training.output import Checkpoints, save_policy, write_log
from rlbench.training.policy import Policy, annotate
from rlbench.training.seeding import set_seed
from rlbench.training.step import BoundObjective, Learner

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
    checkpoints = Checkpoints(policy, config, inputs["model"], output, len(batches))
    log = []
    for number, batch in enumerate(batches):
        refresh_old_logp(policy, units, batches, number, objective.reads, training)
        logged = learner.step(flatten_units(units, batch), number)
        log.append({"step": number + 1, **logged})
        context.count(tokens=int(logged["tokens"]), steps=1)
        context.progress(number + 1, len(batches), f"loss {logged['loss']:.4f}")
        checkpoints.after(number + 1)
    write_log(output, log)
    save_policy(policy, config["dtype"], inputs["model"], output)


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
