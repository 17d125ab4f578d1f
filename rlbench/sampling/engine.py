"""The interface of samplers: requests of token ids in, completions of token ids with log-probabilities out.

An engine never sees text or problems. One request is one sample with a seed of its own, and its draw depends on nothing
but that seed and the model's logits: which other requests share the batch, and in which order they came, does not
enter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rlbench.records import FinishReason, UserError

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int, int], None]
"""Called as ``progress(requests done, requests in all, tokens sampled for those that are done)``."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw: ``temperature`` (0 is greedy), at most ``max_new_tokens``, ending with the first of ``stop_ids``."""

    temperature: float
    max_new_tokens: int
    stop_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it is 0 (greedy) or a positive number")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class Request:
    """One sample of one prompt. Requests with equal prompts share one pass over the prompt, wherever they stand in the
    list.

    ``seed`` is an integer in [0, 2**64); see ``request_seed``.
    """

    prompt_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A drawn completion: the ids, the stop token included if one was emitted, and the log-probability of each in nats.

    The log-probabilities are those of the distribution that was sampled from, temperature included; of a greedy
    completion they are the model's own (temperature 1). ``finish_reason`` is ``length`` when ``max_new_tokens`` or the
    context ended it.
    """

    token_ids: list[int]
    logps: list[float]
    finish_reason: FinishReason


class Engine(Protocol):
    """Anything that can sample. ``context`` is the greatest number of tokens that a prompt and its completion may have
    together.
    """

    name: str
    context: int

    def generate(
        self, requests: Sequence[Request], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """Return one completion a request, in the order of the requests.

        Raises:
            UserError: a prompt is empty or fills the context.
            StageFailure: the model's logits are not finite.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds beside a model that others have; it can do nothing afterwards."""
        ...


class PushedEngine(Engine, Protocol):
    """An engine with weights of its own beside a trainer, which pushes its weights to it between samplings."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite the engine's weights with those of these names."""
        ...

    def wake(self) -> None:
        """Take back what ``sleep`` has given up."""
        ...

    def sleep(self) -> None:
        """Give the device's memory to the trainer until ``wake``."""
        ...


def check_requests(requests: Sequence[Request], context: int) -> None:
    """Raise UserError where a prompt is empty or leaves no room for a token in the context."""
    for number, request in enumerate(requests):
        if not request.prompt_ids:
            raise UserError(f"request {number} has an empty prompt")
        if (length := len(request.prompt_ids)) >= context:
            raise UserError(
                f"request {number} has a prompt of {length} tokens, which leaves no room in the context of {context}"
            )


def sorted_order(requests: Sequence[Request]) -> list[int]:
    """The places of the requests in an order by everything that a request is, so that the order in which they come does
    not enter.
    """
    return sorted(
        range(len(requests)), key=lambda i: (len(requests[i].prompt_ids), requests[i].prompt_ids, requests[i].seed)
    )


def request_seed(*parts: str | int) -> int:
    """A 64-bit seed from what identifies a sample, such as ``("rollouts", seed, problem id, sample index)``.

    The first eight bytes of the SHA-256 of the parts, each written with its type and length, so that different parts
    cannot collide by concatenation. Stable over processes, platforms and versions.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int):
            raise TypeError(f"a seed is made of strings and integers, not {part!r}")
        text = str(part).encode()
        digest.update(f"{'i' if isinstance(part, int) else 's'}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:8], "little")


def uniforms(seeds: Sequence[int], count: int) -> np.ndarray:
    """The random numbers of requests: float64 [requests, count] in [0, 1), row r from the Philox stream whose key is
    ``seeds[r]``.

    Philox is counter-based (Salmon et al. 2011): number i of a request is the same whatever ``count`` is, and streams
    of different keys are independent. About 20 microseconds a request.
    """
    numbers = np.empty((len(seeds), count))
    for row, seed in zip(numbers, seeds, strict=True):
        np.random.Generator(np.random.Philox(key=seed)).random(out=row)
    return numbers
