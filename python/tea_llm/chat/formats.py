"""The prompt formats that need no template: ChatML, Gemma and a plain fallback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tea_llm.chat.messages import check_message
from tea_llm.chat.tools import in_words, text_of
from tea_llm.types import Message

__all__ = ["CHAT_FORMATS", "format_chat_prompt", "format_parts"]

CHAT_FORMATS = ("chatml", "gemma", "plain")
"""The values of ``chat_format``; None and ``"unknown"`` mean ``"plain"``."""

_GEMMA_ROLES = {"user": "user", "model": "model", "assistant": "model"}


def format_chat_prompt(messages: Iterable[Message | Mapping[str, object]], chat_format: str | None) -> str:
    """The prompt that asks for the assistant's next message, in a named format.

    Args:
        messages: dicts with ``role`` and ``content``, or ``ChatMessage``s.
        chat_format: ``"chatml"``, ``"gemma"`` or ``"plain"``; None and ``"unknown"`` are plain.

    Raises:
        TypeError: a message or a value in it is of a wrong type.
        ValueError: ``chat_format`` is unknown, or a message is not valid.

    Example:
        >>> format_chat_prompt([{"role": "user", "content": "Hi"}], "plain")
        'user: Hi\\nassistant: '
    """
    checked = [check_message(item, index) for index, item in enumerate(messages)]
    worded = [in_words(message) if "tool_calls" in message else message for message in checked]
    return "".join(text for text, _ in format_parts(worded, chat_format))


def format_parts(
    messages: Iterable[Mapping[str, Any]], chat_format: str | None, *, add_generation_prompt: bool = True
) -> list[tuple[str, bool]]:
    """The same prompt in pieces that distinguish the format's own text from the caller's.

    Args:
        messages: checked messages, with calls as text.
        chat_format: as ``format_chat_prompt``.
        add_generation_prompt: end with the opening of the assistant's answer.

    Returns:
        ``(text, is_scaffold)`` pairs without empty texts. The format's own text is scaffold; roles and contents come
        from the caller, except the two role names that Gemma's format writes itself.

    Raises:
        ValueError: ``chat_format`` is unknown.
    """
    if chat_format not in (None, "unknown", *CHAT_FORMATS):
        names = ", ".join(map(repr, CHAT_FORMATS))
        raise ValueError(f"chat_format {chat_format!r} is not known: use one of {names}, or None for 'plain'")
    parts: list[tuple[str, bool]] = []
    for message in messages:
        parts += _format_message(message["role"], text_of(message["content"]), chat_format)
    if add_generation_prompt:
        parts.append((_opening(chat_format), True))
    return _merge(parts)


def _format_message(role: str, content: str, chat_format: str | None) -> list[tuple[str, bool]]:
    if chat_format == "chatml":
        return [("<|im_start|>", True), (role, False), ("\n", True), (content, False), ("<|im_end|>\n", True)]
    if chat_format == "gemma":
        if role not in _GEMMA_ROLES:
            return [(content, False), ("\n", True)]
        return [(f"<start_of_turn>{_GEMMA_ROLES[role]}\n", True), (content, False), ("<end_of_turn>\n", True)]
    return [(role, False), (": ", True), (content, False), ("\n", True)]


def _opening(chat_format: str | None) -> str:
    """The opening of the assistant's answer."""
    if chat_format == "chatml":
        return "<|im_start|>assistant\n"
    if chat_format == "gemma":
        return "<start_of_turn>model\n"
    return "assistant: "


def _merge(parts: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Joins adjacent pieces of the same kind, so that the tokenizer sees text unsplit."""
    merged: list[tuple[str, bool]] = []
    for text, is_scaffold in parts:
        if merged and merged[-1][1] == is_scaffold:
            merged[-1] = (merged[-1][0] + text, is_scaffold)
        elif text:
            merged.append((text, is_scaffold))
    return merged
