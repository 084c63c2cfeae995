"""Tools as text: what a model is told of them, and what is found in its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tea_llm.answers.calls import find_calls
from tea_llm.backends.options import GenerationOptions
from tea_llm.chat.template import ChatTemplate
from tea_llm.chat.tools import describe_tools, parsed_call
from tea_llm.types import ToolCall

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "description": "Adds", "parameters": {"type": "object"}},
}
CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "1 and 2?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "3"},
]
ONE = ToolCall("call_0", "add", {"a": 1})


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('{"name": "add", "arguments": {"a": 1}}', "", (ONE,)),
        ('{"name": "add", "parameters": {"a": 1}}', "", (ONE,)),
        ('\n```json\n{"name": "add", "arguments": {"a": 1}}\n```\n', "", (ONE,)),
        ('[{"name": "add", "arguments": {"a": 1}}, {"name": "add"}]', "", (ONE, ToolCall("call_1", "add", {}))),
        ('{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}', "", (ONE,)),
        ('So: <tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', "So:", (ONE,)),
        ('<tool_call>{"name": "add", "arguments": {"a": 1}}', "", (ONE,)),  # the closing tag is a stop token of some
    ],
)
def test_calls_are_found(text: str, content: str, calls: tuple[ToolCall, ...]) -> None:
    assert find_calls(text, {"add"}) == (content, calls)


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "[]", "null", "[1]", '{"name": "other", "arguments": {}}', '{"name": "add", "arguments": "x"}',
        '{"name": "add", "arguments": {"a": 1}} and more', '{"name": "add"', '{"name": ["add"]}', "<tool_call>no",
        '[{"name": "add"}, {"name": "other"}]', "[" * 100_000,
    ],
)  # fmt: skip
def test_the_rest_stays_text(text: str) -> None:
    assert find_calls(text, {"add"}) == (text, ())


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    content, calls = find_calls(text, {"add"})
    assert calls or content == text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()))
def test_what_is_written_is_read(arguments: dict[str, Any]) -> None:
    written = json.dumps({"name": "add", "arguments": arguments})
    assert find_calls(written, {"add"}) == ("", (ToolCall("call_0", "add", arguments),))


def test_a_template_without_tools_is_told_in_words() -> None:
    described = describe_tools(ASKED, [TOOL])
    assert [message["role"] for message in described] == ["system", "user", "assistant", "user"]
    assert json.dumps(TOOL["function"]) in described[0]["content"]
    assert find_calls(described[2]["content"], {"add"})[1] == (ONE,)
    assert described[3]["content"] == "The function returned: 3"
    system = [{"role": "system", "content": "Be kind."}, *ASKED[:1]]
    assert describe_tools(system, [TOOL])[0]["content"].startswith("Be kind.\n\nYou may call functions.")
    assert describe_tools(system, []) == system
    assert ASKED[1]["content"] is None


def test_arguments_are_parsed_where_they_are_json() -> None:
    assert parsed_call(CALL)["function"] == {"name": "add", "arguments": {"a": 1}}
    broken = {**CALL, "function": {"name": "add", "arguments": "{"}}
    assert parsed_call(broken) == broken


def test_what_several_functions_gave_is_one_message() -> None:
    more = [{"role": "tool", "content": "4"}, {"role": "user", "content": "And?"}, {"role": "tool", "content": "5"}]
    contents = [message["content"] for message in describe_tools([*ASKED, *more], [])[2:]]
    assert contents == ["The function returned: 3\nThe function returned: 4", "And?", "The function returned: 5"]


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("{% if tools %}x{% endif %}", True),
        ("{% for m in messages %}{{ m.tools }}{% endfor %}", False),
        ("{% set tools = 1 %}", False),
        ("{%- if not tools is defined %}{% set tools = none %}{% endif %}", True),
    ],
)
def test_whether_a_template_knows_tools(source: str, uses: bool) -> None:
    assert ChatTemplate(source).uses_tools is uses


@pytest.mark.parametrize("name", ["a b", 'a"b', "a>", "a\n", "<lambda>", "(f)", "a=b"])
def test_names_that_models_cannot_write(name: str) -> None:
    with pytest.raises(ValueError, match=r"tools\[0\]: the name .* may have letters, digits and '_-\.:/' only"):
        GenerationOptions.checked({"tools": [{"type": "function", "function": {"name": name}}]})


def test_names_are_there_once() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("größe", "ns:a.b/c-1", "größe")]
    with pytest.raises(ValueError, match=r"tools\[2\]: there is another function named 'größe'"):
        GenerationOptions.checked({"tools": tools})
    assert len(GenerationOptions.checked({"tools": tools[:2]}).tools) == 2
