"""``FallbackBackend``: a local model, and an API for requests that the local model cannot answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tea_llm.backends.base import LlmBackend
from tea_llm.backends.streams import AsyncTextStream, PendingAnswer, PendingInLoop, TextStream
from tea_llm.errors import (
    EngineClosedError,
    GenerationCancelledError,
    GenerationTimeoutError,
    InferenceError,
    TemplateError,
)
from tea_llm.types import LlmCallParams, LlmCallResult, Message, StreamChunk

if TYPE_CHECKING:
    from tea_llm.backends.embedding import Embedded, EmbedOptions
    from tea_llm.backends.options import Options

__all__ = ["FallbackBackend"]

logger = logging.getLogger("tea_llm")

_FINAL = (EngineClosedError, GenerationCancelledError, GenerationTimeoutError, TemplateError)
"""Errors that another backend would raise, too, or that the program itself caused."""


class FallbackBackend(LlmBackend):
    """A local backend with an API as fallback. ``fallback_reason`` in results says why the API answered.

    Without a local backend, all requests go to the API. Otherwise a request goes to the API if the local backend fails
    before it has produced text (out of memory, context too small, engine failure). It never does so after the first
    text, or for errors that the API would raise, too (invalid arguments, rejected messages, timeouts).

    Args:
        local: the local backend, or None.
        api: the backend to fall back to.
        reason: why there is no local backend.
    """

    def __init__(self, local: LlmBackend | None, api: LlmBackend, *, reason: str = "there is no local backend") -> None:
        self._local = local
        self._api = api
        self._reason = reason

    def _ask(self, prompt: str | Sequence[int] | LlmCallParams, options: Options) -> _FallbackAnswer:
        return _FallbackAnswer(self, lambda backend: backend._ask, prompt, options, is_text=_is_text(prompt))

    def _ask_chat(self, messages: Iterable[Message], options: Options) -> _FallbackAnswer:
        return _FallbackAnswer(self, lambda backend: backend._ask_chat, _again(messages), options)

    # Vectors and scores of different models cannot be mixed: with a local backend, these never fall back.

    def _embed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        return (self._local or self._api)._embed(text, options)

    async def _aembed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        return await (self._local or self._api)._aembed(text, options)

    def _rank(self, query: str, documents: list[str]) -> Sequence[float]:
        return (self._local or self._api)._rank(query, documents)

    async def _arank(self, query: str, documents: list[str]) -> Sequence[float]:
        return await (self._local or self._api)._arank(query, documents)

    def close(self) -> None:
        for backend in (self._local, self._api):
            if backend is not None:
                backend.close()

    def __repr__(self) -> str:
        return f"<FallbackBackend local={self._local!r} api={self._api!r}>"


class _FallbackAnswer:
    """A request that is made when its answer is awaited: to the local backend, and on failure to the API.

    Args:
        owner: has both backends.
        ask: the backend method that makes the request.
        given: the prompt or messages.
        options: options of the call.
        is_text: whether an API can take the same prompt.
    """

    def __init__(
        self,
        owner: FallbackBackend,
        ask: Callable[[LlmBackend], Callable[[Any, Options], PendingAnswer]],
        given: object,
        options: Options,
        *,
        is_text: bool = True,
    ) -> None:
        self._owner = owner
        self._ask = ask
        self._given = given
        self._options = options
        self._is_text = is_text

    def wait(self) -> LlmCallResult:
        owner, reason, failure = self._owner, self._owner._reason, None
        for_api = _ApiOptions(self._options, had_local=owner._local is not None)
        if owner._local is not None:
            try:
                return self._asked(owner._local, self._options).wait()
            except InferenceError as error:
                reason, failure = _reason_to_fall_back(error, is_text=self._is_text), error
        with _in_place_of(failure):
            return replace(self._asked(owner._api, for_api.now()).wait(), fallback_reason=reason)

    async def join(self) -> LlmCallResult:
        owner, reason, failure = self._owner, self._owner._reason, None
        for_api = _ApiOptions(self._options, had_local=owner._local is not None)
        if owner._local is not None:
            try:
                return await self._asked_in_loop(owner._local, self._options).join()
            except InferenceError as error:
                reason, failure = _reason_to_fall_back(error, is_text=self._is_text), error
        with _in_place_of(failure):
            return replace(await self._asked_in_loop(owner._api, for_api.now()).join(), fallback_reason=reason)

    def stream(self) -> TextStream:
        def ask(backend: LlmBackend, options: Options) -> TextStream:
            return self._asked(backend, options).stream()

        answer = _Answer(self._owner, ask, self._options, is_text=self._is_text)
        return TextStream(answer.next_chunk, answer.wait, answer.cancel)

    def astream(self) -> AsyncTextStream:
        def ask(backend: LlmBackend, options: Options) -> AsyncTextStream:
            return self._asked_in_loop(backend, options).astream()

        answer = _AsyncAnswer(self._owner, ask, self._options, is_text=self._is_text)
        return AsyncTextStream(answer.next_chunk, answer.wait, answer.cancel)

    def _asked(self, backend: LlmBackend, options: Options) -> PendingAnswer:
        return self._ask(backend)(self._given, options)

    def _asked_in_loop(self, backend: LlmBackend, options: Options) -> PendingInLoop:
        return backend._in_loop(self._ask(backend), self._given, options)


class _ApiOptions:
    """The options of a request, and its deadline."""

    def __init__(self, options: Options, *, had_local: bool) -> None:
        self._options = options
        self._had_local = had_local
        self._started_at = time.monotonic()

    def now(self) -> Options:
        """The options for the API: without the priority, and with the remaining time.

        An API rejects ``priority``, but here the local queue has applied it already.

        Raises:
            GenerationTimeoutError: no time remains.
        """
        options = self._options.copy()
        if self._had_local:
            options.pop("priority", None)
        timeout = options.get("timeout")
        if isinstance(timeout, (int, float)):
            left = timeout - (time.monotonic() - self._started_at)
            options["timeout"] = left
            if left <= 0 < timeout:
                raise GenerationTimeoutError(f"the local model failed, and of {timeout:g} s none are left for the API")
        return options


_Stream = TypeVar("_Stream", TextStream, AsyncTextStream)


class _Choice(Generic[_Stream]):
    """The source of a stream: the local backend, or the API if that fails before its first text."""

    def __init__(
        self,
        owner: FallbackBackend,
        ask: Callable[[LlmBackend, Options], _Stream],
        options: Options,
        *,
        is_text: bool = True,
    ) -> None:
        self._owner = owner
        self._ask: Callable[[LlmBackend, Options], _Stream] = ask
        self._for_api = _ApiOptions(options, had_local=owner._local is not None)
        self._is_text = is_text
        self._is_cancelled = False
        self.reason: str | None = owner._reason
        self.has_text = False
        self.stream: _Stream
        if owner._local is None:
            self.stream = self._ask_api(None)
            return
        try:
            self.stream = ask(owner._local, options)
            self.reason = None
        except InferenceError as error:
            self.reason = _reason_to_fall_back(error, is_text=is_text)
            self.stream = self._ask_api(error)

    def cancel(self) -> None:
        self._is_cancelled = True
        self.stream.cancel()

    def explained(self, result: LlmCallResult) -> LlmCallResult:
        """The result with the reason for the fallback; a local result keeps its own reason."""
        return result if self.reason is None else replace(result, fallback_reason=self.reason)

    def _ask_api(self, failure: InferenceError | None) -> _Stream:
        with _in_place_of(failure):
            return self._ask(self._owner._api, self._for_api.now())

    def fall_back(self, error: InferenceError) -> None:
        """Switches to the API. Re-raises the error if text was delivered already, or if the API failed."""
        if self.has_text or self.reason is not None:
            raise error
        if self._is_cancelled:
            raise GenerationCancelledError("the request was cancelled") from error
        self.reason = _reason_to_fall_back(error, is_text=self._is_text)
        self.stream = self._ask_api(error)
        if self._is_cancelled:  # in the meantime
            self.stream.cancel()


class _Answer(_Choice[TextStream]):
    def next_chunk(self) -> StreamChunk | None:
        while True:
            try:
                chunk = next(self.stream)
            except InferenceError as error:
                self.fall_back(error)
                continue
            self.has_text = True
            return chunk if chunk.finish_reason is None else None  # last chunks are made from the result

    def wait(self) -> LlmCallResult:
        try:
            result = self.stream.result
        except InferenceError as error:
            self.fall_back(error)
            result = self.stream.result
        return self.explained(result)


class _AsyncAnswer(_Choice[AsyncTextStream]):
    async def next_chunk(self) -> StreamChunk | None:
        while True:
            try:
                chunk = await anext(self.stream)
            except InferenceError as error:
                self.fall_back(error)
                continue
            self.has_text = True
            return chunk if chunk.finish_reason is None else None  # last chunks are made from the result

    async def wait(self) -> LlmCallResult:
        try:
            result = await self.stream.result()
        except InferenceError as error:
            self.fall_back(error)
            result = await self.stream.result()
        return self.explained(result)


@contextmanager
def _in_place_of(failure: InferenceError | None) -> Iterator[None]:
    """Asks the API. If it rejects the options (a grammar, for example), the local error is raised instead."""
    try:
        yield
    except ValueError as refusal:
        if failure is None:
            raise
        raise failure from refusal


def _again(messages: Iterable[Message]) -> Iterable[Message]:
    """The messages as a list, which can be read twice. Backends reject anything else."""
    given: object = messages
    return list(messages) if isinstance(given, Iterable) and not isinstance(given, (str, Mapping)) else messages


def _is_text(prompt: str | Sequence[int] | LlmCallParams) -> bool:
    """Whether the prompt is text: token ids mean nothing to another model."""
    return isinstance(prompt, (str, LlmCallParams))


def _reason_to_fall_back(error: InferenceError, *, is_text: bool) -> str:
    """The reason for the fallback. Re-raises errors that an API cannot solve."""
    if not is_text or isinstance(error, _FINAL):
        raise error
    reason = f"{type(error).__name__}: {error}"
    logger.warning("The local model could not answer; the API is asked. %s", reason)
    return reason
