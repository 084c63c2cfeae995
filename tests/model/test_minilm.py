"""A real embedding model against sentence-transformers, whose vectors ``record_minilm.py`` wrote down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tea_llm
from support.minilm import minilm
from support.sentences import EDGES, sentences
from tea_llm import LocalLlmBackend

LEAST_COSINE = {"f32": 0.9999, "f16": 0.999}
MAX_DIFFERENCE = {"f32": 1e-4, "f16": 1e-3}
CONTROL_TOKENS = EDGES.index("[CLS] [SEP] [UNK] [MASK] [PAD]")
"""The one text that differs, on purpose: what a text says is never a control token."""

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module", params=["f32", "f16"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def llm(kind: str) -> Iterator[LocalLlmBackend]:
    chosen = os.environ.get("TEA_TEST_MODELS")
    directory = Path(chosen) if chosen else Path.home() / ".cache/tea/tests"
    with tea_llm.load(minilm(directory, kind), n_threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[Any]]:
    with np.load(Path(__file__).with_name("minilm.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def many(llm: LocalLlmBackend) -> Vectors:
    return llm.embed(sentences(1000))


def nearest(vectors: NDArray[Any]) -> NDArray[np.int64]:
    """Shape (n, 10): the neighbours of each, in any order."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    return np.argpartition(-likeness, 10, axis=1)[:, :10]


def test_edge_cases_match_sentence_transformers(
    llm: LocalLlmBackend, kind: str, expected: dict[str, NDArray[Any]]
) -> None:
    vectors, info = llm.embed(EDGES, return_info=True)
    is_equal = np.arange(len(EDGES)) != CONTROL_TOKENS
    assert np.array_equal(np.array(info.n_tokens)[is_equal], expected["n_tokens"][is_equal])
    assert {1 + 2, 256, 512} <= set(info.n_tokens)
    cosines = (vectors * expected["edges"]).sum(axis=1)
    assert cosines[is_equal].min() >= LEAST_COSINE[kind]
    assert cosines[CONTROL_TOKENS] < 0.9


def test_a_thousand_texts(many: Vectors, kind: str, expected: dict[str, NDArray[Any]]) -> None:
    reference = expected["many"].astype(np.float64)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    assert (many * reference).sum(axis=1).min() >= LEAST_COSINE[kind]
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest(many), nearest(reference), strict=True)])
    assert overlap >= 0.99


def test_many_are_the_same_as_one_by_one(llm: LocalLlmBackend, many: Vectors, kind: str) -> None:
    texts = sentences(1000)[::17]
    alone = np.stack([llm.embed(text) for text in texts])
    assert np.abs(alone - many[::17]).max() <= MAX_DIFFERENCE[kind]


def test_too_long(llm: LocalLlmBackend) -> None:
    text = "word " * 600
    with pytest.raises(tea_llm.ContextOverflowError, match="602 tokens.*512"):
        llm.embed(text)
    vector, info = llm.embed(text, truncate="end", return_info=True)
    assert info == tea_llm.EmbedInfo((512,), (True,))
    np.testing.assert_allclose(vector, llm.embed("word " * 510), atol=1e-6)
