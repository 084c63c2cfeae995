"""Calls in the form of every template that llama.cpp has: held to their schemas, under any names."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from support.answer_grammar import AnswerGrammar
from support.templates import NAMES, source_of
from tea_llm.chat.answer_format import AnswerFormat, AnswerFormats
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
        text = grammar.sample(chance, 30)
        if not text.startswith(form.grammar_prefix):
            continue
        calls = form.parse(text[len(form.grammar_prefix) :], is_cut=False).calls
        if len(calls) == 1:
            arguments = json.loads(calls[0][2])
            if not has or has in arguments:
                return text, arguments
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
