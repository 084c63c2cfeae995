"""A conversation: messages with what is usually done to them."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tea_llm._check import check_int, check_path
from tea_llm._files import replacing
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
        self._messages.append(check_message(message, len(self._messages), joins_parts=False))

    def trim(self, n_most: int, count: Callable[[list[dict[str, Any]]], int]) -> int:
        """Forgets the oldest turns until no more than ``n_most`` tokens are left.

        A turn is a user's message with all that follows up to the next one. System messages, whatever comes before the
        first turn, and the last turn are always kept.

        Args:
            n_most: tokens. Leave room for the answer: ``llm.info.n_ctx - 500``, say.
            count: tells how many tokens messages make: ``llm.count_tokens``. Called a few times, also for a
                conversation of thousands of turns.

        Returns:
            how many messages were forgotten.

        Raises:
            TypeError: an argument of a wrong type.
        """
        check_int("n_most", n_most, -(2**63), 2**63)
        if not callable(count):
            raise TypeError(f"count must be a function of messages, as llm.count_tokens, not {type(count).__name__}")
        begins = [index for index, message in enumerate(self._messages) if message["role"] == "user"]
        later = begins[1:]
        if not later or count(self._messages) <= n_most:
            return 0
        # Fewer turns are fewer tokens, so that halving finds the first turn from which all fits.
        first = bisect_left(later[:-1], True, key=lambda begin: count(self._since(begin)) <= n_most)
        kept = self._since(later[first])
        n_forgotten = len(self._messages) - len(kept)
        self._messages = kept
        return n_forgotten

    def _since(self, begin: int) -> list[dict[str, Any]]:
        """The messages from a turn on, behind those of earlier ones that are kept."""
        n_head = next(index for index, message in enumerate(self._messages) if message["role"] == "user")
        kept = [message for message in self._messages[n_head:begin] if message["role"] in ("system", "developer")]
        return self._messages[:n_head] + kept + self._messages[begin:]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as JSON, ``{"messages": [...]}``. The file is replaced as a whole or not at all.

        Raises:
            OSError: it cannot be written; an older one is as it was.
        """
        document = json.dumps({"messages": self._messages}, ensure_ascii=False, indent=1) + "\n"
        with replacing(Path(check_path("path", path))) as file:
            file.write(document.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Reads what ``save`` wrote.

        Raises:
            OSError: the file cannot be read.
            TypeError, ValueError: it is not a conversation.
        """
        document = json.loads(Path(check_path("path", path)).read_text("utf-8"))
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
