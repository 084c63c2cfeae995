"""Problems of calls: in the result and in the log."""

from __future__ import annotations

from typing import Any

import pytest

from tea_llm.answers.calls import with_problems
from tea_llm.types import Choice, LlmCallResult, ToolCall, Usage

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"maximum": 2}}}}},
    {"type": "function", "function": {"name": "g"}},
]
RIGHT, WRONG, OTHER = ToolCall("1", "f", {"a": 1}), ToolCall("2", "f", {"a": 3}), ToolCall("3", "h", {})


def result_of(*choices: tuple[ToolCall, ...]) -> LlmCallResult:
    many = tuple(Choice(index, "", "tool_calls", calls) for index, calls in enumerate(choices))
    return LlmCallResult(
        "", "m", 1, "tool_calls", Usage(1, 1, 2), tool_calls=choices[0], choices=many if len(many) > 1 else ()
    )


def test_problems_are_in_the_result_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    calls = with_problems(result_of((RIGHT, WRONG, OTHER, ToolCall("4", "g", {"x": 1}))), TOOLS).tool_calls
    assert [call.problems for call in calls] == [(), ("a: 3 is more than 2",), ("there is no function 'h'",), ()]
    assert [record.getMessage() for record in caplog.records] == [
        "A call of f does not fit its parameters: a: 3 is more than 2",
        "A call of h does not fit its parameters: there is no function 'h'",
    ]


def test_each_choice_has_its_own(caplog: pytest.LogCaptureFixture) -> None:
    result = with_problems(result_of((RIGHT,), (WRONG,)), TOOLS, is_logged=True)
    assert result.tool_calls == result.choices[0].tool_calls == (RIGHT,)
    assert result.choices[1].tool_calls[0].problems
    assert not caplog.records
