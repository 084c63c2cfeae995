"""One contract, several backends: the same results, errors and streams from a local model, an API and a fallback.

The API is a server on loopback that lets the same local model answer, so that all must say the same words.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import (
    AnswerCutError,
    ApiLlmBackend,
    ChatMessage,
    Choice,
    ContextOverflowError,
    EngineClosedError,
    FallbackBackend,
    GenerationTimeoutError,
    LlmBackend,
    LlmCallParams,
    LlmCallResult,
    LocalLlmBackend,
)

HI = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
LONG: dict[str, Any] = {"max_tokens": 400, "temperature": 0, "ignore_eos": True}


@pytest.fixture(params=["local", "api", "fallback-to-api", "fallback-from-local"])
def llm(request: pytest.FixtureRequest, local: LocalLlmBackend, server: OpenAiServer) -> Iterator[LlmBackend]:
    """Whatever keeps the contract. Not closed where the local model would be closed with it."""
    if request.param == "local":
        yield local
    elif request.param == "fallback-from-local":
        yield FallbackBackend(local, server.client())
    else:
        with server.client() as api:
            yield api if request.param == "api" else FallbackBackend(None, api, reason="none here")


def test_every_way_to_ask_gives_the_same(llm: LlmBackend, local: LocalLlmBackend) -> None:
    async def ask() -> list[str]:
        async with llm.astream("Hello", **GREEDY) as texts, llm.astream_chat(HI, **GREEDY) as chat_texts:
            return [
                (await llm.acall("Hello", **GREEDY)).content,
                "".join([chunk.text async for chunk in texts]),
                (await texts.result()).content,
                (await llm.achat(HI, **GREEDY)).content,
                "".join([chunk.text async for chunk in chat_texts]),
                (await chat_texts.result()).content,
            ]

    called: list[str] = []
    chatted: list[str] = []
    with llm.stream("Hello", **GREEDY) as stream, llm.stream_chat(HI, **GREEDY) as chat_stream:
        answers = [
            llm.call("Hello", **GREEDY).content,
            llm.call(LlmCallParams("Hello", max_tokens=12, temperature=0)).content,
            "".join(chunk.text for chunk in stream),
            stream.result.content,
            llm.stream("Hello", called.append, **GREEDY).content,
            "".join(called),
        ]
        chats = [
            llm.chat(HI, **GREEDY).content,
            llm.chat((ChatMessage("user", "Hello"),), **GREEDY).content,
            "".join(chunk.text for chunk in chat_stream),
            chat_stream.result.content,
            llm.stream_chat((message for message in HI), chatted.append, **GREEDY).content,
            "".join(chatted),
        ]
    twins = asyncio.run(ask())
    assert set(answers + twins[:3]) == {local.call("Hello", **GREEDY).content}
    assert set(chats + twins[3:]) == {local.chat(HI, **GREEDY).content}


def test_results_say_what_was_done(llm: LlmBackend, local: LocalLlmBackend) -> None:
    result, expected = llm.chat(HI, max_tokens=5, temperature=0, ignore_eos=True), local.chat(HI, **GREEDY)
    assert result.finish_reason == "length"
    assert result.tokens_used == result.usage.completion_tokens == 5
    assert result.usage.prompt_tokens == expected.usage.prompt_tokens
    assert result.usage.total_tokens == result.usage.prompt_tokens + 5
    is_local = isinstance(llm, LocalLlmBackend) or (isinstance(llm, FallbackBackend) and llm._local is not None)
    assert result.backend == ("local" if is_local else "api")
    falls_back = isinstance(llm, FallbackBackend) and not is_local
    assert result.fallback_reason == ("none here" if falls_back else None)


def test_the_last_chunk_has_the_reason(llm: LlmBackend) -> None:
    with llm.stream("Hello", max_tokens=4, temperature=0, ignore_eos=True) as stream:
        chunks = list(stream)
        assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].finish_reason == stream.result.finish_reason == "length"
        assert all(chunk.text for chunk in chunks[:-1])
        assert list(stream) == []


def test_several_choices(llm: LlmBackend, local: LocalLlmBackend) -> None:
    """They differ by their seeds, share the prompt, and stream side by side."""
    options: dict[str, Any] = {"max_tokens": 20, "temperature": 1.0, "ignore_eos": True, "seed": 5}
    singles = [local.call("Hello", **{**options, "seed": 5 + i}).content for i in range(3)]
    prompt_tokens = local.call("Hello", max_tokens=1).usage.prompt_tokens

    async def ask() -> tuple[list[str], list[str]]:
        async with llm.astream("Hello", n=3, **options) as stream:
            texts = ["", "", ""]
            async for chunk in stream:
                texts[chunk.index] += chunk.text
        return texts, [choice.content for choice in (await llm.acall("Hello", n=3, **options)).choices]

    result = llm.call("Hello", n=3, **options)
    assert [choice.content for choice in result.choices] == singles
    assert [choice.index for choice in result.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in result.choices} == {"length"}
    assert (result.content, result.tokens_used) == (singles[0], 60)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (prompt_tokens, 60)
    with llm.stream("Hello", n=3, **options) as stream:
        chunks = list(stream)
    assert ["".join(chunk.text for chunk in chunks if chunk.index == i) for i in range(3)] == singles
    assert [(chunk.index, chunk.finish_reason) for chunk in chunks[-3:]] == [(i, "length") for i in range(3)]
    assert len({chunk.index for chunk in chunks[:10]}) > 1
    assert asyncio.run(ask()) == (singles, singles)
    assert llm.call("Hello", **options).choices == ()
    with pytest.raises(ValueError, match="callback"):
        llm.stream("Hello", lambda text: None, n=2)
    with pytest.raises(ValueError, match="n=0"):
        llm.call("Hello", n=0)


def test_logprobs(llm: LlmBackend) -> None:
    options: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "ignore_eos": True, "logprobs": True}
    for result in (llm.call("Hello", top_logprobs=3, **options), llm.chat(HI, top_logprobs=3, **options)):
        assert result.logprobs is not None
        assert len(result.logprobs) == 6
        for token in result.logprobs:
            assert token.logprob <= 0
            assert len(token.top_logprobs) == 3
            assert token.top_logprobs[0].token == token.token  # greedy takes the best
            assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)
            assert [best.logprob for best in token.top_logprobs] == sorted(
                (best.logprob for best in token.top_logprobs), reverse=True
            )
    assert llm.chat(HI, **options).logprobs[0].top_logprobs == ()  # type: ignore[index]
    assert llm.chat(HI, max_tokens=1).logprobs is None
    with pytest.raises(ValueError, match="needs logprobs"):
        llm.chat(HI, top_logprobs=2)


def test_options_of_sampling_reach_the_model(llm: LlmBackend, local: LocalLlmBackend) -> None:
    greedy: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    one, other = local.tokenize("ab", add_special=False)[-1], local.tokenize("xy", add_special=False)[-1]
    bias = {one: 1000, other: 900}
    assert llm.call("Hello", logit_bias=bias, **greedy).content.strip() == local.detokenize([one]).strip() * 8
    both = llm.call("Hello", logit_bias=bias, repeat_penalty=2, repeat_last_n=1, **greedy).content
    assert both.strip() == (local.detokenize([one]) + local.detokenize([other])).strip() * 4


def test_a_stop_string_ends_the_text(llm: LlmBackend, local: LocalLlmBackend) -> None:
    whole = local.call("Hello", **LONG).content
    stop = whole[10:13]
    result = llm.call("Hello", stop=[stop], **LONG)
    assert result.content == whole[: whole.index(stop)]
    assert result.finish_reason == "stop"


def test_token_ids_are_a_prompt(llm: LlmBackend, local: LocalLlmBackend) -> None:
    assert llm.call(local.tokenize("Hello"), **GREEDY).content == local.call("Hello", **GREEDY).content


@pytest.mark.parametrize(
    ("method", "argument", "options", "error"),
    [
        ("call", "", {}, ValueError),
        ("call", [], {}, ValueError),
        ("call", [-1], {}, ValueError),
        ("call", "a\ud800", {}, ValueError),
        ("call", "x", {"max_tokens": 0}, ValueError),
        ("call", "x", {"temperature": -1}, ValueError),
        ("call", "x", {"temperature": "hot"}, TypeError),
        ("call", "x", {"max_token": 5}, TypeError),
        ("call", "x", {"timeout": -1}, ValueError),
        ("call", "x", {"tools": [{"type": "function", "function": {"name": "f"}}]}, ValueError),
        ("chat", [], {}, ValueError),
        ("chat", "Hi", {}, TypeError),
        ("chat", None, {}, TypeError),
        ("chat", [{"role": "user"}], {}, ValueError),
        ("chat", [{"role": "user", "content": 5}], {}, TypeError),
        ("chat", HI, {"tools": [{"name": "f"}]}, ValueError),
        ("chat", HI, {"tool_choice": "auto"}, ValueError),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    llm: LlmBackend, server: OpenAiServer, method: str, argument: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    n_before = len(server.requests)
    streamed = {"call": "stream", "chat": "stream_chat"}[method]
    for name in (method, streamed):
        with pytest.raises(error):
            getattr(llm, name)(argument, **options)

    async def ask() -> None:
        with pytest.raises(error):
            await getattr(llm, f"a{method}")(argument, **options)
        with pytest.raises(error):
            getattr(llm, f"a{streamed}")(argument, **options)

    asyncio.run(ask())
    assert len(server.requests) == n_before


def test_a_prompt_that_does_not_fit(llm: LlmBackend) -> None:
    text = "Hello " * 3000
    if isinstance(llm, FallbackBackend) and llm._local is not None:
        llm._api = ApiLlmBackend({"llm": {"api_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}})
        with pytest.raises(tea_llm.ApiConnectionError):  # the API was asked, as it should be, and is not there
            llm.call(text)
        return
    for ask in (
        lambda: llm.call(text),
        lambda: llm.chat([{"role": "user", "content": text}]),
        lambda: list(llm.stream(text)),
        lambda: asyncio.run(llm.acall(text)),
    ):
        with pytest.raises(ContextOverflowError):
            ask()


def test_a_timeout(llm: LlmBackend) -> None:
    begin = time.monotonic()
    with pytest.raises(GenerationTimeoutError):
        llm.call("Hello", timeout=0.01, **LONG)
    with pytest.raises(GenerationTimeoutError):
        list(llm.stream_chat(HI, timeout=0.01, **LONG))
    with pytest.raises(GenerationTimeoutError):
        asyncio.run(llm.achat(HI, timeout=0.01, **LONG))
    assert time.monotonic() - begin < 10
    assert llm.call("Hello", **GREEDY).content


def test_what_a_callback_raises_comes_out(llm: LlmBackend) -> None:
    def refuse(text: str) -> None:
        raise LookupError(text)

    with pytest.raises(LookupError):
        llm.stream("Hello", refuse, **LONG)
    assert llm.call("Hello", **GREEDY).content


def test_leaving_a_stream_ends_it(llm: LlmBackend, local: LocalLlmBackend) -> None:
    with llm.stream("Hello", **LONG) as stream:
        assert next(stream).text
    for _ in range(200):
        if local.stats().running == 0:
            break
        time.sleep(0.02)
    assert local.stats().running == 0


def test_cancelling_a_task_ends_its_request(llm: LlmBackend, local: LocalLlmBackend) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(llm.acall("Hello", **LONG))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert llm.call("Hello", **GREEDY).content


def test_threads_and_tasks_at_once(llm: LlmBackend, local: LocalLlmBackend) -> None:
    expected = [local.call(f"{i}", **GREEDY).content for i in range(8)]

    async def ask() -> list[str]:
        return [one.content for one in await asyncio.gather(*(llm.acall(f"{i}", **GREEDY) for i in range(8)))]

    with ThreadPoolExecutor(9) as pool:
        tasks = pool.submit(asyncio.run, ask())
        threads = list(pool.map(lambda i: llm.call(f"{i}", **GREEDY).content, range(8)))
    assert threads == expected
    assert tasks.result() == expected


def test_vectors(llm: LlmBackend, local: LocalLlmBackend) -> None:
    one, both = llm.embed("Hello"), llm.embed(text for text in ("world", "Hello"))
    assert one.dtype == both.dtype == np.float32
    assert both.shape == (2, *one.shape)
    np.testing.assert_allclose(both[1], local.embed("Hello"), atol=1e-5)
    np.testing.assert_allclose(one, asyncio.run(llm.aembed("Hello")), atol=1e-5)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert llm.embed([]).shape[0] == 0
    for wrong in (5, b"x", [5], {"a": 1}):
        with pytest.raises(TypeError):
            llm.embed(wrong)  # type: ignore[arg-type]


def test_a_closed_one_says_so(tiny_model: Callable[..., Path], server: OpenAiServer) -> None:
    loaded = tea_llm.load(tiny_model("llama"), n_ctx=64, n_threads=1)
    for llm in (
        server.client(),
        FallbackBackend(None, server.client()),
        loaded,
        FallbackBackend(loaded, server.client()),
    ):
        with llm:
            pass
        llm.close()
        for ask in (lambda: llm.call("x"), lambda: llm.stream("x"), lambda: llm.embed("x"), lambda: llm.chat(HI)):  # noqa: B023
            with pytest.raises(EngineClosedError):
                ask()


def test_an_answer_in_a_form(llm: LlmBackend) -> None:
    form = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    options: dict[str, Any] = {"response_format": form, "temperature": 0}
    result = llm.chat(HI, **options)
    assert result.parsed in ({"a": 1}, {"a": 2})
    with llm.stream_chat(HI, n=2, **options) as stream:
        assert [choice.parsed for choice in stream.result.choices] == [result.parsed] * 2

    async def ask() -> object:
        return (await llm.achat(HI, **options)).parsed

    assert asyncio.run(ask()) == result.parsed


def test_an_answer_in_a_form_that_was_cut_off(llm: LlmBackend) -> None:
    form = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    result = llm.chat(HI, max_tokens=2, response_format=form, temperature=0, n=2)
    answers: list[LlmCallResult | Choice] = [result, *result.choices]
    for answer in answers:
        with pytest.raises(AnswerCutError, match="cut off") as caught:
            _ = answer.parsed
        assert caught.value.text == answer.content
        assert answer.finish_reason == "length"


def test_a_form_ends_the_answer_and_not_a_hundred_tokens(llm: LlmBackend) -> None:
    words = {"type": "array", "items": {"const": "a word"}, "minItems": 30, "maxItems": 30}
    result = llm.chat(HI, response_format=words, temperature=0)
    assert (result.tokens_used or 0) > 100
    assert result.parsed == ["a word"] * 30
    assert llm.chat(HI, ignore_eos=True).tokens_used == 100  # free text


def test_what_is_wrong_with_a_call_is_said(llm: LlmBackend, caplog: pytest.LogCaptureFixture) -> None:
    number = {"enum": [1, 2], "not": {"type": "integer"}}  # no grammar enforces "not"
    parameters = {"type": "object", "properties": {"n": number}, "required": ["n"]}
    tools = [{"type": "function", "function": {"name": "count", "parameters": parameters}}]
    options: dict[str, Any] = {"tools": tools, "tool_choice": "required", "temperature": 0, "max_tokens": 300}
    with llm.stream_chat(HI, **options) as stream:
        chunks = list(stream)
    for call in (*stream.result.tool_calls, *chunks[-1].tool_calls):
        assert call.arguments["n"] in (1, 2)
        assert call.problems == (f"n: {call.arguments['n']} is forbidden by 'not'",)
    warnings = [record for record in caplog.records if "does not fit its parameters: n: " in record.getMessage()]
    assert len(warnings) >= len(stream.result.tool_calls) > 0
    number.pop("not")
    assert [call.problems for call in llm.chat(HI, **options).tool_calls] == [()] * len(stream.result.tool_calls)


def test_calls_are_streamed(llm: LlmBackend) -> None:
    parameters = {"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"]}
    tools = [{"type": "function", "function": {"name": "count", "parameters": parameters}}]
    with llm.stream_chat(HI, tools=tools, tool_choice="required", temperature=1.0, seed=2, max_tokens=300) as stream:
        chunks = list(stream)
    calls = stream.result.tool_calls
    deltas = [delta for chunk in chunks for delta in chunk.tool_call_deltas]
    assert calls
    assert chunks[-1].tool_calls == calls
    for index, call in enumerate(calls):
        mine = [delta for delta in deltas if delta.index == index]
        assert [(delta.id, delta.name) for delta in mine] == [(call.id, "count")] + [(None, None)] * (len(mine) - 1)
        assert json.loads("".join(delta.arguments for delta in mine)) == call.arguments


def test_reasoning_is_no_text(tiny_model: Callable[..., Path]) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
        "{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    )
    with (
        tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_template=template) as local,
        OpenAiServer(local) as server,
        server.client() as api,
    ):
        for llm in (local, api):
            with llm.stream_chat(HI, **GREEDY) as stream:
                chunks = list(stream)
            result = llm.chat(HI, **GREEDY)
            assert result.content == ""
            assert result.reasoning
            assert result.reasoning == stream.result.reasoning == "".join(chunk.reasoning for chunk in chunks)
            assert "".join(chunk.text for chunk in chunks) == ""
