"""AC-14: a small real model, end to end: found, loaded, asked in every way, closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import tea_llm

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def test_end_to_end(smollm2: Path, home: Path) -> None:
    cache = home / ".cache/tea/models"
    cache.mkdir(parents=True)
    (cache / smollm2.name).symlink_to(smollm2)
    with tea_llm.load(n_ctx=1024, n_threads=1) as llm:
        answer = llm.chat(QUESTION, max_tokens=32, temperature=0)
        assert "Paris" in answer.content
        with llm.stream_chat(QUESTION, max_tokens=32, temperature=0) as stream:
            assert "".join(chunk.text for chunk in stream) == answer.content
        assert "Paris" in asyncio.run(llm.achat(QUESTION, max_tokens=32, temperature=0)).content
        assert llm.embed(["a", "b"]).shape == (2, 576)
    with pytest.raises(tea_llm.EngineClosedError):
        llm.chat(QUESTION)
