"""OpenAI's protocol: requests from our options, our results from answers. Pure functions, no network."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

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
    ToolCall,
    ToolCallDelta,
    Usage,
)

__all__ = ["Answer", "completion_body", "error_in", "parse_answer", "raw_body", "some", "wire_messages"]

logger = logging.getLogger("tea_llm")

_FINISH_REASONS: dict[object, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})  # OpenAI's, llama.cpp's
_LONGEST_SHOWN = 2000
"""Of what a server sent. Longer than what a message shows in the end (``Endpoint.redact``), so that no key is cut."""
_OTHERWISE = frozenset(
    {"max_tokens", "temperature", "stop", "tools", "tool_choice", "response_format", "timeout"}
    | {"logprobs", "top_logprobs"}
)
_AS_GIVEN = tuple(name for name, option in OPTIONS.items() if name not in _OTHERWISE and option.apis != "none")


def completion_body(model: str, options: GenerationOptions, given: Mapping[str, object]) -> dict[str, Any]:
    """What a completion and a chat completion have in common.

    ``max_tokens`` and ``temperature`` are sent always, since their defaults are ours; of the others, what was given.

    Args:
        model: its name.
        options: checked.
        given: what the caller gave, by name.
    """
    body: dict[str, Any] = {"model": model, "temperature": options.temperature}
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    # Not "in (None, False)": 0 equals False, and a seed or a top_k of 0 says something.
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
    """The body of a raw completion, which has one number for both options of log-probabilities."""
    raw = {name: value for name, value in body.items() if name not in ("logprobs", "top_logprobs")} | {"prompt": prompt}
    return raw | {"logprobs": body.get("top_logprobs", 0)} if "logprobs" in body else raw


def wire_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as the protocol has them: checked, and the arguments of calls as JSON."""
    checked = check_messages(messages)
    for message in checked:
        for call in message.get("tool_calls", ()):
            function = call["function"]
            if not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"])
    return checked


def parse_answer(answer: object, model: str, n_choices: int = 1) -> LlmCallResult:
    """The result of a completion or a chat completion that was not streamed.

    Raises:
        ApiResponseError: not such an answer, or one with fewer choices.
    """
    parsed = Answer(model, n_choices)
    parsed.add(answer, part="message")
    if not parsed.has_ended:
        raise ApiResponseError(f"the answer has no finish_reason for each of {n_choices} choices")
    return parsed.result()


class Answer:
    """An answer, put together from a stream's events.

    Args:
        model: its name, until the server tells it.
        n_choices: that were asked for.
    """

    def __init__(self, model: str, n_choices: int = 1) -> None:
        self._model = model
        self._choices = [_Choice() for _ in range(n_choices)]
        self._usage: Usage | None = None

    @property
    def text(self) -> str:
        """What came so far, of the first choice."""
        return self._choices[0].text

    @property
    def has_ended(self) -> bool:
        """Whether the server said of every choice why it ended."""
        return all(choice.finish_reason is not None for choice in self._choices)

    def add(self, event: object, *, part: str = "delta") -> list[StreamChunk]:
        """Takes an event in, and returns what is new in it.

        Args:
            event: a decoded chunk of a stream, or a whole answer.
            part: where a choice has its message: ``"delta"`` or ``"message"``.

        Raises:
            ApiResponseError: not such an event.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("choices"), list):
            raise ApiResponseError(f"not an answer to a completion: {some(event)}")
        self._model = _text(event.get("model")) or self._model
        self._usage = _usage(event.get("usage")) or self._usage
        chunks = []
        for choice in event["choices"]:
            index = choice.get("index", 0) if isinstance(choice, Mapping) else None
            if not isinstance(index, int) or not 0 <= index < len(self._choices):
                raise ApiResponseError(f"not a choice of {len(self._choices)}: {some(choice)}")
            chunk = self._choices[index].add(choice, part, index)
            if chunk.text or chunk.reasoning or chunk.tool_call_deltas:
                chunks.append(chunk)
        return chunks

    def result(self) -> LlmCallResult:
        """All of it. Calls whose arguments were cut off by ``max_tokens`` are left out.

        Raises:
            ApiResponseError: a call's arguments are not a JSON object, or there are fewer choices than asked for.
        """
        choices = [choice.result(index) for index, choice in enumerate(self._choices)]
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
        )


class _Choice:
    def __init__(self) -> None:
        self.finish_reason: FinishReason | None = None
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._latest: dict[int, int] = {}
        self._logprobs: list[TokenLogprob] | None = None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, choice: Mapping[Any, Any], part: str, index: int) -> StreamChunk:
        reason = choice.get("finish_reason")
        if reason is not None:
            if reason not in _FINISH_REASONS:
                logger.warning("The API gave an unknown finish_reason %r, which is taken as 'stop'", reason)
            self.finish_reason = _FINISH_REASONS.get(reason, "stop")
        if choice.get("logprobs") is not None:
            self._logprobs = [*(self._logprobs or ()), *_logprobs(choice["logprobs"])]
        message = choice.get(part)
        reasoning = ""
        deltas: tuple[ToolCallDelta, ...] = ()
        if not isinstance(message, Mapping):
            text = _text(choice.get("text"))
        else:
            deltas = tuple(self._add_call(*numbered) for numbered in enumerate(message.get("tool_calls") or ()))
            text = _text(message.get("content"))
            reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
        self._texts.append(text)
        self._reasoning.append(reasoning)
        return StreamChunk(text, index, reasoning=reasoning, tool_call_deltas=deltas)

    def result(self, index: int) -> Choice:
        finish_reason = self.finish_reason or "stop"
        calls = [_tool_call(call, is_cut=finish_reason == "length") for _, call in sorted(self._calls.items())]
        return Choice(
            index=index,
            content=self.text,
            finish_reason=finish_reason,
            tool_calls=tuple(call for call in calls if call is not None),
            reasoning="".join(self._reasoning) or None,
            logprobs=None if self._logprobs is None else tuple(self._logprobs),
        )

    def _add_call(self, index: int, call: object) -> ToolCallDelta:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(function, Mapping):
            raise ApiResponseError(f"not a tool call: {some(call)}")
        place = call.get("index")
        place_of_call = place if isinstance(place, int) else index
        new_id = _text(call.get("id"))
        key = self._latest.get(place_of_call, place_of_call)
        if new_id and self._calls.get(key, {}).get("id", new_id) != new_id:
            # A server that gives all calls one number, or none: what follows under it belongs to the new one.
            self._latest[place_of_call] = key = len(self._calls)
        is_new = key not in self._calls
        known = self._calls.setdefault(key, {"id": "", "name": "", "arguments": ""})
        known["id"] = new_id or known["id"]
        known["name"] += _text(function.get("name"))
        given = function.get("arguments")
        arguments = json.dumps(given) if isinstance(given, Mapping) else _text(given)
        known["arguments"] += arguments
        number = list(self._calls).index(key)
        if is_new:
            return ToolCallDelta(number, known["id"], known["name"], arguments)
        return ToolCallDelta(number, arguments=arguments)


def _logprobs(given: object) -> list[TokenLogprob]:
    """Log-probabilities in the form of chats, or in that of raw completions."""
    try:
        if isinstance(given, Mapping) and given.get("content") is not None:
            return [_logprob(token) for token in given["content"]]
        if isinstance(given, Mapping) and given.get("tokens") is not None:
            tops = given.get("top_logprobs") or [{}] * len(given["tokens"])
            return [
                TokenLogprob(str(token), float(logprob), None, tuple(TokenLogprob(*one) for one in (top or {}).items()))
                for token, logprob, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
            ]
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    else:
        return []
    raise ApiResponseError(f"not log-probabilities: {some(given)}")


def _logprob(token: Mapping[str, Any]) -> TokenLogprob:
    data = token.get("bytes")
    best = tuple(_logprob(one) for one in token.get("top_logprobs") or ())
    return TokenLogprob(str(token["token"]), float(token["logprob"]), None if data is None else bytes(data), best)


def error_in(answer: object, *, retry_after: float | None = None, **facts: Any) -> ApiError | InferenceError | None:
    """The error that an answer is; None: it is none.

    Args:
        answer: the decoded body, or its text where it is not JSON; also an event of a stream.
        retry_after: seconds that the server wants to be left alone.
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
    """Tokens of the prompt and of the context, where the server tells them: llama.cpp's does."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return (_count(error.get("n_prompt_tokens")), _count(error.get("n_ctx"))) if isinstance(error, Mapping) else (0, 0)


def _message_and_code(answer: object) -> tuple[str | None, str | None]:
    """What servers write: OpenAI ``{"error": {...}}``, Ollama ``{"error": "..."}``, vLLM ``{"object": "error"}``."""
    if not isinstance(answer, Mapping):
        return None, None
    error = answer.get("error")
    if isinstance(error, Mapping):
        return _text(error.get("message")) or some(error), _text(error.get("code")) or _text(error.get("type")) or None
    if error:
        return str(error), None
    if answer.get("object") == "error":
        return _text(answer.get("message")) or some(answer), _text(answer.get("type")) or None
    return None, None


def _tool_call(call: Mapping[str, str], *, is_cut: bool) -> ToolCall | None:
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return ToolCall(call["id"], call["name"], arguments)
    if is_cut:
        return None
    raise ApiResponseError(f"the arguments for {call['name']!r} are no JSON object: {some(call['arguments'])}")


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    n_prompt, n_completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    n_cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return Usage(n_prompt, n_completion, _count(usage.get("total_tokens")) or n_prompt + n_completion, n_cached)


def _count(number: object) -> int:
    return number if isinstance(number, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def some(value: object) -> str:
    """The beginning of what a server sent, for a message."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
