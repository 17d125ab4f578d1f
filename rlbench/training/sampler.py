"""The sampler of an online run: an engine, and the policy whose weights it has.

The transformers engine computes with the modules of that policy. vLLM has weights of its own, beside the policy in this
process: they are overwritten in place whenever the policy has changed. That they have arrived is not taken on trust,
because a push that only half works gives samples that look right: see ``Sampler.rehearse``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from rlbench.recipe import OnlineConfig, TrainingConfig, VllmConfig
from rlbench.records import TrainingSequence
from rlbench.sampling.engine import Engine, PushedEngine, Request, SamplingParams, request_seed
from rlbench.training.batching import Example, examples_of
from rlbench.training.policy import Policy, annotate, snapshot
from rlbench.training.seeding import set_seed

PROBES, PROBE_TOKENS = 8, 32
CHANGE = 0.2
"""A rehearsal multiplies every weight by 1 + this times a standard normal number: far more than a step of training
changes it.
"""
TOLERANCE = {"float32": 5e-3, "bfloat16": 0.1}
"""Nats by which the mean log-probability of sampled tokens may differ between engine and trainer that have loaded the
same model.
"""
ROOM = 4.0
"""After a push they may differ by this times as much as they did before any, where only rounding can be why; by
``TOLERANCE`` at most.
"""
EFFECT_SHARE = 0.05
"""A changed model may also round otherwise than the model as it was: by this share of what the change does to
log-probabilities.
"""


class NotSynchronised(RuntimeError):
    """The engine does not compute what the trainer does, or not with its weights although they were pushed.

    An error of the engine's version: the stage is tried again by the next run.
    """


class Sampler:
    """The engine of an online run.

    Attributes:
        policy: the one whose weights the engine has: the trained one, or, with a ``sync_interval`` above 1, a copy that
            follows it.
        engine: see ``sampling.engine``; ask it within ``awake``.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path, policy: Policy, *, share: float = 1.0) -> None:
        self.online = OnlineConfig.model_validate(config["online"])
        self.trained, self.dtype, self.seed = policy, config["dtype"], config["seed"]
        self.budget = config["training"]["tokens_per_microbatch"]
        self.policy = policy if self.online.sync_interval == 1 else snapshot(policy)
        self.pushes = config["sampling"]["engine"] == "vllm"
        self.engine: Engine = self._vllm(config, folder, share) if self.pushes else self._transformers(config)
        self.behind = False  # whether the engine's weights are older than the policy's
        self.unverified = self.pushes  # until a push of weights that training has changed was seen to arrive
        self.probes: Sequence[Sequence[int]] = ()
        self.tolerance = 0.0

    def _transformers(self, config: Mapping[str, Any]) -> Engine:
        from rlbench.sampling.transformers_engine import TransformersEngine

        length = TrainingConfig.model_validate(config["training"]).max_length
        return TransformersEngine(self.policy.module, batch_rows=config["sampling"].get("batch_rows"), context=length)

    def _vllm(self, config: Mapping[str, Any], folder: Path, share: float) -> Engine:
        from rlbench.sampling.vllm_engine import VllmEngine

        options = VllmConfig(
            **{name: config["sampling"][name] for name in VllmConfig.model_fields if name in config["sampling"]}
        )
        window = getattr(self.trained.module.config.get_text_config(), "max_position_embeddings", None)
        length = min(
            size for size in (config["training"]["max_length"], window, options.max_model_len) if size is not None
        )
        options = options.model_copy(update={"max_model_len": length})
        device = self.trained.device.type
        engine = VllmEngine(folder, dtype=config["dtype"], device=device, options=options, share=share, colocated=True)
        set_seed(config["seed"])  # vLLM seeds the process when it starts
        return engine

    def start(self, prompts: Sequence[Sequence[int]]) -> None:
        """Where the engine has weights of its own, see on the first of these prompts that it computes as the trainer
        does, and rehearse.

        Raises:
            NotSynchronised: it does not, or see ``rehearse``.
        """
        self.probes = prompts[:PROBES]
        if self.pushes:
            with self.awake():
                self.tolerance = TOLERANCE[self.dtype]
                self.tolerance = min(ROOM * self._verify("has loaded the model") + 1e-3, self.tolerance)
                self.rehearse()

    def follow(self) -> None:
        """From now on sample with the weights that the trained policy has now."""
        if self.policy is not self.trained:
            self.policy.module.load_state_dict(self.trained.module.state_dict())
        self.behind = self.pushes

    @contextlib.contextmanager
    def awake(self) -> Iterator[Engine]:
        """While the engine is asked: its memory and its weights are there, and a model that is shared computes in the
        run's dtype.

        Raises:
            NotSynchronised: weights were pushed for the first time since training changed them, and did not arrive.
        """
        if not self.pushes:
            with self.policy.autocast():
                yield self.engine
            return
        engine = cast(PushedEngine, self.engine)
        engine.wake()
        if self.behind:
            self._push()
            self.behind = False
            if self.unverified:
                self._verify("was given weights that training had changed")
                self.unverified = False
        yield engine
        engine.sleep()

    def rehearse(self) -> None:
        """Push weights that are all changed, and look whether the engine then samples with them; then push the true
        ones.

        One step of training may change so little that a push which did nothing would go unseen, and the first thing to
        be pushed is what the engine has loaded itself. So all weights are changed for a while by a fifth at random, and
        tokens that the engine then draws have to have the log-probabilities that the trainer, changed alike, gives
        them.

        Raises:
            NotSynchronised: they have not.
        """
        module = self.policy.module
        with torch.no_grad():
            kept = {name: weight.detach().cpu().clone() for name, weight in module.named_parameters()}
            generator = torch.Generator().manual_seed(0)
            for weight in module.parameters():
                weight.mul_(1 + CHANGE * torch.randn(weight.shape, generator=generator).to(weight))
            self._push()
            probed = self._probe()
            changed = trainer_logp(self.policy, probed, self.budget)
            for name, weight in module.named_parameters():
                weight.copy_(kept[name])
            effect = (changed - trainer_logp(self.policy, probed, self.budget)).abs().mean().item()
        self._judge("was given changed weights", probed, changed, EFFECT_SHARE * effect)
        self._push()
        self._verify("was given its weights back")

    def _verify(self, event: str) -> float:
        """How far, in nats, the engine's log-probabilities of tokens that it draws are from the
        trainer's in the mean.
        """
        probed = self._probe()
        return self._judge(event, probed, trainer_logp(self.policy, probed, self.budget))

    def _judge(self, event: str, probed: Sequence[Example], logp: Tensor, allowed: float = 0.0) -> float:
        told = torch.cat([example.fields["sampler_logp"] for example in probed])
        off, limit = (told - logp).abs().mean().item(), max(self.tolerance, allowed)
        if not off <= limit:
            raise NotSynchronised(
                f"after {self.engine.name} {event}, the log-probabilities of tokens that it samples are {off:.2g} "
                "nats off the trainer's "
                f'in the mean, and {limit:.2g} would be rounding: set sampling.online_engine = "transformers" for '
                "this model"
            )
        return off

    def _probe(self) -> list[Example]:
        """The engine's answers to the probes, with the log-probabilities that it tells."""
        requests = [
            Request(tuple(prompt), request_seed("probe", self.seed, number))
            for number, prompt in enumerate(self.probes)
        ]
        found = self.engine.generate(requests, SamplingParams(self.online.temperature, PROBE_TOKENS, ()))
        rows = [
            TrainingSequence(number, str(number), list(request.prompt_ids), completion.token_ids, completion.logps, 0.0)
            for number, (request, completion) in enumerate(zip(requests, found, strict=True))
        ]
        return examples_of(rows, "sequences")

    def _push(self) -> None:
        cast(PushedEngine, self.engine).load_weights(self.policy.module.named_parameters())

    def close(self) -> None:
        """Free what the engine holds."""
        self.engine.close()


def trainer_logp(policy: Policy, examples: Sequence[Example], token_budget: int) -> Tensor:
    """The log-probabilities [T] that the trainer gives the tokens of all examples, in their order."""
    annotate(policy, examples, {"logp": "probed_logp"}, token_budget, policy.device)
    return torch.cat([example.fields.pop("probed_logp") for example in examples])


def mismatch(trainer: Tensor, sampler: Tensor) -> dict[str, float]:
    """How far the sampler's log-probabilities [T] of its own tokens are from the trainer's [T].

    Mean and greatest absolute difference in nats, and the divergence KL(sampler || trainer) a token, estimated by the
    mean of r - 1 - log r with the ratio r of trainer to sampler, which is never negative (Schulman 2020, "Approximating
    KL divergence").
    """
    difference = trainer - sampler
    divergence = (torch.expm1(difference) - difference).mean()
    return {
        "sampler_mismatch": difference.abs().mean().item(),
        "sampler_mismatch_max": difference.abs().max().item(),
        "sampler_kl": divergence.item(),
    }
