"""Grammars of JSON schemas, by the texts that they allow."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from support.gbnf import Gbnf
from tea_llm.grammar.gemma import GemmaRules
from tea_llm.grammar.schema import schema_to_gbnf


def drawn(schema: Any, n: int = 60) -> list[Any]:
    """Values of random texts."""
    grammar, chance = Gbnf(schema_to_gbnf(schema)), random.Random(0)
    return [json.loads(grammar.draw(chance)) for _ in range(n)]


def kinds(schema: Any) -> set[str]:
    return {type(value).__name__ for value in drawn(schema)}


def test_alternatives_without_values_are_omitted() -> None:
    assert kinds({"type": "string", "anyOf": [{"maxLength": 3}, {"type": "null"}]}) == {"str"}
    assert drawn({"type": "array", "items": {"enum": []}}, 5) == [[]] * 5
    assert drawn({"type": "array", "prefixItems": [{"const": 1}, False, {"const": 2}]}, 5) == [[1]] * 5
    assert drawn({"anyOf": [{"const": None, "allOf": [False]}, {"const": 1}]}, 5) == [1] * 5
    assert drawn({"anyOf": [{"enum": [1, 2], "anyOf": [{"const": 2}]}]}, 5) == [2] * 5
    nothing_else = {"type": "object", "properties": {"a": False}, "additionalProperties": False}
    assert drawn(nothing_else, 5) == [{}] * 5


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"prefixItems": [{}], "oneOf": [{"items": False}]}, [[]]),
        (
            {"items": [{"const": 1}], "allOf": [{"items": {"enum": [1, 2]}}], "maxItems": 2, "minItems": 2},
            [[1, 1], [1, 2]],
        ),
        ({"prefixItems": [{"enum": [1, 2]}], "allOf": [{"items": {"const": 2}}], "maxItems": 1}, [[2]]),
        ({"prefixItems": [{"const": 1}], "allOf": [{"prefixItems": [{}, {"const": 2}]}]}, [[1, 2]]),
    ],
)
def test_items_of_an_alternative_apply_to_the_first_items_too(schema: Any, allowed: list[Any]) -> None:
    """``items`` applies to each item that its own schema does not name, not to those that another one leaves."""
    found = drawn({"type": "array", **schema}, 40)
    assert [value for value in allowed if value in found] == allowed
    assert all(value in allowed for value in found)


def test_gemma_writes_no_empty_key() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}}
    grammar, chance = Gbnf(schema_to_gbnf(schema, spelling=GemmaRules)), random.Random(0)
    texts = {grammar.draw(chance) for _ in range(200)}
    assert any("2" in text for text in texts)
    assert not any("{:" in text.replace(" ", "") or ",:" in text.replace(" ", "") for text in texts)


def test_a_self_reference_allows_no_value() -> None:
    assert kinds({"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "$ref": "#/$defs/n"}) == {
        "NoneType"
    }


def test_mutually_recursive_references() -> None:
    """A reference may be known to be satisfiable only after a further pass."""
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1, "maxItems": 2},
            "node": {"anyOf": [{"$ref": "#/$defs/endless"}, {"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/tree"}]},
            "leaf": {"const": 0},
            "endless": {"type": "array", "items": {"$ref": "#/$defs/endless"}, "minItems": 1},
        },
    }
    flat = json.dumps(drawn(tree, 200))
    assert set(flat) == set("[], 0")
    assert "[[[" in flat


def test_thousands_of_constants_share_prefix_rules() -> None:
    words = [f"{number * 7919 % 10007:05d}" for number in range(5000)]
    for schema in ({"enum": words}, {"anyOf": [{"const": word} for word in words]}):
        rules = schema_to_gbnf(schema).split("\n")
        assert max(rule.count(" | ") for rule in rules) < 30
        assert {*drawn(schema, 300)} <= {*words}


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"enum": ["a", "ab", "abc", 1, 10]}, ["a", "ab", "abc", 1, 10]),
        ({"oneOf": [{"const": "b"}, {"enum": ["a", None]}]}, ["b", "a", None]),
        ({"enum": ["x", 1], "type": "integer"}, [1]),
        ({"const": [1, {"a": "b"}]}, [[1, {"a": "b"}]]),
    ],
)
def test_each_constant_is_allowed(schema: Any, allowed: list[Any]) -> None:
    values = drawn(schema, 300)
    assert all(value in allowed for value in values)
    assert all(value in values for value in allowed)


def test_disjoint_types_allow_no_common_value() -> None:
    assert kinds({"anyOf": [{"type": "null"}, {"type": "object", "allOf": [{"type": ["number", "integer"]}]}]}) == {
        "NoneType"
    }
    assert kinds({"type": ["integer", "null"], "allOf": [{"type": "number"}]}) == {"int"}


def test_additional_properties_beside_a_name_with_a_quote() -> None:
    objects = drawn({"type": "object", "required": ['q"', "b"], "additionalProperties": {"const": 1}}, 200)
    assert all({'q"', "b"} <= one.keys() for one in objects)
    assert any(len(one) > 2 for one in objects)


def test_length_limits_apply_beside_a_pattern() -> None:
    lengths = {
        len(text) for text in drawn({"type": "string", "pattern": "^a[bc]*$", "minLength": 2, "maxLength": 4}, 200)
    }
    assert lengths == {2, 3, 4}
