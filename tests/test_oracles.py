from __future__ import annotations

import dataclasses
import inspect

import pytest
from oracles import ADVANTAGE_ORACLES, BONUS, ORACLES, bound, entropy_bonus, our_step
from trl import DPOConfig, GRPOConfig, RLOOConfig

from rlbench.objectives import registry
from rlbench.objectives.batch import Loss, TokenBatch
from rlbench.objectives.reduction import as_loss

TOLERANCE = 1e-5
RATIOS = ("grpo", "dr_grpo", "dapo", "gspo", "rloo")


@pytest.mark.parametrize("name", ORACLES)
def test_loss_and_gradient_of_a_step_are_those_of_the_trainer_of_trl(name: str) -> None:
    assert ORACLES[name](registry.load("objective", name)) <= TOLERANCE


@pytest.mark.parametrize("name", ADVANTAGE_ORACLES)
def test_advantages_are_those_of_the_trainer_of_trl(name: str) -> None:
    assert ADVANTAGE_ORACLES[name](registry.load("advantage", name)) <= 1e-6


def test_a_second_term_with_a_coefficient_a_reduction_and_the_entropy_in_it_counts_as_in_the_trainer_of_trl() -> None:
    assert BONUS(entropy_bonus) <= TOLERANCE
    without = bound(entropy_bonus, {"coefficient": 0.0})
    assert abs(our_step(BONUS.step(), without)[0] - BONUS.step().loss) > 0.5  # what the bonus adds to the loss


# What an oracle can see.


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_sees_a_wrong_gradient_where_the_loss_is_right_and_a_wrong_loss(name: str) -> None:
    function = registry.load("objective", name)

    def changed(scale: float, offset_of_loss: bool) -> object:
        def objective(batch: TokenBatch, **hyperparameters: float) -> Loss:
            loss = as_loss(function(batch, **hyperparameters))
            terms = []
            for term in loss.terms:
                fixed = term.values.detach()
                values = (
                    fixed + scale * (term.values - fixed)
                    if not offset_of_loss
                    else term.values + scale * fixed.abs().mean()
                )
                terms.append(dataclasses.replace(term, values=values))
            return Loss(terms, loss.stats)

        objective.__rlbench__ = function.__rlbench__  # type: ignore[attr-defined]
        return objective

    assert ORACLES[name](changed(1.0001, False)) > TOLERANCE
    assert ORACLES[name](changed(0.001, True)) > TOLERANCE


@pytest.mark.parametrize("name", ORACLES)
def test_trl_takes_its_step_in_two_micro_batches_of_prompts_and_completions_of_unequal_length(name: str) -> None:
    step = ORACLES[name].step()
    assert step.microbatches == 2
    assert len({len(row.prompt_ids) for row in step.sequences}) > 2
    assert len({len(row.token_ids) for row in step.sequences}) > 4


@pytest.mark.parametrize("name", RATIOS)
def test_ratios_are_clipped_on_both_sides_and_some_are_not(name: str) -> None:
    stats = ORACLES[name].step().stats
    low, high = stats["clip_ratio/low_mean"], stats["clip_ratio/high_mean"]
    assert low > 0 and high > 0 and low + high < 0.6


def test_weights_of_cispo_are_cut_and_some_are_not() -> None:
    assert 0 < ORACLES["cispo"].step().stats["cispo_clip_ratio"] < 0.5


def test_pairs_lie_on_both_sides_of_the_hinge() -> None:
    stats = ORACLES["hinge"].step().stats
    # The mean of max(0, 1 - margin) is larger than 1 - the mean margin where a margin is above 1, and 0 where all are.
    assert stats["loss"] > 1 - stats["rewards/margins"] + 0.05
    assert 0 < stats["rewards/accuracies"] < 1


# Defaults.


def default(config: type, name: str) -> float:
    return {field.name: field.default for field in dataclasses.fields(config)}[name]


@pytest.mark.parametrize(
    ("objective", "hyperparameter", "config", "name"),
    [
        ("dpo", "beta", DPOConfig, "beta"),
        ("ipo", "beta", DPOConfig, "beta"),
        ("hinge", "beta", DPOConfig, "beta"),
        ("grpo", "clip_low", GRPOConfig, "epsilon"),
        ("dr_grpo", "clip_high", GRPOConfig, "epsilon"),
        ("rloo", "clip_low", RLOOConfig, "epsilon"),
        ("rloo", "clip_high", RLOOConfig, "epsilon"),
    ],
)
def test_a_default_that_no_paper_gives_is_that_of_trl(
    objective: str, hyperparameter: str, config: type, name: str
) -> None:
    ours = inspect.signature(registry.load("objective", objective)).parameters[hyperparameter].default
    assert ours == default(config, name)
