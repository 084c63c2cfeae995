"""Tools with the real model, which is made to call one by a prompt that shows it nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from tea_llm import LlmCallResult, LocalLlmBackend, ToolCallDelta

TOOL = {"type": "function", "function": {"name": "paris", "parameters": {"type": "object"}}}
PATTERN = [{"role": "user", "content": '{"name": "paris", "arguments": {"a": 1}}\n' * 6}]
TEXT = [{"role": "user", "content": "The capital of France is"}]
SHOWS_NO_TOOLS = "{% if tools %}{% endif %}{{ messages[-1].content }}"
OPTIONS: dict[str, Any] = {"temperature": 0, "stop": ["\n"], "max_tokens": 30, "tools": [TOOL]}


@pytest.fixture(scope="module")
def caller(smollm2: Path) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(smollm2, n_ctx=1024, n_threads=1, chat_template=SHOWS_NO_TOOLS) as loaded:
        yield loaded


def test_a_call_is_no_text(caller: LocalLlmBackend) -> None:
    def check(result: LlmCallResult) -> None:
        (call,) = result.tool_calls
        assert (call.name, call.arguments) == ("paris", {"a": 1})
        assert (result.content, result.finish_reason) == ("", "tool_calls")

    check(caller.chat(PATTERN, **OPTIONS))
    with caller.stream_chat(PATTERN, **OPTIONS) as stream:
        begun, last = stream
        check(stream.result)
        (call,) = stream.result.tool_calls
        assert begun.tool_call_deltas == (ToolCallDelta(0, call.id, "paris", '{"a": 1}'),)
        assert (last.text, last.tool_calls, last.finish_reason) == ("", (call,), "tool_calls")

    async def ask() -> None:
        check(await caller.achat(PATTERN, **OPTIONS))
        stream = caller.astream_chat(PATTERN, **OPTIONS)
        assert [bool(chunk.tool_calls) async for chunk in stream] == [False, True]
        check(await stream.result())

    asyncio.run(ask())


def test_an_answer_is_no_call(caller: LocalLlmBackend) -> None:
    result = caller.chat(TEXT, **OPTIONS)
    assert "Paris" in result.content
    assert result.tool_calls == ()
    with caller.stream_chat(TEXT, **OPTIONS) as stream:
        assert "".join(chunk.text for chunk in stream) == stream.result.content == result.content


def test_no_call_where_none_is_allowed(caller: LocalLlmBackend) -> None:
    result = caller.chat(PATTERN, **OPTIONS, tool_choice="none")
    assert result.tool_calls == ()
    assert result.content.startswith("{")


def test_the_prompt_shows_the_tools(llm: LocalLlmBackend) -> None:
    rendered = llm.render_chat(TEXT, tools=[TOOL])
    assert '"name": "paris"' in rendered
    assert "paris" not in llm.render_chat(TEXT)
