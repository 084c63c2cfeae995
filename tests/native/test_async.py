"""The asyncio twins: the same answers, cancelled with their task, no thread for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tea_llm
from tea_llm import ContextOverflowError, EngineClosedError, GenerationTimeoutError, LocalLlmBackend

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=4, n_threads=1) as loaded:
        yield loaded


def test_async_is_sync(llm: LocalLlmBackend) -> None:
    async def ask() -> tuple[str, str, str, str]:
        texts = [chunk.text async for chunk in llm.astream("Hello", max_tokens=12, temperature=0, ignore_eos=True)]
        async with llm.astream_chat(MESSAGES, max_tokens=12, temperature=0) as stream:
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].finish_reason == (await stream.result()).finish_reason
        called = await llm.acall("Hello", max_tokens=12, temperature=0, ignore_eos=True)
        chatted = await llm.achat(MESSAGES, max_tokens=12, temperature=0)
        return "".join(texts), called.content, "".join(chunk.text for chunk in chunks), chatted.content

    streamed, called, streamed_chat, chatted = asyncio.run(ask())
    assert streamed == called == llm.call("Hello", max_tokens=12, temperature=0, ignore_eos=True).content
    assert streamed_chat == chatted == llm.chat(MESSAGES, max_tokens=12, temperature=0).content


def test_many_tasks_and_no_more_threads(llm: LocalLlmBackend) -> None:
    async def ask() -> tuple[list[int | None], int]:
        tasks = [asyncio.create_task(llm.acall(f"{i}", max_tokens=20, ignore_eos=True)) for i in range(64)]
        await asyncio.sleep(0)
        n_threads = threading.active_count()
        return [result.tokens_used for result in await asyncio.gather(*tasks)], n_threads

    before = threading.active_count()
    for _ in range(2):  # a second loop gets a mailbox of its own
        used, during = asyncio.run(ask())
        assert used == [20] * 64
        assert during == before


def test_a_loop_is_woken_once_a_step(llm: LocalLlmBackend) -> None:
    """However many of its requests have new text then; threads beside it have their own way to wait."""

    async def read(i: int) -> int:
        async with llm.astream(f"{i}", max_tokens=60, ignore_eos=True) as stream:
            return len([chunk async for chunk in stream])

    async def ask() -> list[int]:
        return await asyncio.gather(*(read(i) for i in range(8)))

    with ThreadPoolExecutor(8) as threads:
        before = llm.stats()
        beside = [threads.submit(llm.call, f"{i}", max_tokens=60, ignore_eos=True) for i in range(8)]
        n_chunks = sum(asyncio.run(ask()))
        assert [future.result().tokens_used for future in beside] == [60] * 8
    after = llm.stats()
    n_wake_ups, n_steps = after.wake_ups - before.wake_ups, after.steps - before.steps
    assert 0 < n_wake_ups <= n_steps + 1
    assert n_chunks > 2 * n_wake_ups


def test_several_tasks_may_wait_for_one_stream(llm: LocalLlmBackend) -> None:
    async def ask() -> None:
        async with llm.astream("Hello", max_tokens=60, ignore_eos=True) as stream:
            results = [asyncio.create_task(stream.result()) for _ in range(2)]
            text = "".join([chunk.text async for chunk in stream])
            assert [(await result).content for result in results] == [text, text]

    asyncio.run(asyncio.wait_for(ask(), 30))


def test_a_stream_keeps_its_model(tiny_model: Callable[..., Path]) -> None:
    def texts() -> tea_llm.TextStream:
        return tea_llm.load(tiny_model("llama"), n_ctx=256, n_threads=1).stream("x", max_tokens=5, ignore_eos=True)

    stream = texts()
    assert stream.result.tokens_used == 5


def test_cancelling_the_task_cancels_the_request(llm: LocalLlmBackend) -> None:
    async def ask() -> None:
        task = asyncio.create_task(llm.acall("Hello", max_tokens=None, ignore_eos=True))
        while llm.stats().running == 0:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while llm.stats().running:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(ask(), 30))
    assert llm.stats().running == 0


def test_leaving_a_stream_early_frees_its_sequence(llm: LocalLlmBackend) -> None:
    async def ask() -> None:
        async with llm.astream("Hello", max_tokens=400, ignore_eos=True) as stream:
            async for chunk in stream:
                assert chunk.text
                break
        while llm.stats().running:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(ask(), 30))


def test_errors_are_the_same(llm: LocalLlmBackend) -> None:
    async def ask() -> None:
        with pytest.raises(ContextOverflowError):
            await llm.acall("word " * 2000)
        with pytest.raises(ValueError, match="max_tokens"):
            await llm.achat(MESSAGES, max_tokens=0)
        with pytest.raises(TypeError, match="temperature"):
            await llm.acall("x", temprature=1)  # type: ignore[call-arg]
        with pytest.raises(GenerationTimeoutError):
            await llm.acall("x", max_tokens=400, ignore_eos=True, timeout=0.005)
        running = asyncio.create_task(llm.acall("x", max_tokens=400, ignore_eos=True))
        await asyncio.sleep(0.01)
        llm.close()
        with pytest.raises(EngineClosedError):
            await running

    asyncio.run(ask())


def test_aembed(llm: LocalLlmBackend) -> None:
    assert np.array_equal(asyncio.run(llm.aembed(["a", "b"])), llm.embed(["a", "b"]))
