"""What local embeddings and an API's have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tea_llm._check import check_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["checked_texts", "groups", "normalized"]


def checked_texts(text: str | Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a name for messages and a text, as they are asked for.

    Raises:
        TypeError: neither a string nor strings.
        ValueError: a lone surrogate in one.
    """
    if isinstance(text, str):
        return iter([("text", check_text("text", text))])
    given: object = text
    if isinstance(given, (bytes, dict)) or not isinstance(given, Iterable):
        raise TypeError(f"text must be a string or strings, not {type(given).__name__}")
    return ((f"text[{index}]", check_text(f"text[{index}]", one)) for index, one in enumerate(text))


def groups(items: Iterable[tuple[str, str]], n: int) -> Iterator[list[tuple[str, str]]]:
    """The items in lists of ``n``; the last may be shorter."""
    items = iter(items)
    while group := list(itertools.islice(items, n)):
        yield group


def normalized(vectors: NDArray[np.float32], normalize: bool) -> NDArray[np.float32]:
    """Scaled to length 1 where asked for, in place; a vector of zeros stays."""
    if normalize:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, 1)
    return vectors
