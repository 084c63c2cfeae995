"""The dicts that actions return, for results and for errors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tea_llm.backends.api import ApiLlmBackend
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.fallback import FallbackBackend
from tea_llm.errors import ApiError, ConfigError, LlmError
from tea_llm.types import LlmCallResult

__all__ = ["failure", "in_words", "success"]


def success(result: LlmCallResult, backend: LlmBackend | None, **more: Any) -> dict[str, Any]:
    """A result as actions return it, with every key that The Edge Agent's actions return.

    Args:
        result: the result of the backend.
        backend: the backend that returned it.
        **more: further keys.
    """
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in result.tool_calls]
    reason = {} if result.fallback_reason is None else {"fallback_reason": result.fallback_reason}
    return {
        "content": result.content,
        "response": result.content,
        "model": result.model,
        "backend": result.backend,
        "provider": "local" if result.backend == "local" else _provider(backend),
        "usage": {} if result.tokens_used is None else asdict(result.usage),
        "tokens_used": result.tokens_used,
        "finish_reason": result.finish_reason,
        **({"tool_calls": calls} if calls else {}),
        **reason,
        **more,
    }


def failure(message: str, error: BaseException | None = None, **more: Any) -> dict[str, Any]:
    """An error as actions report it.

    Args:
        message: the message; workflows may match on it.
        error: the exception, if there was one.
        **more: further keys.
    """
    kind = {} if error is None else {"error_type": type(error).__name__}
    status = getattr(error, "status_code", None)
    return {"error": message, "success": False, **kind, **({} if status is None else {"status_code": status}), **more}


def in_words(error: Exception, backend: LlmBackend | None) -> str:
    """The message, as The Edge Agent words it, for an error that a retry would not help."""
    if isinstance(error, (ConfigError, TypeError, ValueError)):
        return str(error)
    is_api = isinstance(backend, ApiLlmBackend) or (isinstance(backend, FallbackBackend) and backend._local is None)
    if isinstance(error, ApiError) or (isinstance(error, LlmError) and is_api):
        return f"LLM API error (non-retryable): {error}"
    if isinstance(error, LlmError):
        return f"Local LLM error: {error}"
    return f"Unexpected error: {error}"


def _provider(backend: LlmBackend | None) -> str:
    api = backend._api if isinstance(backend, FallbackBackend) else backend
    return api.provider if isinstance(api, ApiLlmBackend) else "openai"
