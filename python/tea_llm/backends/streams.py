"""A streamed answer as an iterable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from tea_llm.types import Choice, LlmCallResult, StreamChunk

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncTextStream", "PendingAnswer", "PendingInLoop", "TextStream", "deliver"]


class PendingInLoop(Protocol):
    """A request, and the ways to take its answer in an event loop. One of them is taken, once."""

    async def join(self) -> LlmCallResult:
        """The result. Cancelling the task ends the request."""

    def astream(self) -> AsyncTextStream:
        """The pieces."""


class PendingAnswer(PendingInLoop, Protocol):
    """A request, and all ways to take its answer. Each backend has its own."""

    def wait(self) -> LlmCallResult:
        """The result, in the calling thread. Ctrl-C ends the request."""

    def stream(self) -> TextStream:
        """The pieces, for a thread."""


class TextStream(Iterator[StreamChunk]):
    """The pieces of an answer, as they come; the last one carries the finish reason.

    With ``n`` above 1 the pieces of all answers come as they are there, each with its ``index``, and at the end a last
    one for each.

    Leaving it early ends the request and frees what it held: by leaving its ``with`` block, by ``cancel()``, or by
    dropping the last reference to it. To be used by one thread at a time; ``cancel()`` may come from any.

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
        self._last: Iterator[StreamChunk] | None = None  # when all text has come

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamChunk:
        """The next piece.

        Raises:
            GenerationTimeoutError, GenerationCancelledError, EngineClosedError, InferenceError: the request ended so.
        """
        if self._last is None:
            chunk = self._next_chunk()
            if chunk is not None:
                return chunk
            self._last = iter(())  # over, also when the next line raises
            self._last = _last_chunks(self._wait())
        return next(self._last)

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


def deliver(
    start: Callable[[], TextStream], callback: Callable[[str], object] | None, options: Mapping[str, object]
) -> TextStream | LlmCallResult:
    """Starts a stream; returns it, or with a callback the result, after its last call.

    Raises:
        TypeError: a callback that cannot be called.
        ValueError: a callback, which gets the texts of one answer, for several. Both before anything is started.
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
    """``TextStream`` for ``async for`` and ``async with``; cancelling the task that waits cancels the request."""

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
        """The next piece; raises as ``TextStream`` does."""
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
