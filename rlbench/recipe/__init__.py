"""Recipes: one TOML file says a whole comparison. ``tables`` has its keys, ``names`` the names that all
rooms share, ``loading`` reads the file; none imports torch.
"""

from rlbench.recipe.loading import apply_override, load_recipe, recipe_of_model
from rlbench.recipe.names import (
    AVERAGE,
    BASE,
    DEVELOPMENT,
    GREEDY,
    MINIATURE,
    TEST,
    main_decoding,
    temperature_of,
)
from rlbench.recipe.tables import (
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
)

__all__ = [
    "AVERAGE",
    "BASE",
    "DEVELOPMENT",
    "GREEDY",
    "MINIATURE",
    "TEST",
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
    "main_decoding",
    "recipe_of_model",
    "temperature_of",
]
