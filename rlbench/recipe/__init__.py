"""Recipes: one TOML file says a whole comparison. ``tables`` has its keys, ``loading`` reads it;
neither imports torch.
"""

from rlbench.recipe.loading import apply_override, load_recipe, recipe_of_model
from rlbench.recipe.tables import (
    AVERAGE,
    Component,
    ContaminationConfig,
    CriticConfig,
    DataSource,
    EvaluationConfig,
    MethodConfig,
    ModelConfig,
    OnlineConfig,
    Recipe,
    RolloutConfig,
    SamplingConfig,
    TrainingConfig,
    VllmConfig,
    temperature_of,
)

__all__ = [
    "AVERAGE",
    "Component",
    "ContaminationConfig",
    "CriticConfig",
    "DataSource",
    "EvaluationConfig",
    "MethodConfig",
    "ModelConfig",
    "OnlineConfig",
    "Recipe",
    "RolloutConfig",
    "SamplingConfig",
    "TrainingConfig",
    "VllmConfig",
    "apply_override",
    "load_recipe",
    "recipe_of_model",
    "temperature_of",
]
