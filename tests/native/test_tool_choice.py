"""Calls that a caller asks for: a local model cannot but make one, with arguments that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field

import tea_llm
from tea_llm import GrammarError, LocalLlmBackend
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
        (call,) = result.tool_calls
        assert (result.finish_reason, result.content) == ("tool_calls", "")
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
    assert [message["role"] for message in talk][:4] == ["user", "assistant", "tool", "assistant"]
    assert result.usage.cached_tokens > 0


def test_wrong_choices(llm: LocalLlmBackend) -> None:
    with pytest.raises(ValueError, match="is none of the tools"):
        llm.chat(HI, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "other"}})
    with pytest.raises(ValueError, match="exclude each other"):
        llm.chat(HI, tools=TOOLS, tool_choice="required", regex="a")
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {}}}}
    with pytest.raises(GrammarError, match="'not'"):
        llm.chat(HI, tools=[bad], tool_choice="required")
