"""Values held against schemas: as the jsonschema package does it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tea_llm.grammar.validate import problems_of

NAMES = st.sampled_from("abc")
LEAVES = st.none() | st.booleans() | st.integers(-4, 4) | st.sampled_from([0.5, 2.0, -1.5]) | st.text("ab1", max_size=3)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
COUNTS = st.integers(0, 3)
BOUNDS = st.integers(-3, 3) | st.just(0.5)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many, by_name = st.lists(inner, min_size=1, max_size=2), st.dictionaries(NAMES, inner, max_size=2)
    some_names = st.lists(NAMES, unique=True, max_size=2)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), BOUNDS),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), COUNTS),
        "pattern": st.sampled_from(["^a", "b$", "[ab]1", "^$"]),
        **dict.fromkeys(("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then"), inner),
        **dict.fromkeys(("else", "unevaluatedItems", "unevaluatedProperties"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), many),
        **dict.fromkeys(("properties", "dependentSchemas"), by_name),
        "patternProperties": st.dictionaries(st.sampled_from(["a", "^b$", "[ac]"]), inner, max_size=2),
        "required": some_names,
        "dependentRequired": st.dictionaries(NAMES, some_names, max_size=2),
        **dict.fromkeys(("minContains", "maxContains"), COUNTS),
        "uniqueItems": st.booleans(),
        "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two", "#other"]),
    }
    picked = st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True)
    return st.booleans() | picked.flatmap(lambda names: st.fixed_dictionaries({name: keywords[name] for name in names}))


SCHEMAS = st.recursive(st.booleans(), schemas, max_leaves=6)
DEFINITIONS = {"one": {"type": ["string", "object"]}, "two": {"properties": {"a": {"maximum": 1}}}}


@given(SCHEMAS.filter(lambda one: isinstance(one, dict)), st.lists(VALUES, min_size=1, max_size=5))
@settings(max_examples=300)
def test_as_jsonschema(schema: dict[str, Any], values: list[Any]) -> None:
    whole = {**schema, "$defs": {**DEFINITIONS, "three": {"$anchor": "other", "minItems": 1}}}
    validator = jsonschema.Draft202012Validator(whole)
    for value in values:
        problems = problems_of(value, whole)
        assert bool(problems) != validator.is_valid(value), problems


def test_problems_have_places() -> None:
    schema = {
        "properties": {"list": {"items": {"type": "integer"}}, "inner": {"additionalProperties": False}},
        "required": ["size"],
    }
    assert problems_of({"list": [1, "x"], "inner": {"y": 1}}, schema) == (
        "the required 'size' is missing",
        "list[1]: 'x' is not of type 'integer'",
        "inner: the property 'y' is not allowed",
    )


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"items": [{"type": "integer"}], "additionalItems": False}, [1], [1, 2]),
        ({"dependencies": {"a": ["b"], "b": {"minProperties": 2}}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"format": "date"}, "2024-02-29", "2023-02-29"),
        ({"format": "date-time"}, "2024-02-29T10:00:00Z", "2024-02-29"),
        ({"format": "time"}, "10:00:00Z", "25:00:00Z"),
        ({"format": "ipv4"}, "10.0.0.1", "10.0.0.256"),
        ({"format": "ipv6"}, "::1", "::x"),
        ({"format": "uuid"}, "12345678-1234-1234-1234-123456789abc", "1234"),
        ({"format": "email"}, "a@b.c", "a"),
        ({"format": "uri"}, "https://a.b", "a b"),
    ],
)
def test_older_drafts_and_formats(schema: dict[str, Any], right: object, wrong: object) -> None:
    assert problems_of(right, schema) == ()
    assert problems_of(wrong, schema) != ()


@pytest.mark.parametrize(
    "schema",
    [
        *({"type": 5}, {"required": 7}, {"pattern": "("}, {"$ref": "#/nowhere"}, {"minimum": "a"}),
        *({"$dynamicRef": "#a"}, {"$ref": "#"}, {"anyOf": 3}, "string", None),
    ],
)
def test_a_schema_that_cannot_be_checked_is_a_problem(schema: Any) -> None:
    (problem,) = problems_of({"a": 1} if schema != {"minimum": "a"} else 1, schema) or problems_of("a", schema)
    assert "checked" in problem
