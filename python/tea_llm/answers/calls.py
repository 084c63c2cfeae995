"""Function calls: finding them in a text, and checking their arguments against the schemas."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tea_llm.types import LlmCallResult, ToolCall

__all__ = ["find_calls", "with_problems"]

logger = logging.getLogger("tea_llm")

_TAGGED = re.compile(r"<tool_call>((?:(?!<tool_call>).)*?)(?:</tool_call>|$)", re.DOTALL)
_FENCED = re.compile(r"^```(?:json)?\s*(.*?)\s*(?:```)?$", re.DOTALL)
_CALL_KEYS = {"name", "arguments", "parameters", "id", "type"}


def find_calls(text: str, names: Collection[str]) -> tuple[str, tuple[ToolCall, ...]]:
    """Splits an answer into its text and its calls.

    A call is ``{"name": ..., "arguments": {...}}`` (or ``parameters``) between ``<tool_call>`` tags, or the whole
    answer is one or a list of them, fenced or not. What is not a call of a known function stays text.

    Args:
        text: of the answer.
        names: of the functions that there are.

    Example:
        >>> find_calls('{"name": "add", "arguments": {"a": 1}}', ["add"])[1][0].arguments
        {'a': 1}
    """
    calls: list[tuple[str, dict[str, Any]]] = []

    def take(match: re.Match[str]) -> str:
        found = list(_calls_in(match[1], names))
        calls.extend(found)
        return "" if found else match[0]

    rest = _TAGGED.sub(take, text).strip()
    if calls:
        return rest, _numbered(calls)
    fenced = _FENCED.match(text.strip())
    calls = list(_calls_in(fenced[1] if fenced else text, names))
    return ("", _numbered(calls)) if calls else (text, ())


def _calls_in(text: str, names: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    items = found if isinstance(found, list) else [found]
    calls = [_call_of(item, names) for item in items]
    if all(calls):
        yield from (call for call in calls if call is not None)


def _call_of(item: object, names: Collection[str]) -> tuple[str, dict[str, Any]] | None:
    if not isinstance(item, dict):
        return None
    nested = item.get("function")
    function = nested if isinstance(nested, dict) else item
    if not _CALL_KEYS.issuperset(function):
        return None
    name, arguments = function.get("name"), function.get("arguments", function.get("parameters", {}))
    return (name, arguments) if isinstance(name, str) and name in names and isinstance(arguments, dict) else None


def _numbered(calls: Sequence[tuple[str, dict[str, Any]]]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"call_{index}", name, arguments) for index, (name, arguments) in enumerate(calls))


def with_problems(
    result: LlmCallResult, tools: Sequence[Mapping[str, Any]], *, is_logged: bool = False
) -> LlmCallResult:
    """The result with the problems of its calls, which are also logged.

    Args:
        result: of a chat.
        tools: that could be called, in the OpenAI API's form.
        is_logged: the log knows them.
    """
    if not result.tool_calls and not any(choice.tool_calls for choice in result.choices):
        return result
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    choices = tuple(replace(one, tool_calls=_checked(one.tool_calls, schemas)) for one in result.choices)
    calls = choices[0].tool_calls if choices else _checked(result.tool_calls, schemas)
    for call in [call for choice in choices for call in choice.tool_calls] or calls:
        if call.problems and not is_logged:
            logger.warning("A call of %s does not fit its parameters: %s", call.name, "; ".join(call.problems))
    return replace(result, tool_calls=calls, choices=choices)


def _checked(calls: Sequence[ToolCall], schemas: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    return tuple(replace(call, problems=_problems(call, schemas)) for call in calls)


def _problems(call: ToolCall, schemas: Mapping[str, Any]) -> tuple[str, ...]:
    from tea_llm.grammar.validate import problems_of

    if call.name not in schemas:
        return (f"there is no function {call.name!r}",)
    return problems_of(call.arguments, schemas[call.name] or {})
