"""Tools of any names and parameters: calls in every form are of the right one, and hold to its schema."""

from __future__ import annotations

import json
import logging
import random
from functools import cache
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from support.answer_grammar import AnswerGrammar
from support.fuzzing import fuzz
from support.schemas import random_schema
from support.templates import NAMES, source_of
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.chat.template import ChatTemplate
from tea_llm.grammar.validate import problems_of

_PARTS = ("get", "it", "_", "-", "tool", "schema", "arg", "root", "space", "a", "B", "0", "json", "until", "call")
TOOL_NAMES = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map("".join)
PARAMETER_NAMES = TOOL_NAMES | st.sampled_from(["name", "arguments", "parameters", "größe", "a b", 'q"', "x.y", "1"])


@cache
def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(source_of(name), bos_token="<s>", eos_token="</s>")


@st.composite
def tools(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for name in draw(st.lists(TOOL_NAMES, min_size=1, max_size=4, unique=True)):
        chance = random.Random(draw(st.integers(0, 2**32)))
        names = draw(st.lists(PARAMETER_NAMES, max_size=4, unique=True))
        properties = {one: random_schema(chance, 2) for one in names}
        required = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        found.append({"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}})
    return found


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@fuzz
@given(st.sampled_from(NAMES), tools(), st.booleans(), st.integers(0, 2**32))
def test_calls(template: str, given: list[dict[str, Any]], is_required: bool, seed: int) -> None:
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in given}
    warnings = _Warnings()
    logger = logging.getLogger("tea_llm")
    logger.addHandler(warnings)
    try:
        form = AnswerFormats(template_of(template)).get(tools=given, is_required=is_required)
    finally:
        logger.removeHandler(warnings)
    assert form is not None
    assert form.grammar
    grammar, chance = AnswerGrammar(form.grammar), random.Random(seed)
    for _ in range(3):
        text = grammar.drawn(chance, after=form.grammar_prefix, deepest=20)
        calls = form.parse(text, is_cut=False).calls
        assert calls or not is_required, text
        for _, name, arguments in calls:
            value = json.loads(arguments)
            is_valid = jsonschema.Draft202012Validator(schemas[name]).is_valid(value)
            assert is_valid != bool(problems_of(value, schemas[name])) or "format" in json.dumps(schemas[name])
            assert is_valid or warnings.texts, (text, schemas[name], value)
