"""Texts to vectors with a local model."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tea_llm import _core
from tea_llm._check import check_flag, check_text
from tea_llm._log import forward_native_log

__all__ = ["LocalEmbedder"]

logger = logging.getLogger("tea_llm")

_GROUP = 64
"""Texts that go into the native layer at once: Ctrl-C is looked after between groups."""


class LocalEmbedder:
    """The embedding half of a loaded model; its context comes up with the first text. Thread-safe.

    Args:
        model: the loaded model.
        n_threads: threads that compute.
    """

    def __init__(self, model: _core.Model, *, n_threads: int) -> None:
        self._model = model
        self._n_threads = n_threads
        self._lock = threading.Lock()
        self._native: _core.Embedder | None = None

    def embed(self, text: str | Iterable[str], *, normalize: bool) -> NDArray[np.float32]:
        """See ``LlmBackend.embed``."""
        check_flag("normalize", normalize)
        native = self._get()
        if isinstance(text, str):
            return _normalized(native.embed([self._encode("text", text)]), normalize).reshape(-1)
        given: object = text
        if isinstance(given, bytes) or not isinstance(given, Iterable):
            raise TypeError(f"text must be a string or strings, not {type(given).__name__}")
        parts = [np.empty((0, native.n_embd), np.float32)]
        tokens = (self._encode(f"text[{index}]", one) for index, one in enumerate(text))
        while group := list(itertools.islice(tokens, _GROUP)):
            parts.append(native.embed(group))
        return _normalized(np.concatenate(parts), normalize)

    def close(self) -> None:
        with self._lock:
            if self._native is not None:
                self._native.close()

    def _get(self) -> _core.Embedder:
        with self._lock:
            if self._native is None:
                self._native = _core.Embedder(self._model, n_threads=self._n_threads)
                if self._model.pooling == "none":
                    logger.warning("The model says nothing of pooling: a text's vector is the mean of its tokens'")
                forward_native_log()
            return self._native

    def _encode(self, name: str, text: object) -> list[int]:
        tokens = self._model.encode(check_text(name, text), add_special=True, parse_special=False)
        if not tokens:
            raise ValueError(f"{name} is empty, and this model has no token for an empty text")
        return tokens


def _normalized(vectors: NDArray[np.float32], normalize: bool) -> NDArray[np.float32]:
    """Scaled to length 1 where asked for; a vector of zeros stays."""
    if normalize:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, 1)
    return vectors
