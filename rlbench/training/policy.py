"""The networks that are trained, on packed micro-batches: the policy's log-probabilities and the critic's values.

Linear layers see P real tokens and no padding; only attention unpacks them into [S, longest] for a while. Only the
states that predict a trained token go through the output layer, a bounded number at a time, so that logits are never
all there at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from rlbench.records import UserError
from rlbench.training.batching import Example, Packed, PackedLayout, micro_batches, pack, store

ATTENTION = "rlbench_packed"
LOGIT_ELEMENTS = 2**27
"""Logits held at once, tokens x vocabulary: 512 MiB in float32, 880 tokens of a vocabulary of 152k."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packed_layout: PackedLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a packed row: [1, H, P, D] in, [1, P, H, D] out; without a layout, plain
    sdpa.
    """
    if packed_layout is None:
        options = {"scaling": scaling, "sliding_window": sliding_window, **kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise UserError(
            f"{type(module).__name__} caps attention logits or has attention sinks, which packed training does not know"
        )
    mask = None
    if sliding_window is not None and packed_layout.longest > sliding_window:
        place = torch.arange(packed_layout.longest, device=query.device)
        distance = place[:, None] - place[None, :]
        mask = (distance >= 0) & (distance < sliding_window)
    q, k, v = (_unpack(x, packed_layout) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2).reshape(-1, out.shape[1], out.shape[3])[packed_layout.slot][None], None


def _unpack(x: Tensor, layout: PackedLayout) -> Tensor:
    """[1, H, P, D] -> [S, H, longest, D], zeros where a sequence is shorter."""
    tokens = x[0].transpose(0, 1)  # [P, H, D]
    slots = x.new_zeros(layout.sequences * layout.longest, *tokens.shape[1:]).index_copy(0, layout.slot, tokens)
    return slots.view(layout.sequences, layout.longest, *tokens.shape[1:]).transpose(1, 2)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Network(Protocol):
    """The interface of what a learner trains: a module, and its outputs for a micro-batch under the names of
    ``TokenBatch``.
    """

    @property
    def module(self) -> nn.Module:
        """Whose parameters the optimiser changes."""
        ...

    def outputs(self, packed: Packed, reads: Sequence[str]) -> dict[str, Tensor]:
        """Values [T] with gradients."""
        ...


class Policy:
    """A causal language model. Log-probabilities are those of the distribution at ``temperature``, in float32 nats.

    ``dtype`` ``bfloat16`` keeps float32 weights and computes under autocast. The module is in training mode with every
    dropout off, so that the same tokens have the same log-probabilities whenever they are asked for.

    Raises:
        UserError: the architecture is not one whose log-probabilities this computes rightly; a forward pass decides.
    """

    def __init__(
        self, model: PreTrainedModel, *, dtype: str = "float32", temperature: float = 1.0, checkpointing: bool = False
    ) -> None:
        self.module = model
        self.dtype = getattr(torch, dtype)
        self.temperature = temperature
        model.set_attn_implementation(ATTENTION)
        _check_architecture(model)
        prepare(model, checkpointing)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.device

    def autocast(self) -> torch.autocast:
        """The context in which the model computes in ``dtype``; it does nothing for float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def outputs(self, packed: Packed, reads: Sequence[str] = ()) -> dict[str, Tensor]:
        """``logp`` [T], and ``entropy`` [T] if it is read."""
        with self.autocast():
            states = hidden_states(self.module.get_decoder(), packed)
            head = self.module.get_output_embeddings()
            logp, entropy = token_logp(
                states, packed.token_id, head, temperature=self.temperature, with_entropy="entropy" in reads
            )
        return {"logp": logp} if entropy is None else {"logp": logp, "entropy": entropy}


def snapshot(policy: Policy) -> Policy:
    """A copy of a policy as it is now."""
    return Policy(
        copy.deepcopy(policy.module), dtype=str(policy.dtype).removeprefix("torch."), temperature=policy.temperature
    )


class Critic(nn.Module):
    """A value model: the policy's decoder copied, with a linear head that starts at zero, so that every first value is
    0.

    The value at a trained token is that of the state in which it was chosen: its prompt and the tokens before it.
    """

    def __init__(self, policy: Policy, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(policy.module.get_decoder())
        self.autocast = policy.autocast
        self.head = nn.Linear(self.decoder.config.get_text_config().hidden_size, 1, device=policy.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        prepare(self.decoder, checkpointing)

    @property
    def module(self) -> nn.Module:
        """Itself: what the optimiser trains."""
        return self

    def outputs(self, packed: Packed, reads: Sequence[str] = ()) -> dict[str, Tensor]:
        """``value`` [T]."""
        with self.autocast():
            states = hidden_states(self.decoder, packed)
        return {"value": self.head(states.to(self.head.weight.dtype)).squeeze(-1)}


def prepare(model: PreTrainedModel, checkpointing: bool) -> None:
    """Training mode, because checkpointing asks for it, with every dropout off."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()


def hidden_states(decoder: nn.Module, packed: Packed) -> Tensor:
    """The last hidden states that predict the trained tokens, [T, width]."""
    # A mask of four dimensions is handed through as it is: no mask is built for what the layout already says.
    handed_through = torch.empty(1, 1, 1, 1, device=packed.input_ids.device)
    output = decoder(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=handed_through,
        use_cache=False,
        packed_layout=packed.layout,
    )
    return output.last_hidden_state[0][packed.source]


def token_logp(
    states: Tensor, token_id: Tensor, head: nn.Linear, *, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of tokens, and entropies if asked for, [T] float32 nats, from states [T, width].

    Where tokens x vocabulary exceeds ``LOGIT_ELEMENTS`` it works through chunks of tokens and computes their logits
    again on the way back.
    """
    size = max(1, LOGIT_ELEMENTS // head.weight.shape[0])
    if len(states) <= size:
        return _chunk_logp(states, token_id, head, temperature, with_entropy)
    parts = [
        checkpoint(_chunk_logp, s, t, head, temperature, with_entropy, use_reentrant=False, preserve_rng_state=False)
        for s, t in zip(states.split(size), token_id.split(size), strict=True)
    ]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies) if with_entropy else None


def _chunk_logp(
    states: Tensor, token_id: Tensor, head: nn.Linear, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits = head(states)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # float64 stays, for checks of the arithmetic
    if temperature != 1.0:
        logits = logits / temperature
    logp = -cross_entropy(logits, token_id, reduction="none")
    if not with_entropy:
        return logp, None
    return logp, torch.distributions.Categorical(logits=logits, validate_args=False).entropy()


def annotate(
    network: Network, examples: Sequence[Example], names: dict[str, str], token_budget: int, device: torch.device
) -> None:
    """Store outputs of a network with every example, without gradients: ``names`` maps an output to the field to store
    it as.
    """
    with torch.no_grad():
        for batch in micro_batches(examples, token_budget):
            outputs = network.outputs(pack(batch, device), tuple(names))
            for output, name in names.items():
                store(batch, name, outputs[output])


def _check_architecture(model: PreTrainedModel) -> None:
    """Refuse a model whose packed log-probabilities are not those of its own plain forward pass, on two short
    sequences.

    It finds what cannot be known from names: positions or masks that a model makes itself, scaled or capped logits.
    """
    vocabulary = model.get_output_embeddings().weight.shape[0]
    rows = [(torch.arange(1, n + 1) * 7919 % vocabulary).numpy() for n in (4, 6)]
    packed = pack([Example(ids[:-1], ids[1:], i, i, 0.0) for i, ids in enumerate(rows)], model.device)
    model.eval()
    try:
        with torch.no_grad():
            states = hidden_states(model.get_decoder(), packed)
            ours, _ = token_logp(states, packed.token_id, model.get_output_embeddings())
            logits = [model(torch.from_numpy(ids[None]).to(model.device)).logits[0, :-1] for ids in rows]
            plain = -cross_entropy(torch.cat(logits).to(ours.dtype), packed.token_id, reduction="none")
            wrong = not torch.allclose(ours, plain, rtol=0, atol=1e-2)
    except (TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{type(model).__name__} cannot be trained packed: {error}") from error
    if wrong:
        worst = (ours - plain).abs().max().item()
        raise UserError(
            f"{type(model).__name__} cannot be trained packed: its log-probabilities would be off by up to "
            f"{worst:.2g} nats"
        )
