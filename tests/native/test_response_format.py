"""Answers that are valid under a schema, whatever the model would rather say; and schemas that are refused."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field, HttpUrl, field_validator

import tea_llm
from support.schemas import random_schema
from tea_llm import AnswerCutError, Choice, GrammarError, InferenceError, LlmCallResult, LocalLlmBackend, Usage
from tea_llm.answers.response_format import ResponseFormat

HI = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=2048, n_parallel=4, n_threads=1) as loaded:
        yield loaded


def check(schema: Any, value: Any) -> None:
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(value)


@pytest.mark.parametrize("seed", range(60))
def test_random_schemas(llm: LocalLlmBackend, seed: int) -> None:
    schema = random_schema(random.Random(seed))
    for again in range(3):
        result = llm.chat(HI, response_format=schema, max_tokens=800, temperature=1.0, top_k=0, seed=again)
        assert result.finish_reason == "stop", schema  # all of them are short
        check(schema, json.loads(result.content))
        assert result.parsed == json.loads(result.content)


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=8)
    score: float = Field(ge=0, lt=1)
    kind: Literal["a", "b"]
    born: date
    seen: datetime | None = None
    place: tuple[int, bool]
    friends: list[Person] = Field(max_length=1)
    notes: dict[str, Literal[1, 2]] = {}


def test_a_pydantic_class(llm: LocalLlmBackend) -> None:
    n_read = 0
    for seed in range(10):
        result = llm.chat(HI, response_format=Person, max_tokens=900, seed=seed)
        if result.finish_reason == "stop":
            assert isinstance(result.parsed, Person)
            n_read += 1
        else:
            with pytest.raises(AnswerCutError):
                _ = result.parsed
    assert n_read > 5


class Order(BaseModel):
    page: HttpUrl
    price: Decimal = Field(ge=0, lt=100)
    weight: Decimal = Field(max_digits=5, decimal_places=2)
    rate: Decimal


def test_addresses_and_decimals(llm: LocalLlmBackend) -> None:
    n_read = 0
    for seed in range(12):
        result = llm.chat(HI, response_format=Order, max_tokens=1500, seed=seed)
        if result.finish_reason == "stop":
            assert isinstance(result.parsed, Order)
            n_read += 1
    assert n_read > 3


def test_an_object_with_a_schema(llm: LocalLlmBackend) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    result = llm.chat(HI, response_format={"type": "json_object", "schema": schema}, max_tokens=100)
    assert result.parsed in ({"a": 1}, {"a": 2})


def test_any_object(llm: LocalLlmBackend) -> None:
    result = llm.chat(HI, response_format={"type": "json_object"}, max_tokens=900, n=4, seed=1)
    finished = [choice for choice in result.choices if choice.finish_reason == "stop"]
    assert finished
    for choice in finished:
        assert isinstance(choice.parsed, dict)
        assert choice.parsed == json.loads(choice.content)


def test_streams_and_raw_prompts(llm: LocalLlmBackend) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [["x", 1]]}}}
    with llm.stream("Hello", response_format=form) as stream:
        text = "".join(chunk.text for chunk in stream)
        assert stream.result.parsed == json.loads(text) == ["x", 1]


def test_what_is_cut_off_is_not_read(llm: LocalLlmBackend) -> None:
    """Only ``parsed`` raises: the rest of the result can be used."""
    result = llm.chat(HI, response_format={"const": "a long text"}, max_tokens=3)
    assert result.finish_reason == "length"
    assert '"a long text"'.startswith(result.content)
    with pytest.raises(AnswerCutError, match="max_tokens or the context was reached: raise one") as caught:
        _ = result.parsed
    assert caught.value.text == result.content
    assert result == pickle.loads(pickle.dumps(result)) == copy.deepcopy(result)  # noqa: S301
    assert result != replace(result, parsed=None)
    assert "parsed=<cut off>" in repr(result)
    assert replace(result, parsed=[1]).parsed == [1]
    with pytest.raises(AnswerCutError):
        _ = replace(result, fallback_reason="none here").parsed


@pytest.mark.parametrize("kind", [LlmCallResult, Choice])
def test_parsed_is_an_argument_like_others(kind: Any) -> None:
    parameters = inspect.signature(kind).parameters
    assert "parsed" in parameters
    assert not any(name.startswith("_") for name in parameters)
    values = {"content": "1", "model": "m", "tokens_used": 1, "finish_reason": "stop", "usage": None, "index": 0}
    assert kind(**{name: values[name] for name in parameters if name in values}, parsed=1).parsed == 1


@pytest.mark.parametrize(
    ("text", "reason", "is_cut"),
    [
        ('{"a": 1}', "length", False),
        ('{"a": 1} ', "content_filter", False),
        ('"whole"', "length", False),
        ("true", "length", False),
        ('{"a": 1', "length", True),
        ('{"a": 1', "content_filter", True),
        ("12", "length", True),  # the beginning of 120, maybe
        ("", "length", True),
    ],
)
def test_a_value_that_is_whole_may_be_read(text: str, reason: Any, is_cut: bool) -> None:
    form = ResponseFormat.checked({"type": "object"})
    assert form is not None
    result = form.read(LlmCallResult(text, "m", 1, reason, Usage(1, 1, 2), backend="api"))
    if is_cut:
        with pytest.raises(AnswerCutError):
            _ = result.parsed
    else:
        assert result.parsed == json.loads(text)


def test_a_class_that_takes_no_answer(llm: LocalLlmBackend) -> None:
    class Never(BaseModel):
        value: bool

        @field_validator("value")
        @classmethod
        def refuse(cls, value: bool) -> bool:
            raise ValueError(f"not {value}")

    with pytest.raises(InferenceError, match=r"does not match response_format(.|\n)*not (True|False)"):
        llm.chat(HI, response_format=Never)


DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ONE_ITEM = {"type": "array", "minItems": 1, "maxItems": 1}
EDGES: list[Any] = [
    {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "integer", "minimum": 5, "maximum": 7}}},
    {"$defs": {"n": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}}}
    | {"$ref": "#/$defs/n"},
    {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "boolean"}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2, "minProperties": 1},
    {"type": "object", "propertyNames": {"pattern": "^[a-c]{2}$"}, "additionalProperties": {"type": "null"}}
    | {"maxProperties": 3},
    {"required": ["x"], "properties": {"y": {"type": "null"}}, "type": "object", "additionalProperties": {"const": 1}},
    {"allOf": [{"properties": {"a": {"minimum": 3, "type": "integer"}}}, {"properties": {"a": {"maximum": 4}}}]}
    | {"required": ["a"], "type": "object"},
    {"type": ["string", "number"], "maxLength": 2, "minimum": 1, "maximum": 1.5},
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "additionalProperties": False}
    | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {
        "oneOf": [
            {"type": "object", "properties": {"t": {"const": 1}, "v": {"const": "x"}}, "required": ["t"]},
            {"type": "object", "properties": {"t": {"const": 2}, "v": {"const": "y"}}, "required": ["t", "v"]},
            {"type": "null"},
        ]
    },
    {"enum": [1, 2.0, True, "x", None], "type": ["integer", "null"]},
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": [{"const": 1}, {"const": 2}], "$schema": "http://json-schema.org/draft-07/schema#"}
    | {"additionalItems": {"const": 3}, "maxItems": 3},
    {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "boolean"}, "uniqueItems": False},
    {"minimum": 1, "maximum": 2},
    {"type": "string", "pattern": "^a|b$|(^c$)|[dD]\\d+"},
    {"type": "integer", "multipleOf": 1, "exclusiveMaximum": 3, "exclusiveMinimum": 1},
    {"type": "string", "format": "uri"},
    {"type": "string", "format": "hostname"},
    {"type": "string", "format": "password", "maxLength": 3},
    {"title": "T", "x-vendor": 1, "type": "null"},
    {"items": {"$ref": "#"}, "maxItems": 1, "type": "array"},
    # alternatives that allow nothing are left out
    {"type": "string", "anyOf": [{"maxLength": 3}, {"type": "null"}]},
    {"anyOf": [False, {"type": "integer", "minimum": 3, "maximum": 2}, {"const": 4}]},
    {"type": ["string", "integer"], "minimum": 3, "maximum": 2, "maxLength": 2},
    {"type": "array", "items": {"enum": []}, "maxItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}, False, {"const": 2}], "minItems": 1},
    {"type": "object", "properties": {"a": {"enum": []}, "b": {"const": 1}}, "required": ["b"]},
    {"type": "object", "additionalProperties": {"type": []}},
    {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"const": 1}]}, "b": {"items": {"$ref": "#/$defs/a"}} | ONE_ITEM}}
    | {"$ref": "#/$defs/b"},
    # references by name
    {"$ref": "#name", "$defs": {"a": {"$anchor": "name", "type": "integer", "minimum": 5, "maximum": 7}}},
    {"$ref": "#name", "definitions": {"a": {"$id": "#name", "const": 5}}, "$schema": DRAFT_7},
    # patterns with look-ahead, anchors within, lengths beside
    {"type": "string", "pattern": "^yes$|^no$"},
    {"type": "string", "pattern": "^(?!.*bb)[ab]{1,6}$", "minLength": 2},
    {"type": "string", "pattern": "^[a-c]+$", "minLength": 2, "maxLength": 5},
    {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083},
    {"type": "string", "format": "email", "maxLength": 20},
    {"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"},  # pydantic's Decimal
    {"enum": [f"{word}-{number}" for word in ("one", "two", "on", "") for number in range(300)]},
    {"oneOf": [{"const": "a"}, {"const": "ab"}, {"enum": [1, "abc"]}]},
]


@pytest.mark.parametrize("schema", EDGES, ids=lambda schema: json.dumps(schema)[:60])
def test_edges(llm: LocalLlmBackend, schema: Any) -> None:
    n_finished = 0
    quote = llm.tokenize('b"')[-1]  # likelier, so that texts come to an end
    for seed in range(6):
        result = llm.chat(
            HI, response_format=schema, max_tokens=600, temperature=1.2, seed=seed, logit_bias={quote: 6.0}
        )
        if result.finish_reason == "stop":
            n_finished += 1
            check(schema, result.parsed)
    assert n_finished > 2


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"not": {"type": "null"}, "if": {}, "type": "object"}, r"#: 'if' is not supported; #: 'not' is not supported"),
    ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
    ({"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.5}}}, "#/properties/a: 'multipleOf'"),
    ({"type": "string", "pattern": "(?<=a)b"}, "#: a grammar cannot express this look-around"),
    ({"type": "string", "pattern": "(?=a)b"}, "allows no value: #: no string"),
    ({"type": "string", "pattern": "a.{20}b", "maxLength": 99}, "more than 4000 states"),
    ({"type": "string", "pattern": "a("}, "is not a valid regular expression"),
    ({"type": "string", "format": "regex"}, "the format 'regex'"),
    ({"type": "string", "maxLength": 5000}, "a grammar repeats at most 2000 times"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "no integer is between the bounds 5 and 4"),
    ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "no number is between the bounds 1 and 1"),
    ({"type": "number", "exclusiveMinimum": 10**400}, "no number is between the bounds"),
    ({"type": "number", "exclusiveMaximum": -(10**400)}, "no number is between the bounds"),
    ({"type": "integer", "exclusiveMinimum": True}, "a bound must be a number"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "do not exclude each other"),
    ({"anyOf": []}, "'anyOf' is empty"),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "two different values of 'pattern'"),
    ({"allOf": [{"additionalProperties": False}, {"properties": {"a": {}}}]}, "'additionalProperties'"),
    ({"$ref": "https://example.com/x"}, "is not a reference within the schema"),
    ({"$ref": "#/$defs/none"}, "refers to nothing"),
    ({"$ref": "#name"}, "'#name' matches 0 anchors"),
    ({"$ref": "#name/b", "b": {}}, "matches 0 anchors"),
    ({"$ref": "#a", "$defs": {"x": {"$anchor": "a"}, "y": {"$anchor": "a"}}}, "matches 2 anchors"),
    ({"$ref": "#/anyOf/-1", "anyOf": [{}]}, "refers to nothing"),
    ({"$ref": 5}, "the \\$ref 5"),
    ({"items": {"$id": "https://example.com/x", "items": {"$ref": "#"}}}, "#/items: .*\\$id"),
    (
        {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}},
        "allows no finite value",
    ),
    ({"type": "string", "anyOf": [{"type": "null"}, False]}, "allows no value: .*#/anyOf/0: no type is allowed"),
    ({"allOf": [{"type": "integer"}, {"type": "string"}]}, "allows no value: #: no type is allowed"),
    ({"allOf": [{"const": 1}, {"const": 2}]}, "allows no value"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "allows no value: #: minLength 3 is greater than maxLength 2"),
    ({"$ref": "#"}, "the \\$ref '#' allows no finite value"),
    ({"allOf": [{"$ref": "#"}]}, "itself"),
    ({"type": "thing"}, "unknown type 'thing': use one of object"),
    ({"type": "array", "items": 5}, "#/items: 5 is not a schema"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "allows no value"),
    ({"enum": []}, "no constant"),
    ({"enum": ["x"], "maxLength": 1}, "maxLength cannot be combined with 'const' or 'enum'"),
    ({"type": "object", "minProperties": 2}, "'minProperties'"),
    ({"type": "object", "properties": {"a": {}}, "maxProperties": 2}, "'maxProperties' cannot be combined with"),
    ({"type": "array", "minItems": "2"}, "invalid schema"),
    ({"type": "object", "properties": [1]}, "invalid schema"),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_what_cannot_be_enforced_is_refused(llm: LocalLlmBackend, schema: dict[str, Any], message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        llm.chat(HI, response_format=schema)


@pytest.mark.parametrize("depth", [40, 400, 5000])
def test_deep_schemas(llm: LocalLlmBackend, depth: int) -> None:
    schema: dict[str, Any] = {"const": 1}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1}
    try:
        result = llm.chat(HI, response_format=schema, max_tokens=2000, temperature=0)
    except ValueError:
        assert depth == 5000
    except GrammarError:
        assert depth == 400
    else:
        assert depth == 40
        assert result.finish_reason == "stop"
        check(schema, result.parsed)


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        ("json", TypeError, "must be a pydantic class or a dict, not str"),
        (int, TypeError, "not the class int"),
        ({"type": "json_schema"}, ValueError, "no 'schema'"),
        ({"typ": "object"}, ValueError, "neither a JSON schema nor"),
        ({"type": "json_object", "schema": 5}, TypeError, "'schema' of response_format must be a dict, not int"),
        ({"type": "json_object", "shema": {}}, ValueError, "unknown keys: shema"),
    ],
)
def test_what_is_no_form(llm: LocalLlmBackend, form: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        llm.chat(HI, response_format=form)
    assert llm.chat(HI, response_format={"type": "text"}, max_tokens=2).parsed is None
