"""WordPiece against Hugging Face's ``tokenizers``, whose ids ``record_wordpiece.py`` wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from support.scripts import SCRIPTS
from support.tiny_gguf import write_gguf
from tea_llm import Tokenizer


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[Any]]:
    with np.load(Path(__file__).with_name("wordpiece.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def vocabulary(llama_cpp_dir: Path) -> Path:
    return llama_cpp_dir / "models" / "ggml-vocab-bert-bge.gguf"


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> Tokenizer:
    return Tokenizer(vocabulary)


@pytest.fixture(scope="module")
def cased(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    keys = {name: field.contents() for name, field in gguf.GGUFReader(vocabulary).fields.items()}
    keys = {name: value for name, value in keys.items() if not name.startswith("GGUF.")}
    keys["tokenizer.ggml.normalizer.lowercase"] = False
    return Tokenizer(write_gguf(tmp_path_factory.mktemp("cased") / "cased.gguf", keys))


def test_every_assigned_code_point(tokenizer: Tokenizer, expected: dict[str, NDArray[Any]]) -> None:
    codes, ends = np.cumsum(expected["codes"]).tolist(), np.cumsum(expected["lengths"])[:-1]
    wrong = {
        f"U+{code:04X}": (ids, wanted.tolist())
        for code, wanted in zip(codes, np.split(expected["ids"], ends), strict=True)
        if (ids := tokenizer.encode(f"a{chr(code)}b {chr(code)}", add_special=False)) != wanted.tolist()
    }
    assert len(codes) > 150_000
    assert not wrong


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_of_many_scripts(
    script: str, tokenizer: Tokenizer, cased: Tokenizer, expected: dict[str, NDArray[Any]]
) -> None:
    assert tokenizer.encode(SCRIPTS[script], add_special=False) == expected[script].tolist()
    assert cased.encode(SCRIPTS[script], add_special=False) == expected[f"{script}, cased"].tolist()


def test_vowel_signs_tell_words_apart(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("दिन") != tokenizer.encode("दान")  # llama.cpp: the same


def test_control_tokens_only_where_asked_for(tokenizer: Tokenizer) -> None:
    cls, mask, sep = 101, 103, 102
    assert tokenizer.encode("[MASK] it", parse_special=True) == [cls, mask, 2009, sep]
    assert mask not in tokenizer.encode("[MASK] it")
    assert tokenizer.encode("") == [cls, sep]
