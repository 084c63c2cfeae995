"""Texts to vectors, and documents to scores, with a local model."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.backends.vectors import EmbedOptions, VectorTable, checked_texts, groups
from tea_llm.backends.wordpiece import with_hangul_apart, without_long_words
from tea_llm.catalog import embedding_prompt
from tea_llm.errors import EngineClosedError
from tea_llm.types import EmbedInfo

__all__ = ["LocalEmbedder", "in_thread"]

_T = TypeVar("_T")

logger = logging.getLogger("tea_llm")

_WINDOW = 1024
"""Texts that are packed together: many enough to fill steps, and few enough to be held at once."""


class LocalEmbedder:
    """The embedding half of a loaded model; its contexts come up with the first text. Thread-safe.

    Args:
        model: the loaded model.
        name: of it.
        n_threads: threads that compute.
    """

    def __init__(self, model: _core.Model, name: str, *, n_threads: int) -> None:
        self._model = model
        self._name = name
        self._n_threads = n_threads
        self._lock = threading.Lock()
        self._natives: dict[str, _core.Embedder] = {}
        self._is_closed = False
        self._is_wordpiece = model.metadata("tokenizer.ggml.model") == b"bert"

    def embed(
        self, text: str | Iterable[str], options: EmbedOptions, check: Callable[[], object] | None = None
    ) -> tuple[list[NDArray[np.float32]], EmbedInfo]:
        """The vectors in one array; without pooling an array for each text.

        ``check`` is called between steps, and may raise.
        """
        native = self._native(options.pooling or "")
        prompt = embedding_prompt(self._name, options.prompt)
        table = VectorTable(options.cut(native.n_out), options.n_texts(text))
        tokens_of: list[int] = []
        is_cut: list[bool] = []
        for group in groups(checked_texts(text), _WINDOW):
            tokens = [self._encode(name, prompt + one) for name, one in group]
            fitting = [self._fit(one, native.n_longest, options) for one in tokens]
            n_rows = sum(map(len, fitting)) if options.pooling == "none" else len(fitting)
            rows = np.empty((n_rows, native.n_out), np.float32)
            native.embed(fitting, rows, check)
            table.add(options.finish(rows))
            tokens_of += map(len, fitting)
            is_cut += [len(one) < len(whole) for one, whole in zip(fitting, tokens, strict=True)]
            if options.progress is not None:
                options.progress(len(tokens_of))
        info = EmbedInfo(tuple(tokens_of), tuple(is_cut))
        vectors = table.array()
        if options.pooling == "none":
            ends = np.cumsum(tokens_of)[:-1].tolist() if tokens_of else []
            return (np.split(vectors, ends) if tokens_of else []), info
        return [vectors], info

    def rank(self, query: str, documents: Sequence[str], check: Callable[[], object] | None = None) -> list[float]:
        """A score for each document; ``check`` as in ``embed``."""
        native = self._native("rank")
        head = self._encode("query", query)
        pairs = [self._pair(head, self._encode(f"documents[{i}]", document)) for i, document in enumerate(documents)]
        scores = np.empty((len(pairs), native.n_out), np.float32)
        for begin in range(0, len(pairs), _WINDOW):
            native.embed(pairs[begin : begin + _WINDOW], scores[begin : begin + _WINDOW], check)
        return [float(score) for score in scores[:, 0]]

    def close(self) -> None:
        """Frees the contexts; calls raise ``EngineClosedError`` from here on."""
        with self._lock:
            self._is_closed = True
            for native in self._natives.values():
                native.close()

    def _native(self, pooling: str) -> _core.Embedder:
        """The context for a pooling; ``""``: the model's, or the mean where it has none."""
        if pooling == self._model.pooling and pooling not in ("none", "rank"):
            pooling = ""
        with self._lock:
            if self._is_closed:
                raise EngineClosedError("the model was closed")
            if pooling not in self._natives:
                self._natives[pooling] = _core.Embedder(self._model, n_threads=self._n_threads, pooling=pooling)
                if not pooling and self._model.pooling == "none":
                    logger.warning("The model says nothing of pooling: a text's vector is the mean of its tokens'")
                forward_native_log()
            return self._natives[pooling]

    def _encode(self, name: str, text: str) -> list[int]:
        pieces = without_long_words(with_hangul_apart(text)) if self._is_wordpiece else [text]
        if len(pieces) == 1:
            tokens = self._model.encode(pieces[0], add_special=True, parse_special=False)
        else:
            begin, end = self._ends()
            (unknown,) = self._model.encode("[UNK]", add_special=False, parse_special=True)
            tokens = list(begin)
            for index, piece in enumerate(pieces):
                tokens += [unknown] if index else []
                tokens += self._model.encode(piece, add_special=False, parse_special=False)
            tokens += end
        if not tokens:
            raise ValueError(f"{name} is empty, and this model has no token for an empty text")
        return tokens

    def _ends(self) -> tuple[list[int], list[int]]:
        """What is put before and behind each text."""
        ends = self._model.encode("", add_special=True, parse_special=False)
        n_begin = int(self._model.adds_bos and self._model.bos in ends[:1])
        return ends[:n_begin], ends[n_begin:]

    def _fit(self, tokens: list[int], n_most: int, options: EmbedOptions) -> list[int]:
        """The tokens that are embedded. Too many stay so unless they are to be cut: the engine refuses them."""
        if len(tokens) <= n_most or options.truncate == "error":
            return tokens
        begin, end = self._ends()
        inner = tokens[len(begin) : len(tokens) - len(end)]
        n_inner = n_most - len(begin) - len(end)
        return [*begin, *(inner[:n_inner] if options.truncate == "end" else inner[-n_inner:]), *end]

    def _pair(self, query: list[int], document: list[int]) -> list[int]:
        """Query and document as llama.cpp's server joins them: each in its ends, the separator between."""
        begin, _ = self._ends()
        return [*query, *document[len(begin) :]]


async def in_thread(work: Callable[..., _T], *args: object) -> _T:
    """What ``work(*args, check)`` gives, in another thread. Cancelling the task ends it at its next ``check``."""
    is_cancelled = threading.Event()

    def check() -> None:
        if is_cancelled.is_set():
            raise asyncio.CancelledError

    try:
        return await asyncio.to_thread(work, *args, check)
    except asyncio.CancelledError:
        is_cancelled.set()
        raise
