"""AC-16: what was there before still works: the reference's action names, parameters and result keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tea_llm.actions import register_actions
from tea_llm.testing import MockBackend

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("name", "params", "keys"),
    [
        ("llm.call", {"prompt": "Hi"}, {"content", "usage", "provider", "model", "finish_reason"}),
        (
            "llm.call",
            {"messages": HI, "model": "gpt-4o", "max_retries": 1},
            {"content", "usage", "attempts", "total_delay"},
        ),
        ("llm.retry", {"messages": HI}, {"content", "usage", "attempts", "total_delay"}),
        ("llm.stream", {"messages": HI, "callback": print}, {"content", "usage", "streamed", "chunk_count"}),
        ("llm.chat", {"messages": HI}, {"content", "model", "tokens_used"}),
        ("llm.tools", {"messages": HI, "tools": []}, {"content", "tool_calls", "tool_results", "rounds"}),
        ("llm.embed", {"text": "Hi"}, {"embedding", "dimensions"}),
        ("llm.similarity", {"text_a": "a", "text_b": "b"}, {"cosine_similarity", "interpretation", "text_a", "text_b"}),
    ],
)
def test_reference_calls(name: str, params: dict[str, Any], keys: set[str]) -> None:
    for spelled in (name, f"actions.{name.replace('.', '_')}"):
        registry: dict[str, Any] = {}
        register_actions(registry, SimpleNamespace(llm_backend=MockBackend(["Hello."])))
        result = registry[spelled](state={}, **params)
        assert "error" not in result, result
        assert result.keys() >= keys
