"""Every prompt of a recipe: which key names it, its text, and what the tokenizers that read it do not have.

Reads a model's files where they lie on this machine, without transformers; of others nothing is known before the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rlbench import models
from rlbench.recipe import BASE, MINIATURE, Recipe
from rlbench.records import UserError
from rlbench.tasks.arithmetic_tokenizer import VOCABULARY
from rlbench.tasks.templates import get_template, label, markers


@dataclass(frozen=True)
class Prompt:
    """A template under its ``key`` of the recipe: what it is for, what the recipe calls it, and its text.

    ``model`` and ``revision`` are the model whose tokenizer reads it, and ``used`` says whether any row needs it.
    """

    key: str
    use: str
    value: str
    text: str
    model: str
    revision: str | None
    used: bool

    @property
    def shown(self) -> str:
        """The text for people: of a tokenizer's own chat template that, where it is known."""
        if self.text != models.CHAT:
            return self.text
        return models.chat_template_of(self.model, self.revision) or "(the chat template of the model's tokenizer)"


def prompts(recipe: Recipe) -> list[Prompt]:
    """Every prompt of a recipe, in the order in which they are used.

    Raises:
        UserError: a template is none, or the chat template of a model that has none; the message begins with its key.
    """
    found = []
    texts: dict[str, str] = {}
    data = [method.data or "" for method in recipe.methods.values() if method.objective is not None]
    unused = {"training, online sampling": not data, "bank": not any(name.startswith("rollouts.") for name in data)}
    for key, use, value, model, revision in _named(recipe):
        if value not in texts:
            texts[value] = get_template(value, key)
        prompt = Prompt(key, use, value, texts[value], model, revision, not unused.get(use, False))
        if prompt.used and _lacks_chat_template(prompt):
            raise UserError(f"`{key}`: the tokenizer of {model!r} has no chat template; name or bring a template")
        found.append(prompt)
    return found


def marker_warnings(recipe_prompts: Collection[Prompt]) -> list[str]:
    """The prompts in use that write special tokens which the model's tokenizer does not have, a line for each."""
    vocabularies: dict[tuple[str, str | None], Collection[str]] = {}
    found = []
    for prompt in recipe_prompts:
        written, model = markers(prompt.shown) if prompt.used else [], (prompt.model, prompt.revision)
        if written and model not in vocabularies:
            vocabularies[model] = VOCABULARY if prompt.model == MINIATURE else models.read_vocabulary(*model)
        missing = [marker for marker in written if vocabularies[model] and marker not in vocabularies[model]]
        if missing:
            found.append(
                f"`{prompt.key}`: the template {label(prompt.value)} writes {', '.join(missing)}, which the tokenizer "
                f"of {prompt.model!r} does not have as special tokens: they are read as plain text"
            )
    return list(dict.fromkeys(found))


def _named(recipe: Recipe) -> Iterator[tuple[str, str, str, str, str | None]]:
    """Key, use and name of each template, with source and revision of the model that reads it."""
    base = (recipe.model.source, recipe.model.revision)
    options = recipe.evaluation
    yield ("data.template", "training, online sampling", recipe.data.template, *base)
    bank = recipe.rollouts.template
    yield (
        "data.template" if bank is None else "rollouts.template",
        "bank",
        recipe.data.template if bank is None else bank,
        *base,
    )
    yield ("evaluation.template", "evaluation", options.template, *base)
    for name, method in recipe.methods.items():
        foreign = method.checkpoint not in (None, BASE)
        model = (str(method.checkpoint), method.revision) if foreign else base
        if method.template is not None:
            yield (f"methods.{name}.template", f"evaluation of {name}", method.template, *model)
        elif foreign:
            yield ("evaluation.template", f"evaluation of {name}", options.template, *model)
    if options.contamination is not None:
        key = "evaluation.contamination.template"
        yield (key, "contamination probe", options.contamination.template, *base)


def _lacks_chat_template(prompt: Prompt) -> bool:
    """Whether a prompt asks for the chat template of a model whose files are here and hold none."""
    if prompt.text != models.CHAT or models.chat_template_of(prompt.model, prompt.revision):
        return False
    return prompt.model == MINIATURE or models.has_tokenizer_files(prompt.model, prompt.revision)
