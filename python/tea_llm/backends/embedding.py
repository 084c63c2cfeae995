"""Embeddings and rankings: the methods of all backends, their options, and arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args, overload

import numpy as np

from tea_llm._check import check_flag, check_int, check_text
from tea_llm.errors import EmbeddingNotSupportedError
from tea_llm.types import EmbedInfo, RerankResult

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

__all__ = [
    "EmbedOptions",
    "Embeds",
    "Embedded",
    "EmbeddingOptions",
    "Pooling",
    "Truncate",
    "VectorTable",
    "best",
    "checked_documents",
    "checked_texts",
    "groups",
]

Embedded: TypeAlias = "tuple[list[NDArray[np.float32]], EmbedInfo | None]"
"""One array of all vectors, or without pooling one for each text; and what is known of the tokens."""

Pooling = Literal["mean", "cls", "last", "none"]
Truncate = Literal["error", "end", "start"]


class EmbeddingOptions(TypedDict, total=False):
    """Keyword arguments of ``embed``, which explains them."""

    normalize: bool
    truncate: Truncate
    dimensions: int | None
    prompt: str | None
    progress: Callable[[int], object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """The options of ``embed``, checked; ``LlmBackend.embed`` explains them."""

    normalize: bool = True
    truncate: Truncate = "error"
    dimensions: int | None = None
    pooling: Pooling | None = None
    prompt: str | None = None
    return_info: bool = False
    progress: Callable[[int], object] | None = None

    @classmethod
    def checked(cls, given: Mapping[str, object]) -> EmbedOptions:
        """What a caller gave.

        Raises:
            TypeError: an option that does not exist, or of a wrong type.
            ValueError: an option out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise TypeError(f"embed has no option {name!r}: there are {', '.join(known)}")
        return cls(**given)  # type: ignore[arg-type]  # checked next

    def __post_init__(self) -> None:
        check_flag("normalize", self.normalize)
        check_flag("return_info", self.return_info)
        if self.progress is not None and not callable(self.progress):
            raise TypeError(f"progress must be a function, not {type(self.progress).__name__}")
        for name, value, allowed in (
            ("truncate", self.truncate, get_args(Truncate)),
            ("pooling", self.pooling, (None, *get_args(Pooling))),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
        if self.dimensions is not None:
            check_int("dimensions", self.dimensions, 1, 2**31 - 1)
        if self.prompt is not None:
            check_text("prompt", self.prompt)

    def cut(self, n_embd: int) -> int:
        """How long vectors of ``n_embd`` numbers become.

        Raises:
            ValueError: they are not that long.
        """
        if self.dimensions is not None and self.dimensions > n_embd:
            raise ValueError(f"dimensions={self.dimensions}: the model's vectors have {n_embd}")
        return self.dimensions or n_embd

    def finish(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut to ``dimensions`` and scaled to length 1 where asked for, in place; a vector of zeros stays."""
        vectors = vectors[:, : self.cut(vectors.shape[1])] if vectors.shape[0] else vectors
        if self.normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.where(lengths > 0, lengths, 1)
        return vectors

    def shaped(self, text: object, vectors: list[NDArray[np.float32]], info: EmbedInfo | None) -> object:
        """What ``embed`` returns."""
        shaped: object = vectors if self.pooling == "none" else vectors[0]
        if isinstance(text, str):
            shaped = vectors[0] if self.pooling == "none" else vectors[0][0]
        return (shaped, info) if self.return_info else shaped

    def n_texts(self, text: object) -> int | None:
        """How many rows there will be; None: that is not known."""
        if self.pooling == "none":
            return None
        return 1 if isinstance(text, str) else len(text) if isinstance(text, Sized) else None


class Embeds:
    """The embedding half of ``LlmBackend``."""

    @overload
    def embed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        return_info: Literal[False] = False,
        **options: Unpack[EmbeddingOptions],
    ) -> NDArray[np.float32]: ...
    @overload
    def embed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        return_info: Literal[True],
        **options: Unpack[EmbeddingOptions],
    ) -> tuple[NDArray[np.float32], EmbedInfo]: ...
    @overload
    def embed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["none"],
        return_info: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Any: ...
    def embed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Pooling | None = None,
        return_info: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """Computes embedding vectors of texts.

        Args:
            text: one text, or an iterable of texts, which is read in batches.
            pooling: how token vectors are combined into the vector of a text, instead of as the file says:
                ``"mean"``, ``"cls"`` or ``"last"``; ``"none"`` returns the token vectors.
            return_info: also return an ``EmbedInfo`` with token counts.
            **options: ``normalize`` (default True): scale each vector to length 1. ``truncate``: how to handle a text
                that is too long for the model: ``"error"`` (default), or cut its ``"end"`` or its ``"start"``.
                ``dimensions``: keep only the first dimensions, for models trained for this; scaling comes after.
                ``prompt``: text to prepend to each text; ``"query"`` and ``"document"`` stand for the prompts that the
                model was trained with. ``progress``: called with the number of finished texts. APIs support
                ``normalize``, ``dimensions``, ``prompt`` and ``progress``.

        Returns:
            float32, shape ``(n_embd,)`` for one text, ``(n, n_embd)`` for several, in order. With ``pooling="none"``,
            an array of shape ``(tokens, n_embd)`` per text, in a list for several. With ``return_info``, a tuple of
            that and an ``EmbedInfo``.

        Raises:
            EmbeddingNotSupportedError: the model or backend has no embeddings.
            ContextOverflowError: a text is too long for the model, and ``truncate`` is ``"error"``.
            InferenceError: the model computes NaN or infinite values for a text; the message names it.
            TypeError: a text is not a string, or an option is unknown.
            ValueError: a text contains a lone surrogate, or an option is out of range or not supported.

        Example:
            >>> llm.embed(["a text", "another"]).shape  # doctest: +SKIP
            (2, 384)
        """
        checked = EmbedOptions.checked({**options, "pooling": pooling, "return_info": return_info})
        return checked.shaped(text, *self._embed(text, checked))

    @overload
    async def aembed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        return_info: Literal[False] = False,
        **options: Unpack[EmbeddingOptions],
    ) -> NDArray[np.float32]: ...
    @overload
    async def aembed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        return_info: Literal[True],
        **options: Unpack[EmbeddingOptions],
    ) -> tuple[NDArray[np.float32], EmbedInfo]: ...
    @overload
    async def aembed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Literal["none"],
        return_info: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Any: ...
    async def aembed(
        self,
        text: str | Iterable[str],
        *,
        pooling: Pooling | None = None,
        return_info: bool = False,
        **options: Unpack[EmbeddingOptions],
    ) -> Any:
        """``embed`` for asyncio."""
        checked = EmbedOptions.checked({**options, "pooling": pooling, "return_info": return_info})
        return checked.shaped(text, *await self._aembed(text, checked))

    # Backends with embeddings or rankings implement these.

    def _embed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:  # noqa: ARG002
        raise EmbeddingNotSupportedError(f"{type(self).__name__} has no embeddings")

    async def _aembed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        return self._embed(text, options)

    def rerank(self, query: str, documents: Sequence[str], *, top_n: int | None = None) -> list[RerankResult]:
        """Ranks documents by how well they answer a query, with a cross-encoder, which reads both together.

        Args:
            query: the query's text.
            documents: the documents' texts.
            top_n: number of results to return; None: all.

        Returns:
            One result per document, the best first.

        Raises:
            EmbeddingNotSupportedError: the model is not a reranker, or the API has no reranking.
            ContextOverflowError: query and document together are too long for the model.
            InferenceError: the score of a document is NaN or infinite; the message names the document.
            TypeError: a text is not a string.
            ValueError: a text contains a lone surrogate, or ``top_n`` is below 1.

        Example:
            >>> llm.rerank("What is a list?", ["A sequence.", "A fish."])[0].index  # doctest: +SKIP
            0
        """
        return best(self._rank(query, checked_documents(query, documents, top_n)), top_n)

    async def arerank(self, query: str, documents: Sequence[str], *, top_n: int | None = None) -> list[RerankResult]:
        """``rerank`` for asyncio."""
        return best(await self._arank(query, checked_documents(query, documents, top_n)), top_n)

    def _rank(self, query: str, documents: list[str]) -> Sequence[float]:  # noqa: ARG002
        raise EmbeddingNotSupportedError(f"{type(self).__name__} has no reranking")

    async def _arank(self, query: str, documents: list[str]) -> Sequence[float]:
        return self._rank(query, documents)


class VectorTable:
    """Rows of vectors as they come, held once: in an array of their number, or in one that grows.

    Args:
        n_columns: numbers of a vector.
        n_rows: how many there will be; None: that is not known.
    """

    def __init__(self, n_columns: int, n_rows: int | None) -> None:
        self._array = np.empty((n_rows or 0, n_columns), np.float32)
        self._n_filled = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        n_filled = self._n_filled + len(rows)
        if n_filled > len(self._array):
            self._array.resize((max(n_filled, 2 * self._n_filled), self._array.shape[1]), refcheck=False)
        self._array[self._n_filled : n_filled] = rows
        self._n_filled = n_filled

    def array(self) -> NDArray[np.float32]:
        """All rows."""
        if self._n_filled < len(self._array):
            self._array.resize((self._n_filled, self._array.shape[1]), refcheck=False)
        return self._array


def checked_texts(text: str | Iterable[str], begin: int = 0) -> Iterator[tuple[str, str]]:
    """Pairs of a name for messages and a text, as they are asked for. The first of several is ``text[begin]``.

    Raises:
        TypeError: neither a string nor strings.
        ValueError: a lone surrogate in one.
    """
    if isinstance(text, str):
        return iter([("text", check_text("text", text))])
    given: object = text
    if isinstance(given, (bytes, dict)) or not isinstance(given, Iterable):
        raise TypeError(f"text must be a string or strings, not {type(given).__name__}")
    return ((f"text[{index}]", check_text(f"text[{index}]", one)) for index, one in enumerate(text, begin))


def groups(items: Iterable[tuple[str, str]], n: int) -> Iterator[list[tuple[str, str]]]:
    """The items in lists of ``n``; the last may be shorter."""
    items = iter(items)
    while group := list(itertools.islice(items, n)):
        yield group


def checked_documents(query: str, documents: Sequence[str], top_n: int | None) -> list[str]:
    """The documents, after a look at all arguments of ``rerank``.

    Raises:
        TypeError: not texts.
        ValueError: a lone surrogate in one, a ``top_n`` below 1.
    """
    check_text("query", query)
    if isinstance(documents, str):
        raise TypeError("documents must be a list of strings, not str")
    if top_n is not None:
        check_int("top_n", top_n, 1, 2**31 - 1)
    given: object = documents
    if isinstance(given, (bytes, dict)) or not isinstance(given, Iterable):
        raise TypeError(f"documents must be strings, not {type(given).__name__}")
    return [check_text(f"documents[{index}]", one) for index, one in enumerate(documents)]


def best(scores: Sequence[float], top_n: int | None) -> list[RerankResult]:
    """The documents' scores, the best first; of equal ones the first one given."""
    ranked = sorted(enumerate(map(float, scores)), key=lambda scored: -scored[1])
    return [RerankResult(index, score) for index, score in ranked[:top_n]]
