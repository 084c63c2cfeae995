"""A conversation: messages with what is usually done to them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tea_llm.chat.messages import check_message
from tea_llm.types import LlmCallResult, Message

__all__ = ["Conversation", "message_of"]


class Conversation:
    """The messages of a chat, to be passed to ``chat`` and ``stream_chat`` as they are.

    Args:
        messages: to begin with, as ``chat`` takes them.

    Raises:
        TypeError, ValueError: as ``chat`` for a message that is not valid.

    Example:
        >>> talk = Conversation([{"role": "system", "content": "Be brief."}])
        >>> talk.append({"role": "user", "content": "Hi"})
        >>> len(talk), talk.messages[-1]["content"]
        (2, 'Hi')
    """

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages: list[dict[str, Any]] = []
        for message in messages:
            self.append(message)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """A copy of the list, in OpenAI's form."""
        return list(self._messages)

    def append(self, message: Message | LlmCallResult) -> None:
        """Adds a message, or an answer with its reasoning and its tool calls as the assistant's.

        Raises:
            TypeError, ValueError: as ``chat`` for a message that is not valid.
        """
        if isinstance(message, LlmCallResult):
            message = message_of(message)
        self._messages.append(check_message(message, len(self._messages)))

    def trim(self, n_most: int, count: Callable[[list[dict[str, Any]]], int]) -> int:
        """Forgets the oldest turns until no more than ``n_most`` tokens are left.

        A turn is a user's message with all that follows up to the next one. What stands before the first one, as a
        system message does, and the last turn are always kept.

        Args:
            n_most: tokens. Leave room for the answer: ``llm.info.n_ctx - 500``, say.
            count: tells how many tokens messages make: ``llm.count_tokens``.

        Returns:
            how many messages were forgotten.
        """
        begins = [index for index, message in enumerate(self._messages) if message["role"] == "user"]
        n_head = begins[0] if begins else 0
        n_forgotten = 0
        for begin in begins:
            kept = self._messages[:n_head] + self._messages[begin:]
            n_forgotten = begin - n_head
            if begin == begins[-1] or count(kept) <= n_most:
                self._messages = kept
                break
        return n_forgotten

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON, ``{"messages": [...]}``. The file is replaced as a whole or not at all.

        Raises:
            OSError: it cannot be written; an older one is as it was.
        """
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            unfinished.write_text(
                json.dumps({"messages": self._messages}, ensure_ascii=False, indent=1) + "\n", "utf-8"
            )
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Reads what ``save`` wrote.

        Raises:
            OSError: the file cannot be read.
            TypeError, ValueError: it is not a conversation.
        """
        document = json.loads(Path(path).read_text("utf-8"))
        messages = document.get("messages") if isinstance(document, Mapping) else None
        if not isinstance(messages, list):
            raise ValueError(f"{os.fspath(path)} holds no conversation: it has no list 'messages'")
        return cls(messages)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"<Conversation of {len(self)} messages>"


def message_of(result: LlmCallResult) -> dict[str, Any]:
    """An answer as a message of the assistant's."""
    message: dict[str, Any] = {"role": "assistant", "content": result.content}
    if result.reasoning:
        message["reasoning_content"] = result.reasoning
    if result.tool_calls:
        message["content"] = result.content or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in result.tool_calls
        ]
    return message
