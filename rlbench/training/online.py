"""The stage that trains on what the policy itself samples: each step draws, grades, gives credit and takes a few
optimiser steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlbench import models
from rlbench.grading.pool import Grader
from rlbench.objectives import registry
from rlbench.objectives.batch import bounded_ratio
from rlbench.recipe import OnlineConfig, TrainingConfig
from rlbench.records import Problem, Rollout, StageFailure, TrainingSequence, read_problems
from rlbench.sampling.engine import SamplingParams
from rlbench.sampling.rollouts import sample
from rlbench.training.batching import Example, examples_of, flatten_units, shuffled, token_count, units_of
from rlbench.training.credit import credit, filtered
from rlbench.training.output import Checkpoints, save_policy, write_log
from rlbench.training.policy import Critic, Policy, annotate, snapshot
from rlbench.training.sampler import Sampler, mismatch
from rlbench.training.seeding import set_seed
from rlbench.training.step import BoundComponent, BoundObjective, Learner

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext


def train(config: dict[str, Any], inputs: dict[str, Path], output: Path, context: StageContext) -> None:
    """Train a copy of ``inputs["model"]`` on its own samples of ``inputs["problems"]``.

    Args:
        config: as ``offline.train`` takes it, and ``online`` (an ``OnlineConfig``), ``reward``, ``critic`` (None, or a
            table as ``objective`` with ``learning_rate`` in it), ``template`` (text with ``{problem}``), ``sampling``
            {engine and its options}.
        inputs: ``model``, a model folder, and ``problems``, a folder with ``problems.jsonl``.
        output: gets the model folder, ``training.jsonl`` (one line an optimiser step, with what the step's samples were
            like) and ``training.json`` (the sums).
        context: takes progress; counts ``tokens`` (trained), ``sampled_tokens``, ``samples`` and ``steps``.

    Raises: StageFailure: the objective takes pairs, there are fewer problems than a step draws, the data lacks what is
        read, or a loss
            is not finite.
    """
    set_seed(config["seed"])
    with Grader() as grader, contextlib.closing(OnlineLoop(config, inputs, context, grader)) as loop:
        checkpoints = Checkpoints(loop.policy, config, inputs["model"], output, loop.online.steps)
        log: list[dict[str, Any]] = []
        for step in range(loop.online.steps):
            log += loop.step(step)
            checkpoints.after(step + 1)
            context.progress(step + 1, loop.online.steps, f"reward {log[-1]['reward']:.3f}")
    if all(line["loss"] is None for line in log):
        raise StageFailure("the filters left no row to train on in any step")
    write_log(output, log)
    save_policy(loop.policy, config["dtype"], inputs["model"], output)


class OnlineLoop:
    """The state of an online run, and one step of it."""

    def __init__(self, config: dict[str, Any], inputs: dict[str, Path], context: StageContext, grader: Grader) -> None:
        self.config, self.context, self.grader = config, context, grader
        self.plugins = context.unhashed.get("plugins", ())
        self.online = OnlineConfig.model_validate(config["online"])
        self.training = TrainingConfig.model_validate(config["training"])
        self.objective = BoundObjective.load(config["objective"], self.plugins)
        if self.objective.rows == "pairs":
            raise StageFailure(f"objective {self.objective.name!r} takes pairs, which online sampling does not make")
        self.reward = BoundComponent.load("reward", config["reward"], self.plugins)
        self.estimator = (
            BoundComponent.load("advantage", config["advantage"], self.plugins) if config.get("advantage") else None
        )
        model = models.load_model(inputs["model"], device=context.device)
        self.tokenizer = models.load_tokenizer(inputs["model"])
        stop_ids = models.stop_token_ids(model.generation_config, self.tokenizer)
        self.params = SamplingParams(self.online.temperature, self.online.max_new_tokens, stop_ids)
        checkpointing = self.training.gradient_checkpointing
        self.policy = Policy(
            model, dtype=config["dtype"], temperature=self.online.temperature, checkpointing=checkpointing
        )
        self.sampler = Sampler(config, inputs["model"], self.policy, share=context.share)
        try:
            self._prepare(config, inputs, checkpointing)
        except BaseException:
            self.close()
            raise

    def _prepare(self, config: dict[str, Any], inputs: dict[str, Path], checkpointing: bool) -> None:
        """Set up what is needed beside policy and sampler; and rehearse the sampler."""
        self.updates = self.online.mini_batches * self.online.epochs
        self.learner = self._learner(self.policy, self.objective, self.training.learning_rate)
        self.critic, self.critic_learner = None, None
        if config.get("critic") is not None:
            self.critic = Critic(self.policy, checkpointing=checkpointing)
            objective = BoundObjective.load(config["critic"], self.plugins)
            self.critic_learner = self._learner(self.critic, objective, config["critic"]["learning_rate"])
        self.problems, self.prompts = fitting_prompts(
            config, inputs, self.tokenizer, self.sampler.engine.context, self.context
        )
        self.order = prompt_order(len(self.problems), self.online.prompts_per_step, self.online.steps, config["seed"])
        self.initial_policy = snapshot(self.policy) if "ref_logp" in self.objective.reads else None
        self.sampler.start(self.prompts)

    def step(self, step: int) -> list[dict[str, Any]]:
        """Online step ``step`` (0-based); returns one line to log for each optimiser step, or one without a loss if all
        was filtered.
        """
        if step and step % self.online.sync_interval == 0:
            self.sampler.follow()
        examples, shared = self._collect(step)
        number = step * self.updates
        if not examples:
            return [{"step": number, **shared, "loss": None, "grad_norm": None, "tokens": 0, "sequences": 0}]
        shared.update(self._credit(examples))
        return [{**line, **shared} for line in self._update(examples, step)]

    def close(self) -> None:
        """Free what sampled."""
        self.sampler.close()

    def _collect(self, step: int) -> tuple[list[Example], dict[str, Any]]:
        """The examples that the step trains on, and what there is to log of its samples.

        Draws prompts and filters their samples, at most ``1 + refills`` times, until ``prompts_per_step`` prompts are
        left.
        """
        wanted = self.online.prompts_per_step
        drawn: list[tuple[Rollout, float]] = []
        kept: dict[str, list[tuple[Rollout, float]]] = {}
        draws = 0
        for indices in self._draws_of(step):
            samples = self._draw(step, indices)
            draws, drawn = draws + 1, drawn + samples
            for rollout, reward in self._filtered(samples):
                kept.setdefault(rollout.problem_id, []).append((rollout, reward))
            if len(kept) >= wanted:
                break
        trained = [pair for problem in list(kept)[:wanted] for pair in kept[problem]]
        rollouts, rewards = zip(*drawn, strict=True)
        stats = {
            "online_step": step + 1,
            **sampling_stats(rollouts, rewards),
            "draws": draws,
            "kept": len(trained) / len(drawn),
        }
        return (self._examples(trained) if trained else []), stats

    def _draws_of(self, step: int) -> Iterator[np.ndarray]:
        """The problems of the step's first draw and of its refills, none of them twice."""
        yield self.order[step]
        if self.online.refills:
            others = shuffled(len(self.problems), "refills", self.config["seed"], step)
            others = others[~np.isin(others, self.order[step])]
            size = self.online.prompts_per_step
            for start in range(0, min(len(others), self.online.refills * size), size):
                yield others[start : start + size]

    def _draw(self, step: int, indices: Sequence[int] | np.ndarray) -> list[tuple[Rollout, float]]:
        """Samples of the problems with their rewards, in the order of the problems."""
        problems, prompts = [self.problems[i] for i in indices], [self.prompts[i] for i in indices]
        seed_parts = ("online", self.config["seed"], step)
        n = self.online.samples_per_prompt
        with self.sampler.awake() as engine:
            rollouts = sample(engine, self.tokenizer, self.grader, problems, prompts, self.params, n, seed_parts, None)
        self.context.count(samples=len(rollouts), sampled_tokens=sum(len(rollout.token_ids) for rollout in rollouts))
        return [(rollout, reward_of(self.reward, rollout)) for rollout in rollouts]

    def _filtered(self, samples: Sequence[tuple[Rollout, float]]) -> list[tuple[Rollout, float]]:
        """The samples whose whole unit passes every filter, which see one draw as one batch."""
        examples = self._examples(samples)
        left = {id(example) for example in filtered(examples, self.config, self.plugins)}
        return [pair for pair, example in zip(samples, examples, strict=True) if id(example) in left]

    def _examples(self, samples: Sequence[tuple[Rollout, float]]) -> list[Example]:
        rows = [
            TrainingSequence(unit, r.problem_id, r.prompt_ids, r.token_ids, r.sampler_logp, reward)
            for unit, (r, reward) in enumerate(samples)
        ]
        return examples_of(rows, self.objective.rows)

    def _credit(self, examples: list[Example]) -> dict[str, float | None]:
        """Store what the objectives read beside the samples, all under the networks as they are before this step's
        updates.

        ``old_logp`` is that of the policy that sampled, computed again by the trainer, because the sampler's own values
        differ from it by rounding, which a ratio would take for a change of the policy; the difference is logged, and
        with an ``importance_cap`` corrected for.
        """
        budget, device = self.training.tokens_per_microbatch, self.policy.device
        annotate(self.sampler.policy, examples, {"logp": "old_logp"}, budget, device)
        if self.initial_policy is not None:
            annotate(self.initial_policy, examples, {"logp": "ref_logp"}, budget, device)
        if self.critic is not None:
            annotate(self.critic, examples, {"value": "old_value"}, budget, device)
        old = torch.cat([example.fields["old_logp"] for example in examples])
        sampled = torch.cat([example.fields["sampler_logp"] for example in examples])
        stats: dict[str, float | None] = {"entropy": -old.mean().item(), **mismatch(old, sampled)}
        returns = credit(self.estimator, examples) if self.estimator is not None else None
        if self.online.importance_cap is not None:
            stats |= correct_advantages(examples, self.online.importance_cap)
        if self.critic is not None:
            if returns is None:
                raise StageFailure('a critic needs an advantage estimator that makes returns, such as "gae"')
            values = torch.cat([example.fields["old_value"] for example in examples])
            stats["explained_variance"] = explained_variance(values, returns)
        return stats

    def _update(self, examples: list[Example], step: int) -> list[dict[str, Any]]:
        """Take this step's optimiser steps: in each epoch every unit once, in ``mini_batches`` parts of like size."""
        units = units_of(examples)
        log = []
        for epoch in range(self.online.epochs):
            order = shuffled(len(units), "mini-batches", self.config["seed"], step, epoch)
            for part, indices in enumerate(np.array_split(order, self.online.mini_batches)):
                if len(indices) == 0:  # filters may leave fewer units than there are parts
                    continue
                batch = flatten_units(units, indices)
                number = step * self.updates + epoch * self.online.mini_batches + part
                line: dict[str, Any] = {"step": number + 1, **self.learner.step(batch, number)}
                if self.critic_learner is not None:
                    of_critic = self.critic_learner.step(batch, number)
                    line.update({f"critic_{name}": of_critic[name] for name in ("loss", "grad_norm", "learning_rate")})
                    line.update({name: value for name, value in of_critic.items() if name not in line})
                self.context.count(tokens=token_count(batch), steps=1)
                log.append(line)
        return log

    def _learner(self, network: Policy | Critic, objective: BoundObjective, learning_rate: float) -> Learner:
        return Learner(
            network,
            objective,
            self.training,
            learning_rate=learning_rate,
            steps=self.online.steps * self.updates,
            constant_length=self.online.max_new_tokens,
            device=self.policy.device,
        )


def correct_advantages(examples: Sequence[Example], cap: float) -> dict[str, float]:
    """Multiply each token's advantage by min(trainer's probability / sampler's, ``cap``), and return what there is to
    log of it.

    Truncated importance sampling (Ionides 2008) between two implementations of one policy, as Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training", use it. Mean weight, and the share of tokens
    whose ratio is above the cap.
    """
    weights, above = [], []
    for example in examples:
        ratio = bounded_ratio(example.fields["old_logp"] - example.fields["sampler_logp"])
        example.fields["advantage"] = example.fields["advantage"] * ratio.clamp(max=cap)
        weights.append(ratio.clamp(max=cap))
        above.append((ratio > cap).float())
    return {"importance_weight": torch.cat(weights).mean().item(), "importance_capped": torch.cat(above).mean().item()}


def fitting_prompts(
    config: Mapping[str, Any], inputs: Mapping[str, Path], tokenizer: Any, room: int, context: StageContext
) -> tuple[list[Problem], list[list[int]]]:
    """The problems whose prompt leaves room for an answer within ``room`` tokens, with the ids of their prompts.

    The others are left out and counted before any is drawn, as the views of offline data do.
    """
    problems = read_problems(inputs["problems"] / "problems.jsonl")
    prompts = models.encode_prompts(tokenizer, config["template"], problems, context.note)
    fit = [i for i, prompt in enumerate(prompts) if len(prompt) < room]
    if len(fit) < len(problems):
        context.count(dropped_prompts=len(problems) - len(fit))
    return [problems[i] for i in fit], [prompts[i] for i in fit]


def prompt_order(problems: int, per_step: int, steps: int, seed: int) -> list[np.ndarray]:
    """The problems of each step: every epoch in an order of its own, what is left of it beyond whole steps skipped.

    The order depends on the seed and the sizes, never on the method, so methods of like sizes see the same prompts step
    by step, and no step sees a prompt twice.

    Raises:
        StageFailure: a step draws more problems than there are.
    """
    if problems < per_step:
        raise StageFailure(
            f"online.prompts_per_step is {per_step} and there are {problems} prompts; it is at most their number"
        )
    whole = problems // per_step
    epochs = [shuffled(problems, "prompts", seed, epoch) for epoch in range(-(-steps // whole))]
    return [epochs[step // whole][(step % whole) * per_step :][:per_step] for step in range(steps)]


def reward_of(reward: BoundComponent, rollout: Rollout) -> float:
    """A rollout's reward. StageFailure: it is no finite number; UserError: the function raised. Both name its file and
    line.

    The function gets lists of its own, for what is in the rollout is trained on.
    """
    own = dataclasses.replace(
        rollout,
        prompt_ids=list(rollout.prompt_ids),
        token_ids=list(rollout.token_ids),
        sampler_logp=list(rollout.sampler_logp),
    )
    value = reward(own)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise StageFailure(f"{registry.name_and_place(reward.function)} has to return a finite number, not {value!r}")
    return number


def sampling_stats(rollouts: Sequence[Rollout], rewards: Sequence[float]) -> dict[str, float]:
    """Statistics of a step's samples: mean reward, share correct, mean length in tokens, share cut off by the length
    limit.
    """
    return {
        "reward": float(np.mean(rewards)),
        "correct": float(np.mean([rollout.verdict == "correct" for rollout in rollouts])),
        "response_tokens": float(np.mean([len(rollout.token_ids) for rollout in rollouts])),
        "truncated": float(np.mean([rollout.finish_reason == "length" for rollout in rollouts])),
    }


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> float | None:
    """1 - Var(returns - values) / Var(returns) over tokens [T]; None where all returns are the same."""
    variance = returns.var(correction=0).item()
    return 1.0 - (returns - values).var(correction=0).item() / variance if variance > 0 else None
