"""``model.generate`` of transformers as an engine: what anybody would write first, and what ours
are measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedModel

from rlbench.sampling.engine import Completion, Progress, Request, SamplingParams, check_requests, sorted_order

PROMPTS_PER_CALL = 64


class GenerateEngine:
    """Prompts of like length, 64 a call, with all their samples as ``num_return_sequences``; the seeds of requests are
    not looked at.
    """

    name = "generate"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.context = model, int(model.config.get_text_config().max_position_embeddings)

    def generate(
        self, requests: Sequence[Request], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """Return one completion a request, in the order of the requests, without log-probabilities."""
        check_requests(requests, self.context)
        order = sorted_order(requests)
        groups = [list(group) for _, group in groupby(order, key=lambda i: requests[i].prompt_ids)]
        found: dict[int, Completion] = {}
        for start in range(0, len(groups), PROMPTS_PER_CALL):
            chunk = groups[start : start + PROMPTS_PER_CALL]
            for size, same in groupby(sorted(chunk, key=len), key=len):
                found |= self._call(requests, list(same), size, params)
        return [found[i] for i in range(len(requests))]

    def _call(
        self, requests: Sequence[Request], groups: list[list[int]], samples: int, params: SamplingParams
    ) -> dict[int, Completion]:
        prompts = [requests[group[0]].prompt_ids for group in groups]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=self.model.device)
        mask = torch.tensor(
            [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=self.model.device
        )
        greedy = params.temperature == 0  # then all samples of a prompt are one
        sampled = (
            {"do_sample": False}
            if greedy
            else {"do_sample": True, "temperature": params.temperature, "top_k": 0, "top_p": 1.0}
        )
        model: Any = self.model  # the type of `generate` fits no class of transformers
        with torch.no_grad():
            out = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=min(params.max_new_tokens, self.context - width),
                num_return_sequences=1 if greedy else samples,
                eos_token_id=list(params.stop_ids),
                pad_token_id=params.stop_ids[0],
                **sampled,
            )
        rows = (out.repeat_interleave(samples, dim=0) if greedy else out)[:, width:].tolist()
        numbers = [i for group in groups for i in group]
        return {i: self._cut(row, params) for i, row in zip(numbers, rows, strict=True)}

    @staticmethod
    def _cut(row: list[int], params: SamplingParams) -> Completion:
        end = next((place for place, token in enumerate(row) if token in params.stop_ids), None)
        return Completion(row, [], "length") if end is None else Completion(row[: end + 1], [], "stop")

    def close(self) -> None:
        """Nothing is held."""
