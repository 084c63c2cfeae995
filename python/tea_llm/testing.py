"""``MockBackend``: a backend for tests, with scripted replies."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tea_llm._check import check_text
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.embedding import Embedded, EmbedOptions, checked_texts
from tea_llm.backends.options import GenerationOptions, split_params
from tea_llm.backends.streams import AsyncTextStream, TextStream
from tea_llm.chat.messages import check_messages
from tea_llm.errors import EngineClosedError, GenerationCancelledError
from tea_llm.types import Choice, EmbedInfo, LlmCallParams, LlmCallResult, Message, StreamChunk, Usage

if TYPE_CHECKING:
    from tea_llm.backends.options import Options

__all__ = ["MockBackend", "MockCall", "Reply"]

Reply: TypeAlias = str | LlmCallResult | BaseException
"""An answer's text, a whole result, or an exception to raise."""


@dataclass(frozen=True, slots=True)
class MockCall:
    """A request that ``MockBackend`` received.

    Attributes:
        method: ``"call"``, ``"chat"``, ``"stream"`` or ``"stream_chat"``; the asyncio twins count as these.
        prompt: the prompt, or the messages as a list.
        options: the options given.
    """

    method: str
    prompt: Any
    options: dict[str, Any] = field(default_factory=dict)


class MockBackend(LlmBackend):
    """Answers with scripted replies, in order, and records requests. Thread-safe.

    Arguments are checked as by real backends. Streams have one piece per word, and words count as tokens.

    Args:
        replies: the replies in order, ``n`` for each request. A request without a reply raises ``AssertionError``.
        vectors: vectors of known texts, for ``embed``. Other texts get vectors derived from their hashes.
        n_embd: length of these vectors.

    Attributes:
        calls: the requests received, without those of ``embed``.

    Example:
        >>> llm = MockBackend(["Hello."])
        >>> llm.chat([{"role": "user", "content": "Hi"}], max_tokens=5).content
        'Hello.'
        >>> llm.calls
        [MockCall(method='chat', prompt=[{'role': 'user', 'content': 'Hi'}], options={'max_tokens': 5})]
    """

    def __init__(
        self, replies: Iterable[Reply] = (), *, vectors: Mapping[str, Sequence[float]] | None = None, n_embd: int = 8
    ) -> None:
        self.calls: list[MockCall] = []
        self._replies = deque(replies)
        self._vectors = {text: list(vector) for text, vector in (vectors or {}).items()}
        self._n_embd = len(next(iter(self._vectors.values()))) if self._vectors else n_embd
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def n_left(self) -> int:
        """The number of replies that are not used yet."""
        return len(self._replies)

    def _ask(self, prompt: str | Sequence[int] | LlmCallParams, options: Options) -> _MockAnswer:
        return _MockAnswer(lambda ask: self._take(ask, prompt, options), "call", "stream")

    def _ask_chat(self, messages: Iterable[Message], options: Options) -> _MockAnswer:
        return _MockAnswer(lambda ask: self._take(ask, messages, options), "chat", "stream_chat")

    def _embed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        self._check_open()
        if options.pooling is not None:
            raise ValueError("pooling is supported by local models only")
        vectors = [self._vectors.get(one) or self._made_up(one) for _, one in checked_texts(text)]
        array = options.finish(np.array(vectors, np.float32).reshape(len(vectors), self._n_embd))
        return [array], EmbedInfo((1,) * len(vectors), (False,) * len(vectors))

    def _rank(self, query: str, documents: list[str]) -> Sequence[float]:
        """Scores documents by the number of the query's words in them."""
        self._check_open()
        words = set(query.lower().split())
        return [float(len(words & set(document.lower().split()))) for document in documents]

    def close(self) -> None:
        self._is_closed = True

    def _take(self, method: str, asked: Any, options: Mapping[str, Any]) -> LlmCallResult | BaseException:
        question, given = split_params(asked, options) if method in ("call", "stream") else (asked, options)
        checked = GenerationOptions.checked(given)
        prompt = list(asked) if isinstance(asked, Iterator) else asked
        if method in ("call", "stream"):
            checked.refuse_for_raw_prompt()
            words = _check_prompt(question)
        else:
            words = [word for message in check_messages(prompt) for word in str(message["content"]).split()]
        self._check_open()
        with self._lock:
            self.calls.append(MockCall(method, prompt, dict(options)))
            if len(self._replies) < checked.n:
                raise AssertionError(f"no reply left for request {len(self.calls)}: {method}({prompt!r})")
            replies = [self._replies.popleft() for _ in range(checked.n)]
        results = [_result(reply, len(words)) if isinstance(reply, str) else reply for reply in replies]
        return results[0] if checked.n == 1 else _merged(results)

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineClosedError("the backend was closed")

    def _made_up(self, text: str) -> list[float]:
        digest = hashlib.shake_128(text.encode()).digest(self._n_embd)
        return [byte / 127.5 - 1 for byte in digest]


def _check_prompt(prompt: str | Sequence[int]) -> Sequence[object]:
    if not prompt:
        raise ValueError("prompt is empty")
    return check_text("prompt", prompt).split() if isinstance(prompt, str) else prompt


def _result(text: str, n_prompt: int) -> LlmCallResult:
    n_generated = len(text.split())
    usage = Usage(n_prompt, n_generated, n_prompt + n_generated)
    return LlmCallResult(text, "mock", n_generated, "stop", usage)


def _merged(results: Sequence[LlmCallResult | BaseException]) -> LlmCallResult:
    given = [_given(result) for result in results]
    choices = [Choice(i, one.content, one.finish_reason, one.tool_calls) for i, one in enumerate(given)]
    n_prompt, n_generated = given[0].usage.prompt_tokens, sum(one.usage.completion_tokens for one in given)
    usage = Usage(n_prompt, n_generated, n_prompt + n_generated)
    return replace(given[0], tokens_used=n_generated, usage=usage, choices=tuple(choices))


def _given(reply: LlmCallResult | BaseException) -> LlmCallResult:
    if isinstance(reply, BaseException):
        raise reply
    return reply


def _pieces(reply: LlmCallResult | BaseException) -> Iterator[StreamChunk]:
    """The words of all choices, in turns."""
    result = _given(reply)
    contents = [choice.content for choice in result.choices] or [result.content]
    words = [re.findall(r"\S+\s*|\s+", content) for content in contents]
    for row in zip_longest(*words):
        yield from (StreamChunk(word, index) for index, word in enumerate(row) if word)


class _Pieces:
    """A reply that is streamed until it is cancelled."""

    def __init__(self, reply: LlmCallResult | BaseException) -> None:
        self._reply = reply
        self._pieces = _pieces(reply)
        self._is_cancelled = False

    def next(self) -> StreamChunk | None:
        self._check()
        return next(self._pieces, None)

    def wait(self) -> LlmCallResult:
        self._check()
        return _given(self._reply)

    def cancel(self) -> None:
        self._is_cancelled = True

    def _check(self) -> None:
        if self._is_cancelled:
            raise GenerationCancelledError("the request was cancelled")


class _MockAnswer:
    """A reply that leaves the list when its answer is awaited.

    Args:
        take: takes a reply and records the method.
        ask: name of the method that returns the result.
        stream: name of the method that streams it.
    """

    def __init__(self, take: Callable[[str], LlmCallResult | BaseException], ask: str, stream: str) -> None:
        self._take = take
        self._ask = ask
        self._stream = stream

    def wait(self) -> LlmCallResult:
        return _given(self._take(self._ask))

    async def join(self) -> LlmCallResult:
        return self.wait()

    def stream(self) -> TextStream:
        pieces = _Pieces(self._take(self._stream))
        return TextStream(pieces.next, pieces.wait, pieces.cancel)

    def astream(self) -> AsyncTextStream:
        pieces = _Pieces(self._take(self._stream))

        async def next_chunk() -> StreamChunk | None:
            return pieces.next()

        async def wait() -> LlmCallResult:
            return pieces.wait()

        return AsyncTextStream(next_chunk, wait, pieces.cancel)
