"""Calls that a caller asks for: a local model cannot but make one, with arguments that fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field

import tea_llm
from tea_llm import LocalLlmBackend
from tea_llm.chat.functions import FunctionTools

HI = [{"role": "user", "content": "x"}]


class Place(BaseModel):
    name: str = Field(pattern="^[a-z]{1,5}$")
    inside: Place | None = None


def weather(place: Place, day: int = Field(ge=1, le=31)) -> str:
    """Tells the weather."""
    return f"{place.name}, {day}"


def add(a: float = Field(ge=0, le=9), b: float = Field(ge=0, le=9)) -> float:
    return a + b


TOOLS = FunctionTools([weather, add]).definitions
PARAMETERS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=2048, n_parallel=4, n_threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_is_made(llm: LocalLlmBackend, choice: Any) -> None:
    names = set()
    for seed in range(12):
        result = llm.chat(HI, tools=TOOLS, tool_choice=choice, max_tokens=300, temperature=1.2, seed=seed)
        if result.finish_reason == "length":
            continue
        assert (result.finish_reason, result.content) == ("tool_calls", "")
        for call in result.tool_calls:
            jsonschema.validate(call.arguments, PARAMETERS[call.name])
            names.add(call.name)
    assert names == ({"weather", "add"} if choice == "required" else {"weather"})


def test_the_functions_are_called(llm: LocalLlmBackend) -> None:
    given: list[float] = []

    def note(number: int = Field(ge=10, le=20)) -> str:
        given.append(number)
        return "noted"

    talk = tea_llm.Conversation(HI)
    result = llm.run_tools(talk, [note], tool_choice="required", max_tokens=120, max_rounds=2)
    assert 10 <= given[0] <= 20
    roles = [message["role"] for message in talk]
    assert (roles[:3], roles[-1]) == (["user", "assistant", "tool"], "assistant")
    assert result.usage.cached_tokens > 0


def test_wrong_choices(llm: LocalLlmBackend) -> None:
    with pytest.raises(ValueError, match="does not name one of the tools"):
        llm.chat(HI, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "other"}})
    with pytest.raises(ValueError, match="exclude each other"):
        llm.chat(HI, tools=TOOLS, tool_choice="required", regex="a")


def test_what_cannot_be_held_to_is_said(llm: LocalLlmBackend, caplog: pytest.LogCaptureFixture) -> None:
    odd = {
        "type": "function",
        "function": {"name": "odd", "parameters": {"type": "object", "not": {"required": ["a"]}}},
    }
    result = llm.chat(HI, tools=[odd], tool_choice="required", max_tokens=200, seed=1)
    assert result.finish_reason == "length" or result.tool_calls
    assert "'not' is not supported" in caplog.text


def test_a_call_or_an_answer_in_its_form(llm: LocalLlmBackend) -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    seen = set()
    for seed in range(12):
        result = llm.chat(HI, tools=TOOLS, response_format=form, max_tokens=300, temperature=1.2, seed=seed)
        if result.finish_reason == "stop":
            jsonschema.validate(result.parsed, form)
        seen.add(result.finish_reason)
    assert {"stop", "tool_calls"} <= seen


def test_functions_are_tools(llm: LocalLlmBackend) -> None:
    options: dict[str, Any] = {"tool_choice": "required", "max_tokens": 300, "temperature": 0, "seed": 1}
    by_function = llm.chat(HI, tools=[weather, add], **options)
    by_definition = llm.chat(HI, tools=TOOLS, **options)
    assert by_function.usage.prompt_tokens == by_definition.usage.prompt_tokens
    assert [call.name for call in by_function.tool_calls] == [call.name for call in by_definition.tool_calls]


def test_calls_are_streamed(llm: LocalLlmBackend) -> None:
    with llm.stream_chat(HI, tools=TOOLS, tool_choice="required", max_tokens=400, temperature=1.2, seed=3) as stream:
        chunks = list(stream)
    written: dict[int, str] = {}
    names = []
    for delta in (delta for chunk in chunks for delta in chunk.tool_call_deltas):
        if delta.id is not None:
            names.append((delta.id, delta.name))
        written[delta.index] = written.get(delta.index, "") + delta.arguments
    calls = stream.result.tool_calls
    assert calls
    assert chunks[-1].tool_calls == calls
    assert names[: len(calls)] == [(call.id, call.name) for call in calls]
    assert [json.loads(written[index]) for index in range(len(calls))] == [call.arguments for call in calls]
    assert sum(bool(chunk.tool_call_deltas) for chunk in chunks) > len(calls)


def test_parameters_that_llama_cpp_does_not_take(llm: LocalLlmBackend) -> None:
    """Its converter throws at the pattern; ours knows it."""
    parameters = {"type": "object", "properties": {"a": {"type": "string", "pattern": "a|b"}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    result = llm.chat(HI, tools=[tool], tool_choice="required", max_tokens=300, temperature=1.2, seed=1)
    for call in result.tool_calls:
        jsonschema.validate(call.arguments, parameters)
    assert result.tool_calls or result.finish_reason == "length"
