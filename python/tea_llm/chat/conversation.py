"""``Conversation``: a list of messages that can be trimmed, saved and loaded."""

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
    """The messages of a chat. Can be passed to ``chat`` and ``stream_chat``.

    Args:
        messages: initial messages, as for ``chat``.

    Raises:
        TypeError, ValueError: a message is invalid, as for ``chat``.

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
        """A copy of the messages, in the OpenAI API's form."""
        return list(self._messages)

    def append(self, message: Message | LlmCallResult) -> None:
        """Adds a message, or an answer with its reasoning and tool calls as an assistant's message.

        Raises:
            TypeError, ValueError: the message is invalid, as for ``chat``.
        """
        if isinstance(message, LlmCallResult):
            message = message_of(message)
        self._messages.append(check_message(message, len(self._messages), joins_parts=False))

    def trim(self, n_most: int, count: Callable[[list[dict[str, Any]]], int]) -> int:
        """Removes the oldest turns until at most ``n_most`` tokens remain.

        A turn is a user's message with all messages up to the next user's message. System messages, messages before the
        first turn, and the last turn are always kept.

        Args:
            n_most: maximum number of tokens. Leave room for the answer, for example ``llm.info.n_ctx - 500``.
            count: returns the number of tokens of messages, like ``llm.count_tokens``. It is called only a few times,
                even for thousands of turns.

        Returns:
            The number of messages removed.

        Raises:
            TypeError: an argument has a wrong type.
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
        """The messages from a turn on, after the earlier messages that are kept."""
        n_head = next(index for index, message in enumerate(self._messages) if message["role"] == "user")
        kept = [message for message in self._messages[n_head:begin] if message["role"] in ("system", "developer")]
        return self._messages[:n_head] + kept + self._messages[begin:]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the messages as JSON, ``{"messages": [...]}``. The file is replaced atomically.

        Raises:
            OSError: the file cannot be written; an existing file is unchanged.
        """
        document = json.dumps({"messages": self._messages}, ensure_ascii=False, indent=1) + "\n"
        with replacing(Path(check_path("path", path))) as file:
            file.write(document.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Reads a file written by ``save``.

        Raises:
            OSError: the file cannot be read.
            TypeError, ValueError: the file does not contain a conversation.
        """
        text = Path(check_path("path", path)).read_text("utf-8")
        try:
            document = json.loads(text)
        except RecursionError:
            raise ValueError(f"{os.fspath(path)} holds no conversation: it is nested too deeply") from None
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
    """An answer as an assistant's message."""
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
