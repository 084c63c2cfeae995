"""Checks what callers give as messages, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tea_llm.types import ChatMessage, Message

__all__ = ["check_message", "check_messages"]

_KEYS = ("role", "content", "name")


def check_messages(messages: Iterable[Message | Mapping[str, object]]) -> list[dict[str, str]]:
    """The messages as plain dicts with ``role``, ``content`` and, where given, ``name``.

    Args:
        messages: dicts in the OpenAI form or ``ChatMessage``s, at least one. A content may be a list of
            ``{"type": "text", "text": ...}`` parts, which are joined with newlines as llama.cpp does.

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


def check_message(item: object, index: int) -> dict[str, str]:
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
        if key not in item:
            raise ValueError(f"{where} has no {key!r}")
    return {key: _check_text(item[key], where, key) for key in _KEYS if key in item}


def _check_text(value: object, where: str, key: str) -> str:
    if key == "content" and isinstance(value, (list, tuple)):
        value = _join_parts(value, where)
    if not isinstance(value, str):
        raise TypeError(f"{where}: {key!r} must be a string, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: {key!r} holds a lone surrogate, U+{ord(value[error.start]):04X} at index {error.start}, "
            "which no text can hold"
        ) from None
    return value


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
