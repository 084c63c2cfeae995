"""``ApiLlmBackend``: a model behind an OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tea_llm._check import check_int, check_text
from tea_llm.answers.calls import with_problems
from tea_llm.backends.api.embedding import VectorParts, embedding_bodies, parse_scores, parse_vectors
from tea_llm.backends.api.endpoint import resolve
from tea_llm.backends.api.portal import Future, Portal
from tea_llm.backends.api.protocol import Answer, completion_body, parse_answer, raw_body, wire_messages
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.options import LOCAL_ONLY, GenerationOptions, split_params
from tea_llm.backends.streams import AsyncTextStream, TextStream
from tea_llm.errors import (
    ApiError,
    ApiResponseError,
    ApiTimeoutError,
    EmbeddingNotSupportedError,
    EngineClosedError,
)
from tea_llm.settings import LlmSettings
from tea_llm.types import LlmCallParams, LlmCallResult, Message, StreamChunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tea_llm.answers.response_format import ResponseFormat
    from tea_llm.backends.api.transport import Transport
    from tea_llm.backends.embedding import Embedded, EmbedOptions

__all__ = ["ApiLlmBackend"]

logger = logging.getLogger("tea_llm")

_T = TypeVar("_T")
_DONE_ANYWAY: dict[str, object] = {"ignore_eos": False, "n": 1, "tool_choice": "auto"}
"""Values of options that every provider complies with, even if it does not support the option."""

_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class _Request:
    """A chat completion, or a raw completion if there is a prompt."""

    body: dict[str, Any]
    timeout: float
    given: Mapping[str, object]  # the caller's options
    prompt: str | list[int] | None = None
    response_format: ResponseFormat | None = None
    tools: Sequence[Mapping[str, Any]] = ()

    def read(self, result: LlmCallResult) -> LlmCallResult:
        """The result with ``parsed`` and with the problems of its calls."""
        result = with_problems(result, self.tools)
        return result if self.response_format is None else self.response_format.read(result)


class ApiLlmBackend(LlmBackend):
    """A model behind an OpenAI-compatible API: OpenAI, Azure OpenAI, Ollama, or any server that speaks the protocol.

    Requests are retried up to ``max_retries`` times after 429, 5xx and connection errors, with exponential backoff or
    after the time in ``Retry-After``, up to a minute; never after a stream has started. ``timeout`` includes retries.

    Raw prompts go to ``/completions``. If the server has no such endpoint, they are sent as a user message, and a
    warning is logged once. With ``max_tokens=None`` the server's limit applies, which may be low; ``finish_reason`` is
    ``"length"`` if it was reached.

    Args:
        settings: as ``LlmSettings.parse``. Missing values come from the provider's environment variables.

    Raises:
        ConfigError: the settings are invalid, or have no key or no model (provider ``openai`` has a default model).

    Example:
        >>> settings = {"llm": {"api_url": "http://localhost:8000/v1", "model": "m"}}
        >>> ApiLlmBackend(settings)
        <ApiLlmBackend openai 'm' at http://localhost:8000/v1>
    """

    def __init__(self, settings: Mapping[str, Any] | LlmSettings | None = None) -> None:
        parsed = LlmSettings.parse(settings)
        self._endpoint = resolve(parsed)
        self._timeout = 300.0 if parsed.timeout is None else parsed.timeout
        self._max_retries = 2 if parsed.max_retries is None else parsed.max_retries
        self._is_closed = False
        self._has_completions = True
        # only used in the portal's loop
        self._transports: dict[Portal, Transport] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def provider(self) -> str:
        """``"openai"``, ``"azure"`` or ``"ollama"``."""
        return self._endpoint.provider

    @property
    def has_default_model(self) -> bool:
        """Whether the default model ``gpt-4o-mini`` is used, because the settings name none."""
        return self._endpoint.has_default_model

    def _embed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        parts = VectorParts(options)
        for body in self._bodies(text, options):
            parts.add(Portal.wait(self._start(self._vectors, body)))
        return [parts.array()], None

    async def _aembed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        parts = VectorParts(options)
        for body in self._bodies(text, options):
            parts.add(await Portal.join(self._start(self._vectors, body)))
        return [parts.array()], None

    def _bodies(self, text: str | Iterable[str], options: EmbedOptions) -> Iterator[dict[str, Any]]:
        self._check_open()
        return embedding_bodies(text, options, self._endpoint.model)

    def _rank(self, query: str, documents: list[str]) -> Sequence[float]:
        self._check_open()
        return Portal.wait(self._start(self._scores, (query, documents))) if documents else []

    async def _arank(self, query: str, documents: list[str]) -> Sequence[float]:
        self._check_open()
        return await Portal.join(self._start(self._scores, (query, documents))) if documents else []

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            portal = Portal.get()
            if not portal.is_stopped:  # at exit the portal closes all connections itself
                portal.wait(portal.start(self._close(portal)))

    def __repr__(self) -> str:
        closed = " closed" if self._is_closed else ""
        return f"<ApiLlmBackend {self._endpoint.provider} {self._endpoint.model!r} at {self._endpoint.url}{closed}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ApiLlmBackend holds connections and a key, and is not pickled: pass its settings")

    def _ask(self, prompt: str | Sequence[int] | LlmCallParams, options: Mapping[str, object]) -> _ApiAnswer:
        prompt, options = split_params(prompt, options)
        checked = self._checked(options)
        checked.refuse_for_raw_prompt()
        checked.refuse(["response_format"], "is for chats: an API's raw completions have none")
        if isinstance(prompt, str):
            given: str | list[int] = check_text("prompt", prompt)
        else:
            given = [check_int(f"tokens[{index}]", token, 0, 2**31 - 1) for index, token in enumerate(prompt)]
        if not given:
            raise ValueError("prompt is empty")
        body = completion_body(self._endpoint.model, checked, options)
        return _ApiAnswer(self, _Request(body, checked.timeout or self._timeout, options, prompt=given))

    def _ask_chat(self, messages: Iterable[Message], options: Mapping[str, object]) -> _ApiAnswer:
        checked = self._checked(options)
        body = completion_body(self._endpoint.model, checked, options) | {"messages": wire_messages(messages)}
        timeout = checked.timeout or self._timeout
        body = self._endpoint.adapt(body, options)
        return _ApiAnswer(
            self, _Request(body, timeout, options, response_format=checked.response_format, tools=checked.tools)
        )

    def _checked(self, options: Mapping[str, object]) -> GenerationOptions:
        checked = GenerationOptions.checked(options)
        checked.refuse(LOCAL_ONLY, "is an option of local backends")
        for name in sorted(self._endpoint.refused_options.intersection(options)):
            if options[name] not in (None, _DONE_ANYWAY.get(name)):
                raise ValueError(f"{name} is not supported by provider {self._endpoint.provider!r}")
        return checked

    def _start(self, work: Callable[[Any], Coroutine[Any, Any, _T]], argument: object) -> Future[_T]:
        self._check_open()
        if self._endpoint.has_default_model:
            _say_default_model(self._endpoint.model, self._endpoint.url)
        return Portal.get().start(work(argument))

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineClosedError("the backend was closed")

    # The methods below run in the portal's loop.

    async def _answer(self, request: _Request) -> LlmCallResult:
        async def post(path: str, body: dict[str, Any]) -> LlmCallResult:
            return parse_answer(await self._transport().post(path, body), self._endpoint.model, body.get("n", 1))

        return request.read(await self._limited(self._sent(request, post), request.timeout))

    async def _vectors(self, body: dict[str, Any]) -> NDArray[np.float32]:
        async def post() -> NDArray[np.float32]:
            return parse_vectors(await self._transport().post("/embeddings", body), len(body["input"]))

        return await self._supported(post())

    async def _scores(self, asked: tuple[str, list[str]]) -> list[float]:
        query, documents = asked

        async def post() -> list[float]:
            body = {"model": self._endpoint.model, "query": query, "documents": documents}
            return parse_scores(await self._transport().post("/rerank", body), len(documents))

        return await self._supported(post())

    async def _supported(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await self._limited(work, self._timeout)
        except ApiResponseError as error:
            if error.status_code in _NO_SUCH_ENDPOINT and error.code != "model_not_found":
                raise EmbeddingNotSupportedError(str(error)) from error
            raise

    async def _fill(self, request: _Request, chunks: asyncio.Queue[StreamChunk | None]) -> LlmCallResult:
        """Puts the chunks of an answer into the queue, and None at the end."""
        answer = Answer(self._endpoint.model, request.body.get("n", 1))

        def receive(event: object) -> None:
            for chunk in answer.add(event):
                chunks.put_nowait(chunk)

        async def stream(path: str, body: dict[str, Any]) -> LlmCallResult:
            asks_for_usage = (
                {"stream_options": {"include_usage": True}} if self._endpoint.reports_streamed_usage else {}
            )
            is_complete = await self._transport().stream(path, {**body, "stream": True, **asks_for_usage}, receive)
            if not is_complete and not answer.has_ended:
                raise ApiResponseError(f"the stream broke off after {len(answer.text)} characters")
            return answer.result()

        try:
            return request.read(await self._limited(self._sent(request, stream), request.timeout, lambda: answer.text))
        finally:
            chunks.put_nowait(None)

    async def _sent(self, request: _Request, send: Callable[[str, dict[str, Any]], Awaitable[_T]]) -> _T:
        """Sends a request to its endpoint."""
        self._check_open()  # the backend may have been closed in the meantime
        if request.prompt is None:
            return await send("/chat/completions", request.body)
        if self._has_completions or not isinstance(request.prompt, str):
            try:
                return await send("/completions", raw_body(request.body, request.prompt))
            except ApiResponseError as error:
                is_missing = error.status_code in _NO_SUCH_ENDPOINT or error.code == "OperationNotSupported"  # Azure's
                if not is_missing or not isinstance(request.prompt, str):
                    raise
        body = {**request.body, "messages": [{"role": "user", "content": request.prompt}]}
        result = await send("/chat/completions", self._endpoint.adapt(body, request.given))
        if self._has_completions:
            self._has_completions = False
            logger.warning("%s has no /completions: raw prompts are sent as a user message", self)
        return result

    async def _limited(self, work: Awaitable[_T], timeout: float, partial: Callable[[], str] = str) -> _T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the portal starts tasks
        self._tasks.add(task)
        try:
            return await asyncio.wait_for(work, timeout)
        except asyncio.TimeoutError:
            provider = self._endpoint.provider
            raise ApiTimeoutError(f"{provider}: no answer in {timeout:g} s", partial(), provider=provider) from None
        except asyncio.CancelledError:
            if self._is_closed:
                raise EngineClosedError("the backend was closed") from None
            raise
        except ApiError as error:
            error.provider = self._endpoint.provider
            error.args = (self._endpoint.redact(str(error)), *error.args[1:])
            raise
        finally:
            self._tasks.discard(task)

    def _transport(self) -> Transport:
        """The connections of this process. A forked child has its own portal."""
        portal = Portal.get()
        if portal not in self._transports:
            from tea_llm.backends.api.transport import Transport  # imports httpx

            self._transports[portal] = Transport(self._endpoint, max_retries=self._max_retries)
            portal.open.add(self._transports[portal])
        return self._transports[portal]

    async def _close(self, portal: Portal) -> None:
        for task in list(self._tasks):
            task.cancel()
        transport = self._transports.pop(portal, None)
        if transport is not None:
            portal.open.discard(transport)
            await transport.close()


@lru_cache(maxsize=64)
def _say_default_model(model: str, url: str) -> None:
    """Warns once per server, thanks to the cache."""
    logger.warning("No model is set: %s is asked for its %r. Set model in settings.llm", url, model)


class _ApiAnswer:
    """A request that is sent when its answer is awaited."""

    def __init__(self, backend: ApiLlmBackend, request: _Request) -> None:
        self._backend = backend
        self._request = request

    def wait(self) -> LlmCallResult:
        return Portal.wait(self._backend._start(self._backend._answer, self._request))

    async def join(self) -> LlmCallResult:
        return await Portal.join(self._backend._start(self._backend._answer, self._request))

    def stream(self) -> TextStream:
        return _Stream(self._backend, self._request).for_thread()

    def astream(self) -> AsyncTextStream:
        return _Stream(self._backend, self._request).for_task()


class _Stream:
    """A streamed answer, filled in the portal's loop and read by a thread or task. Dropping it cancels the request."""

    def __init__(self, backend: ApiLlmBackend, request: _Request) -> None:
        self._portal = Portal.get()
        self._chunks: asyncio.Queue[StreamChunk | None] = asyncio.Queue()
        chunks = self._chunks  # without a reference to self: the work is cancelled when this object is dropped
        self._filled = backend._start(lambda asked: backend._fill(asked, chunks), request)

    def for_thread(self) -> TextStream:
        def next_chunk() -> StreamChunk | None:
            return self._portal.wait(self._portal.start(self._take()))

        return TextStream(next_chunk, lambda: self._portal.wait(self._filled), self.cancel)

    def for_task(self) -> AsyncTextStream:
        return AsyncTextStream(self._next, lambda: self._portal.join(self._filled), self.cancel)

    def cancel(self) -> None:
        self._filled.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_filled"):  # the backend may have been closed
            self.cancel()

    async def _next(self) -> StreamChunk | None:
        try:
            return await self._portal.join(self._portal.start(self._take()))
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _take(self) -> StreamChunk | None:
        chunk = await self._chunks.get()
        if chunk is None:
            self._chunks.put_nowait(None)  # for later calls
        return chunk
