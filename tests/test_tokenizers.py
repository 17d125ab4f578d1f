from __future__ import annotations

import html
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from broken_tokenizers import CLASSES, KINDS, MODEL_TYPES, SPECIAL, edit_json, without, write_json, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import Context, write_model
from tokenizers import Tokenizer

from rlbench.models import content_digest, encode_prompts, encode_solutions, load_tokenizer, template_text
from rlbench.models.link import link
from rlbench.models.tokenizer_admission import TEXTS, admit_tokenizer
from rlbench.recipe import recipe_of_model
from rlbench.records import Problem, UserError
from rlbench.running.runner import run


@cache
def core(kind: str) -> Tokenizer:
    return KINDS[kind]()


def refusal(folder: Path) -> str:
    """The one line with which a folder is refused, by its own name."""
    with pytest.raises(UserError) as error:
        admit_tokenizer(folder, "mine")
    text = str(error.value)
    assert "'mine'" in text and "\n" not in text and str(folder) not in text
    return text


# Admission ------------------------------------------------------------------------------------------------------------


def named_wrongly() -> Iterator[tuple[str, str | None, str]]:
    """Every kind as every class, under model types by turns."""
    types = itertools.cycle(MODEL_TYPES)
    for kind, name in itertools.product(KINDS, CLASSES):
        yield kind, name, next(types)


@pytest.mark.parametrize(("kind", "name", "model_type"), named_wrongly())
def test_a_whole_tokenizer_is_read_as_its_file_says_whatever_class_is_named(
    kind: str, name: str | None, model_type: str, tmp_path: Path
) -> None:
    folder = write_tokenizer(tmp_path, core(kind), name, model_type)
    admit_tokenizer(folder, "mine")
    loaded, file = load_tokenizer(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in (*TEXTS, "<|end|> so <|pad|>"):
        ids = file.encode(text, add_special_tokens=False).ids
        assert loaded(text, add_special_tokens=False)["input_ids"] == ids
        assert loaded.decode(ids) == file.decode(ids, skip_special_tokens=False)
        assert loaded.batch_decode([ids], skip_special_tokens=True) == [file.decode(ids, skip_special_tokens=True)]
    assert len(loaded) == file.get_vocab_size()  # no class has added tokens of its own


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_digits", "pieces_bpe"])
def test_text_survives_a_tokenizer_that_keeps_it(kind: str, tmp_path: Path) -> None:
    loaded = load_tokenizer(
        write_tokenizer(tmp_path, core(kind), "LlamaTokenizerFast", clean_up_tokenization_spaces=True)
    )
    known = [text for text in TEXTS if loaded.unk_token_id not in loaded(text)["input_ids"]]
    assert len(known) >= 12
    for text in known:
        assert loaded.decode(loaded(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize(
    ("kind", "name", "model_type", "text"),
    [
        ("byte_level", "LlamaTokenizerFast", "llama", "a LlamaTokenizer of it, which reads 'What is the answer"),
        ("byte_level", "PreTrainedTokenizerFast", "qwen2", "a Qwen2Tokenizer of it, which reads other ids in"),
        ("words", "PreTrainedTokenizerFast", "qwen2", "a Qwen2Tokenizer of it"),
    ],
)
def test_where_transformers_would_read_otherwise_it_is_said(
    kind: str, name: str, model_type: str, text: str, tmp_path: Path
) -> None:
    (note,) = [
        n for n in admit_tokenizer(write_tokenizer(tmp_path, core(kind), name, model_type), "mine") if "makes" in n
    ]
    assert text in note


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_digits", "pieces_bpe"])
def test_nothing_is_said_of_a_tokenizer_under_its_own_name(kind: str, tmp_path: Path) -> None:
    assert admit_tokenizer(write_tokenizer(tmp_path, core(kind)), "mine") == []


def damaged() -> Iterator[tuple[str, str, str | None]]:
    for kind, part, name in itertools.product(
        KINDS, ("decoder", "pre_tokenizer"), (None, "LlamaTokenizer", "GPT2Tokenizer")
    ):
        if (kind, part) != ("pieces_bpe", "pre_tokenizer"):  # it has none
            yield kind, part, name
    yield from (("pieces_bpe", "normalizer", name) for name in (None, "LlamaTokenizer", "GPT2Tokenizer"))
    yield "word_pieces", "normalizer", "BertTokenizer"


@pytest.mark.parametrize(("kind", "part", "name"), damaged())
def test_a_tokenizer_json_that_has_lost_a_part_is_refused(
    kind: str, part: str, name: str | None, tmp_path: Path
) -> None:
    text = refusal(write_tokenizer(tmp_path, without(core(kind), part), name))
    assert "reads" in text or "makes no such token" in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", [0, 1, 7])
def test_added_tokens_without_an_embedding_are_refused_with_their_ids(kind: str, above: int, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core(kind))
    rows = core(kind).get_vocab_size()
    added = [f"<extra_{number}>" for number in range(above)]
    grown = Tokenizer.from_str(core(kind).to_str())
    grown.add_tokens(added)
    grown.save(str(folder / "tokenizer.json"))
    if not added:
        admit_tokenizer(folder, "mine")
        return
    text = refusal(folder)
    assert f"{rows} ('<extra_0>')" in text and f"is {rows}" in text
    assert ("and 2 more" in text) == (above == 7)


def test_a_vocabulary_larger_than_the_models_is_refused_with_the_ids(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"), config={"vocab_size": 100})
    assert "100 (" in refusal(folder)
    nested = write_tokenizer(
        tmp_path, core("byte_level"), config={"vocab_size": 9999, "text_config": {"vocab_size": 100}}
    )
    assert "100 (" in refusal(nested)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "decoder", "post_processor", "model"])
@pytest.mark.parametrize("name", ["SuperBPE", "Sequence2"])
def test_a_part_that_the_library_does_not_know_is_named_with_the_version(part: str, name: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"))
    edit_json(folder / "tokenizer.json", lambda data: data.update({part: {**(data[part] or {}), "type": name}}))
    text = refusal(folder)
    assert f"{part} of type '{name}'" in text and f"tokenizers {tokenizers.__version__}" in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is none"),
        ("[1]", "is none"),
        ("{}", "is none"),
        ('{"version": "9.0", "model": {}}', "not one that tokenizers"),
    ],
)
def test_a_tokenizer_json_that_is_none_is_refused(content: str, text: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"))
    (folder / "tokenizer.json").write_text(content)
    assert text in refusal(folder)


@pytest.mark.parametrize(
    "file",
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "vocab.json"],
)
@pytest.mark.parametrize(
    ("content", "text"), [(b"{", "is no JSON"), (b"[]", "holds no table"), (b"\xff{}", "is no JSON")]
)
def test_a_table_that_is_none_is_refused_by_its_name(file: str, content: bytes, text: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"))
    (folder / file).write_bytes(content)
    assert f"its {file} {text}" in refusal(folder)


def test_ids_that_the_library_reads_otherwise_than_they_stand_there_are_refused(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"), config={"vocab_size": 1000})
    token = {"content": "<think>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    edit_json(folder / "tokenizer.json", lambda d: d["added_tokens"].append({"id": 900, "special": True, **token}))
    assert "'<think>' the id 900" in refusal(folder)


def test_an_end_of_text_that_the_vocabulary_lacks_is_refused_and_other_tokens_are_none(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"), eos_token="<|stop|>")
    assert "`eos_token` is '<|stop|>'" in refusal(folder)
    folder = write_tokenizer(tmp_path, core("byte_level"), pad_token="[PAD]", unk_token="<unk>")
    (note,) = admit_tokenizer(folder, "mine")
    assert "`pad_token` '[PAD]'" in note and "`unk_token` '<unk>'" in note
    loaded = load_tokenizer(folder)
    assert (loaded.pad_token, loaded.unk_token, loaded.eos_token) == (None, None, "<|end|>")


def test_special_tokens_of_a_class_hold_where_no_file_names_any(tmp_path: Path) -> None:
    plain = Tokenizer.from_str(core("byte_level").to_str().replace("<|end|>", "<|endoftext|>"))
    folder = write_tokenizer(tmp_path, plain, "GPT2Tokenizer", "gpt2")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    assert load_tokenizer(folder).eos_token == "<|endoftext|>"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"eos_token_id": 0}, "ends a text at 0 ('<|begin|>') and the tokenizer at 1"),
        ({"pad_token_id": -1}, "`pad_token_id`"),
    ],
)
def test_a_config_that_does_not_agree_with_the_tokenizer_is_told(config: dict, text: str, tmp_path: Path) -> None:
    (note,) = admit_tokenizer(write_tokenizer(tmp_path, core("byte_level"), config=config), "mine")
    assert text in note


@pytest.mark.parametrize("ends", [9999, [1, 9999]])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_an_end_of_text_of_the_config_that_the_tokenizer_lacks_is_refused(
    file: str, ends: object, tmp_path: Path
) -> None:
    folder = write_tokenizer(tmp_path, core("byte_level"))
    (folder / "generation_config.json").write_text("{}")
    edit_json(folder / file, lambda data: data.update(eos_token_id=ends))
    assert f"`eos_token_id` of its {file} is 9999" in refusal(folder)


def test_a_tokenizer_json_that_pads_and_cuts_is_read_without(tmp_path: Path) -> None:
    whole = Tokenizer.from_str(core("byte_level").to_str())
    whole.enable_padding(length=64, pad_token="<|pad|>", pad_id=whole.token_to_id("<|pad|>"))
    whole.enable_truncation(8)
    folder = write_tokenizer(tmp_path, whole)
    assert admit_tokenizer(folder, "mine") == []
    problems = [Problem("a", "1", "1"), Problem("b", "the answer is nine <|end|> " * 9, "1")]
    tokenizer = load_tokenizer(folder)
    assert [tokenizer.decode(ids) for ids in encode_prompts(tokenizer, "{problem}", problems)] == [
        problem.problem for problem in problems
    ]


@pytest.mark.slow
def test_a_hub_model_is_read_as_a_folder_is(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("a" * 40)
    write_tokenizer(snapshot, core("byte_level"), "LlamaTokenizerFast")
    pointer = tmp_path / "pointer"
    pointer.mkdir()
    write_json(pointer / "model.json", {"source": "owner/name", "revision": "a" * 40})
    code = (
        "import sys; from pathlib import Path; from rlbench.models import load_tokenizer, read_vocabulary\n"
        "from rlbench.models.tokenizer_admission import admit_tokenizer\n"
        "folder = Path(sys.argv[1]); print(*admit_tokenizer(folder, 'owner/name'))\n"
        "tokenizer = load_tokenizer(folder)\n"
        "print(tokenizer.decode(tokenizer('two  spaces').input_ids), len(read_vocabulary('owner/name', 'a' * 40)))\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, str(pointer)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert "makes a LlamaTokenizer" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == f"two  spaces {core('byte_level').get_vocab_size()}"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "no vocabulary"),
        ({"vocab.json": b'{"a": 0}'}, "without merges.txt"),
        ({"tokenizer.model": b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02"}, "pip install sentencepiece"),
        ({"tokenizer.model": b"IQ== 0\nIg== 1\n"}, "pip install tiktoken"),
        ({"qwen.tiktoken": b"IQ== 0\nIg== 1\n"}, "pip install tiktoken"),
    ],
)
def test_a_folder_without_a_tokenizer_json_is_refused_where_nothing_can_read_it(
    files: dict[str, bytes], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlbench.models.tokenizer_admission._is_installed", lambda package: False)
    folder = write_tokenizer(tmp_path, core("byte_level"), "LlamaTokenizer")
    (folder / "tokenizer.json").unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert text in refusal(folder)


def test_a_vocabulary_in_lines_is_a_tokenizer(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, core("word_pieces"), "BertTokenizer", "bert", config={"vocab_size": 12})
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text(
        "\n".join([*SPECIAL, "[UNK]", "the", "answer", "is", "nine", "1", "+", "="]) + "\n"
    )
    edit_json(folder / "tokenizer_config.json", lambda data: data.update(unk_token="[UNK]"))
    notes = admit_tokenizer(folder, "mine")
    assert any("changes spaces" in note for note in notes)
    loaded = load_tokenizer(folder)
    assert loaded("The answer is nine", add_special_tokens=False)["input_ids"] == [5, 6, 7, 8]


def linked(folder: Path, tokenizer: Tokenizer) -> Context:
    """A model with this tokenizer, called a Qwen2Tokenizer, goes through the link; returns what its stage saw."""
    context = Context()
    model = write_tokenizer(write_model(folder / "m"), tokenizer, "Qwen2Tokenizer")
    context.unhashed |= {"path": str(model), "name": "mine"}
    (folder / "out").mkdir()
    link({"sha256": content_digest(model)}, {}, folder / "out", context)
    return context


def test_the_link_admits_by_the_folders_own_name_and_tells_what_it_found(tmp_path: Path) -> None:
    assert any("makes a Qwen2Tokenizer" in note for note in linked(tmp_path / "whole", core("words")).notes)
    with pytest.raises(UserError, match="model 'mine': its tokenizer"):
        linked(tmp_path / "damaged", without(core("words"), "decoder"))


def test_a_run_tells_in_its_report_what_is_known_of_tokenizer_and_prompts(tmp_path: Path) -> None:
    model = write_tokenizer(write_model(tmp_path / "m"), core("words"), "Qwen2Tokenizer")
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "a", "problem": "What is one plus one?", "answer": "2"}) + "\n")
    options = {"max_new_tokens": 4, "samples": 1, "template": "<|im_start|>{problem}", "engine": "transformers"}
    recipe = recipe_of_model(str(model), [str(problems)], device="cpu", **options)
    warned: list[str] = []
    for number in range(2):  # the second finds all in the store, and tells the same
        with pytest.warns(UserWarning) as caught:
            results = run(recipe, out=tmp_path / f"out{number}", store=tmp_path / "store", executor="local")
        warned += [str(warning.message) for warning in caught]
        text = html.unescape((tmp_path / f"out{number}" / "report.md").read_text()).replace("\\", "")
        assert "makes a Qwen2Tokenizer of it" in text
        assert "1 of 1 prompts hold text that the tokenizer does not know" in text
        assert "writes <|im_start|>, which the tokenizer" in text
        assert len(results.manifest["notes"]) == 4, results.manifest["notes"]
    assert any("writes <|im_start|>" in text for text in warned)


# Special tokens and text ----------------------------------------------------------------------------------------------

MARKERS = ("<think>", "</think>", "<|im_end|>", "[INST]")


@cache
def loaded(kind: str) -> Any:
    """A tokenizer of a kind with more markers, some of them no special tokens in name."""
    import tempfile

    grown = Tokenizer.from_str(core(kind).to_str())
    grown.add_special_tokens([tokenizers.AddedToken("<|im_end|>", special=True)])
    grown.add_tokens(
        [tokenizers.AddedToken("</think>", lstrip=True, rstrip=True, normalized=False), "<think>", "[INST]", "  "]
    )
    with tempfile.TemporaryDirectory() as folder:
        return load_tokenizer(write_tokenizer(Path(folder), grown))


def marker_ids(kind: str) -> set[int]:
    tokenizer = loaded(kind)
    found = {tokenizer.convert_tokens_to_ids(token) for token in (*SPECIAL, "<bos>", "<eos>", "<pad>", *MARKERS)}
    return found - {tokenizer.unk_token_id, None}


def templates(kind: str) -> list[str]:
    first, last = ("<bos>", "<eos>") if kind == "words" else ("<|begin|>", "<|end|>")
    return [
        "{problem}",
        f"{first}{{problem}}\n",
        f"{first} So, {{problem}} is <think>",
        f"{last}\n{{problem}}</think> {last}",
        f"{first}{{problem}} or {{problem}}{last}",
    ]


parts = st.sampled_from(
    [
        *SPECIAL,
        "<bos>",
        "<eos>",
        "<pad>",
        *MARKERS,
        " ",
        "  ",
        "\n",
        "What is 1 + 1?",
        "the answer",
        "ab",
        "é",
        "答",
        "<",
        "|>",
        "⟦0:",
        "⟦0:1⟧",
    ]
)
texts = st.lists(st.one_of(parts, st.text(max_size=4)), max_size=6).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(text=texts, number=st.integers(0, 4))
def test_special_tokens_in_a_problem_are_text_and_those_of_its_template_are_tokens(
    kind: str, text: str, number: int
) -> None:
    tokenizer, template, markers = loaded(kind), templates(kind)[number], marker_ids(kind)
    (ids,) = encode_prompts(tokenizer, template, [Problem("a", text, "1")])
    (empty,) = encode_prompts(tokenizer, template, [Problem("a", "x", "1")])
    assert [i for i in ids if i in markers] == [i for i in empty if i in markers]
    whole = template.replace("{problem}", text)
    if not any(token in text for token in (*SPECIAL, "<bos>", "<eos>", "<pad>", *MARKERS)):
        at_once = tokenizer(whole, add_special_tokens=False)["input_ids"]
        if [i for i in at_once if i in markers] == [i for i in empty if i in markers]:  # none over the seam
            assert ids == at_once
    elif kind.startswith("byte_level") and "</think>" not in template:
        normalizer = core(kind).normalizer
        assert tokenizer.decode(ids) == (normalizer.normalize_str(whole) if normalizer else whole)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(text=texts)
def test_special_tokens_in_a_solution_are_text_and_it_ends(kind: str, text: str) -> None:
    tokenizer = loaded(kind)
    (ids,) = encode_solutions(tokenizer, [Problem("a", "p", "1", text)])
    assert ids[-1] == tokenizer.eos_token_id and not set(ids[:-1]) & marker_ids(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_around_a_special_token_in_a_text_stay_the_tokens_that_they_are(kind: str) -> None:
    tokenizer, template = loaded(kind), templates(kind)[1]
    plain, with_token = encode_prompts(
        tokenizer, template, [Problem("a", "the answer 1+1=", "2"), Problem("b", "the answer 1+1= <|end|> 1+1=", "2")]
    )
    shared = len(plain) - 1 - (kind == "byte_level")  # what follows may change the token before it
    assert with_token[: shared - 1] == plain[: shared - 1]
    assert with_token[0] == plain[0] == tokenizer.bos_token_id


# Templates with the tokenizer's own tokens ----------------------------------------------------------------------------


def test_begin_and_end_of_text_are_the_tokenizers_own(tmp_path: Path) -> None:
    for kind in ("words", "byte_level"):
        tokenizer = loaded(kind)
        (ids,) = encode_prompts(tokenizer, "{bos}{problem}{eos}", [Problem("a", "{bos}{eos}", "1")])
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:-1])
    bare = load_tokenizer(write_tokenizer(tmp_path, core("byte_level"), bos_token=None))
    with pytest.raises(UserError, match=r"\{bos\}.*no beginning-of-text token"):
        template_text(bare, "{bos}{problem}")


CHAT = (
    "{% for m in messages %}<|begin|>{{ m.role }}\n{{ m.content | trim }}<|end|>{% endfor %}{{ date_string }}<|begin|>"
)


def test_chat_is_the_tokenizers_own_template_around_the_bare_problem(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, core("byte_level"), chat_template=CHAT))
    problem = "1 <|end|> {problem}"
    (ids,) = encode_prompts(tokenizer, "{chat}", [Problem("a", problem, "1")])
    assert tokenizer.decode(ids) == f"<|begin|>user\n{problem}<|end|>26 Jul 2024<|begin|>"
    assert ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    ("chat", "text"),
    [(None, "has no chat template"), ("hello", "leaves out"), ("{{ raise_exception('no') }}", "fails: no")],
)
def test_a_chat_template_that_cannot_serve_is_refused(chat: str | None, text: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, core("byte_level"), chat_template=chat))
    with pytest.raises(UserError, match=text):
        encode_prompts(tokenizer, "{chat}", [Problem("a", "p", "1")])


def test_texts_that_the_tokenizer_does_not_know_are_told() -> None:
    notes: list[str] = []
    problems = [Problem("a", "1+1=", "2", "It is 2."), Problem("b", "1+1=", "2", "So it is 2.")]
    encode_prompts(loaded("words"), "<bos>{problem}\n", problems, notes.append)
    assert notes == []
    encode_solutions(loaded("words"), problems, notes.append)
    assert notes == [
        "1 of 2 solutions hold text that the tokenizer does not know and reads as '<unk>', "
        "the first is that of problem 'a'"
    ]


def test_added_tokens_of_the_shared_cases_are_text() -> None:
    path = Path(__file__).parents[2] / "shared" / "cases" / "problems_added_token.jsonl"
    if not path.exists():
        pytest.skip("the shared cases are not there")
    tokenizer = loaded("words")
    for line in path.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        problem = Problem(data["id"], data["problem"], data["answer"], data["solution"])
        ids = encode_prompts(tokenizer, "<bos>{problem}\n", [problem])[0] + encode_solutions(tokenizer, [problem])[0]
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert not set(ids[1:-1]) & marker_ids("words")
