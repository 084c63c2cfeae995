"""Answers as each template writes them itself are read: a history with calls is rendered and parsed back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.answer_grammar import AnswerGrammar
from support.answers import TOOLS, form_of
from support.round_trip import REASONING, Rendered, rendered, template_of
from support.templates import NAMES
from tea_llm.answers.parser_nodes import Nodes
from tea_llm.answers.parts import Parts

WITH_TOOLS = [name for name in NAMES if template_of(name).uses_tools]
HARD = "a <b>\n \"q\" 'x' \\ {1}"
UNQUOTED = {"LFM2.5-8B-A1B"}
"""Templates that write texts between quotes and do not escape them."""
IN_WORDS = {"LFM2-8B-A1B", "LFM2.5-Instruct"}
"""Templates that leave calls out of a history; we write them in words, which their models do not."""


def calls_for(name: str) -> list[list[tuple[str, dict[str, Any]]]]:
    weather, add = ("get_weather", {"city": "Köln", "days": 3}), ("add", {"a": 1, "b": 2.5})
    hard = ("get_weather", {"city": "a <b>" if name in UNQUOTED else HARD, "days": -1})
    return [[], [weather], [weather, add], [add, hard, weather]]


def read(answer: Rendered) -> tuple[Parts, list[tuple[str, dict[str, Any]]]]:
    parts = answer.form.parse(answer.text, is_cut=False)
    return parts, [(name, json.loads(arguments)) for _, name, arguments in parts.calls]


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinks"])
@pytest.mark.parametrize("name", sorted(set(WITH_TOOLS) - IN_WORDS))
def test_what_a_template_writes_is_read(name: str, thinks: bool) -> None:
    for calls in calls_for(name):
        for content in ("", "Let me see."):
            answer = rendered(name, TOOLS, calls, content=content, thinks=thinks)
            if answer is None or not (content or calls):
                continue
            parts, found = read(answer)
            assert found == [call for call in calls if f"{call[0]}" in answer.text]
            if REASONING in answer.text:
                assert parts.reasoning == REASONING
            elif content and content in answer.text and content != parts.reasoning:  # gpt-oss's template moves it
                assert parts.content.strip() == content


TEXTS = {"type": "array", "items": {"type": "string"}}
VALUES: list[tuple[dict[str, Any], list[Any]]] = [
    (TEXTS, [[], ["a", "it's", 'a "q"', "both ' and \"", "a\nb\\c\t", "\x85\u200b\U000f0000 ü😀"]]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1, -2]]),
    ({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}, [[{"a": "it's"}, {}]]),
    ({"type": "array"}, [[], [0, "a", True, {"b": [0.5]}]]),
    ({"type": "object"}, [{}, {"a": 0}, {"x": "it's", "z": [True, {"q": "w"}]}]),
    ({"type": "string"}, ["None", "[1]", "{'a': 0}", "5", " a ", ""]),
    ({"type": ["string", "null"]}, ["nobody", ""]),
    ({"anyOf": [{"type": "string"}, TEXTS, {"type": "integer"}]}, ["a", "[a", "007", ["a"], 7]),
    ({}, ["a", {"a": "b"}, True, 1.5]),
]
NULLS: list[tuple[dict[str, Any], list[Any]]] = [
    ({"type": ["string", "null"]}, [None]),
    ({"type": "array"}, [[0, "0", None]]),
    ({"type": "object"}, [{"x": None, "y": "1", "z": []}]),
]
UNTOLD = {"MiniMax-M3"}
"""Templates that leave nulls out, and tell texts from numbers, and what is empty, by the schema alone."""


def answers_with_values(name: str) -> list[tuple[Rendered, Any]]:
    values = [*VALUES, *(NULLS if name not in UNTOLD else ())]
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"take_{number}",
                "description": "Takes it.",
                "parameters": {"type": "object", "properties": {"v": schema}, "required": ["v"]},
            },
        }
        for number, (schema, _) in enumerate(values)
    ]
    found = []
    for number, (_, given) in enumerate(values):
        for value in given:
            calls = [(f"take_{number}", {"v": value})]
            answer = rendered(name, tools, calls) or rendered(name, tools, calls, thinks=True)
            if answer is not None and not (name in UNQUOTED and isinstance(value, str) and "'" in value):
                found.append((answer, calls))
    return found


@pytest.mark.parametrize("name", sorted(set(WITH_TOOLS) - IN_WORDS))
def test_values_of_all_kinds_are_read(name: str) -> None:
    for answer, calls in answers_with_values(name):
        _, found = read(answer)
        assert found == calls, answer.text


@pytest.mark.parametrize(
    "name", ["ByteDance-Seed-OSS", "GLM-4.6", "Kimi-K3", "deepseek-ai-DeepSeek-V3.2", "muse-glimmer", "Qwen3-Coder"]
)
def test_a_grammar_takes_texts_and_others_for_one_parameter(name: str) -> None:
    tried = 0
    for answer, calls in answers_with_values(name):
        if calls[0][0] == "take_7":
            tried += 1
            assert AnswerGrammar(answer.form.grammar).begins(answer.form.grammar_prefix + answer.text)
    assert tried == len(VALUES[7][1])


@pytest.mark.parametrize(
    "name",
    ["ByteDance-Seed-OSS", "GLM-4.6", "Kimi-K3", "MiniMax-M3", "deepseek-ai-DeepSeek-V3.2", "google-gemma-4-31B-it"],
)
def test_streams_say_of_values_what_results_say(name: str) -> None:
    for answer, calls in answers_with_values(name):
        ((_, _, arguments),) = answer.form.parse(answer.text, is_cut=False).calls
        for end in range(len(answer.text)):
            for _, called, begun in answer.form.parse_partial(answer.text[:end]).calls:
                assert (called, arguments[: len(begun)]) == (calls[0][0], begun), answer.text[:end]


@pytest.mark.parametrize("name", sorted(set(WITH_TOOLS) - IN_WORDS))
def test_marks_of_the_form_in_a_text_are_text(name: str) -> None:
    """All but the one that ends an argument, or a turn."""
    tools = [tool for tool in TOOLS if tool["function"]["name"] == "get_weather"]
    form = form_of(name)
    assert form is not None
    nodes = Nodes(form.native.parser)
    ends = [nodes.literal(index).strip() for index, node in enumerate(nodes) if node.get("tag") == "tool-arg-close"]
    ends += [form.reasoning_end, "_OF_TURN_TOKEN|>", '<|"|>', "]<]minimax[>[", "\\"]
    marks = {node["literal"] for node in nodes if len(node.get("literal", "")) > 3}
    marks |= {mark for node in nodes for mark in node.get("delimiters", ())} | {*form.native.markers}
    city = " ".join(sorted(mark for mark in marks if not any(end in mark for end in ends if end)))
    calls = [("get_weather", {"city": f"a {city} b", "days": 3})]
    answer = rendered(name, tools, calls) or rendered(name, tools, calls, thinks=True)
    if answer is not None:
        assert read(answer)[1] == calls, answer.text


def test_most_templates_were_tried() -> None:
    calls = calls_for("")[2]
    tried = [
        name for name in WITH_TOOLS if any(rendered(name, TOOLS, calls, thinks=thinks) for thinks in (False, True))
    ]
    assert len(tried) > 40


@pytest.mark.parametrize("name", ["Qwen3-Coder", "Qwen3.5-4B", "MiniMax-M2", "ByteDance-Seed-OSS"])
def test_the_mark_that_ends_an_argument_cannot_be_part_of_it(name: str) -> None:
    """A line that a model forgot beside the mark does not make the next arguments, and calls, a part of the first."""
    form = form_of(name)
    assert form is not None
    answer = rendered(name, TOOLS, calls_for(name)[1], thinks=form.is_reasoning)
    assert answer is not None
    written = AnswerGrammar(form.grammar)
    begun = form.grammar_prefix + answer.text[: answer.text.index("Köln") + 4]
    assert written.begins(f"{begun}</paramete")
    assert not written.begins(f"{begun}</parameter>x")
    assert not written.begins(f"{begun}</parameter><parameter")
    assert written.begins(form.grammar_prefix + answer.text)
