"""Calls held against what their functions take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tea_llm.types import LlmCallResult, ToolCall

__all__ = ["with_problems"]

logger = logging.getLogger("tea_llm")


def with_problems(
    result: LlmCallResult, tools: Sequence[Mapping[str, Any]], *, is_logged: bool = False
) -> LlmCallResult:
    """The result with the problems of its calls, which the log is told.

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
