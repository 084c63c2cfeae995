"""Schemas and regular expressions: what is accepted is kept, what is refused is refused with its place."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fuzzing import fuzz
from support.gbnf import Gbnf
from tea_llm import GrammarError
from tea_llm.grammar.regex import regex_to_gbnf
from tea_llm.grammar.schema import schema_to_gbnf

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-50, 50) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "b", "ab", "a/b", "c~d", 'q"', "", "é"])
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
SMALL = st.integers(0, 4)
PATTERN_PARTS = [
    "a",
    "b",
    ".",
    "\\d",
    "\\w",
    "[^a-c]",
    "(a|b)",
    "(?:ab)*",
    "^",
    "$",
    "|",
    "(?!b)",
    "(?=a)",
    "x{2,3}",
    "+",
    "é",
    '"',
]
PATTERNS = st.lists(st.sampled_from(PATTERN_PARTS), max_size=6).map("".join)
REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#x", "#/properties/a", "#/nowhere", "other.json"])


def _schema(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(NAMES, inner, max_size=3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, max_size=3),
        "enum": st.lists(VALUES, max_size=4),
        "const": VALUES,
        "properties": members,
        "required": st.lists(NAMES, max_size=3, unique=True),
        "additionalProperties": inner,
        "propertyNames": inner,
        "minProperties": SMALL,
        "maxProperties": SMALL,
        "items": inner,
        "prefixItems": st.lists(inner, min_size=1, max_size=3),
        "minItems": SMALL,
        "maxItems": SMALL,
        "minLength": SMALL,
        "maxLength": SMALL,
        "pattern": PATTERNS,
        "format": st.sampled_from(["date", "time", "date-time", "email", "uuid", "ipv4", "ipv6", "uri", "thing"]),
        "minimum": st.integers(-5, 5) | st.floats(-5, 5),
        "maximum": st.integers(-5, 5) | st.floats(-5, 5),
        "exclusiveMinimum": st.integers(-5, 5),
        "exclusiveMaximum": st.floats(-5, 5),
        "anyOf": st.lists(inner, min_size=1, max_size=3),
        "oneOf": st.lists(inner, min_size=1, max_size=3),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "$ref": REFERENCES,
        "$anchor": st.just("x"),
        "$defs": members,
        "not": inner,
        "uniqueItems": st.booleans(),
        "title": st.text(max_size=3),
    }
    return st.sets(st.sampled_from(sorted(keywords)), max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: keywords[name] for name in names})
    )


SCHEMAS = st.recursive(st.booleans() | _schema(st.booleans()), _schema, max_leaves=8)


def outcome(schema: Any) -> tuple[str, str]:
    """The grammar, or why there is none."""
    try:
        return schema_to_gbnf(schema), ""
    except GrammarError as error:
        return "", str(error)


@fuzz
@given(SCHEMAS, st.integers(0, 2**32))
def test_schemas(schema: Any, seed: int) -> None:
    text, refusal = outcome(schema)
    if refusal:
        assert re.search(r"#\S*: |nested too deeply|refers to itself", refusal)
        return
    grammar, chance = Gbnf(text), random.Random(seed)
    assert grammar.has_end, text
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for _ in range(4):
        drawn = grammar.draw(chance)
        try:
            validator.validate(json.loads(drawn))
        except RecursionError:  # a schema that refers to itself at the same place: jsonschema has no answer
            return


@fuzz
@given(VALUES)
def test_anything_as_a_schema(schema: Any) -> None:
    text, refusal = outcome(schema)
    assert text or refusal


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of Python's parser, about sets within sets
@fuzz
@given(PATTERNS | st.from_regex(r"[ab.()|^$*+?{}\\dw\[\]0-9,=!-]{1,14}", fullmatch=True), st.integers(0, 2**32))
def test_regular_expressions(pattern: str, seed: int) -> None:
    try:
        grammar = Gbnf(regex_to_gbnf(pattern))
    except GrammarError:
        return
    chance = random.Random(seed)
    assert grammar.has_end
    for _ in range(4):
        text = grammar.draw(chance)
        assert re.fullmatch(pattern, text), (pattern, text)
