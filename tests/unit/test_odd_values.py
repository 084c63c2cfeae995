"""Data with something odd in one place is accepted, or refused by the promised errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from support.odd_values import ODD_VALUES, in_each_place
from tea_llm import ConfigError, GrammarError
from tea_llm.backends.options import GenerationOptions
from tea_llm.chat.messages import check_messages
from tea_llm.grammar.schema import schema_to_gbnf
from tea_llm.settings import LlmSettings

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "minLength": 1, "maxLength": 3, "pattern": "a+"},
        "b": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "prefixItems": [{"const": 1}]},
        "c": {"enum": ["x", 1]},
        "d": {"$ref": "#/$defs/n"},
        "e": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"format": "date"}], "title": "t"},
    },
    "required": ["a"],
    "additionalProperties": {"allOf": [{"type": "string"}, {"maxLength": 4}]},
    "$defs": {"n": {"$anchor": "q", "type": "null"}},
}
MESSAGES = [
    {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "n"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "x"},
]
OPTIONS = {
    "max_tokens": 3,
    "temperature": 0.5,
    "stop": ["a"],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "logit_bias": {"5": 1.0},
    "timeout": 3.0,
}
SETTINGS = {"llm": {"backend": "api", "api_url": "http://127.0.0.1/v1", "model": "m", "n_ctx": 512, "timeout": 3}}


@pytest.mark.parametrize(
    ("read", "good", "promised"),
    [
        (schema_to_gbnf, SCHEMA, (GrammarError, TypeError)),
        (check_messages, MESSAGES, (ValueError, TypeError)),
        (lambda options: GenerationOptions.checked(dict(options)), OPTIONS, (ValueError, TypeError)),
        (LlmSettings.parse, SETTINGS, (ConfigError,)),
    ],
    ids=["schema", "messages", "options", "settings"],
)
def test_nothing_but_the_promised_errors(
    read: Callable[[Any], object], good: object, promised: tuple[type[Exception], ...]
) -> None:
    read(good)
    for odd in ODD_VALUES:
        for changed in in_each_place(good, odd):
            with suppress(*promised):
                read(changed)
