"""AC-4: ``llm.stream`` gives the text as it comes, by callback or on stdout."""

from __future__ import annotations

from typing import Any

import pytest

PROMPT = "One, two, three,"


def test_a_callback_gets_what_is_returned(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    texts: list[str] = []
    result = run("llm.stream", prompt=PROMPT, max_tokens=20, temperature=0, callback=texts.append)
    assert "".join(texts) == result["content"] != ""
    assert result["chunk_count"] == len(texts) > 1
    assert result["streamed"] is True
    assert capsys.readouterr().out == ""


def test_without_a_callback_the_text_is_printed(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = run("llm.stream", prompt=PROMPT, max_tokens=20, temperature=0)
    assert capsys.readouterr().out == result["content"] + "\n"
