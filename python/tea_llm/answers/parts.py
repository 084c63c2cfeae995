"""The parts of an answer, from the parse of llama.cpp, with no text lost.

The rule: text that the parser did not take for something else is content. Only the markup of the format is left out,
and a call that was cut.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tea_llm import _core

__all__ = ["Parts", "begun_parts", "ended_parts"]

_MAX_MARKUP = 200
"""Bytes. While no more are unread, the parser may still accept them: it fails at the beginning of some marks."""


class Parts(NamedTuple):
    """The parts of an answer.

    Attributes:
        content: the text for the user.
        reasoning: what the model wrote before it; empty: nothing.
        calls: ``(id, name, arguments)`` of each; the id may be empty, the arguments are JSON or its beginning.
        is_text: of an answer that goes on: all that follows is content.
    """

    content: str
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    is_text: bool = False


def begun_parts(
    read: _core.AnswerParts, text: str, *, shows_open_call: bool = False, ends: Sequence[str] = ()
) -> Parts:
    """The parts of an incomplete answer that more text cannot change.

    Args:
        read: of the text.
        text: of the answer so far.
        shows_open_call: a grammar holds the model to the format, so that a call that has begun will be one.
        ends: texts that end reasoning.
    """
    calls, odd = _calls(read)
    is_stuck = read.state == "stuck" or (odd is not None and odd.is_closed)
    n_read = read.bytes_read if odd is None else odd.begin
    n_good = max(read.bytes_good, n_read) if read.state == "stuck" else n_read
    size = len(text.encode())
    if (is_stuck or read.state == "whole") and size - n_good > _MAX_MARKUP:
        return ended_parts(read, text, ends=ends)._replace(is_text=True)
    content = read.content if odd is None else _content_before(read, odd)
    if odd is not None and not odd.is_closed and shows_open_call:
        calls.append(odd)
    if not shows_open_call and odd is None and calls and calls[-1].content_bytes == len(content.encode()):
        calls.pop()  # the next text may show that it is not a call
    return _parts(content, read.reasoning, calls)


def ended_parts(
    read: _core.AnswerParts, text: str, *, is_cut: bool = False, markers: Sequence[str] = (), ends: Sequence[str] = ()
) -> Parts:
    """The parts of a complete answer.

    Args:
        read: of the text.
        text: of the answer.
        is_cut: it was cut off: what it has begun to write in the format's markup is left out.
        markers: texts that are markup.
        ends: texts that end reasoning.
    """
    calls, odd = _calls(read)
    content, n_read = (read.content, read.bytes_read) if odd is None else (_content_before(read, odd), odd.begin)
    rest = text.encode()[n_read:].decode()
    is_open = is_cut and read.state == "open"
    reasoning = read.reasoning
    if is_open and (odd is not None or any(rest.lstrip().startswith(marker) for marker in markers if marker)):
        rest = ""
    elif read.is_reasoning and odd is None:
        if read.state == "open":  # the beginning of its end, or what looks like that
            reasoning, rest = reasoning + rest, ""
        end = next((end.strip() for end in ends if rest.lstrip().startswith(end.strip())), "")
        rest = rest.lstrip()[len(end) :]
    if not rest.isspace() or (content and not calls):
        content += rest if content or not reasoning else rest.lstrip()
    return _parts(content, reasoning, calls)


def _parts(content: str, reasoning: str, calls: Sequence[_core.AnswerCall]) -> Parts:
    written = tuple((call.id, call.name, call.arguments) for call in calls)
    return Parts("" if content.isspace() else content, reasoning.strip(), written)


def _calls(read: _core.AnswerParts) -> tuple[list[_core.AnswerCall], _core.AnswerCall | None]:
    """The calls before the first incomplete one, and that one."""
    calls = read.calls
    for number, call in enumerate(calls):
        if not call.is_closed or not _is_object(call.arguments):
            return calls[:number], call
    return calls, None


def _content_before(read: _core.AnswerParts, call: _core.AnswerCall) -> str:
    return read.content.encode()[: call.content_bytes].decode()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
