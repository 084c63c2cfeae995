"""Retries with exponential backoff, counted and reported like those of The Edge Agent's ``llm.call``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from tea_llm.errors import ApiConnectionError, ApiError, ApiTimeoutError

__all__ = ["RetriesExceededError", "Retry", "is_transient"]

_T = TypeVar("_T")


class RetriesExceededError(Exception):
    """All attempts failed with transient errors; the last error is the cause."""


@dataclass(slots=True)
class Retry:
    """The limits of the retries and the counts so far.

    Attributes:
        max_retries: attempts after the first. With 0, a request is still retried once if the server sends Retry-After.
        base_delay: seconds before the second attempt; each further wait is twice as long.
        max_delay: the longest wait in seconds, even if the server asks for more.
        attempts: attempts made so far.
        total_delay: seconds waited so far.
    """

    max_retries: int = 0
    base_delay: float = 1.0
    max_delay: float = 60.0
    attempts: int = 0
    total_delay: float = 0.0

    def run(self, attempt: Callable[[], _T]) -> _T:
        """Calls ``attempt`` until it succeeds, and returns its result.

        Raises:
            RetriesExceededError: the last attempt failed with a transient error.
            Exception: ``attempt`` raised another error.
        """
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=self._is_over,
            wait=self._wait,
            before=self._count,
            sleep=self._sleep,
            retry_error_callback=_give_up,
        )
        return retrying(attempt)

    def _count(self, state: RetryCallState) -> None:
        self.attempts = state.attempt_number

    def _is_over(self, state: RetryCallState) -> bool:
        is_asked = self.max_retries == 0 and state.attempt_number == 1 and _retry_after(state) is not None
        return state.attempt_number > self.max_retries and not is_asked

    def _wait(self, state: RetryCallState) -> float:
        asked = _retry_after(state)
        return min(self.base_delay * 2 ** (state.attempt_number - 1) if asked is None else asked, self.max_delay)

    def _sleep(self, seconds: float) -> None:
        self.total_delay += seconds
        time.sleep(seconds)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, (ApiConnectionError, ApiTimeoutError)):
        return True
    status = error.status_code if isinstance(error, ApiError) else None
    return status is not None and (status == 429 or (status >= 500 and status != 501))  # 501: not implemented


def _retry_after(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return getattr(error, "retry_after", None)


def _give_up(state: RetryCallState) -> None:
    assert state.outcome is not None  # noqa: S101
    error = state.outcome.exception()
    raise RetriesExceededError(str(error)) from error
