"""HTTP: connections, retries, event streams, and the only place where errors of httpx become ``ApiError``s.

Everything in this module runs in the portal's loop.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource, SSEError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from tea_llm._network import network_settings
from tea_llm._version import __version__
from tea_llm.backends.api.endpoint import Endpoint
from tea_llm.backends.api.protocol import error_in
from tea_llm.errors import (
    ApiConnectionError,
    ApiError,
    ApiRateLimitError,
    ApiResponseError,
    ApiTimeoutError,
    InferenceError,
)

__all__ = ["Transport"]

logger = logging.getLogger("tea_llm")

_T = TypeVar("_T")
_CONNECT_S = 10.0
_MAX_WAIT_S = 60.0
"""If a server asks for a longer wait, the request fails at once."""

_backoff = wait_random_exponential(multiplier=0.5, max=8)


class Transport:
    """The connections to one endpoint.

    Args:
        endpoint: the endpoint.
        max_retries: number of attempts after the first.
    """

    def __init__(self, endpoint: Endpoint, *, max_retries: int) -> None:
        self._endpoint = endpoint
        self._max_retries = max_retries
        with network_settings(lambda text: ApiConnectionError(endpoint.redact(text), **self._facts())):
            self._client = httpx.AsyncClient(
                headers={**endpoint.headers, "User-Agent": f"tea-llm/{__version__}"},
                params=dict(endpoint.query),
                timeout=httpx.Timeout(None, connect=_CONNECT_S),  # the timeout of the request covers everything else
            )

    async def post(self, path: str, body: dict[str, Any]) -> object:
        """The decoded answer to a request.

        Raises:
            ApiError, ContextOverflowError: the request failed, despite all retries.
        """

        async def attempt() -> object:
            async with self._response(path, body) as response:
                return self._json(response, await response.aread())

        return await self._with_retries(attempt, lambda: True)

    async def stream(self, path: str, body: dict[str, Any], receive: Callable[[object], None]) -> bool:
        """Calls ``receive`` with each event of a stream. There are no retries after the first event.

        Returns:
            Whether the server marked the end of the stream.

        Raises:
            ApiError, ContextOverflowError: the request failed.
        """
        has_received = False

        async def attempt() -> bool:
            nonlocal has_received
            async with self._response(path, body) as response:
                await self._expect_events(response)
                async for event in EventSource(response).aiter_sse():
                    if event.data == "[DONE]":
                        return True
                    if not event.data:
                        continue  # a ping, or a new retry time
                    data = self._decoded(event.data, response)
                    has_received = True
                    receive(data)
            return False

        return await self._with_retries(attempt, lambda: not has_received)

    async def close(self) -> None:
        """Drops the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _response(self, path: str, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """The response with its status checked. Its body has not been read."""
        url = self._endpoint.url + path
        where = f"{self._endpoint.provider} at {url}"
        try:
            async with self._client.stream("POST", url, json=body) as response:
                if not response.is_success:
                    raise self._refusal(response, await response.aread())
                yield response
        # `from None`, because httpx's errors contain the request and so the key
        except httpx.TimeoutException:
            raise ApiTimeoutError(f"{where}: no connection in {_CONNECT_S:g} s", **self._facts()) from None
        except httpx.LocalProtocolError:  # its message may contain a header
            raise ApiResponseError(f"{where}: the request cannot be sent as it is", **self._facts()) from None
        except (httpx.TransportError, ssl.SSLError) as error:
            words = str(error) or type(error).__name__
            raise ApiConnectionError(f"{where}: {self._endpoint.redact(words)}", **self._facts()) from None
        except (httpx.HTTPError, httpx.InvalidURL, SSEError) as error:
            raise ApiResponseError(f"{where}: {self._endpoint.redact(str(error))}", **self._facts()) from None

    async def _expect_events(self, response: httpx.Response) -> None:
        """Checks that the response is an event stream. Errors may be JSON with status 200."""
        response.encoding = "utf-8-sig"  # the encoding of server-sent events, with or without a byte order mark
        if "text/event-stream" not in response.headers.get("content-type", ""):
            self._json(response, await response.aread())
            raise ApiResponseError(
                f"{self._endpoint.provider} answered with {response.headers.get('content-type')!r}, not with a stream",
                **self._facts(response),
            )

    def _json(self, response: httpx.Response, body: bytes) -> object:
        answer = self._decoded(body, response)
        error = self._error(answer, response)
        if error is not None:
            raise error
        return answer

    def _decoded(self, text: str | bytes, response: httpx.Response) -> object:
        try:
            answer: object = json.loads(text)
        except (ValueError, RecursionError):  # RecursionError: nested too deeply
            shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
            shown = self._endpoint.redact(" ".join(shown.split()))[:200]
            raise ApiResponseError(
                f"{self._endpoint.provider} sent something that is not JSON: {shown!r}", **self._facts(response)
            ) from None
        if isinstance(text, str):  # an event of a stream
            error = self._error(answer, None)
            if error is not None:
                raise error
        return answer

    def _refusal(self, response: httpx.Response, body: bytes) -> ApiError | InferenceError:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = body.decode("utf-8", "replace")
        error = self._error(answer, response)
        assert error is not None, "every status but success is an error"  # noqa: S101
        return error

    def _error(self, answer: object, response: httpx.Response | None) -> ApiError | InferenceError | None:
        facts = self._facts(response)
        error = error_in(answer, retry_after=None if response is None else _retry_after(response), **facts)
        if error is not None:
            error.args = (self._endpoint.redact(str(error)),)
        return error

    def _facts(self, response: httpx.Response | None = None) -> dict[str, Any]:
        headers = {} if response is None else response.headers
        return {
            "provider": self._endpoint.provider,
            "status_code": None if response is None else response.status_code,
            "request_id": headers.get("x-request-id") or headers.get("apim-request-id"),
        }

    async def _with_retries(self, attempt: Callable[[], Awaitable[_T]], may_retry: Callable[[], bool]) -> _T:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: may_retry() and _is_transient(error)),
            stop=stop_after_attempt(1 + self._max_retries),
            wait=_wait,
            before_sleep=self._log_retry,
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _log_retry(self, state: RetryCallState) -> None:
        assert state.outcome is not None  # noqa: S101
        logger.warning(
            "Attempt %d of %d failed, the next in %.1f s: %s",
            state.attempt_number, 1 + self._max_retries, state.upcoming_sleep, state.outcome.exception(),
        )  # fmt: skip


def _is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed."""
    if isinstance(error, ApiError) and error.retry_after is not None and error.retry_after > _MAX_WAIT_S:
        return False
    if isinstance(error, ApiRateLimitError):
        return True
    if isinstance(error, ApiResponseError):
        return error.status_code is not None and error.status_code >= 500 and error.status_code != 501
    return isinstance(error, (ApiConnectionError, ApiTimeoutError))


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, ApiError) else None
    return _backoff(state) if asked is None else asked


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of the ``Retry-After`` header, which is a number or a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):  # no header, or an invalid one
        return None
