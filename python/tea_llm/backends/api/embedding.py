"""Embeddings and reranking by APIs: request bodies and parsed answers. Pure functions, no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tea_llm.backends.api.pieces import some
from tea_llm.backends.embedding import EmbedOptions, checked_texts, groups
from tea_llm.catalog import embedding_prompt
from tea_llm.errors import ApiResponseError

__all__ = ["VectorParts", "embedding_bodies", "parse_scores", "parse_vectors"]

_MAX_FLOAT = 3e38  # of float32
_TEXTS_A_REQUEST = 256


def embedding_bodies(text: str | Iterable[str], options: EmbedOptions, model: str) -> Iterator[dict[str, Any]]:
    """Generates request bodies.

    Raises:
        ValueError: an option is not supported by APIs.
    """
    for name, is_given in (
        ("truncate", options.truncate != "error"),
        ("pooling", options.pooling is not None),
        ("return_info", options.return_info),
    ):
        if is_given:
            raise ValueError(f"{name} is for local models: APIs have no such option for embeddings")
    prompt = embedding_prompt(model, options.prompt)
    extra = {} if options.dimensions is None else {"dimensions": options.dimensions}
    return (
        {"model": model, "input": [prompt + one for _, one in group], "encoding_format": "float", **extra}
        for group in groups(checked_texts(text), _TEXTS_A_REQUEST)
    )


class VectorParts:
    """Collects the vectors of several answers in one array."""

    def __init__(self, options: EmbedOptions) -> None:
        self._options = options
        self._parts: list[NDArray[np.float32]] = []
        self._n_texts = 0

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Adds the vectors of the next texts, and reports progress."""
        if self._parts and vectors.shape[1] != self._parts[0].shape[1]:
            raise ApiResponseError("the embeddings differ in length")
        self._parts.append(vectors)
        self._n_texts += len(vectors)
        if self._options.progress is not None:
            self._options.progress(self._n_texts)

    def array(self) -> NDArray[np.float32]:
        """float32, shape (n, n_embd)."""
        return self._options.finish(np.concatenate(self._parts) if self._parts else np.empty((0, 0), np.float32))


def parse_vectors(answer: object, n_texts: int) -> NDArray[np.float32]:
    """The vectors of an embeddings answer, in the order of the texts: float32, shape (n_texts, n_embd).

    Raises:
        ApiResponseError: the answer is malformed, or does not have one vector of the same length per text.
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, list) or len(data) != n_texts:
        raise ApiResponseError(f"not an answer with {n_texts} embeddings: {some(answer)}")
    vectors: list[Any] = [None] * n_texts
    for place, item in enumerate(data):
        vector = item.get("embedding") if isinstance(item, Mapping) else None
        index = item.get("index", place) if isinstance(item, Mapping) else None
        if not isinstance(vector, list) or not vector or not isinstance(index, int) or not 0 <= index < n_texts:
            raise ApiResponseError(f"not an embedding: {some(item)}")
        if not all(isinstance(number, (int, float)) for number in vector):
            raise ApiResponseError(f"an embedding that holds more than numbers: {some(item)}")
        vectors[index] = vector
        if not all(abs(number) < _MAX_FLOAT for number in vector):  # False for NaN
            raise ApiResponseError("an embedding contains NaN or infinite values")
    if any(vector is None or len(vector) != len(vectors[0]) for vector in vectors):
        raise ApiResponseError("the embeddings do not belong to the texts one by one, or differ in length")
    return np.array(vectors, np.float32)


def parse_scores(answer: object, n_documents: int) -> list[float]:
    """The scores of a reranking answer, in the order of the documents. Jina, Cohere, llama.cpp and vLLM share its form.

    Raises:
        ApiResponseError: the answer is malformed, or does not have one score per document.
    """
    results = answer.get("results") if isinstance(answer, Mapping) else None
    scores: list[Any] = [None] * n_documents
    for result in results if isinstance(results, list) else ():
        index = result.get("index") if isinstance(result, Mapping) else None
        if not isinstance(index, int) or not 0 <= index < n_documents:
            raise ApiResponseError(f"not the score of a document: {some(result)}")
        scores[index] = result.get("relevance_score", result.get("score"))
    if not all(isinstance(score, (int, float)) and abs(score) < _MAX_FLOAT for score in scores):
        raise ApiResponseError(f"not an answer with {n_documents} scores: {some(answer)}")
    return scores
