"""Values of a model's weights, as far as they can show that a file is broken: types, ties, and what is no number.

Tensors are mapped from disk and looked at one after the other, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rlbench.models.weights import Stored, WeightFiles, torch_dtypes, values_of
from rlbench.records import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FLOATS = ("F64", "F32", "F16", "BF16")
CHUNK = 1 << 24  # elements looked at together


def refuse_types(model: PreTrainedModel, stored: Mapping[str, Stored], places: Mapping[str, str]) -> None:
    """Whole numbers or eight-bit floats where the model has a weight: quantised values without their scales."""
    wanted, known = model.state_dict(), torch_dtypes()
    for name, place_name in places.items():
        tensor, place = stored[name], wanted.get(place_name)
        if tensor.dtype not in FLOATS and (place is None or place.is_floating_point() or tensor.dtype not in known):
            raise UserError(
                f"{name} is stored as {tensor.dtype} without `quantization_config`; a weight is {', '.join(FLOATS)}"
            )


def refuse_untied(model: PreTrainedModel, weights: WeightFiles, places: Mapping[str, str]) -> None:
    """Two parameters that config.json ties, stored with two values: engines disagree about which of them counts."""
    import torch

    names = {place: name for name, place in places.items()}
    for target, source in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        if target in names and source in names:
            values = dict(values_of(weights.files, [names[target], names[source]]))
            one, other = values[names[target]], values[names[source]]
            if one.dtype != other.dtype or not torch.equal(one, other):
                raise UserError(
                    f"{names[target]} is stored beside {names[source]} with other values, and config.json ties them; "
                    'if both are meant, set "tie_word_embeddings": false there'
                )


def refuse_not_finite(weights: WeightFiles, names: Iterable[str]) -> None:
    """NaN or infinity in a tensor of these names."""
    bad = [name for name, tensor in values_of(weights.files, names) if not is_finite(tensor)]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more} holds NaN or infinity; save the model before its training diverged")


def is_finite(tensor: Tensor) -> bool:
    """Whether every value of a tensor is a finite number, looked for a piece at a time."""
    import torch

    if not tensor.is_floating_point():
        return True
    for piece in tensor.reshape(-1).split(CHUNK):
        if piece.numel():
            low, high = torch.aminmax(piece)  # NaN in a piece is both
            if not (torch.isfinite(low) and torch.isfinite(high)):
                return False
    return True
