"""Calls in the form of every template that llama.cpp has: held to their schemas, under any names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import tea_llm
from support.answer_grammar import AnswerGrammar
from support.templates import NAMES, source_of
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.chat.template import ChatTemplate

PROPERTIES = {
    "shade": {"enum": ["mauve", "ochre"]},
    "kind": {"const": "paint"},
    "amount": {"type": "integer", "minimum": 41410, "maximum": 41419},
    "label": {"type": "string", "pattern": "^vio[l]et[0-9]?$"},
    "parts": {"type": "array", "items": {"enum": ["alpha"]}, "minItems": 1},
    "extra": {"type": "string"},
}
WRONG = {"mauve": "mauvf", "ochre": "ochrf", "paint": "painu", "41": "51", "violet": "violeu", "alpha": "alphb"}
WHOLE = {"type": "object", "properties": PROPERTIES, "required": list(PROPERTIES)[:-1], "additionalProperties": False}


def tool(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


def formats_of(template: str) -> AnswerFormats:
    return AnswerFormats(ChatTemplate(source_of(template), bos_token="<s>", eos_token="</s>"))


def form_of(formats: AnswerFormats, *tools: dict[str, Any], is_required: bool) -> AnswerFormat:
    form = formats.get(tools=tools, is_required=is_required)
    assert form is not None
    assert form.grammar
    return form


def drawn_call(form: AnswerFormat, chance: random.Random, has: str = "") -> tuple[str, dict[str, Any]]:
    """A random answer that is one call (with a certain argument), and the arguments."""
    grammar = AnswerGrammar(form.grammar)
    for _ in range(400):
        text = grammar.drawn(chance, after=form.grammar_prefix)
        calls = form.parse(text, is_cut=False).calls
        if len(calls) == 1:
            arguments = json.loads(calls[0][2])
            if not has or has in arguments:
                return form.grammar_prefix + text, arguments
    raise AssertionError("no call among 400 answers")


@pytest.mark.parametrize("template", NAMES)
def test_calls_are_held_to_their_schema(template: str) -> None:
    formats, chance = formats_of(template), random.Random(1)
    strict = [form_of(formats, tool("f", WHOLE), is_required=required) for required in (True, False)]
    right, arguments = drawn_call(strict[0], chance, has="extra")
    jsonschema.validate(arguments, WHOLE)
    wrong = [right.replace(value, other) for value, other in WRONG.items() if value in right]
    assert len(wrong) >= 4
    wrong.append(right.replace("extra", "extrb"))  # a key that there is not
    for name in PROPERTIES:
        if name != "extra":
            less = {**WHOLE, "properties": {key: one for key, one in PROPERTIES.items() if key != name}}
            wrong.append(drawn_call(form_of(formats, tool("f", {**less, "required": []}), is_required=True), chance)[0])
            break
    for form in strict:
        grammar = AnswerGrammar(form.grammar)
        assert grammar.takes(right)
        assert [text for text in wrong if grammar.takes(text)] == []


FORMS = [
    *("Apertus-8B-Instruct", "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "GLM-4.6", "Kimi-K2-Instruct", "Kimi-K3"),
    *("LFM2.5-8B-A1B", "MiniMax-M2", "MiniMax-M3", "Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder"),
    *("deepseek-ai-DeepSeek-V3.2", "google-gemma-2-2b-it", "google-gemma-4-31B-it", "inclusionai-ling-3.0-flash"),
    *("meetkai-functionary-medium-v3.1", "meetkai-functionary-medium-v3.2", "meta-llama-Llama-3.1-8B-Instruct"),
    *("mistralai-Ministral-3-14B-Reasoning-2512", "muse-glimmer", "openai-gpt-oss-120b", "openbmb-MiniCPM5-1B"),
]
"""Templates of which each has another form of calls."""
ALIKE = ("get", "get_it", "table", "table_schema", "a-b", "a_b", "a-b-arg-c")


@pytest.mark.parametrize("template", FORMS)
def test_names_are_told_apart(template: str) -> None:
    """Each function takes one text alone, its name: no call has another one's."""
    tools = [tool(name, {"type": "object", "properties": {"c": {"const": name}}, "required": ["c"]}) for name in ALIKE]
    form, chance = form_of(formats_of(template), *tools, is_required=True), random.Random(2)
    grammar = AnswerGrammar(form.grammar)
    called = set()
    for _ in range(80):
        for _, name, arguments in form.parse(grammar.drawn(chance, after=form.grammar_prefix), is_cut=False).calls:
            assert json.loads(arguments) == {"c": name}
            called.add(name)
    assert called == set(ALIKE)


@pytest.mark.parametrize("channel", ["analysis", "commentary"])
def test_a_name_of_gpt_oss_ends_where_it_ends(channel: str) -> None:
    tools = [tool("get", {"type": "object"}), tool("get_it", {"type": "object"})]
    form = form_of(formats_of("openai-gpt-oss-120b"), *tools, is_required=False)
    for name, names in {"get": ["get"], "get_it": ["get_it"], "get_other": []}.items():
        for kind in ("", "json", " <|constrain|>json", " json"):
            text = f"<|channel|>{channel} to=functions.{name}{kind}<|message|>{{}}"
            called = [call[1] for call in form.parse(text, is_cut=False).calls]
            assert called == ([] if kind == "json" else names), text


NESTED = {
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]{1,5}$"},
                "inside": {"$ref": "#/$defs/Place"},
                "kinds": {"type": "array", "items": {"enum": ["hill", 7, None]}, "maxItems": 2},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "type": "object",
    "properties": {
        "place": {"$ref": "#/$defs/Place"},
        "day": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 31}, {"type": "null"}]},
        "exact": {"type": "boolean"},
        "note": {"type": "string", "minLength": 2, "maxLength": 9},
        "long": {"type": "string", "minLength": 1, "maxLength": 300},
        "code": {"type": "string", "format": "date"},
    },
    "required": ["place", "note"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("template", FORMS)
def test_what_a_grammar_writes_is_valid(template: str, caplog: pytest.LogCaptureFixture) -> None:
    form, chance = form_of(formats_of(template), tool("f", NESTED), is_required=True), random.Random(3)
    assert "not held" not in caplog.text
    grammar = AnswerGrammar(form.grammar)
    for _ in range(12):
        text = grammar.drawn(chance, after=form.grammar_prefix)
        calls = form.parse(text, is_cut=False).calls
        assert calls, text
        for _, _, arguments in calls:
            jsonschema.validate(json.loads(arguments), NESTED)


def test_what_a_form_cannot_hold_is_said(caplog: pytest.LogCaptureFixture) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "not": {"const": "x"}}}, "minProperties": 1}
    form = form_of(formats_of("Qwen3-Coder"), tool("f", parameters), is_required=True)
    assert form.tools == {"f"}
    assert "The arguments of f are not held to all of their schema" in caplog.text
    assert "'not' is not supported" in caplog.text
    assert "'minProperties' is not supported" in caplog.text


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("template", FORMS)
def test_llama_cpp_takes_the_grammar(template: str, choice: str, tiny_model: Callable[..., Path]) -> None:
    tools = [tool("f", NESTED), tool("g", WHOLE)]
    source = source_of(template)
    with tea_llm.load(tiny_model("llama"), n_ctx=16384, n_threads=1, chat_template=source) as llm:
        options: dict[str, Any] = {"tools": tools, "tool_choice": choice, "max_tokens": 40, "temperature": 1.5}
        result = llm.chat([{"role": "user", "content": "x"}], n=2, seed=1, **options)
    assert [call.problems for one in result.choices for call in one.tool_calls if call.problems] == []
    assert all(one.finish_reason in ("length", "stop", "tool_calls") for one in result.choices)


def test_large_tools_leave_a_usable_grammar(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text with lengths of its own takes kilobytes, and the engine takes only so many."""
    monkeypatch.setattr("tea_llm.answers.call_grammar._MAX_BYTES", 30_000)
    text, number = {"type": "string", "maxLength": 50}, {"const": 1}
    tools = [
        tool(f"f{n}", {"type": "object", "properties": {"a": {**text, "minLength": n}, "b": number}}) for n in range(5)
    ]
    form = form_of(formats_of("Qwen3-Coder"), *tools, is_required=True)
    assert len(form.grammar) < 40_000
    assert "The arguments of f4 are not held to all of their schema: the grammar would become too large" in caplog.text
    assert "The arguments of f0" not in caplog.text
