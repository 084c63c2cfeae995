"""Splits a streamed answer into content, reasoning and calls while it arrives."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tea_llm.answers.parts import Parts
from tea_llm.types import StreamChunk, ToolCallDelta

if TYPE_CHECKING:
    from tea_llm.answers.format import AnswerFormat

__all__ = ["AnswerReader", "CallIds"]

_SHARE = 50
"""A parse is due when this many times the last one's duration has passed, since each parse reads all of the text."""


class CallIds:
    """Ids of calls, the same in the stream and in the result. Nine letters or digits, as Mistral requires."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], str] = {}

    def of(self, index: int, number: int, given: str) -> str:
        """The model's own id of a call, or a new one; the same at each call.

        Args:
            index: of the choice.
            number: of the call in it.
            given: by the model; may be empty.
        """
        made = given or base64.b32encode(os.urandom(6)).decode()[:9]
        return self._made.setdefault((index, number), made)  # the model may write its own when one was streamed


class AnswerReader:
    """Accepts the text of one choice piece by piece, and returns the new chunks.

    Args:
        answer_format: of the answer.
        index: of the choice.
        call_ids: names for calls that the model gives none.
    """

    def __init__(self, answer_format: AnswerFormat, index: int, call_ids: CallIds) -> None:
        self._format = answer_format
        self._index = index
        self._ids = call_ids
        self._text = ""
        self._given = Parts("")
        self._rest_until = 0.0
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts | None:
        """The whole answer, which the pieces join to; None before ``finish``."""
        return self._parts

    def take(self, text: str) -> list[StreamChunk]:
        """The new and certain chunks after one more piece of text."""
        self._text += text
        begin = time.monotonic()
        if not text or (begin < self._rest_until and not self._given.is_text):
            return []
        if self._given.is_text:
            return list(self._news(self._given._replace(content=self._given.content + text)))
        parts = self._format.parse_partial(self._text)
        end = time.monotonic()
        self._rest_until = end + _SHARE * (end - begin)
        return list(self._news(parts))

    def finish(self, *, is_cut: bool) -> list[StreamChunk]:
        """The remaining chunks when the text has ended."""
        parts = self._given if self._given.is_text else self._format.parse(self._text, is_cut=is_cut)
        chunks = list(self._news(parts))
        self._parts = Parts(self._given.content, self._given.reasoning, parts.calls)
        return chunks

    def _news(self, parts: Parts) -> Iterator[StreamChunk]:
        """The chunks of ``parts`` that have not been returned yet."""
        given = self._given
        reasoning, content = _further(given.reasoning, parts.reasoning), _further(given.content, parts.content)
        if reasoning or content:
            yield StreamChunk(content, self._index, reasoning=reasoning)
        calls = list(given.calls)
        for number, (call_id, name, arguments) in enumerate(parts.calls):
            known = calls[number] if number < len(calls) else None
            if not name or (known is not None and known[1] != name):
                break
            more = arguments if known is None else _further(known[2], arguments)
            if known is None or more:
                call_id = self._ids.of(self._index, number, call_id)
                delta = (
                    ToolCallDelta(number, call_id, name, more)
                    if known is None
                    else ToolCallDelta(number, arguments=more)
                )
                yield StreamChunk("", self._index, tool_call_deltas=(delta,))
                calls[number:] = [(call_id, name, (known[2] if known else "") + more)]
        self._given = Parts(given.content + content, given.reasoning + reasoning, tuple(calls), parts.is_text)


def _further(given: str, whole: str) -> str:
    """The rest of ``whole`` after ``given``. Streamed text cannot be taken back; where the two differ, none is lost."""
    if whole.startswith(given):
        return whole[len(given) :]
    same = next((i for i, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b), len(given))
    return whole[same:]
