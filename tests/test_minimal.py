"""What every built wheel must pass: it imports, loads and generates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tea_llm


def test_it_generates(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=256) as llm:
        result = llm.call("Hello", max_tokens=8, temperature=0, ignore_eos=True)
    assert result.tokens_used == 8
    assert result.content
    assert result.finish_reason == "length"


def test_it_tokenizes(tiny_model: Callable[..., Path]) -> None:
    tokenizer = tea_llm.Tokenizer(tiny_model("llama"))
    assert tokenizer.decode(tokenizer.encode("Grüße, 世界! 😀")) == "Grüße, 世界! 😀"
