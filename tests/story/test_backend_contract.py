"""AC-13: the ``LlmBackend`` contract: abstract, complete, kept by all (``tests/contract`` has its behaviour)."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tea_llm import (
    ApiLlmBackend,
    EmbeddingNotSupportedError,
    FallbackBackend,
    LlmBackend,
    LlmCallParams,
    LocalLlmBackend,
)
from tea_llm.testing import MockBackend

METHODS = ("call", "chat", "stream", "stream_chat", "acall", "achat", "astream", "astream_chat")
HOOKS = ("_ask", "_ask_chat", "close")
"""What a backend must have of its own: the methods stand once, over these."""


def test_llm_backend_is_abstract() -> None:
    assert LlmBackend.__abstractmethods__ == frozenset(HOOKS)
    assert all(callable(getattr(LlmBackend, method)) for method in METHODS)
    with pytest.raises(TypeError, match="abstract"):
        LlmBackend()  # type: ignore[abstract]


def test_backends_without_embeddings_say_so() -> None:
    bare: type[LlmBackend] = type("Bare", (LlmBackend,), dict.fromkeys(HOOKS) | {"close": lambda self: None})
    with bare() as backend:
        with pytest.raises(EmbeddingNotSupportedError, match="Bare has no embeddings"):
            backend.embed("a")
        with pytest.raises(EmbeddingNotSupportedError, match="Bare has no embeddings"):
            asyncio.run(backend.aembed("a"))
        with pytest.raises(EmbeddingNotSupportedError, match="Bare has no reranking"):
            backend.rerank("a", ["b"])
        with pytest.raises(EmbeddingNotSupportedError, match="Bare has no reranking"):
            asyncio.run(backend.arerank("a", ["b"]))


@pytest.mark.parametrize("backend", [LocalLlmBackend, ApiLlmBackend, FallbackBackend, MockBackend])
def test_all_backends_take_the_same_parameters(backend: type[LlmBackend]) -> None:
    assert issubclass(backend, LlmBackend)
    assert not backend.__abstractmethods__
    expected = inspect.signature(LocalLlmBackend.chat).parameters
    assert inspect.signature(backend.chat).parameters.keys() == expected.keys()
    assert expected["max_tokens"].default == 100
    assert expected["temperature"].default == 0.7


def test_the_defaults_of_the_params() -> None:
    assert LlmCallParams("x") == LlmCallParams("x", max_tokens=100, temperature=0.7, stop=None)
