"""Prompts that take long to tokenize: refused by their length, else within their time and beside an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import tea_llm
from support.process import run_python
from tea_llm import ContextOverflowError, GenerationCancelledError, GenerationTimeoutError, LocalLlmBackend

SPACES = " \n" * 1_000_000
"""Half a second of work. White space is not refused by its length: some tokenizers drop it."""
MESSAGES = [{"role": "user", "content": SPACES + "."}]


@pytest.fixture
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1) as loaded:
        yield loaded


def test_what_cannot_fit_is_not_tokenized(llm: LocalLlmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("it is tokenized")

    monkeypatch.setattr(llm, "_encode", encode)
    monkeypatch.setattr(llm._prompt, "encode", encode)
    text = "words " * 100_000
    with pytest.raises(ContextOverflowError, match="600000 characters, which are more than") as caught:
        llm.call(text)
    assert 512 <= caught.value.n_prompt <= 200_000
    assert caught.value.n_ctx == 512
    with pytest.raises(ContextOverflowError):
        llm.chat([{"role": "user", "content": text}])
    with pytest.raises(ContextOverflowError):
        llm.score(text)
    with pytest.raises(ContextOverflowError):
        asyncio.run(llm.achat([{"role": "user", "content": text}]))


def test_what_may_fit_is_not_refused_by_its_length(llm: LocalLlmBackend) -> None:
    longest = llm._longest_token_bytes
    texts = [text.decode() for text in (llm._model.token_texts() if llm._model else [])]
    token = next(text.replace("\u2581", " ") for text in texts if len(text.replace("\u2581", " ").encode()) == longest)
    prompt = token * 500
    assert len(prompt) > 512
    assert len(llm.tokenize(prompt, parse_special=True)) < 512
    assert llm.call(prompt, max_tokens=1, ignore_eos=True).tokens_used == 1


@pytest.mark.parametrize("ask", ["call", "chat", "score", "acall", "achat", "ascore", "astream"])
def test_the_time_runs_out_while_a_prompt_is_tokenized(llm: LocalLlmBackend, ask: str) -> None:
    async def answer() -> None:
        given = getattr(llm, ask)(MESSAGES if "chat" in ask else SPACES, timeout=0.05)
        await (given.result() if ask == "astream" else given)  # of the sync ones, the line above raises

    with pytest.raises(GenerationTimeoutError, match="while its prompt was tokenized"):
        asyncio.run(answer())


@pytest.mark.parametrize("is_chat", [False, True])
def test_an_event_loop_goes_on(llm: LocalLlmBackend, is_chat: bool) -> None:
    async def ask() -> float:
        asked = asyncio.ensure_future(llm.achat(MESSAGES) if is_chat else llm.acall(SPACES))
        longest, before = 0.0, time.monotonic()
        while not asked.done():
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
        with pytest.raises(ContextOverflowError):
            await asked
        return longest

    begin = time.monotonic()
    longest = asyncio.run(ask())
    assert longest < (time.monotonic() - begin) / 2


def test_cancelling_while_a_prompt_is_tokenized(llm: LocalLlmBackend) -> None:
    async def ask() -> None:
        task = asyncio.create_task(llm.acall(SPACES))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stream = llm.astream_chat(MESSAGES)
        waiting = asyncio.create_task(stream.result())
        await asyncio.sleep(0.02)
        stream.cancel()
        for wait in (waiting, stream.result()):
            with pytest.raises(GenerationCancelledError):
                await wait
        assert (await llm.acall("x", max_tokens=1, ignore_eos=True)).tokens_used == 1

    asyncio.run(ask())


def test_the_answers_are_the_same(llm: LocalLlmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.backends.local.preparation._LONG_CHARACTERS", 0)
    messages = [{"role": "user", "content": "Hello"}]

    async def ask() -> tuple[str, str, str]:
        async with llm.astream("Hello", max_tokens=12, temperature=0, ignore_eos=True) as stream:
            texts = [chunk.text async for chunk in stream]
            assert (await stream.result()).content == "".join(texts)
        called = await llm.acall("Hello", max_tokens=12, temperature=0, ignore_eos=True)
        chatted = await llm.achat(iter(messages), max_tokens=12, temperature=0)
        with pytest.raises(ValueError, match="max_tokens"):
            llm.astream("Hello", max_tokens=0)
        return "".join(texts), called.content, chatted.content

    streamed, called, chatted = asyncio.run(ask())
    assert streamed == called == llm.call("Hello", max_tokens=12, temperature=0, ignore_eos=True).content
    assert chatted == llm.chat(messages, max_tokens=12, temperature=0).content


@pytest.mark.parametrize("line", ["llm.call(SPACES)", "llm.tokenize(SPACES)", "llm.embed(SPACES)"])
def test_ctrl_c_while_a_text_is_tokenized(tiny_model: Callable[..., Path], line: str) -> None:
    code = f"""
        import signal, sys, time, tea_llm
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        SPACES = " \\n" * 3_000_000
        llm = tea_llm.load(sys.argv[1], n_ctx=512, n_threads=1)
        begin = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            {line}
        except KeyboardInterrupt:
            print(time.monotonic() - begin)
    """
    child = run_python(code, args=[str(tiny_model("llama"))])
    assert child.returncode == 0, child.stderr  # though it ends while the text is still tokenized
    assert 0.1 <= float(child.stdout) < 1  # of 2 s and more
