"""Streams of answers, and the interface between backends and the methods that return answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from tea_llm.types import Choice, LlmCallResult, StreamChunk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncTextStream", "PendingAnswer", "PendingInLoop", "TextStream", "deliver"]


class PendingInLoop(Protocol):
    """A request whose answer an event loop waits for. Only one of the methods is called, and only once."""

    async def join(self) -> LlmCallResult:
        """Waits for the result. Cancelling the task cancels the request."""

    def astream(self) -> AsyncTextStream:
        """Streams the answer to a task."""


class PendingAnswer(PendingInLoop, Protocol):
    """A request whose answer a thread or an event loop waits for. Each backend has its own class."""

    def wait(self) -> LlmCallResult:
        """Waits for the result in the calling thread. Ctrl-C cancels the request."""

    def stream(self) -> TextStream:
        """Streams the answer to a thread."""


class TextStream(Iterator[StreamChunk]):
    """An iterator over the pieces of an answer. The last piece has the finish reason.

    If ``n`` is above 1, the pieces of all answers arrive interleaved, each with its ``index``. Each answer has its own
    last piece.

    Leaving the ``with`` block, calling ``cancel()`` or dropping the last reference cancels the request and frees its
    resources. Use a stream from one thread at a time; ``cancel()`` may be called from any thread.

    Example:
        >>> with llm.stream("Once") as stream:  # doctest: +SKIP
        ...     for chunk in stream:
        ...         print(chunk.text, end="")
    """

    def __init__(
        self,
        next_chunk: Callable[[], StreamChunk | None],
        wait: Callable[[], LlmCallResult],
        cancel: Callable[[], None],
    ) -> None:
        self._next_chunk = next_chunk
        self._wait = wait
        self._cancel = cancel
        self._last: Iterator[StreamChunk] | None = None  # after all text

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamChunk:
        """The next piece.

        Raises:
            GenerationTimeoutError, GenerationCancelledError, EngineClosedError, InferenceError: the request failed.
        """
        if self._last is None:
            chunk = self._next_chunk()
            if chunk is not None:
                return chunk
            self._last = iter(())  # the stream has ended, even if the next line raises
            self._last = _last_chunks(self._wait())
        return next(self._last)

    @property
    def result(self) -> LlmCallResult:
        """The result. Waits until the answer is complete, and does not consume pieces.

        Raises:
            GenerationTimeoutError, GenerationCancelledError, EngineClosedError, InferenceError: the request failed.
        """
        return self._wait()

    def cancel(self) -> None:
        """Cancels the request, if it is not finished."""
        self._cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()


def deliver(
    start: Callable[[], TextStream], callback: Callable[[str], object] | None, options: Mapping[str, object]
) -> TextStream | LlmCallResult:
    """Starts a stream and returns it; with a callback, passes it all texts and returns the result.

    Raises:
        TypeError: the callback is not callable. Raised before the request starts.
        ValueError: a callback with ``n`` above 1. Raised before the request starts.
    """
    if callback is None:
        return start()
    if not callable(callback):
        raise TypeError(f"callback must be callable, not {type(callback).__name__}")
    n = options.get("n", 1)
    if isinstance(n, int) and n > 1:
        raise ValueError(f"n={n} with a callback, which gets texts without their index: iterate over the stream")
    with start() as stream:
        for chunk in stream:
            if chunk.text:
                callback(chunk.text)
        return stream.result


def _last_chunks(result: LlmCallResult) -> Iterator[StreamChunk]:
    choices = result.choices or (Choice(0, result.content, result.finish_reason, result.tool_calls),)
    return iter([StreamChunk("", choice.index, choice.finish_reason, choice.tool_calls) for choice in choices])


class AsyncTextStream(AsyncIterator[StreamChunk]):
    """``TextStream`` for ``async for`` and ``async with``. Cancelling the waiting task cancels the request."""

    def __init__(
        self,
        next_chunk: Callable[[], Awaitable[StreamChunk | None]],
        wait: Callable[[], Awaitable[LlmCallResult]],
        cancel: Callable[[], None],
    ) -> None:
        self._next_chunk = next_chunk
        self._wait = wait
        self._cancel = cancel
        self._last: Iterator[StreamChunk] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamChunk:
        """The next piece. Raises the same errors as ``TextStream``."""
        if self._last is None:
            chunk = await self._next_chunk()
            if chunk is not None:
                return chunk
            self._last = iter(())
            self._last = _last_chunks(await self._wait())
        for chunk in self._last:
            return chunk
        raise StopAsyncIteration

    async def result(self) -> LlmCallResult:
        """The result; see ``TextStream.result``."""
        return await self._wait()

    def cancel(self) -> None:
        """Cancels the request, if it is not finished."""
        self._cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
