"""Checks what callers give as messages, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tea_llm._check import check_text
from tea_llm.types import ChatMessage, Message

__all__ = ["check_message", "check_messages"]

_KEYS = ("role", "content", "reasoning_content", "name", "tool_calls", "tool_call_id")


def check_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages as plain dicts with ``role``, ``content`` and, where given, the other keys.

    Args:
        messages: dicts in the OpenAI form or ``ChatMessage``s, at least one. A content may be a list of
            ``{"type": "text", "text": ...}`` parts, which are joined with newlines as llama.cpp does, and None beside
            ``tool_calls``.

    Raises:
        TypeError: a single string or mapping for the list, or a message or value of a wrong type.
        ValueError: no messages, a missing or unknown key, a part that is not text, a lone surrogate.

    Example:
        >>> check_messages([ChatMessage("user", "Hi")])
        [{'role': 'user', 'content': 'Hi'}]
    """
    given: object = messages
    if isinstance(given, (str, bytes, Mapping, ChatMessage)) or not isinstance(given, Iterable):
        raise TypeError(
            f"messages must be a list of messages, not {type(given).__name__}: [{{'role': 'user', 'content': '...'}}]"
        )
    checked = [check_message(item, index) for index, item in enumerate(given)]
    if not checked:
        raise ValueError("messages is empty: give at least one")
    return checked


def check_message(item: object, index: int) -> dict[str, Any]:
    """One message as a plain dict.

    Args:
        item: a ``ChatMessage`` or a mapping.
        index: its place in the list, for the error's message.

    Raises:
        TypeError: as ``check_messages``.
        ValueError: as ``check_messages``.
    """
    where = f"messages[{index}]"
    if isinstance(item, ChatMessage):
        item = {"role": item.role, "content": item.content}
    if not isinstance(item, Mapping):
        raise TypeError(f"{where} must be a dict or a ChatMessage, not {type(item).__name__}")
    for key in item:
        if key not in _KEYS:
            raise ValueError(f"{where} has an unknown key {key!r}: allowed are {', '.join(_KEYS)}")
    for key in ("role", "content"):
        if key not in item and not (key == "content" and item.get("tool_calls")):
            raise ValueError(f"{where} has no {key!r}")
    checked: dict[str, Any] = {key: _check_value(key, item[key], item, where) for key in _KEYS if key in item}
    checked.setdefault("content", None)
    return checked


def _check_value(key: str, value: object, item: Mapping[str, object], where: str) -> object:
    if key == "tool_calls":
        return _check_calls(value, where)
    if key == "content":
        if value is None and item.get("tool_calls"):
            return None
        if isinstance(value, (list, tuple)):
            value = _join_parts(value, where)
    return check_text(f"{where}: {key!r}", value)


def _check_calls(calls: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, (list, tuple)):
        raise TypeError(f"{where}: 'tool_calls' must be a list, not {type(calls).__name__}")
    checked = []
    for index, call in enumerate(calls):
        name = f"{where}: 'tool_calls'[{index}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(function, Mapping):
            raise TypeError(f"{name} must be like {{'id': ..., 'type': 'function', 'function': {{...}}}}")
        for key, value in (("id", call.get("id", "")), ("name", function.get("name"))):
            check_text(f"{name}: {key!r}", value)
        arguments = function.get("arguments", "{}")
        if not isinstance(arguments, (str, Mapping)):
            raise TypeError(f"{name}: 'arguments' must be JSON or a dict, not {type(arguments).__name__}")
        checked.append(
            {
                "id": call.get("id", ""),
                "type": "function",
                "function": {"name": function["name"], "arguments": arguments},
            }
        )
    return checked


def _join_parts(parts: list[object] | tuple[object, ...], where: str) -> str:
    texts: list[str] = []
    for index, part in enumerate(parts):
        if not isinstance(part, Mapping):
            raise TypeError(f"{where}: 'content'[{index}] must be a dict, not {type(part).__name__}")
        if part.get("type") != "text":
            raise ValueError(
                f"{where}: 'content'[{index}] is of type {part.get('type')!r}: only 'text' parts are supported"
            )
        text = part.get("text")
        if not isinstance(text, str):
            raise TypeError(f"{where}: 'content'[{index}]: 'text' must be a string, not {type(text).__name__}")
        texts.append(text)
    return "\n".join(texts)
