"""What every built wheel must pass: it imports, loads and generates, and its child finds its libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import diagnosis


def test_it_generates(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=256) as llm:
        result = llm.call("Hello", max_tokens=8, temperature=0, ignore_eos=True)
    assert result.tokens_used == 8
    assert result.content
    assert result.finish_reason == "length"


def test_it_tokenizes(tiny_model: Callable[..., Path]) -> None:
    tokenizer = tea_llm.Tokenizer(tiny_model("llama"))
    assert tokenizer.decode(tokenizer.encode("Grüße, 世界! 😀")) == "Grüße, 世界! 😀"


def test_its_child_works(tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_model("llama")
    monkeypatch.chdir(tmp_path)
    tea_llm.load(source, n_ctx=256, probe=True).close()
    with tea_llm.load(tea_llm.quantize(source, "small.gguf", "q8_0"), n_ctx=256) as llm:
        assert llm.call("Hello", max_tokens=1, ignore_eos=True).tokens_used == 1
    checks = {check.name: check for check in diagnosis.diagnose()}
    assert "engine" not in checks, checks["engine"].problem
    assert checks["CPU kernels"].facts["variant"]
    assert checks["self-test"].problem is None
