"""Preparation of long prompts: it observes the timeout, can be cancelled, and does not block an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tea_llm.backends.options import GenerationOptions, split_params
from tea_llm.backends.streams import AsyncTextStream
from tea_llm.errors import ContextOverflowError, GenerationCancelledError, GenerationTimeoutError
from tea_llm.types import ChatMessage, LlmCallParams

if TYPE_CHECKING:
    import asyncio

    from tea_llm.backends.local.local_answer import LocalAnswer
    from tea_llm.types import LlmCallResult, StreamChunk

__all__ = ["Check", "Deadline", "LaterAnswer", "check_fits", "in_thread", "is_long", "prepared"]

_T = TypeVar("_T")

Check = Callable[[], object]
"""Called regularly during long work, which it ends by raising."""

_LONG_CHARACTERS = 32_768  # about 10 ms
_SLICE_CHARACTERS = 65_536


def is_long(prompt: object) -> bool:
    """Whether a prompt or messages are too long to tokenize in an event loop."""
    return _n_characters(prompt) > _LONG_CHARACTERS


def _n_characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, (LlmCallParams, ChatMessage)):
        return _n_characters(value.prompt if isinstance(value, LlmCallParams) else value.content)
    if isinstance(value, Mapping):
        return sum(map(_n_characters, value.values()))
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], int)):  # token ids
        return sum(map(_n_characters, value))
    return 0


def prepared(
    ask: Callable[[Any, Mapping[str, object], Check | None], LocalAnswer], given: Any, options: Mapping[str, object]
) -> LocalAnswer | LaterAnswer:
    """The pending answer for an event loop. Requests with long prompts are made in a thread.

    Args:
        ask: makes the request for a prompt or messages.
        given: the prompt or messages.
        options: options of the call.
    """
    if isinstance(given, Iterator):
        given = list(given)
    if not is_long(given):
        return ask(given, options, None)
    GenerationOptions.checked(split_params(given, options)[1])  # so that invalid options raise here
    return LaterAnswer(lambda check: ask(given, options, check))


def check_fits(text: str, n_ctx: int, longest_token_bytes: int) -> None:
    """Checks whether a prompt is too long, however it is tokenized.

    Raises:
        ContextOverflowError: the prompt is too long.
    """
    n_bytes = 0
    for begin in range(0, len(text), _SLICE_CHARACTERS):
        n_bytes += len("".join(text[begin : begin + _SLICE_CHARACTERS].split()).encode())  # white space may be dropped
        min_tokens = n_bytes // longest_token_bytes
        if min_tokens >= n_ctx:
            raise ContextOverflowError(
                f"the prompt has {len(text)} characters, which are more than {min_tokens} tokens, and a context of "
                f"{n_ctx} must hold it and the answer: shorten it or raise n_ctx",
                min_tokens,
                n_ctx,
            )


class Deadline:
    """The deadline of a request that starts now. Calling it raises once the time is over.

    Args:
        timeout: seconds; None: no limit.
        check: another check to call.
    """

    def __init__(self, timeout: float | None, check: Check | None = None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._check = check

    def __call__(self) -> None:
        if self._check is not None:
            self._check()
        if self._end is not None and time.monotonic() > self._end:
            raise GenerationTimeoutError("the request ran out of time while its prompt was tokenized")

    @property
    def rest_s(self) -> float:
        """Remaining seconds, for the engine; 0: no limit."""
        return 0.0 if self._end is None else max(1e-6, self._end - time.monotonic())


class LaterAnswer:
    """The answer to a long prompt, for asyncio. A thread makes the request on the first wait.

    Args:
        ask: makes the request; regularly calls the ``Check`` that it is passed.
    """

    def __init__(self, ask: Callable[[Check], LocalAnswer]) -> None:
        self._ask = ask
        self._asked: asyncio.Future[LocalAnswer] | None = None
        self._is_cancelled = False

    async def join(self) -> LlmCallResult:
        """See ``LocalAnswer.join``."""
        return await (await self._answer()).join()

    def astream(self) -> AsyncTextStream:
        """See ``LocalAnswer.astream``. An invalid prompt raises at the first piece."""
        return AsyncTextStream(self._anext, self.join, self.cancel)

    def cancel(self) -> None:
        """Cancels the preparation, or the requests."""
        self._is_cancelled = True
        if self._asked is not None and not self._asked.cancel() and self._asked.exception() is None:
            self._asked.result().cancel()

    async def _anext(self) -> StreamChunk | None:
        return await (await self._answer()).anext()

    async def _answer(self) -> LocalAnswer:
        import asyncio

        if self._asked is None and not self._is_cancelled:
            self._asked = asyncio.ensure_future(in_thread(self._ask))
        if self._asked is None or self._asked.cancelled():
            raise GenerationCancelledError("the request was cancelled")
        try:
            return await asyncio.shield(self._asked)  # other tasks may be waiting for it
        except asyncio.CancelledError:
            if self._is_cancelled:
                raise GenerationCancelledError("the request was cancelled") from None
            self.cancel()
            raise


async def in_thread(work: Callable[..., _T], *args: object) -> _T:
    """Runs ``work(*args, check)`` in a thread. If the task is cancelled, the next call of ``check`` raises."""
    import asyncio

    is_cancelled = threading.Event()

    def check() -> None:
        if is_cancelled.is_set():
            raise asyncio.CancelledError

    try:
        return await asyncio.to_thread(work, *args, check)
    except asyncio.CancelledError:
        is_cancelled.set()
        raise
