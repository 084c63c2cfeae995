"""``llm.tools``: rounds of calls."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tea_llm import LlmCallResult, ToolCall, Usage
from tea_llm.actions import register_actions
from tea_llm.actions.tools import Toolbox, ToolDefinitionError
from tea_llm.testing import MockBackend

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"city": {"type": "string", "required": True}, "unit": "string"},
    "action": "weather.get",
}


def calls(*asked: tuple[str, dict[str, Any]], content: str = "") -> LlmCallResult:
    """A result that asks for tools."""
    made = tuple(ToolCall(f"c{i}", name, arguments) for i, (name, arguments) in enumerate(asked))
    return LlmCallResult(content, "mock", 1, "tool_calls" if made else "stop", Usage(1, 1, 2), tool_calls=made)


def run(llm: MockBackend, **params: Any) -> dict[str, Any]:
    registry: dict[str, Any] = {}
    engine = SimpleNamespace(llm_backend=llm, actions_registry=registry)
    register_actions(registry, engine)
    registry["weather.get"] = lambda state, city, unit="C": {"city": city, "degrees": 21, "user": state["user"]}

    def fail(state: object) -> None:
        raise RuntimeError("out of order")

    registry["fail"] = fail
    result: dict[str, Any] = registry["llm.tools"](state={"user": "Ada"}, **params)
    return result


def test_a_call_is_dispatched_and_answered() -> None:
    llm = MockBackend([calls(("get_weather", {"city": "Paris"})), calls(content="21 degrees.")])
    result = run(llm, prompt="Weather?", tools=[WEATHER], tool_choice="required", temperature=0)
    assert result["content"] == "21 degrees."
    assert result["rounds"] == 2
    assert result["tool_calls"] == [{"id": "c0", "name": "get_weather", "arguments": {"city": "Paris"}}]
    (answer,) = result["tool_results"]
    assert (answer["tool_call_id"], answer["name"]) == ("c0", "get_weather")
    assert json.loads(answer["result"]) == {"city": "Paris", "degrees": 21, "user": "Ada"}
    messages, options = llm.calls[1].prompt, llm.calls[1].options
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert messages[2]["content"] == answer["result"]
    assert [call.options["tool_choice"] for call in llm.calls] == ["required", "auto"]
    schema = options["tools"][0]["function"]["parameters"]
    assert schema == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    }


def test_what_goes_wrong_in_a_tool_is_told_to_the_model() -> None:
    tools = [
        {"type": "function", "function": {"name": "free"}},
        {"type": "function", "function": {"name": "broken"}, "action": "fail"},
        {"name": "lost", "action": "not.there"},
    ]
    asked = calls(("free", {"x": 1}), ("broken", {}), ("lost", {}), ("broken", {"state": 1}))
    llm = MockBackend([asked, calls(content="k")])
    results = [json.loads(answer["result"]) for answer in run(llm, prompt="x", tools=tools)["tool_results"]]
    assert results == [
        {"note": "Tool 'free' called but no action mapped", "arguments": {"x": 1}},
        {"error": "out of order"},
        {"error": "Action 'not.there' is not registered"},
        {"error": "'state' is not allowed as an argument of a tool"},
    ]


def test_rounds_end() -> None:
    llm = MockBackend([calls(("get_weather", {"city": "Paris"}), content="hm")] * 2)
    result = run(llm, prompt="x", tools=[WEATHER], max_tool_rounds=2)
    assert (result["content"], result["rounds"], len(result["tool_calls"])) == ("", 2, 2)
    assert result["warning"] == "Max tool rounds (2) reached"


@pytest.mark.parametrize(
    "tool",
    ["text", {}, {"name": ""}, {"name": "x", "parameters": [1]}, {"name": "x", "parameters": {"p": 1}}]
    + [{"name": "x", "action": action} for action in ("", "../x", "a/b", "a\\b", None)],
)
def test_a_tool_that_is_none(tool: Any) -> None:
    with pytest.raises(ToolDefinitionError):
        Toolbox.of([tool])
    failed = run(MockBackend(), prompt="x", tools=[tool])
    assert failed["error"].startswith("Invalid tool definition: ")
    assert (failed["success"], failed["tool_calls"], failed["tool_results"], failed["rounds"]) == (False, [], [], 0)


def test_a_failure_keeps_what_was_done() -> None:
    llm = MockBackend([calls(("get_weather", {"city": "Paris"}))])
    failed = run(llm, prompt="x", tools=[WEATHER])
    assert failed["error"].startswith("LLM tool calling failed: ")
    assert (failed["rounds"], len(failed["tool_results"])) == (1, 1)
