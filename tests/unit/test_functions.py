"""Python functions as tools."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from tea_llm import Conversation, LlmCallResult, ToolCall, Usage
from tea_llm.chat.functions import FunctionTool, FunctionTools
from tea_llm.testing import MockBackend

HI = [{"role": "user", "content": "x"}]


class Unit(Enum):
    CELSIUS = "c"
    KELVIN = "k"


def weather(
    place: Annotated[str, Field(description="a town")],
    days: list[int],
    unit: Unit = Unit.CELSIUS,
    top: int | None = None,
) -> dict[str, object]:
    """Tells the weather.

    What stands here is for people.
    """
    assert isinstance(unit, Unit)
    return {"place": place, "days": days, "unit": unit.value, "top": top}


def fail(kind: Literal["a", "b"]) -> str:
    raise RuntimeError(f"no {kind} today")


async def wait(seconds: float) -> str:
    await asyncio.sleep(0)
    return f"waited {seconds}"


def calls(*pairs: tuple[str, dict[str, Any]]) -> LlmCallResult:
    asked = tuple(ToolCall(str(index), name, arguments) for index, (name, arguments) in enumerate(pairs))
    return LlmCallResult(
        content="", model="m", tokens_used=1, finish_reason="tool_calls", usage=Usage(1, 1, 2), tool_calls=asked
    )


def test_what_a_model_is_told() -> None:
    told = FunctionTool(weather).definition["function"]
    assert (told["name"], told["description"]) == ("weather", "Tells the weather.")
    parameters = told["parameters"]
    assert parameters["required"] == ["place", "days"]
    assert parameters["properties"]["place"]["description"] == "a town"
    assert parameters["properties"]["days"] == {"items": {"type": "integer"}, "title": "Days", "type": "array"}
    assert parameters["additionalProperties"] is False


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "'x' has no type hint"),
        (lambda *x: x, "'x' must be one that can be passed by name"),
        (eval("lambda x, /: x"), "'x' must be one that can be passed by name"),  # noqa: S307
        ("weather", "must be a function, not str"),
    ],
)
def test_what_cannot_be_a_tool(function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        FunctionTools([function])
    with pytest.raises(ValueError, match="two tools named 'weather'"):
        FunctionTools([weather, weather])


def test_functions_are_called_until_there_are_no_more_calls() -> None:
    replies: list[str | LlmCallResult] = [
        calls(("weather", {"place": "oslo", "days": ["1", 2], "unit": "k"}), ("fail", {"kind": "a"})),
        calls(("weather", {"place": "oslo"}), ("nothing", {})),
        "It rains.",
    ]
    llm = MockBackend(replies)
    talk = Conversation(HI)
    result = llm.run_tools(talk, [weather, fail], tool_choice="required", temperature=0)
    assert result.content == "It rains."
    contents = [message["content"] for message in talk if message["role"] == "tool"]
    assert contents[0] == '{"place": "oslo", "days": [1, 2], "unit": "k", "top": null}'
    assert contents[1] == "error: RuntimeError: no a today"
    assert contents[2].startswith("error: ValidationError: 1 validation error")
    assert contents[3] == "error: LookupError: there is no function 'nothing'"
    assert [message["role"] for message in talk][-1] == "assistant"
    assert [call.options["tool_choice"] for call in llm.calls] == ["required", "auto", "auto"]
    assert all(len(call.options["tools"]) == 2 and call.options["temperature"] == 0 for call in llm.calls)


def test_async_functions() -> None:
    llm = MockBackend([calls(("wait", {"seconds": 2}), ("weather", {"place": "x", "days": []})), "Done."])
    talk = Conversation(HI)
    assert asyncio.run(llm.arun_tools(talk, [wait, weather])).content == "Done."
    assert talk.messages[2]["content"] == "waited 2.0"


class Waiter:
    async def __call__(self, seconds: float) -> str:
        return await wait(seconds)


@pytest.mark.parametrize(
    "function", [wait, functools.partial(wait), functools.wraps(wait)(lambda seconds: wait(seconds)), Waiter()]
)
def test_an_async_function_is_refused_before_anything_is_asked(function: Any) -> None:
    llm = MockBackend(["never"])
    with pytest.raises(TypeError, match="is async: use arun_tools"):
        llm.run_tools(HI, [weather, function])
    assert llm.calls == []


def test_an_awaitable_is_no_result() -> None:
    def later(seconds: float) -> object:
        return wait(seconds)

    with pytest.raises(TypeError, match="later returned an awaitable: use arun_tools"):
        MockBackend([calls(("later", {"seconds": 1}))]).run_tools(HI, [later])


def test_a_failed_function_is_in_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "tea_llm"):
        MockBackend([calls(("fail", {"kind": "a"})), "Done."]).run_tools(HI, [fail])
    (record,) = (record for record in caplog.records if record.exc_info)
    assert (record.levelname, record.getMessage()) == ("DEBUG", "The function fail failed for {'kind': 'a'}")
    assert 'raise RuntimeError(f"no {kind} today")' in caplog.text


def test_rounds_are_limited() -> None:
    llm = MockBackend([calls(("fail", {"kind": "b"}))] * 3)
    result = llm.run_tools(HI, [fail], max_rounds=2)
    assert (result.finish_reason, llm.n_left) == ("tool_calls", 1)
    with pytest.raises(ValueError, match="max_rounds"):
        llm.run_tools(HI, [fail], max_rounds=0)
    with pytest.raises(ValueError, match="n must be 1"):
        llm.run_tools(HI, [fail], n=2)


def test_without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydantic", None)
    with pytest.raises(ValueError, match=r"tea-llm\[tools\]"):
        FunctionTool(weather)


def test_results_that_are_no_json() -> None:
    endless: list[Any] = []
    endless.append(endless)

    def odd(kind: int) -> object:
        """Gives what JSON has not."""
        return endless if kind == 0 else {1, 2}

    tools = FunctionTools([odd])
    given: Callable[[int], str] = lambda kind: tools.answer(ToolCall("1", "odd", {"kind": kind}))["content"]  # noqa: E731
    assert given(0).startswith("error: ValueError: Circular")
    assert given(1) == '"{1, 2}"'
