"""A streamed answer as an iterable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from tea_llm.types import LlmCallResult, StreamChunk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncTextStream", "TextStream", "deliver"]


class TextStream(Iterator[StreamChunk]):
    """The pieces of an answer, as they come; the last one carries the finish reason.

    Leaving it early ends the request and frees what it held: by leaving its ``with`` block, by ``cancel()``, or by
    dropping the last reference to it. To be used by one thread at a time; ``cancel()`` may come from any.

    Example:
        >>> with llm.stream("Once") as stream:  # doctest: +SKIP
        ...     for chunk in stream:
        ...         print(chunk.text, end="")
    """

    def __init__(
        self, next_text: Callable[[], str | None], wait: Callable[[], LlmCallResult], cancel: Callable[[], None]
    ) -> None:
        self._next_text = next_text
        self._wait = wait
        self._cancel = cancel
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamChunk:
        """The next piece.

        Raises:
            GenerationTimeoutError, GenerationCancelledError, EngineClosedError, InferenceError: the request ended so.
        """
        if self._is_over:
            raise StopIteration
        text = self._next_text()
        if text is not None:
            return StreamChunk(text)
        self._is_over = True
        return _last_chunk(self._wait())

    @property
    def result(self) -> LlmCallResult:
        """The whole result; waits for the end, and takes nothing from the iteration.

        Raises:
            GenerationTimeoutError, GenerationCancelledError, EngineClosedError, InferenceError: the request ended so.
        """
        return self._wait()

    def cancel(self) -> None:
        """Ends the request. Nothing when it is over."""
        self._cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()


def deliver(stream: TextStream, callback: Callable[[str], object] | None) -> TextStream | LlmCallResult:
    """What ``stream(callback=...)`` returns: the stream itself, or after the last callback the result."""
    if callback is None:
        return stream
    with stream:
        for chunk in stream:
            if chunk.text:
                callback(chunk.text)
        return stream.result


def _last_chunk(result: LlmCallResult) -> StreamChunk:
    return StreamChunk("", result.finish_reason, result.tool_calls)


class AsyncTextStream(AsyncIterator[StreamChunk]):
    """``TextStream`` for ``async for`` and ``async with``; cancelling the task that waits cancels the request."""

    def __init__(
        self,
        next_text: Callable[[], Awaitable[str | None]],
        wait: Callable[[], Awaitable[LlmCallResult]],
        cancel: Callable[[], None],
    ) -> None:
        self._next_text = next_text
        self._wait = wait
        self._cancel = cancel
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamChunk:
        """The next piece; raises as ``TextStream`` does."""
        if self._is_over:
            raise StopAsyncIteration
        text = await self._next_text()
        if text is not None:
            return StreamChunk(text)
        self._is_over = True
        return _last_chunk(await self._wait())

    async def result(self) -> LlmCallResult:
        """The whole result; waits for the end, and takes nothing from the iteration. Raises as ``TextStream`` does."""
        return await self._wait()

    def cancel(self) -> None:
        """Ends the request. Nothing when it is over."""
        self._cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
