"""Likelihood with a trust region: the clipped ratio to an older policy, for tokens that are all taken to be right."""

from __future__ import annotations

from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("psft", rows="sequences", reads=("old_logp",), reduction="token-mean")
def psft(batch: TokenBatch, *, clip: float = 0.28) -> Loss:
    """Proximal SFT: -min(r, clip(r, 1 - clip, 1 + clip)) = -min(r, 1 + clip), r = p / p_old.

    It is PPO's surrogate with the advantage 1, so only the upper bound ever acts, and the default is the upper of the
    two in the authors' script (0.2 and 0.28). A token that has become 1 + clip times as probable as it was is left
    alone. The old policy has to be brought up to date now and then, or training stops there: a method sets
    ``training.refresh_interval``. Logged: ``clip_fraction`` and ``kl``, as in ``ppo``.

    Shapes: logp, old_logp [T] -> loss [T].
    Source: Zhu et al. 2025 (arXiv:2508.17784).
    """
    return _capped_ratio(batch.logp - batch.old_logp, clip)


@objective("raft_pp", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def raft_pp(batch: TokenBatch, *, clip: float = 0.2) -> Loss:
    """RAFT++: -min(r, clip(r, 1 - clip, 1 + clip)) = -min(r, 1 + clip) on correct samples alone, r = p / p_old.

    It looks at no reward: its data is the view ``rollouts.correct``, or online what the filter ``positive`` leaves.
    Logged: ``clip_fraction`` and ``kl``, as in ``ppo``.

    Shapes: logp, old_logp [T] -> loss [T].
    Source: Xiong et al. 2025 (arXiv:2504.11343).
    """
    return _capped_ratio(batch.logp - batch.old_logp, clip)


def _capped_ratio(log_ratio: Tensor, clip: float) -> Loss:
    ratio = bounded_ratio(log_ratio)
    fixed = stop_gradient(ratio)
    stats = {"clip_fraction": (fixed > 1 + clip).to(fixed.dtype), "kl": fixed - 1 - stop_gradient(log_ratio)}
    return Loss([Term(-ratio.clamp(max=1 + clip))], stats)
