"""AC-1: ``llm.call`` generates text with the local backend, from a raw prompt."""

from __future__ import annotations

from typing import Any


def test_llm_call_continues_a_raw_prompt(run: Any) -> None:
    result = run("llm.call", prompt="Complete this sentence: The capital of France is", max_tokens=8, temperature=0)
    assert "Paris" in result["content"]
    assert result["backend"] == result["provider"] == "local"
    assert 0 < result["tokens_used"] <= 8
