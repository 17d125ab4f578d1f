"""Requests for engines, and what transformers itself makes of them: `generate` of one prompt, log-probabilities of one
pass.
"""

from __future__ import annotations

import random

import torch
from tiny_model import VOCABULARY
from transformers import PreTrainedModel

from rlbench.sampling.engine import Completion, Request, SamplingParams, request_seed

STOP = (7, 8)
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=30, stop_ids=STOP)


def prompts_of(lengths: list[int], seed: int = 0) -> list[tuple[int, ...]]:
    draw_ids = random.Random(seed)
    return [tuple(draw_ids.randrange(10, VOCABULARY) for _ in range(length)) for length in lengths]


def requests_of(prompts: list[tuple[int, ...]], samples: int = 1) -> list[Request]:
    return [
        Request(prompt, request_seed("test", number, index))
        for number, prompt in enumerate(prompts)
        for index in range(samples)
    ]


def naive(model: PreTrainedModel, prompt: tuple[int, ...], params: SamplingParams) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=params.max_new_tokens,
        eos_token_id=list(params.stop_ids),
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


def teacher_forced(
    model: PreTrainedModel, request: Request, completion: Completion, temperature: float
) -> torch.Tensor:
    """Log-probabilities [tokens] of a completion from one pass over the whole sequence."""
    with torch.no_grad():
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1].float() / (temperature or 1.0)
    return logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
