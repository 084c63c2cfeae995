"""AC-13: the ``LlmBackend`` contract: abstract, complete, kept by all (``tests/contract`` has its behaviour)."""

from __future__ import annotations

import inspect

import pytest

from tea_llm import ApiLlmBackend, FallbackBackend, LlmBackend, LlmCallParams, LocalLlmBackend
from tea_llm.testing import MockBackend

METHODS = (
    "call",
    "chat",
    "stream",
    "stream_chat",
    "embed",
    "acall",
    "achat",
    "astream",
    "astream_chat",
    "aembed",
    "close",
)


def test_it_is_abstract() -> None:
    assert LlmBackend.__abstractmethods__ == frozenset(METHODS)
    with pytest.raises(TypeError, match="abstract"):
        LlmBackend()  # type: ignore[abstract]


@pytest.mark.parametrize("backend", [LocalLlmBackend, ApiLlmBackend, FallbackBackend, MockBackend])
def test_everyone_takes_the_same(backend: type[LlmBackend]) -> None:
    assert issubclass(backend, LlmBackend)
    assert not backend.__abstractmethods__
    expected = inspect.signature(LocalLlmBackend.chat).parameters
    assert inspect.signature(backend.chat).parameters.keys() == expected.keys()
    assert expected["max_tokens"].default == 100
    assert expected["temperature"].default == 0.7


def test_the_defaults_of_the_params() -> None:
    assert LlmCallParams("x") == LlmCallParams("x", max_tokens=100, temperature=0.7, stop=None)
