"""Whether the tensors of a model's files are just its parameters, by their names and shapes alone.

transformers is the judge: it is let load tensors without values, since only it knows which names it converts, which
parameters are tied and which old buffers it leaves out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlbench.models.folder import first_line
from rlbench.models.weights import Stored
from rlbench.records import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


DERIVED = r"\.masked_bias$", r"\.(attn|attention)\.bias$", r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$"
"""Names of causal masks, frequencies and positions, which older versions saved and a model makes itself."""


@dataclass(frozen=True)
class Verdict:
    """What transformers says of tensors that it is given: the model's names without one, names that it has no use for,
    and (name, shape given, shape wanted) of those of another shape.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every parameter has its tensor and every tensor its parameter."""
        return not (self.missing or self.unexpected or self.mismatched)


def judge(model: PreTrainedModel, shapes: Mapping[str, tuple[int, ...]]) -> Verdict:
    """Let transformers load tensors of these names and shapes, without values, into a model like this one.

    Raises:
        UserError: it cannot make the model's parameters of them.
    """
    import torch

    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    kind: Any = type(model)  # the types of `from_pretrained` know nothing of the info that is asked for
    try:
        _, info = kind.from_pretrained(
            None,
            config=model.config,
            state_dict=state,
            device_map={"": "meta"},
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # foreign code, on foreign names
        reason = "one of several that it joins is missing or of another shape" if "conversion" in str(error) else None
        name = type(model).__name__
        raise UserError(f"transformers cannot make a {name} of its tensors: {reason or first_line(error)}") from error
    return verdict_of(info)


def verdict_of(info: Mapping[str, Any]) -> Verdict:
    """The loading info of ``from_pretrained`` in order."""
    shapes = sorted((name, tuple(given), tuple(wanted)) for name, given, wanted in info["mismatched_keys"])
    more = [name for name in info["unexpected_keys"] if not any(re.search(pattern, name) for pattern in DERIVED)]
    return Verdict(tuple(sorted(info["missing_keys"])), tuple(sorted(more)), tuple(shapes))


def refuse_incomplete(
    model: PreTrainedModel, stored: Mapping[str, Stored], offer: Callable[[str], str]
) -> dict[str, str]:
    """Refuse tensors that are not just those of the model; return of each the model's name, or its own where the model
    makes another of it. Buffers that a model makes itself are left out.

    Raises:
        UserError: they are not; where taking away one prefix would make them so, the message offers that.
    """
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    verdict = judge(model, shapes)
    if not verdict.complete:
        for prefix in _prefixes(model, shapes):
            if judge(model, {name.removeprefix(prefix): shape for name, shape in shapes.items()}).complete:
                raise UserError(
                    f"every tensor's name begins with {prefix!r}, which is not the model's; {offer(prefix)}"
                )
        raise UserError(describe(verdict, model, stored))
    wanted, base = set(model.state_dict()), model.base_model_prefix
    extra = f"{base}."
    if all(name.startswith(extra) and name.removeprefix(extra) in wanted for name in shapes) and not wanted >= set(
        shapes
    ):
        raise UserError(f"every tensor's name begins with one {extra!r} too many; {offer(extra)}")
    aside = (*DERIVED, *(model._keys_to_ignore_on_load_unexpected or ()))
    places = {name: _place(name, wanted, base) for name in shapes}
    places = {
        name: place
        for name, place in places.items()
        if place in wanted or not any(re.search(pattern, name) for pattern in aside)
    }
    twice = defaultdict(list)
    for name, place in places.items():
        twice[place].append(name)
    if both := next((names for place, names in twice.items() if place in wanted and len(names) > 1), None):
        raise UserError(f"{both[0]} and {both[1]} are both the model's {places[both[0]]}; keep one")
    return places


def _place(name: str, wanted: set[str], base: str) -> str:
    """The model's own name of a stored tensor: the same, or with or without the base model's prefix."""
    others = (name, f"{base}.{name}", name.removeprefix(f"{base}."))
    return next((other for other in others if other in wanted), name)


def _prefixes(model: PreTrainedModel, names: Mapping[str, Any]) -> list[str]:
    """Prefixes that all names have, and without which the first of them would be one of the model's; shortest first."""
    first = min(names)
    base = f"{model.base_model_prefix}."
    wanted = {part for name in model.state_dict() for part in (name, name.removeprefix(base))}
    found = {first[: -len(name)] for name in wanted if first.endswith(f".{name}")}
    return sorted((prefix for prefix in found if all(name.startswith(prefix) for name in names)), key=len)


def describe(verdict: Verdict, model: PreTrainedModel, stored: Mapping[str, Stored]) -> str:
    """One line for what is missing, too much or of another shape; ``stored`` may be empty where it is not known."""
    text = model.config.get_text_config()
    if verdict.mismatched:
        name, given, wanted = verdict.mismatched[0]
        rows = getattr(text, "vocab_size", None)
        where = f" (`vocab_size` = {rows})" if wanted[:1] == (rows,) != given[:1] else ""
        more = f"; {len(verdict.mismatched) - 1} more differ" if len(verdict.mismatched) > 1 else ""
        return f"{name} is {list(given)} in its files and {list(wanted)} by config.json{where}{more}"
    parts = []
    if (missing := verdict.missing) == ("lm_head.weight",):
        parts.append("lm_head.weight is not in its files, and config.json does not tie it (`tie_word_embeddings`)")
    elif missing:
        parts.append(f"{len(missing)} of {len(model.state_dict())} parameters not in its files, such as {missing[0]}")
    if unexpected := verdict.unexpected:
        parts.append(f"{len(unexpected)} tensors of its files are none of the model's, such as {unexpected[0]}")
    layers = [int(at.group(1)) + 1 for name in stored if (at := re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name))]
    if layers and (configured := getattr(text, "num_hidden_layers", None)) not in (None, max(layers)):
        parts.append(f"`num_hidden_layers` is {configured} in config.json, and its files hold {max(layers)}")
    return "; ".join(parts)
