"""``llm.call``, ``llm.chat``, ``llm.stream`` and ``llm.retry``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tea_llm._shown import shown
from tea_llm.actions._answer import failure, in_words, success
from tea_llm.actions._host import Host
from tea_llm.actions._request import OPTIONS, ActionError, Request
from tea_llm.actions._retry import RetriesExceededError, Retry
from tea_llm.backends.base import LlmBackend
from tea_llm.errors import LlmError
from tea_llm.types import LlmCallResult

__all__ = ["ANSWER_PARAMETERS", "STREAM_PARAMETERS", "answer", "conversation", "stream"]

_QUESTION = frozenset({"messages", "prompt", "system"})
ANSWER_PARAMETERS = OPTIONS | _QUESTION | {"max_retries", "base_delay", "max_delay"}
STREAM_PARAMETERS = OPTIONS | _QUESTION | {"callback"}


def conversation(own: Mapping[str, Any], *, is_chat: bool) -> tuple[Any, bool]:
    """The prompt or messages to answer, and whether they are messages. Only a chat makes messages of a lone prompt.

    Raises:
        ActionError: there are neither messages nor a prompt.
    """
    messages = own.get("messages")
    if messages:
        # A list, so that a retry can read it again. The backend refuses anything that is not a list of messages.
        return (list(messages) if isinstance(messages, Iterable) and not isinstance(messages, str) else messages), True
    prompt, system = own.get("prompt"), own.get("system")
    if not prompt:
        raise ActionError("Missing required parameter: prompt or messages")
    if not is_chat and not system:
        return prompt, False
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": prompt}], True


def answer(
    params: Mapping[str, Any],
    *,
    host: Host,
    state: Mapping[str, Any] | None,
    is_local: bool,
    is_chat: bool,
    default_retries: int = 0,
) -> dict[str, Any]:
    """A complete answer, with retries."""
    backend: LlmBackend | None = None
    retry = Retry()
    try:
        request = Request.of(params, known=ANSWER_PARAMETERS, host=host, state=state, is_local=is_local)
        asked, has_messages = conversation(request.own, is_chat=is_chat)
        retry = _retry_of(request.own, default_retries or request.max_retries or 0)
        backend = request.open(host, max_retries=0)
        ask: Callable[..., LlmCallResult] = backend.chat if has_messages else backend.call
        result = retry.run(lambda: ask(asked, **request.options))
    except ActionError as error:
        return failure(str(error))
    except RetriesExceededError as error:
        message = f"Max retries ({retry.max_retries}) exceeded. Last error: {error}"
        return failure(message, error.__cause__, attempts=retry.attempts, total_delay=retry.total_delay)
    except Exception as error:
        return failure(in_words(error, backend), error, **({"attempts": retry.attempts} if retry.attempts else {}))
    tried = {"attempts": retry.attempts, "total_delay": retry.total_delay}
    return success(result, backend, **(tried if retry.max_retries > 0 or retry.attempts > 1 else {}))


def stream(params: Mapping[str, Any], *, host: Host, state: Mapping[str, Any] | None, is_local: bool) -> dict[str, Any]:
    """A complete answer whose text is streamed to the callback, the engine's hook or stdout."""
    n_chunks = 0

    def deliver(text: str) -> None:
        nonlocal n_chunks
        n_chunks += 1
        write(text)

    try:
        request = Request.of(params, known=STREAM_PARAMETERS, host=host, state=state, is_local=is_local)
        asked, has_messages = conversation(request.own, is_chat=False)
        hook = request.own.get("callback") or host.on_token
        write: Callable[[str], object] = hook or _print
        backend = request.open(host)
        ask: Callable[..., LlmCallResult] = backend.stream_chat if has_messages else backend.stream
        result = ask(asked, deliver, **request.options)
        if hook is None:
            _print("\n")
    except ActionError as error:
        return failure(str(error))
    except (LlmError, TypeError, ValueError) as error:
        return failure(f"LLM streaming failed: {error}", error)
    except Exception as error:
        return failure(f"Unexpected error: {error}", error)
    return success(result, backend, streamed=True, chunk_count=n_chunks)


def _retry_of(own: Mapping[str, Any], default_retries: int) -> Retry:
    given = {name: own[name] for name in ("max_retries", "base_delay", "max_delay") if own.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            raise ActionError(f"{name} must be a number >= 0, not {value!r}")
    return Retry(**{"max_retries": default_retries, **given})


def _print(text: str) -> None:
    if sys.stdout is not None:
        print(shown(text) if sys.stdout.isatty() else text, end="", flush=True)  # noqa: T201 - llm.stream prints
