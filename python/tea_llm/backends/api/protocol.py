"""OpenAI's protocol: request bodies from options, results from answers. Pure functions, no network."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tea_llm.answers.reader import CallIds
from tea_llm.backends.api.pieces import CallPieces, ContentPiece, WholeCharacters, some, text_of
from tea_llm.backends.options import OPTIONS, GenerationOptions
from tea_llm.chat.messages import check_messages
from tea_llm.errors import (
    ApiAuthError,
    ApiError,
    ApiRateLimitError,
    ApiResponseError,
    ContextOverflowError,
    InferenceError,
)
from tea_llm.types import (
    Choice,
    FinishReason,
    LlmCallResult,
    Message,
    StreamChunk,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

__all__ = ["Answer", "completion_body", "error_in", "parse_answer", "raw_body", "wire_messages"]

logger = logging.getLogger("tea_llm")

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI's, llama.cpp's
_OTHERWISE = frozenset(
    {"max_tokens", "temperature", "stop", "tools", "tool_choice", "response_format", "timeout"}
    | {"logprobs", "top_logprobs"}
)
_AS_GIVEN = tuple(name for name, option in OPTIONS.items() if name not in _OTHERWISE and option.apis != "none")


def completion_body(model: str, options: GenerationOptions, given: Mapping[str, object]) -> dict[str, Any]:
    """The common part of the bodies of raw and chat completions.

    ``max_tokens`` and ``temperature`` are always sent, because servers have other defaults; others only if given.

    Args:
        model: the model's name.
        options: the checked options.
        given: the options that the caller set.
    """
    body: dict[str, Any] = {"model": model, "temperature": options.temperature}
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    # Not "in (None, False)", because 0 == False, and a seed or top_k of 0 has a meaning.
    is_given = {name: given.get(name) is not None and given[name] is not False for name in _AS_GIVEN}
    body |= {name: getattr(options, name) for name in _AS_GIVEN if is_given[name]}
    if options.stop:
        body["stop"] = list(options.stop)
    if options.logprobs:
        body["logprobs"] = True
        body |= {} if options.top_logprobs is None else {"top_logprobs": options.top_logprobs}
    if options.tools:
        body["tools"] = list(options.tools)
    if options.tool_choice is not None:
        body["tool_choice"] = options.tool_choice
    if options.response_format is not None:
        body["response_format"] = dict(options.response_format.wire)
    return body


def raw_body(body: Mapping[str, Any], prompt: str | list[int]) -> dict[str, Any]:
    """The body of a raw completion, where a single number stands for both log-probability options."""
    raw = {name: value for name, value in body.items() if name not in ("logprobs", "top_logprobs")} | {"prompt": prompt}
    return raw | {"logprobs": body.get("top_logprobs", 0)} if "logprobs" in body else raw


def wire_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages for the protocol: checked, with the arguments of calls as JSON text."""
    checked = check_messages(messages)
    for message in checked:
        for call in message.get("tool_calls", ()):
            function = call["function"]
            if not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"])
    return checked


def parse_answer(answer: object, model: str, n_choices: int = 1) -> LlmCallResult:
    """The result of a raw or chat completion that was not streamed.

    Raises:
        ApiResponseError: the answer is malformed, or has too few choices.
    """
    parsed = Answer(model, n_choices)
    parsed.add(answer, part="message")
    if not parsed.has_ended:
        raise ApiResponseError(f"the answer has no finish_reason for each of {n_choices} choices")
    return parsed.result()


class Answer:
    """Assembles an answer from the events of a stream.

    Args:
        model: the model's name, until the server names it.
        n_choices: number of choices requested.
    """

    def __init__(self, model: str, n_choices: int = 1) -> None:
        self._model = model
        call_ids = CallIds()
        self._choices = [_Choice(index, call_ids) for index in range(n_choices)]
        self._usage: Usage | None = None

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        return self._choices[0].text

    @property
    def has_ended(self) -> bool:
        """Whether all choices have a finish reason."""
        return all(choice.finish_reason is not None for choice in self._choices)

    def add(self, event: object, *, part: str = "delta") -> list[StreamChunk]:
        """Adds an event and returns what is new.

        Args:
            event: a decoded chunk of a stream, or a whole answer.
            part: the key of the message in a choice: ``"delta"`` or ``"message"``.

        Raises:
            ApiResponseError: the event is malformed.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("choices"), list):
            raise ApiResponseError(f"not an answer to a completion: {some(event)}")
        self._model = text_of(event.get("model")) or self._model
        self._usage = _usage(event.get("usage")) or self._usage
        chunks = []
        for choice in event["choices"]:
            index = choice.get("index", 0) if isinstance(choice, Mapping) else None
            if not isinstance(index, int) or not 0 <= index < len(self._choices):
                raise ApiResponseError(f"not a choice of {len(self._choices)}: {some(choice)}")
            chunk = self._choices[index].add(choice, part)
            if chunk.text or chunk.reasoning or chunk.tool_call_deltas:
                chunks.append(chunk)
        return chunks

    def result(self) -> LlmCallResult:
        """The whole result. Calls whose arguments ``max_tokens`` cut off are left out.

        Raises:
            ApiResponseError: the arguments of a call are not a JSON object, or there are too few choices.
        """
        choices = [choice.result() for choice in self._choices]
        if len(choices) > 1 and not self.has_ended:
            n = sum(choice.finish_reason is not None for choice in self._choices)
            raise ApiResponseError(f"n={len(choices)}, but the server gave {n}")
        return LlmCallResult(
            content=choices[0].content,
            model=self._model,
            tokens_used=None if self._usage is None else self._usage.completion_tokens,
            finish_reason=choices[0].finish_reason,
            usage=self._usage or Usage(0, 0, 0),
            backend="api",
            tool_calls=choices[0].tool_calls,
            reasoning=choices[0].reasoning,
            logprobs=choices[0].logprobs,
            choices=tuple(choices) if len(choices) > 1 else (),
            refusal=choices[0].refusal,
        )


class _Choice:
    def __init__(self, index: int, call_ids: CallIds) -> None:
        self.finish_reason: FinishReason | None = None
        self.text = ""
        self._index = index
        self._reasoning = ""
        self._refusal = ""
        self._characters = {"text": WholeCharacters(), "reasoning": WholeCharacters(), "refusal": WholeCharacters()}
        self._calls = CallPieces(index, call_ids)
        self._logprobs: list[TokenLogprob] | None = None

    def add(self, choice: Mapping[Any, Any], part: str) -> StreamChunk:
        reason = choice.get("finish_reason")
        if reason is not None:
            known = _FINISH_REASONS.get(text_of(reason))
            if known is None:
                logger.warning("The API gave an unknown finish_reason %r, which is taken as 'stop'", reason)
            self.finish_reason = known or "stop"
        if choice.get("logprobs") is not None:
            self._logprobs = [*(self._logprobs or ()), *_logprobs(choice["logprobs"])]
        message = choice.get(part)
        deltas: tuple[ToolCallDelta, ...] = ()
        piece = ContentPiece(text_of(choice.get("text")))
        if isinstance(message, Mapping):
            calls = message.get("tool_calls") or []
            if not isinstance(calls, list):
                raise ApiResponseError(f"not a list of tool calls: {some(calls)}")
            deltas = tuple(self._calls.add(at, call, is_whole=part == "message") for at, call in enumerate(calls))
            piece = ContentPiece.of(message)
        text, reasoning = self._whole("text", piece.text), self._whole("reasoning", piece.reasoning)
        self.text += text
        self._reasoning += reasoning
        self._refusal += self._whole("refusal", piece.refusal)
        return StreamChunk(text, self._index, reasoning=reasoning, tool_call_deltas=deltas)

    def result(self) -> Choice:
        finish_reason = self.finish_reason or "stop"
        return Choice(
            index=self._index,
            content=self.text,
            finish_reason=finish_reason,
            tool_calls=self._calls.calls(is_cut=finish_reason == "length"),
            reasoning=self._reasoning or None,
            logprobs=None if self._logprobs is None else tuple(self._logprobs),
            refusal=self._refusal or None,
        )

    def _whole(self, kind: str, text: str) -> str:
        return self._characters[kind].add(text)


def _logprobs(given: object) -> list[TokenLogprob]:
    """Log-probabilities, in the form of chat completions or of raw completions."""
    try:
        if isinstance(given, Mapping) and given.get("content") is not None:
            return [_logprob(token) for token in given["content"]]
        if isinstance(given, Mapping) and given.get("tokens") is not None:
            tops = given.get("top_logprobs") or [{}] * len(given["tokens"])
            return [
                TokenLogprob(str(token), float(logprob), None, tuple(TokenLogprob(*one) for one in (top or {}).items()))
                for token, logprob, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
            ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass
    else:
        return []
    raise ApiResponseError(f"not log-probabilities: {some(given)}")


def _logprob(token: Mapping[str, Any]) -> TokenLogprob:
    data = token.get("bytes")
    best = tuple(_logprob(one) for one in token.get("top_logprobs") or ())
    return TokenLogprob(str(token["token"]), float(token["logprob"]), None if data is None else bytes(data), best)


def error_in(answer: object, *, retry_after: float | None = None, **facts: Any) -> ApiError | InferenceError | None:
    """The error in an answer; None: the answer is not an error.

    Args:
        answer: the decoded body, its text if it is not JSON, or an event of a stream.
        retry_after: seconds to wait, as the server asks.
        **facts: ``status_code`` (None inside a stream), ``provider`` and ``request_id`` of the error.
    """
    status_code, provider = facts["status_code"], facts["provider"]
    message, code = _message_and_code(answer)
    if message is None and (status_code is None or status_code < 300):
        return None
    message = message or some(answer) or "no further words"
    if code in _OVERFLOW_CODES:
        return ContextOverflowError(message, *_overflow_counts(answer))
    where = f"{provider} answered {status_code}" if status_code else f"{provider} broke the stream off"
    message = f"{where}: {message}"
    facts["code"] = code
    if status_code in (401, 403):
        return ApiAuthError(message, **facts)
    if status_code == 429:
        return ApiRateLimitError(message, retry_after=retry_after, **facts)
    return ApiResponseError(message, retry_after=retry_after, **facts)


def _overflow_counts(answer: object) -> tuple[int, int]:
    """Token counts of prompt and context, if the server reports them, as llama.cpp's does."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return (_count(error.get("n_prompt_tokens")), _count(error.get("n_ctx"))) if isinstance(error, Mapping) else (0, 0)


def _message_and_code(answer: object) -> tuple[str | None, str | None]:
    """Parses errors: OpenAI ``{"error": {...}}``, Ollama ``{"error": "..."}``, vLLM ``{"object": "error"}``."""
    if not isinstance(answer, Mapping):
        return None, None
    error = answer.get("error")
    if isinstance(error, Mapping):
        code = text_of(error.get("code")) or text_of(error.get("type"))
        return text_of(error.get("message")) or some(error), code or None
    if error:
        return str(error), None
    if answer.get("object") == "error":
        return text_of(answer.get("message")) or some(answer), text_of(answer.get("type")) or None
    return None, None


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    n_prompt, n_completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    n_cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return Usage(n_prompt, n_completion, _count(usage.get("total_tokens")) or n_prompt + n_completion, n_cached)


def _count(number: object) -> int:
    return number if isinstance(number, int) else 0
