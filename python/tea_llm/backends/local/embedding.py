"""Embeddings and reranking with a local model."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.backends.embedding import EmbedOptions, VectorTable, checked_texts, groups
from tea_llm.catalog import embedding_prompt
from tea_llm.errors import ContextOverflowError, EngineClosedError, InferenceError
from tea_llm.types import EmbedInfo

if TYPE_CHECKING:
    from tea_llm.backends.embedding import Truncate
    from tea_llm.chat.prompt import Runs
    from tea_llm.tokenizer import Encode

__all__ = ["LocalEmbedder"]

logger = logging.getLogger("tea_llm")

_WINDOW = 1024
"""Texts that are packed together: enough to fill steps, and few enough to hold in memory."""


class LocalEmbedder:
    """Computes embeddings and scores. Contexts are created on first use. Thread-safe.

    Args:
        model: the loaded model.
        name: the model's name.
        encode: returns the token ids of a text.
        encode_runs: returns the token ids of a prompt with untrusted parts.
        engine: determines the number of threads.
    """

    def __init__(
        self,
        model: _core.Model,
        name: str,
        encode: Encode,
        encode_runs: Callable[[Runs], list[int]],
        engine: _core.Engine,
    ) -> None:
        self._model = model
        self._name = name
        self._encode_text = encode
        self._encode_runs = encode_runs
        self._engine = engine
        self._lock = threading.Lock()
        self._natives: dict[str, _core.Embedder] = {}
        self._is_closed = False

    def embed(
        self,
        text: str | Iterable[str],
        options: EmbedOptions,
        check: Callable[[], object] | None = None,
        *,
        begin: int = 0,
    ) -> tuple[list[NDArray[np.float32]], EmbedInfo]:
        """The vectors in one array, or without pooling one array per text.

        ``check`` is called between steps, and may raise. Messages name the first of several texts ``text[begin]``.
        """
        native = self._native(options.pooling or "")
        prompt = embedding_prompt(self._name, options.prompt)
        table = VectorTable(options.cut(native.n_out), options.n_texts(text))
        n_ends = sum(map(len, self._ends))
        tokens_of: list[int] = []
        is_cut: list[bool] = []
        for group in groups(checked_texts(text, begin), _WINDOW):
            texts = []
            for name, one in group:
                if check is not None:
                    check()
                tokens = self._encode(prompt + one, check)
                texts.append(self._fitting(tokens, native.n_longest, options.truncate, prompt, one))
                _check_length(name, len(texts[-1]), native.n_longest, "; truncate= cuts what is longer")
                tokens_of.append(len(texts[-1]))
                is_cut.append(len(texts[-1]) < n_ends + len(tokens))
            names = [name for name, _ in group]
            rows = _computed(native, names, texts, check, rows_of=len if options.pooling == "none" else _one)
            table.add(options.finish(rows))
            if options.progress is not None:
                options.progress(len(tokens_of))
        info = EmbedInfo(tuple(tokens_of), tuple(is_cut))
        vectors = table.array()
        if options.pooling == "none":
            ends = np.cumsum(tokens_of)[:-1].tolist() if tokens_of else []
            return (np.split(vectors, ends) if tokens_of else []), info
        return [vectors], info

    def rank(self, query: str, documents: Sequence[str], check: Callable[[], object] | None = None) -> list[float]:
        """One score per document; ``check`` as in ``embed``."""
        native = self._native("rank")
        pairs = []
        for document in documents:
            if check is not None:
                check()
            pairs.append(self._pair(query, document))
        names = [f"documents[{index}], with the query," for index in range(len(pairs))]
        for name, pair in zip(names, pairs, strict=True):
            _check_length(name, len(pair), native.n_longest)
        scores: list[float] = []
        for begin in range(0, len(pairs), _WINDOW):
            window = slice(begin, begin + _WINDOW)
            scores += _computed(native, names[window], pairs[window], check)[:, 0].tolist()
        return scores

    def close(self) -> None:
        """Frees the contexts. Later calls raise ``EngineClosedError``."""
        with self._lock:
            self._is_closed = True
            for native in self._natives.values():
                native.close()

    def _native(self, pooling: str) -> _core.Embedder:
        """The context for a pooling type; ``""``: the model's type, or mean if it has none."""
        if pooling == self._model.pooling and pooling not in ("none", "rank"):
            pooling = ""
        with self._lock:
            if self._is_closed:
                raise EngineClosedError("the model was closed")
            if pooling not in self._natives:
                self._natives[pooling] = _core.Embedder(
                    self._model,
                    n_threads=self._engine.n_threads,
                    adapts_threads=self._engine.adapts_threads,
                    pooling=pooling,
                )
                if not pooling and self._model.pooling == "none":
                    logger.warning("The model says nothing of pooling: a text's vector is the mean of its tokens'")
                forward_native_log()
            return self._natives[pooling]

    def _encode(self, text: str, check: Callable[[], object] | None = None) -> list[int]:
        """The tokens of a text, without special tokens."""
        return self._encode_text(text, add_special=False, parse_special=False, check=check)

    @cached_property
    def _ends(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after each text."""
        ends = self._encode_text("", add_special=True, parse_special=False)
        n_begin = int(self._model.adds_bos and self._model.bos in ends[:1])
        return ends[:n_begin], ends[n_begin:]

    def _fitting(self, tokens: list[int], n_max: int, truncate: Truncate, prompt: str, text: str) -> list[int]:
        """The tokens of ``prompt + text`` with special tokens, truncated if requested."""
        begin, end = self._ends
        n_over = max(0, len(begin) + len(tokens) + len(end) - n_max)
        if n_over and truncate == "end":
            tokens = tokens[:-n_over]
        elif n_over and truncate == "start":
            kept = self._encode(prompt) if prompt else []
            n_room = n_max - len(begin) - len(kept) - len(end)
            tokens = kept + (self._encode(text) if prompt else tokens)[-n_room:] if n_room > 0 else tokens
        return [*begin, *tokens, *end]

    def _pair(self, query: str, document: str) -> list[int]:
        """Joins query and document with the model's template, or else with its separator tokens."""
        if template := self._model.metadata("tokenizer.chat_template.rerank").decode("utf-8", "replace"):
            texts = {"{query}": query, "{document}": document}
            parts = re.split(r"({query}|{document})", template)
            return self._encode_runs([(texts.get(part, part), part not in texts) for part in parts if part])
        model = self._model
        begin, end = self._ends
        between = [model.eos] * model.adds_eos + [model.sep] * model.adds_sep
        return [*begin, *self._encode(query), *between, *self._encode(document), *end]


def _check_length(name: str, n_tokens: int, n_max: int, advice: str = "") -> None:
    if not n_tokens:
        raise ValueError(f"{name} is empty, and this model has no token for an empty text")
    if n_tokens > n_max:
        raise ContextOverflowError(f"{name} has {n_tokens} tokens: this model takes {n_max}{advice}", n_tokens, n_max)


def _one(tokens: Sequence[int]) -> int:  # noqa: ARG001 - rows of a text that has one vector
    return 1


def _computed(
    native: _core.Embedder,
    names: Sequence[str],
    texts: list[list[int]],
    check: Callable[[], object] | None,
    *,
    rows_of: Callable[[list[int]], int] = _one,
) -> NDArray[np.float32]:
    """The rows of all texts, one after the other.

    Raises:
        InferenceError: a value is NaN or infinite; the message names the text.
    """

    def rows_for(some: list[list[int]]) -> NDArray[np.float32]:
        rows = np.empty((sum(map(rows_of, some)), native.n_out), np.float32)
        native.embed(some, rows, check)
        return rows

    rows = rows_for(texts)
    is_good = np.isfinite(rows).all(axis=1)
    if is_good.all():
        return rows
    # NaN can spread to other texts of a step: name the text that is NaN on its own, too.
    owners = np.repeat(np.arange(len(texts)), list(map(rows_of, texts)))
    bad = sorted(set(owners[~is_good].tolist()))
    guilty = next((index for index in bad if not np.isfinite(rows_for([texts[index]])).all()), bad[0])
    raise InferenceError(
        f"{names[guilty]} gives NaN or infinite numbers: the model's weights are damaged, or too large for their type; "
        "try another file of this model"
    )
