"""Rewards of one rollout: what is right, and the controls that a credible table carries beside it."""

from __future__ import annotations

import hashlib

from rlbench.objectives.registry import reward
from rlbench.records import Rollout


@reward("correct")
def correct(rollout: Rollout) -> float:
    """1 where the grader found the answer correct, else 0."""
    return float(rollout.verdict == "correct")


@reward("incorrect")
def incorrect(rollout: Rollout) -> float:
    """A control: 1 where an answer was found and is wrong, else 0."""
    return float(rollout.verdict == "wrong")


@reward("format_only")
def format_only(rollout: Rollout) -> float:
    """A control that rewards the format alone: 1 where the output holds an answer, right or wrong, else 0."""
    return float(rollout.answer is not None)


@reward("random")
def random(rollout: Rollout, *, probability: float = 0.5, salt: int = 0) -> float:
    """A control: 1 with the given probability, whatever the output says (arXiv:2506.10947).

    The draw is a hash of the problem, the sample's index and its tokens, so that the same rollout always gets the same
    reward.
    """
    text = f"{salt}|{rollout.problem_id}|{rollout.sample_index}|{rollout.token_ids}"
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return float(draw < probability)
