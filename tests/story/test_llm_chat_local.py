"""AC-2: ``llm.chat`` generates text from messages in OpenAI's form."""

from __future__ import annotations

from typing import Any


def test_llm_chat_answers_messages(run: Any) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    result = run("llm.chat", messages=messages, max_tokens=32, temperature=0)
    assert "Paris" in result["content"]
    assert result["finish_reason"] == "stop"
    assert result["backend"] == "local"
