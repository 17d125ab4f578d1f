"""Models on disk: folders, tokenizers, loading and saving, and taking somebody else's into the store (``link``).

Nothing here imports torch or transformers before it is called.
"""

from rlbench.models.folder import POINTER, content_digest, first_line, locate, trusts_code
from rlbench.models.loading import generation_config, load_model, quiet, stop_token_ids
from rlbench.models.saving import save_model
from rlbench.models.tokenizers import encode_prompts, load_tokenizer

__all__ = [
    "POINTER",
    "content_digest",
    "encode_prompts",
    "first_line",
    "generation_config",
    "load_model",
    "load_tokenizer",
    "locate",
    "quiet",
    "save_model",
    "stop_token_ids",
    "trusts_code",
]
