"""What servers send in pieces, put together: characters, contents in parts, tool calls. Pure, no network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tea_llm.answers.reader import CallIds
from tea_llm.errors import ApiResponseError
from tea_llm.types import ToolCall, ToolCallDelta

__all__ = ["CallPieces", "ContentPiece", "WholeCharacters", "some", "text_of"]

logger = logging.getLogger("tea_llm")

_MAX_SHOWN = 2000
"""Of what a server sent. Longer than what a message shows in the end (``Endpoint.redact``), so that no key is cut."""


class WholeCharacters:
    """A text from pieces that may end within a character: JSON has those above U+FFFF as two halves (surrogates).

    A half whose other half never comes is left out at the end, and is U+FFFD anywhere else.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """What is certain by now."""
        if not self._half and piece.isascii():
            return piece
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text[: len(text) - len(self._half)]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class ContentPiece:
    """A message's content, or a piece of it, told apart.

    Attributes:
        text: for the user; a refusal, too.
        reasoning: what the model wrote for itself.
        refusal: the text, where it is a refusal.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""

    @classmethod
    def of(cls, message: Mapping[Any, Any]) -> ContentPiece:
        """Reads a message or a delta: ``content`` as a text or a list of parts, ``reasoning``, ``refusal``."""
        text, refusal = "", text_of(message.get("refusal"))
        reasoning = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            if part is None:
                continue
            kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
            if isinstance(part, str):
                text += part
            elif kind == "text" or kind == "output_text":
                text += text_of(part.get("text"))
            elif kind == "refusal":
                refusal += text_of(part.get("refusal"))
            elif kind == "thinking":  # Mistral's
                reasoning += cls.of({"content": part.get("thinking")}).text
            else:
                logger.warning("A part of the API's answer has the type %r, which is not text: left out", kind)
        return cls(text + refusal, reasoning, refusal)


class CallPieces:
    """Tool calls from their pieces.

    Args:
        index: of the choice that makes them.
        call_ids: names for calls to which the server gives none.
    """

    def __init__(self, index: int, call_ids: CallIds) -> None:
        self._index = index
        self._call_ids = call_ids
        self._calls: list[dict[str, str]] = []
        self._characters: list[WholeCharacters] = []
        self._latest: dict[int, int] = {}  # by the server's number of a call: its place in _calls

    def add(self, position: int, piece: object, *, is_whole: bool = False) -> ToolCallDelta:
        """Takes a piece in and returns what is new.

        Args:
            position: in the list that it came in; its number, where the server gives none.
            piece: of a call.
            is_whole: whether each piece is a call.

        Raises:
            ApiResponseError: not a piece of a call.
        """
        function = piece.get("function") if isinstance(piece, Mapping) else None
        if not isinstance(piece, Mapping) or not isinstance(function, Mapping):
            raise ApiResponseError(f"not a tool call: {some(piece)}")
        given_number = piece.get("index")
        number = given_number if isinstance(given_number, int) else position
        given_id, name, given = text_of(piece.get("id")), text_of(function.get("name")), function.get("arguments")
        arguments = json.dumps(given) if isinstance(given, Mapping) else text_of(given)
        place = self._latest.get(number)
        is_new = is_whole or place is None or _is_another(self._calls[place], given_id, name, arguments)
        if is_new or place is None:
            place = self._latest[number] = len(self._calls)
            call_id = self._call_ids.of(self._index, place, given_id)
            self._calls.append({"id": call_id, "given_id": given_id, "name": "", "arguments": ""})
            self._characters.append(WholeCharacters())
        call = self._calls[place]
        call["name"] += name if name != call["name"] else ""  # some repeat it with each piece
        arguments = self._characters[place].add(arguments)
        call["arguments"] += arguments
        if is_new:
            return ToolCallDelta(place, call["id"], call["name"], arguments)
        return ToolCallDelta(place, arguments=arguments)

    def calls(self, *, is_cut: bool) -> tuple[ToolCall, ...]:
        """The calls. ``is_cut``: where the answer was cut off, calls whose arguments are not whole are left out.

        Raises:
            ApiResponseError: a call's arguments are not a JSON object.
        """
        calls = []
        for call in self._calls:
            arguments = _json_object(call["arguments"] or "{}")
            if arguments is not None:
                calls.append(ToolCall(call["id"], call["name"], arguments))
            elif not is_cut:
                shown = some(call["arguments"])
                raise ApiResponseError(f"the arguments for {call['name']!r} are not a JSON object: {shown}")
        return tuple(calls)


def _is_another(call: Mapping[str, str], given_id: str, name: str, arguments: str) -> bool:
    """Whether a piece begins another call than ``call``, which has its number.

    Some servers give all calls one number, or none; the id tells them apart, or the name where there are no ids.
    """
    if given_id and call["given_id"]:
        return given_id != call["given_id"]
    if not name or not call["arguments"]:
        return False
    return name != call["name"] or (bool(arguments) and _json_object(call["arguments"]) is not None)


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(value: object) -> str:
    """``value`` where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def some(value: object) -> str:
    """The beginning of what a server sent, for a message."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
