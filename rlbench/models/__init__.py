"""Models on disk: folders, tokenizers, loading and saving, and taking somebody else's into the store (``link``).

Nothing here imports torch or transformers before it is called.
"""

from rlbench.models.encoding import CHAT, encode_prompts, encode_solutions, template_text
from rlbench.models.folder import POINTER, content_digest, first_line, locate, trusts_code
from rlbench.models.loading import generation_config, load_model, quiet, stop_token_ids
from rlbench.models.saving import save_model
from rlbench.models.tokenizers import load_tokenizer
from rlbench.models.vocabulary import chat_template_of, has_tokenizer_files, read_vocabulary

__all__ = [
    "CHAT",
    "POINTER",
    "chat_template_of",
    "content_digest",
    "encode_prompts",
    "encode_solutions",
    "first_line",
    "generation_config",
    "has_tokenizer_files",
    "load_model",
    "load_tokenizer",
    "locate",
    "quiet",
    "read_vocabulary",
    "save_model",
    "stop_token_ids",
    "template_text",
    "trusts_code",
]
