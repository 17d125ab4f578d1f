"""The clipped surrogate and its family: the policy's loss of PPO, GRPO and what came of them.

PPO's critic has a loss of its own (``value.py``), and what makes the advantages stands in ``advantages.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbench.objectives.batch import Loss, Term, TokenBatch, bounded_ratio, stop_gradient
from rlbench.objectives.registry import objective


@objective("ppo", rows="sequences", reads=("old_logp",), reduction="token-mean")
def ppo(batch: TokenBatch, *, clip: float = 0.2) -> Loss:
    """Clipped surrogate: -min(r A, clip(r, 1 - clip, 1 + clip) A), r = p / p_old. No entropy bonus, no KL term.

    Logged: ``clip_fraction``, the share of tokens whose gradient the clip cuts off, and ``kl``, the estimate r - 1 -
    log r of KL(p_old, p) in nats (Schulman 2020, "Approximating KL divergence", k3).

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Schulman et al. 2017, eq. 7 (arXiv:1707.06347).
    """
    return _surrogate(batch.logp - batch.old_logp, batch.advantage, clip, clip)


@objective("reinforce_pp", rows="sequences", reads=("old_logp",), reduction="token-mean")
def reinforce_pp(batch: TokenBatch, *, clip: float = 0.2) -> Loss:
    """REINFORCE++: PPO's loss, without a critic; its advantages are those of the estimator ``batch_norm``. Logged: as
    in ``ppo``.

    The mean is over all tokens, as in verl.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Hu et al. 2025 (arXiv:2501.03262).
    """
    return _surrogate(batch.logp - batch.old_logp, batch.advantage, clip, clip)


@objective("grpo", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def grpo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Loss:
    """Clipped surrogate with two bounds: -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = p / p_old.

    It has no KL term, whose coefficient is 0.04 in the paper and usually 0 with verified rewards. Its advantages are
    those of the estimator ``group_norm``. Logged: as in ``ppo``.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Shao et al. 2024, eq. 3 (arXiv:2402.03300).
    """
    return _surrogate(batch.logp - batch.old_logp, batch.advantage, clip_low, clip_high)


@objective("dr_grpo", rows="sequences", reads=("old_logp",), reduction="constant")
def dr_grpo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Loss:
    """GRPO done right: GRPO's loss, divided by a constant instead of each sample's length, so that length earns
    nothing.

    Its advantages are those of ``group_norm`` with ``normalise = false``. Logged: as in ``ppo``.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Liu et al. 2025 (arXiv:2503.20783).
    """
    return _surrogate(batch.logp - batch.old_logp, batch.advantage, clip_low, clip_high)


@objective("dapo", rows="sequences", reads=("old_logp",), reduction="token-mean")
def dapo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.28) -> Loss:
    """DAPO: GRPO's loss with the upper bound raised and the mean over all tokens of the step.

    Its dynamic sampling is the filter ``mixed_groups`` with ``online.refills``; its penalty for long samples is left
    out. Logged: as in ``ppo``.

    Shapes: logp, old_logp, advantage [T] -> loss [T].
    Source: Yu et al. 2025, eq. 8 (arXiv:2503.14476).
    """
    return _surrogate(batch.logp - batch.old_logp, batch.advantage, clip_low, clip_high)


@objective("gspo", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def gspo(batch: TokenBatch, *, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Loss:
    """GRPO's loss with one ratio a sequence: -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A), s = exp(mean_t (log p -
    log p_old)).

    A is the mean of the tokens' advantages, which are all the same with ``group_norm``. Logged: ``clip_fraction``, the
    share of sequences, and ``kl``, s - 1 - log s, in nats a token.

    Shapes: logp, old_logp, advantage [T] -> loss [S].
    Source: Zheng et al. 2025, eq. 5 (arXiv:2507.18071); bounds of its section 5.1.
    """
    log_ratio = batch.sequence_mean(batch.logp - batch.old_logp)
    return _surrogate(log_ratio, batch.sequence_mean(batch.advantage), clip_low, clip_high)


@objective("rloo", rows="sequences", reads=("old_logp",), reduction="sequence-mean")
def rloo(batch: TokenBatch, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Loss:
    """REINFORCE leave-one-out: -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A), s = p(y) / p_old(y) of the whole
    sequence.

    On the samples of the policy itself it is REINFORCE, as in the paper; ratio and clip are TRL's, for more than one
    update on the same samples. TRL's KL penalty in the reward (0.05 by default) is left out. Its advantages are those
    of ``leave_one_out``; A is the mean over the sequence's tokens. Logged: ``clip_fraction``, the share of sequences,
    and ``kl`` in nats a sequence.

    Shapes: logp, old_logp, advantage [T] -> loss [S].
    Source: Ahmadian et al. 2024 (arXiv:2402.14740).
    """
    log_ratio = batch.sequence_sum(batch.logp - batch.old_logp)
    return _surrogate(log_ratio, batch.sequence_mean(batch.advantage), clip_low, clip_high)


@objective("cispo", rows="sequences", reads=("old_logp",), reduction="token-mean")
def cispo(batch: TokenBatch, *, weight_max: float = 5.0) -> Loss:
    """Clipped importance weight: -sg(min(r, weight_max)) A log p, r = p / p_old: the weight is bounded, and no token is
    left out.

    The paper names no upper bound; 5 is ScaleRL's (arXiv:2510.13786) and the one that TRL recommends. There is no lower
    one, as in the paper. Logged: ``clip_fraction``, the share of tokens whose weight is cut, and ``kl``, as in ``ppo``.

    Shapes: logp, old_logp, advantage [T] -> loss [T], nats.
    Source: MiniMax-M1 2025, eq. 4 (arXiv:2506.13585).
    """
    log_ratio = stop_gradient(batch.logp - batch.old_logp)
    ratio = bounded_ratio(log_ratio)
    stats = {"clip_fraction": (ratio > weight_max).to(ratio.dtype), "kl": ratio - 1 - log_ratio}
    return Loss([Term(-ratio.clamp(max=weight_max) * batch.advantage * batch.logp)], stats)


def _surrogate(log_ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Loss:
    ratio = bounded_ratio(log_ratio)
    unclipped = ratio * advantage
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    stats = {
        "clip_fraction": (stop_gradient(clipped) < stop_gradient(unclipped)).to(ratio.dtype),
        "kl": stop_gradient(ratio - 1 - log_ratio),
    }
    return Loss([Term(-torch.minimum(unclipped, clipped))], stats)
