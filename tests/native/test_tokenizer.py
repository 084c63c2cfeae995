"""Tokenizer against llama.cpp's vocabulary fixtures, and its edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.vocab_fixtures import VocabCase, cases
from tea_llm import ModelLoadError, ModelNotFoundError, Tokenizer


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_ids_are_those_of_the_original_tokenizer(case: VocabCase) -> None:
    tokenizer = Tokenizer(case.path)
    for text, ids in case.texts:
        assert tokenizer.encode(text, add_special=False) == ids, text


SPACED = ["Hello , world .", "it 's , don 't we 're x ' y ?", "  two  ", " .", "\n x ,", ""]


@pytest.mark.parametrize("case", [case for case in cases() if case.name != "bert-bge"], ids=lambda case: case.name)
def test_decode_is_the_inverse_of_encode(case: VocabCase) -> None:
    tokenizer = Tokenizer(case.path)
    for text in SPACED + [text for text, _ in case.texts]:
        for add_special in (True, False):
            assert tokenizer.decode(tokenizer.encode(text, add_special=add_special)) == text


def test_decode_gives_the_words_that_wordpiece_kept(llama_cpp_dir: Path) -> None:
    tokenizer = Tokenizer(llama_cpp_dir / "models" / "ggml-vocab-bert-bge.gguf")
    assert tokenizer.decode(tokenizer.encode("Hello , World .")) == "hello , world ."


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Callable[..., Path]) -> Tokenizer:
    return Tokenizer(tiny_model("llama"))


@pytest.mark.parametrize("text", ["", " ", "Hello", "  two  spaces ", "\n\t\x00\r", "naïve Σ 世界 🙂‍↔️", "a" * 300_000])
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens(tokenizer: Tokenizer) -> None:
    plain = tokenizer.encode("<|im_end|>", add_special=False)
    parsed = tokenizer.encode("<|im_end|>", add_special=False, parse_special=True)
    assert len(parsed) < len(plain)
    assert tokenizer.decode(parsed) == tokenizer.decode(plain) == "<|im_end|>"
    text = "<|im_start|>a <|im_end|> b<|im_end|>  c ."  # behind each of them encode puts a space
    assert tokenizer.decode(tokenizer.encode(text, parse_special=True)) == text
    assert len(tokenizer.encode("x")) == len(tokenizer.encode("x", add_special=False)) + 1


def test_a_long_text_without_spaces_survives_every_pre_tokenizer(llama_cpp_dir: Path) -> None:
    """std::regex, which some vocabularies need, recurses for each character."""
    tokenizer = Tokenizer(llama_cpp_dir / "models" / "ggml-vocab-deepseek-llm.gguf")
    text = "a" * 200_000
    assert tokenizer.decode(tokenizer.encode(text, add_special=False)) == text


def test_wrong_ids_and_texts(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"tokens\[1\]=99999999 "):
        tokenizer.decode([1, 99_999_999])
    with pytest.raises(ValueError, match="tokens"):
        tokenizer.decode([-1])
    with pytest.raises(TypeError, match="integer"):
        tokenizer.decode([1.5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="str"):
        tokenizer.decode("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="U\\+D800 at index 1"):
        tokenizer.encode("a\ud800")
    with pytest.raises(TypeError, match="bytes"):
        tokenizer.encode(b"x")  # type: ignore[arg-type]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"nowhere\.gguf"):
        Tokenizer(tmp_path / "nowhere.gguf")
    (tmp_path / "empty.gguf").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"empty\.gguf"):
        Tokenizer(tmp_path / "empty.gguf")
