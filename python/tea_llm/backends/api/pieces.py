"""Assembles characters, contents and tool calls that servers send in pieces. Pure, no network."""

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
"""Longer than the text in error messages (``Endpoint.redact``), so that a key is never cut before it is redacted."""


class WholeCharacters:
    """Joins pieces that may end inside a surrogate pair, which is how JSON escapes characters above U+FFFF.

    Half a pair is dropped at the end of the text, and becomes U+FFFD elsewhere.
    """

    def __init__(self) -> None:
        self._half = ""

    def add(self, piece: str) -> str:
        """The text so far, without half a pair at its end."""
        if not self._half and piece.isascii():
            return piece
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text[: len(text) - len(self._half)]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class ContentPiece:
    """The parts of a message or of a piece of one.

    Attributes:
        text: the text for the user, including refusals.
        reasoning: the reasoning.
        refusal: the text, if it is a refusal.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""

    @classmethod
    def of(cls, message: Mapping[Any, Any]) -> ContentPiece:
        """Parses a message or delta: ``content`` as text or list of parts, ``reasoning`` and ``refusal``.

        Raises:
            ApiResponseError: a part is neither text nor an object.
        """
        text, refusal = "", text_of(message.get("refusal"))
        reasoning = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            if part is None:
                continue
            if isinstance(part, str):
                text += part
                continue
            if not isinstance(part, Mapping):
                raise ApiResponseError(f"not a part of an answer's content: {some(part)}")
            kind = part.get("type", "text")
            if kind == "text" or kind == "output_text":
                text += text_of(part.get("text"))
            elif kind == "refusal":
                refusal += text_of(part.get("refusal"))
            elif kind == "thinking":  # by Mistral
                reasoning += cls.of({"content": part.get("thinking")}).text
            else:
                logger.warning("A part of the API's answer has the type %r, which is not text: left out", kind)
        return cls(text + refusal, reasoning, refusal)


class CallPieces:
    """Assembles tool calls from pieces.

    Args:
        index: index of the choice.
        call_ids: creates ids for calls without one.
    """

    def __init__(self, index: int, call_ids: CallIds) -> None:
        self._index = index
        self._call_ids = call_ids
        self._calls: list[dict[str, str]] = []
        self._characters: list[WholeCharacters] = []
        self._latest: dict[int, int] = {}  # the index in _calls by the server's number of a call

    def add(self, position: int, piece: object, *, is_whole: bool = False) -> ToolCallDelta:
        """Adds a piece and returns what is new.

        Args:
            position: position in its list, used as the call's number if the server gives none.
            piece: the piece of a call.
            is_whole: whether each piece is a whole call.

        Raises:
            ApiResponseError: the piece is malformed.
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
        call["name"] += name if name != call["name"] else ""  # some servers repeat it in each piece
        arguments = self._characters[place].add(arguments)
        call["arguments"] += arguments
        if is_new:
            return ToolCallDelta(place, call["id"], call["name"], arguments)
        return ToolCallDelta(place, arguments=arguments)

    def calls(self, *, is_cut: bool) -> tuple[ToolCall, ...]:
        """All calls. With ``is_cut``, calls with incomplete arguments are left out.

        Raises:
            ApiResponseError: the arguments of a call are not a JSON object.
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
    """Whether a piece starts a new call although it has the number of ``call``.

    Some servers number all calls alike, or not at all; their calls differ by id, or by name if there are no ids.
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
    """``value`` if it is a string, else an empty string."""
    return value if isinstance(value, str) else ""


def some(value: object) -> str:
    """The beginning of a server's answer, for an error message."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        text = "JSON that is nested too deeply to be shown"
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
