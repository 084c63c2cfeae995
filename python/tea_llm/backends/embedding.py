"""Texts to vectors with a local model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tea_llm._check import check_flag
from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.backends.vectors import checked_texts, groups, normalized

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
        texts = groups(checked_texts(text), _GROUP)
        parts = [native.embed([self._encode(name, one) for name, one in group]) for group in texts]
        vectors = normalized(np.concatenate([np.empty((0, native.n_embd), np.float32), *parts]), normalize)
        return vectors[0] if isinstance(text, str) else vectors

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

    def _encode(self, name: str, text: str) -> list[int]:
        tokens = self._model.encode(text, add_special=True, parse_special=False)
        if not tokens:
            raise ValueError(f"{name} is empty, and this model has no token for an empty text")
        return tokens
