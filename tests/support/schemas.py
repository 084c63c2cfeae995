"""Random JSON schemas of what a grammar enforces."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["random_schema"]

_WORDS = ("name", "age", "kind", "tags", "a b", 'quo"te', "größe", "x", "xy", "n-1")

_PATTERNS = ("^[A-Z]{2}-\\d{1,3}$", '^("[a-c]"|\\\\){1,3}x$', "^(a|b)$", "^[^äöü\\d]{2}$", "^\\S\\W.$")


def random_schema(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema that has valid values of every kind it names, and no endless ones."""
    kinds = [_string, _number, _constant, _integer, _simple]
    if depth > 0:
        kinds += [_object, _object, _array, _tuple, _either]
    return chance.choice(kinds)(chance, depth - 1)


def _simple(chance: random.Random, depth: int) -> dict[str, Any]:
    return {"type": chance.choice(["boolean", "null", ["null", "integer"], "integer", "number"])}


def _string(chance: random.Random, depth: int) -> dict[str, Any]:
    low = chance.randrange(4)
    forms: list[dict[str, Any]] = [
        {"minLength": low, "maxLength": low + chance.randrange(12)},
        {"pattern": chance.choice(_PATTERNS)},
        {"format": chance.choice(["date", "date-time", "time", "uuid", "email", "ipv4", "ipv6", "duration"])},
    ]
    return {"type": "string"} | chance.choice(forms)


def _integer(chance: random.Random, depth: int) -> dict[str, Any]:
    low = chance.randrange(-1200, 1200)
    high = low + 1 + chance.choice([0, 1, 9, 100, 12345])
    bounds = chance.choice(
        [{"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high}, {"exclusiveMinimum": low}]
    )
    return {"type": "integer"} | bounds


def _number(chance: random.Random, depth: int) -> dict[str, Any]:
    low = round(chance.uniform(-20, 20), chance.randrange(4))
    high = round(low + chance.choice([0.005, 0.5, 3, 50]), 4)
    names = chance.choice([("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"), ("minimum", "default")])
    return {"type": "number"} | dict(zip(names, (low, high), strict=True))


def _constant(chance: random.Random, depth: int) -> dict[str, Any]:
    values: list[Any] = ["red", 'gr"een', "bläu\n", 1, -2.5, True, None, [1, "x"], {"a": 1}]
    if chance.random() < 0.3:
        return {"const": chance.choice(values)}
    return {"enum": chance.sample(values, chance.randrange(1, 5))}


def _object(chance: random.Random, depth: int) -> dict[str, Any]:
    names = chance.sample(_WORDS, chance.randrange(1, 5))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: random_schema(chance, depth) for name in names},
        "required": chance.sample(names, chance.randrange(len(names) + 1)),
    }
    if chance.random() < 0.3:
        schema["additionalProperties"] = chance.choice([False, {"type": "integer", "minimum": 3, "maximum": 8}])
    return schema


def _array(chance: random.Random, depth: int) -> dict[str, Any]:
    low = chance.randrange(3)
    return {
        "type": "array",
        "items": random_schema(chance, depth),
        "minItems": low,
        "maxItems": low + chance.randrange(3),
    }


def _tuple(chance: random.Random, depth: int) -> dict[str, Any]:
    items = [random_schema(chance, depth) for _ in range(chance.randrange(1, 4))]
    low = chance.randrange(len(items) + 1)
    return {"type": "array", "prefixItems": items, "items": False, "minItems": low}


def _either(chance: random.Random, depth: int) -> dict[str, Any]:
    schemas = [random_schema(chance, depth) for _ in range(chance.randrange(1, 4))]
    return chance.choice([{"anyOf": schemas}, {"allOf": schemas[:1]}])
