"""Sampling from any causal language model of transformers, on the CPU or a GPU, with a decoding loop of our own.

Why not ``model.generate``: it repeats the prefill for every sample of a prompt, keeps rows that have ended in the
batch, concatenates its cache at every step and draws from one generator for the whole batch, so that a sample depends
on its neighbours. Here each prompt is read once, ended rows leave the batch, and every draw is a function of its
request's seed and its logits.

The weights are the model's own at every call, so the model may be trained between calls.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from rlbench.records import StageFailure, UserError
from rlbench.sampling.cache import ATTENTION, RowCache
from rlbench.sampling.engine import (
    Completion,
    Progress,
    Request,
    SamplingParams,
    check_requests,
    sorted_order,
    uniforms,
)

COMPACT_EVERY = 4
"""Steps between two looks at which rows have ended; on a GPU each look waits for the device."""
PREFILL_TOKENS = 8192
"""Prompt tokens, padding included, in one forward pass; bounds the activations of a prefill."""
CACHE_BYTES = {"cpu": 2**28, "cuda": 2**33}
"""Memory for keys, values and logits that the default ``batch_rows`` is chosen for."""
MOST_ROWS = 1024


class TransformersEngine:
    """The engine around a model. ``batch_rows`` samples are decoded together: by default as many as a fixed amount of
    memory holds.

    For the same requests, parameters and ``batch_rows`` the completions are the same, whatever the order of the
    requests. Another ``batch_rows`` changes logits in their last bits, and so now and then a token.
    """

    name = "transformers"

    def __init__(self, model: PreTrainedModel, *, batch_rows: int | None = None, context: int | None = None) -> None:
        if batch_rows is not None and batch_rows < 1:
            raise UserError(f"batch_rows is {batch_rows}; it is the number of samples decoded together, at least 1")
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        sizes = [size for size in (context, window) if size is not None]
        if not sizes:
            raise UserError(
                f"the configuration of {type(model).__name__} names no max_position_embeddings; give a context"
            )
        self.model = model
        self.context = min(sizes)
        self.batch_rows = batch_rows

    def generate(
        self, requests: Sequence[Request], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """Return one completion a request, in the order of the requests; see ``engine.Engine``."""
        check_requests(requests, self.context)
        order = sorted_order(requests)  # so that the batches, and with them the last bits, do not depend on the order
        completions: dict[int, Completion] = {}
        tokens = 0
        with serving(self.model) as additive_mask:
            rows = self.batch_rows or default_batch_rows(self.model, _longest(requests, params, self.context))
            for start in range(0, len(order), rows):
                chunk = order[start : start + rows]
                sampler = _Chunk(self.model, [requests[i] for i in chunk], params, self.context, additive_mask)
                for index, completion in zip(chunk, sampler.run(), strict=True):
                    completions[index] = completion
                    tokens += len(completion.token_ids)
                if progress is not None:
                    progress(min(start + rows, len(order)), len(order), tokens)
        return [completions[i] for i in range(len(requests))]

    def close(self) -> None:
        """Nothing is held between two calls."""


@contextlib.contextmanager
def serving(model: PreTrainedModel) -> Iterator[bool]:
    """Evaluation mode, no gradients and the sampler's attention for a while; all of it is put back.

    Yields whether the model takes an additive mask [B, 1, 1, L] as it is: it uses the attention interface, and full
    attention in every layer. Other models get the mask of tokens [B, L] that all models take.
    """
    config = model.config.get_text_config()
    training = [module for module in model.modules() if module.training]
    before = model.config._attn_implementation
    # An attention that caps its logits is not what ours computes; nor is a model without sdpa known to be.
    plain = getattr(config, "attn_logit_softcapping", None) is None and getattr(model, "_supports_sdpa", False)
    ours = plain and before not in (None, "eager") and model._can_set_attn_implementation()
    kinds = getattr(config, "layer_types", None)
    full = set(kinds) == {"full_attention"} if kinds else getattr(config, "sliding_window", None) is None
    if kinds and not set(kinds) <= {"full_attention", "sliding_attention", "chunked_attention"}:
        raise UserError(
            f"the transformers engine samples attention models; {type(model).__name__} has layers {sorted(set(kinds))}"
        )
    try:
        if ours:
            model.set_attn_implementation(ATTENTION)
        for module in training:
            module.training = False
        with torch.no_grad():
            yield ours and full
    finally:
        if ours:
            model.set_attn_implementation(before)
        for module in training:
            module.training = True


def default_batch_rows(model: PreTrainedModel, length: int) -> int:
    """How many rows of ``length`` tokens fit ``CACHE_BYTES``, as a power of two of at most ``MOST_ROWS``.

    It follows from the model's shape and the kind of its device alone, so that it is the same on every machine.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    per_row = length * per_token + 24 * config.vocab_size  # logits, their exponentials, and the float64 sums of those
    rows = CACHE_BYTES.get(model.device.type, CACHE_BYTES["cpu"]) // per_row
    return min(MOST_ROWS, 1 << max(0, rows.bit_length() - 1))


def _longest(requests: Sequence[Request], params: SamplingParams, context: int) -> int:
    return min(context, max((len(r.prompt_ids) for r in requests), default=0) + params.max_new_tokens)


def draw(logits: torch.Tensor, temperature: float, numbers: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverting the cumulative distribution of softmax(logits / temperature), or the greatest logit
    at 0.

    Args:
        logits: [B, V].
        temperature: 0 is greedy.
        numbers: float64 [B] in [0, 1); not needed when greedy.

    Returns:
        The tokens [B] and their log-probabilities in nats, float32 [B]; not finite where the logits are not.
    """
    logits = logits.float()
    if temperature > 0 and temperature != 1:
        logits = logits / temperature
    highest, token = logits.max(dim=-1)
    weights = (logits - highest[:, None]).exp_()
    if temperature == 0:
        total = weights.sum(dim=-1, dtype=torch.float64)
        return token, total.log().neg_().float()
    assert numbers is not None
    # Float64, because a float32 running sum over 150,000 tokens would lose the rare ones.
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1]
    # Strictly below the total, so that the token found has a probability above 0.
    target = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    token = torch.searchsorted(cumulative, target[:, None], right=True).clamp_(max=logits.shape[-1] - 1)
    logp = (logits.gather(1, token)[:, 0] - highest).double() - total.log()
    return token[:, 0], logp.float()


@dataclass
class _Rows:
    """The rows still in the batch, B of them: their numbers in the chunk, their prompts' lengths, and how many tokens
    they may have.
    """

    number: torch.Tensor
    prompt_length: torch.Tensor
    limit: torch.Tensor
    ended: torch.Tensor
    mask: torch.Tensor

    def move(self, sources: torch.Tensor, targets: torch.Tensor, rows: int) -> None:
        for name, held in vars(self).items():
            held[targets] = held[sources]
            setattr(self, name, held[:rows])


class _Chunk:
    """The sampling of one chunk: a prefill of its prompts, then one token a row and step until all rows have ended."""

    def __init__(
        self, model: PreTrainedModel, requests: list[Request], params: SamplingParams, context: int, additive_mask: bool
    ) -> None:
        self.model, self.params, self.context, self.additive_mask = model, params, context, additive_mask
        self.device = model.device
        self.lengths = np.array([len(r.prompt_ids) for r in requests])
        self.limits = np.minimum(params.max_new_tokens, context - self.lengths)
        self.width, self.steps = int(self.lengths.max()), int(self.limits.max())
        self.prompts: list[tuple[int, ...]] = []
        self.samples: list[int] = []
        for request in requests:
            if not self.prompts or self.prompts[-1] != request.prompt_ids:
                self.prompts.append(request.prompt_ids)
                self.samples.append(0)
            self.samples[-1] += 1
        self.numbers = None
        if params.temperature > 0:
            self.numbers = self._to_device(uniforms([r.seed for r in requests], self.steps).T.copy())
        self.stop_ids = self._to_device(np.array(params.stop_ids, dtype=np.int64))
        self.accepted = inspect.signature(model.forward).parameters

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def run(self) -> list[Completion]:
        """Sample every row to its end."""
        cache, logits = self._prefill()
        rows = self._rows(logits.dtype)
        tokens = torch.zeros(self.steps, len(self.lengths), dtype=torch.int64, device=self.device)
        logps = torch.zeros(self.steps, len(self.lengths), device=self.device)
        for step in range(self.steps):
            numbers = None if self.numbers is None else self.numbers[step].index_select(0, rows.number)
            token, logp = draw(logits, self.params.temperature, numbers)
            tokens[step].index_copy_(0, rows.number, token)
            logps[step].index_copy_(0, rows.number, logp)
            rows.ended |= torch.isin(token, self.stop_ids) | (rows.limit <= step + 1)
            if step % COMPACT_EVERY == 0 or step + 1 == self.steps:
                self._check(logp)
                token = self._compact(rows, cache, token)
                if not len(token):
                    break
            logits = self._decode(rows, cache, token, step)
        return self._collect(tokens, logps)

    def _rows(self, dtype: torch.dtype) -> _Rows:
        count = len(self.lengths)
        lengths, limits = self._to_device(self.lengths), self._to_device(self.limits)
        total = self.width + self.steps
        valid = torch.arange(total, device=self.device) >= (self.width - lengths)[:, None]
        if self.additive_mask:
            mask = torch.zeros(count, 1, 1, total, dtype=dtype, device=self.device)
            mask.masked_fill_(~valid[:, None, None], torch.finfo(dtype).min)
        else:
            mask = valid.long()
        ended = torch.zeros(count, dtype=torch.bool, device=self.device)
        return _Rows(torch.arange(count, device=self.device), lengths, limits, ended, mask)

    def _prefill(self) -> tuple[RowCache, torch.Tensor]:
        """Read every prompt once; return the cache of all rows and the logits [B, V] of their first tokens."""
        pieces, logits, start = [], [], 0
        while start < len(self.prompts):
            stop = start + 1
            while stop < len(self.prompts) and (stop + 1 - start) * len(self.prompts[stop]) <= PREFILL_TOKENS:
                stop += 1
            prefill, last = self._read(self.prompts[start:stop])
            samples = torch.tensor(self.samples[start:stop], device=self.device)
            pieces.append((prefill, samples))
            logits.append(last.repeat_interleave(samples, dim=0))
            start = stop
        cache = RowCache.of_prompts(pieces, self.width, self.width + self.steps)
        return cache, torch.cat(logits)

    def _read(self, prompts: list[tuple[int, ...]]) -> tuple[DynamicCache, torch.Tensor]:
        width = max(map(len, prompts))
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[width - len(prompt) :] = prompt
        padding = self._to_device(np.array([width - len(prompt) for prompt in prompts]))
        place = torch.arange(width, device=self.device)
        valid = place >= padding[:, None]
        mask = valid.long()
        if self.additive_mask:
            # A padding token sees itself, so that its keys and values stay finite.
            mask = (valid[:, None, None] & (place[:, None] >= place)) | torch.eye(
                width, dtype=torch.bool, device=self.device
            )
        prefill = DynamicCache()
        logits = self._forward(self._to_device(ids), mask, (place - padding[:, None]).clamp_(min=0), prefill)
        return prefill, logits

    def _decode(self, rows: _Rows, cache: RowCache, token: torch.Tensor, step: int) -> torch.Tensor:
        # Rows that have ended but not yet left write on; their positions stay inside the context.
        position = (rows.prompt_length + step).clamp_(max=self.context - 1)
        return self._forward(token[:, None], rows.mask[..., : self.width + step + 1], position[:, None], cache)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache | RowCache
    ) -> torch.Tensor:
        """The logits [B, V] after the last of ``ids`` [B, new]."""
        options = {"position_ids": positions, "logits_to_keep": 1}
        options = {name: value for name, value in options.items() if name in self.accepted}
        output = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        return output.logits[:, -1]

    def _compact(self, rows: _Rows, cache: RowCache, token: torch.Tensor) -> torch.Tensor:
        """Move living rows into the slots of ended ones; return the tokens of the rows that are left."""
        ended = rows.ended.cpu().numpy()
        left = len(ended) - int(ended.sum())
        if left == len(ended) or not left:
            return token[:left]
        targets, sources = np.flatnonzero(ended[:left]), left + np.flatnonzero(~ended[left:])
        source, target = self._to_device(sources), self._to_device(targets)
        rows.move(source, target, left)
        cache.move(source, target, left)
        token[target] = token[source]
        return token[:left]

    def _check(self, logps: torch.Tensor) -> None:
        if not torch.isfinite(logps).all():
            raise StageFailure("logits are not finite: the model's weights or activations hold NaN or infinity")

    def _collect(self, tokens: torch.Tensor, logps: torch.Tensor) -> list[Completion]:
        """Cut every row at its first stop token or its limit."""
        stops = torch.isin(tokens, self.stop_ids).cpu().numpy()
        ids, values = tokens.T.cpu().numpy(), logps.T.cpu()
        self._check(values)
        first = np.where(stops.any(axis=0), stops.argmax(axis=0) + 1, self.steps + 1)
        completions = []
        for row, (end, limit) in enumerate(zip(first.tolist(), self.limits.tolist(), strict=True)):
            length = min(end, limit)
            completions.append(
                Completion(
                    ids[row, :length].tolist(), values[row, :length].tolist(), "stop" if end <= limit else "length"
                )
            )
        return completions
