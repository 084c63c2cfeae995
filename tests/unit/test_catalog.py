"""What file names tell, and the models that can be pulled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tea_llm.catalog import (
    DEFAULT_MODELS,
    KNOWN_MODELS,
    HubSource,
    ModelConfig,
    embedding_prompt,
    find_model,
    get_model_config,
)

PHI = ModelConfig(n_ctx=128_000, chat_format="chatml", family="phi")
GEMMA = ModelConfig(n_ctx=32_768, chat_format="gemma", family="gemma")
GEMMA_1B = ModelConfig(n_ctx=8_192, chat_format="gemma", family="gemma")
E5_INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
UNKNOWN = ModelConfig(n_ctx=4_096, chat_format=None, family="unknown")


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("microsoft_Phi-4-mini-instruct-Q3_K_S.gguf", PHI),
        ("PHI.GGUF", PHI),
        ("gemma-3n-E4B-it-Q4_K_M.gguf", GEMMA),
        ("Gemma-2-9b.gguf", GEMMA),
        ("gemma-3-1b-it-Q8_0.gguf", GEMMA_1B),
        ("GEMMA-3-1B-it.gguf", GEMMA_1B),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", UNKNOWN),
        ("tinyllama.gguf", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_config_follows_the_file_name(path: str, config: ModelConfig) -> None:
    assert get_model_config(path) == config
    assert get_model_config(Path("/no/such/directory", path)) == config


def test_only_the_last_part_of_a_path_counts() -> None:
    assert get_model_config("/models/phi/gemma/llama.gguf") == UNKNOWN
    assert get_model_config("/models/phi/gemma-2.gguf") == GEMMA


@given(st.text())
def test_any_name_has_a_config(name: str) -> None:
    assert get_model_config(name).family in ("phi", "gemma", "unknown")


def test_config_is_a_value() -> None:
    with pytest.raises(AttributeError):
        PHI.n_ctx = 1  # type: ignore[misc]


def test_default_models_keep_their_order() -> None:
    assert DEFAULT_MODELS == (
        "microsoft_Phi-4-mini-instruct-Q3_K_S.gguf",
        "gemma-3n-E4B-it-Q4_K_M.gguf",
        "gemma-3-1b-it-Q8_0.gguf",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    )


@pytest.mark.parametrize("name", list(KNOWN_MODELS))
def test_known_models_are_complete(name: str) -> None:
    model = KNOWN_MODELS[name]
    assert model.name == name
    assert model.licence
    assert model.n_ctx > 0
    assert Path(model.file_name).suffix == ".gguf"
    if isinstance(model.source, HubSource):
        assert model.source.file == model.file_name
        return
    assert model.size_bytes
    assert model.source.size_bytes
    assert model.source.member.endswith(model.file_name)
    for sha256 in (model.sha256, model.source.sha256):
        assert sha256 is not None
        assert len(bytes.fromhex(sha256)) == 32


def test_the_default_models_can_be_pulled() -> None:
    assert set(DEFAULT_MODELS) <= {model.file_name for model in KNOWN_MODELS.values()}


def test_a_pulled_default_model_is_found_by_load() -> None:
    assert KNOWN_MODELS["smollm2-135m"].file_name in DEFAULT_MODELS


@pytest.mark.parametrize(
    "name", ["smollm2-135m", "SmolLM2-135M", " smollm2 ", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"]
)
def test_find_model_takes_name_alias_and_file_name(name: str) -> None:
    assert find_model(name).name == "smollm2-135m"


def test_no_two_models_share_a_name() -> None:
    words = [word.lower() for model in KNOWN_MODELS.values() for word in (model.name, *model.aliases, model.file_name)]
    assert len(words) == len(set(words))


def test_unknown_model_names_the_nearest_and_all() -> None:
    with pytest.raises(
        ValueError, match=r"unknown model 'smolm2-135'\. Did you mean smollm2-135m.* Known models: smollm2"
    ):
        find_model("smolm2-135")
    with pytest.raises(ValueError, match=r"unknown model 'llama'\. Known models: smollm2-135m"):
        find_model("llama")


def test_model_name_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="must be a string, not int"):
        find_model(135)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        ("nomic-embed-text-v1.5.Q8_0", "search_query: ", "search_document: "),
        ("BGE-small-en-v1.5-f16", "Represent this sentence for searching relevant passages: ", ""),
        ("bge-m3-Q8_0", "", ""),
        ("multilingual-e5-base", "query: ", "passage: "),
        (
            "multilingual-e5-large-instruct",
            "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ",
            "",
        ),
        ("all-MiniLM-L6-v2.F16", "", ""),
    ],
)
def test_what_stands_before_texts(model: str, query: str, document: str) -> None:
    assert embedding_prompt(model, "query") == query
    assert embedding_prompt(model, "document") == document
    assert embedding_prompt(model, "find: ") == "find: "
    assert not embedding_prompt(model, None)


def test_what_stands_before_texts_of_others() -> None:
    with pytest.raises(ValueError, match="the prefixes of gte-small are unknown"):
        embedding_prompt("gte-small", "query")
