"""The key-value cache of the sampler, and the attention of one new token over it.

Rows are written in place and leave in place: when a row's completion has ended, the last living row is moved into its
slot, so that a chunk shrinks at the cost of what has ended and nothing is concatenated. Shapes: B rows, H key-value
heads, G query heads for each of them, L tokens held, D a head's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "rlbench_sampling"
GROWTH = 64
"""A layer starts with room for this many new tokens and then grows by half, in multiples of it: few completions use all
they may.
"""


class RowLayer(CacheLayerMixin):
    """One layer's keys and values [B, H, capacity, D], of which the first ``rows`` and the first ``length`` tokens are
    in use.

    ``limit`` is the number of tokens that will never be exceeded.
    """

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int, limit: int) -> None:
        super().__init__()
        self.rows, self.length, self.limit = keys.shape[0], length, limit
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise RuntimeError("a sampling cache is filled by the prefill before it is used")

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values [B, H, new, D]; return views of all that is held, [B, H, L, D]."""
        stop = self.length + key_states.shape[2]
        if stop > self.keys.shape[2]:
            self._grow(stop)
        self.keys[: self.rows, :, self.length : stop] = key_states
        self.values[: self.rows, :, self.length : stop] = value_states
        self.length = stop
        return self.keys[: self.rows, :, :stop], self.values[: self.rows, :, :stop]

    def _grow(self, needed: int) -> None:
        capacity = max(needed + GROWTH, self.length + self.length // 2)
        capacity = min(-(-capacity // GROWTH) * GROWTH, max(self.limit, needed))
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(self.rows, old.shape[1], capacity, old.shape[3])
            new[:, :, : self.length] = old[: self.rows, :, : self.length]
            setattr(self, name, new)

    def move(self, sources: torch.Tensor, targets: torch.Tensor, rows: int) -> None:
        """Copy rows ``sources`` over rows ``targets`` and keep the first ``rows``."""
        for held in (self.keys, self.values):
            held[targets, :, : self.length] = held[sources, :, : self.length]
        self.rows = rows

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.limit


class RowCache(Cache):
    """The cache of one chunk, made of what the prefill of its prompts left."""

    def __init__(self, layers: list[RowLayer]) -> None:
        super().__init__(layers=[*layers])

    @classmethod
    def of_prompts(cls, pieces: Sequence[tuple[Cache, torch.Tensor]], width: int, limit: int) -> RowCache:
        """Repeat each prompt's keys and values for its samples.

        Args:
            pieces: prefills, left-padded, in order, each with the number of samples of its prompts [prompts].
            width: the longest prompt of the chunk; shorter pieces are aligned to its right end, after zeros.
            limit: the number of tokens that no row will exceed.
        """
        layers = []
        for index in range(len(pieces[0][0].layers)):
            states = [(*_states(prefill, index), samples) for prefill, samples in pieces]
            capacity = min(width + GROWTH, limit)
            keys = _repeated([(keys, samples) for keys, _, samples in states], width, capacity)
            values = _repeated([(values, samples) for _, values, samples in states], width, capacity)
            layers.append(RowLayer(keys, values, width, limit))
        return cls(layers)

    def move(self, sources: torch.Tensor, targets: torch.Tensor, rows: int) -> None:
        """See ``RowLayer.move``."""
        for layer in self.layers:
            assert isinstance(layer, RowLayer)
            layer.move(sources, targets, rows)


def _states(cache: Cache, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values that a prefill left in one layer, [prompts, H, L, D] each."""
    layer = cache.layers[index]
    assert isinstance(layer, CacheLayerMixin) and layer.keys is not None and layer.values is not None
    return layer.keys, layer.values


def _repeated(pieces: list[tuple[torch.Tensor, torch.Tensor]], width: int, capacity: int) -> torch.Tensor:
    """States [prompts, H, at most width, D], each prompt's ``samples`` times, right-aligned in a storage [B, H,
    capacity, D].
    """
    like, rows = pieces[0][0], sum(int(samples.sum()) for _, samples in pieces)
    storage, row = like.new_empty(rows, like.shape[1], capacity, like.shape[3]), 0
    for states, samples in pieces:
        repeated = states.repeat_interleave(samples, dim=0)
        start, stop = width - repeated.shape[2], row + repeated.shape[0]
        storage[row:stop, :, :start] = 0.0  # masked, but what is masked must be finite
        storage[row:stop, :, start:width] = repeated
        row = stop
    return storage


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one new token a row without repeating the keys for its query heads; anything else goes to ``sdpa``.

    ``query`` is [B, H G, 1, D], ``key`` and ``value`` [B, H, L, D]; ``attention_mask`` is additive, [B, 1, 1, L].
    Returns [B, 1, H G, D].
    """
    additive = attention_mask if attention_mask is not None and attention_mask.is_floating_point() else None
    if additive is None or query.shape[2] != 1 or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    rows, heads, _, width = key.shape
    groups = query.shape[1] // heads
    query = query.reshape(rows, heads, groups, width) * (width**-0.5 if scaling is None else scaling)
    scores = torch.matmul(query, key.transpose(2, 3)).add_(additive)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).view(rows, 1, heads * groups, width), None


AttentionInterface.register(ATTENTION, grouped_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
