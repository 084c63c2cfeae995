"""Checks the callers' messages before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tea_llm._check import check_text
from tea_llm.types import ChatMessage, Message

__all__ = ["check_message", "check_messages"]

_KEYS = ("role", "content", "reasoning_content", "name", "tool_calls", "tool_call_id")
_ANSWER_KEYS = ("refusal", "annotations", "audio", "function_call", "reasoning")
"""Other keys of an answer dumped by OpenAI's package; ``reasoning`` is what some servers name the reasoning."""


def check_messages(messages: Iterable[Message], *, joins_parts: bool = True) -> list[dict[str, Any]]:
    """The messages as plain dicts with ``role``, ``content`` and, where given, the other keys.

    Args:
        messages: dicts in the OpenAI form or ``ChatMessage``s, at least one. A content may be a list of
            ``{"type": "text", "text": ...}`` parts, and None in an assistant's message. Other keys may be None, as in
            an answer dumped by OpenAI's package.
        joins_parts: join the parts of a content with newlines, as llama.cpp does.

    Raises:
        TypeError: ``messages`` is a single string or mapping, or a message or value has the wrong type.
        ValueError: the list is empty, a key is missing or unknown, a part is not text, or a text has a lone surrogate.

    Example:
        >>> check_messages([ChatMessage("user", "Hi")])
        [{'role': 'user', 'content': 'Hi'}]
    """
    given: object = messages
    if isinstance(given, (str, bytes, Mapping, ChatMessage)) or not isinstance(given, Iterable):
        raise TypeError(
            f"messages must be a list of messages, not {type(given).__name__}: [{{'role': 'user', 'content': '...'}}]"
        )
    checked = [check_message(item, index, joins_parts=joins_parts) for index, item in enumerate(given)]
    if not checked:
        raise ValueError("messages is empty: give at least one message")
    return checked


def check_message(item: object, index: int, *, joins_parts: bool = True) -> dict[str, Any]:
    """One message as a plain dict.

    Args:
        item: a ``ChatMessage`` or a mapping.
        index: its index in the list, for error messages.
        joins_parts: as ``check_messages``.

    Raises:
        TypeError: as ``check_messages``.
        ValueError: as ``check_messages``.
    """
    where = f"messages[{index}]"
    if isinstance(item, ChatMessage):
        item = {"role": item.role, "content": item.content}
    if not isinstance(item, Mapping):
        raise TypeError(f"{where} must be a dict or a ChatMessage, not {type(item).__name__}")
    for key, value in item.items():
        if key not in _KEYS and key not in _ANSWER_KEYS and value is not None:
            raise ValueError(f"{where} has an unknown key {key!r}: allowed are {', '.join(_KEYS)}")
    for key in ("role", "content"):
        if key not in item and not (key == "content" and item.get("tool_calls")):
            raise ValueError(f"{where} has no {key!r}")
    checked: dict[str, Any] = {"role": check_text(f"{where}: 'role'", item["role"])}
    checked["content"] = _check_content(item, where, joins_parts)
    for key in _KEYS[2:]:
        value = item.get(key)
        if value is None and key == "reasoning_content":
            value = item.get("reasoning")
        if value is not None:
            checked[key] = _check_calls(value, where) if key == "tool_calls" else check_text(f"{where}: {key!r}", value)
    if not checked.get("tool_calls"):
        checked.pop("tool_calls", None)
    return checked


def _check_content(item: Mapping[str, object], where: str, joins_parts: bool) -> str | list[dict[str, str]] | None:
    """The content. For an answer without content: its refusal, or None if it has calls, or an empty text."""
    for key in ("audio", "function_call"):
        if item.get(key) is not None:
            raise ValueError(f"{where}: {key!r} is not supported: give 'content', and calls in 'tool_calls'")
    content = item.get("content")
    if not content and item["role"] == "assistant":
        content = item.get("refusal") or content
        if content is None:
            return None if item.get("tool_calls") else ""
    if isinstance(content, (list, tuple)):
        texts = [_check_part(part, f"{where}: 'content'[{index}]") for index, part in enumerate(content)]
        if not joins_parts:
            return [{"type": "text", "text": text} for text in texts]
        content = "\n".join(texts)
    return check_text(f"{where}: 'content'", content)


def _check_calls(calls: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, (list, tuple)):
        raise TypeError(f"{where}: 'tool_calls' must be a list, not {type(calls).__name__}")
    checked = []
    for index, call in enumerate(calls):
        name = f"{where}: 'tool_calls'[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(function, Mapping):
            raise TypeError(f"{name} must be like {{'id': ..., 'type': 'function', 'function': {{...}}}}")
        call_id = check_text(f"{name}: 'id'", "" if call.get("id") is None else call["id"])
        function_name = check_text(f"{name}: 'name'", function.get("name"))
        arguments = _check_arguments(function.get("arguments"), f"{name}: 'arguments'")
        checked.append({"id": call_id, "type": "function", "function": {"name": function_name, "arguments": arguments}})
    return checked


def _check_arguments(arguments: object, name: str) -> str | dict[str, Any]:
    """The arguments as JSON text or a dict of JSON values; None and blank text mean no arguments."""
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return check_text(name, arguments) if arguments.strip() else "{}"
    if not isinstance(arguments, Mapping):
        raise TypeError(f"{name} must be JSON or a dict, not {type(arguments).__name__}")
    try:
        text = json.dumps(dict(arguments), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{name} cannot be written as JSON: {error}") from None
    check_text(name, text)
    return dict(arguments)


def _check_part(part: object, where: str) -> str:
    if not isinstance(part, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(part).__name__}")
    if part.get("type") != "text":
        raise ValueError(f"{where} is of type {part.get('type')!r}: only 'text' parts are supported")
    text = part.get("text")
    if not isinstance(text, str):
        raise TypeError(f"{where}: 'text' must be a string, not {type(text).__name__}")
    return check_text(f"{where}: 'text'", text)
