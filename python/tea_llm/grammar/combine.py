"""Combines JSON schemas: merges two into one, or checks that alternatives are disjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.keywords import KNOWN, TYPES
from tea_llm.grammar.references import resolved

__all__ = ["Schema", "exclude_each_other", "is_of", "merged", "same_json", "types_of", "with_target"]

Schema = Mapping[str, Any]

_MAX_REFERENCES = 100
_LARGER = ("minLength", "minItems", "minimum", "minProperties")
_SMALLER = ("maxLength", "maxItems", "maximum", "maxProperties")


def merged(one: Schema, other: Schema) -> dict[str, Any]:
    """A schema that allows the values that both allow.

    Raises:
        GrammarError: their keywords cannot be merged.
    """
    if "type" in one and "type" in other and not _common_types(types_of(one), types_of(other)):
        return {"type": []}
    if _items_of(one)[0] or _items_of(other)[0]:
        one, other = _with_merged_items(one, other)
    result = dict(one)
    for key, value in other.items():
        if key not in KNOWN or key not in result or same_json(result[key], value):
            result[key] = value
        elif key == "type":
            result[key] = _common_types(types_of(result), types_of(other))
        elif key == "const":
            return {"type": []}
        elif key == "enum":
            result[key] = [item for item in result[key] if any(same_json(item, allowed) for allowed in value)]
        elif key == "required":
            result[key] = [*result[key], *(name for name in value if name not in result[key])]
        elif key in _LARGER:
            result[key] = max(result[key], value)
        elif key in _SMALLER:
            result[key] = min(result[key], value)
        elif key == "properties":
            result[key] = _merged_properties(result[key], value)
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping | bool):
            result[key] = _merged_or_bool(result[key], value)
        else:
            raise GrammarError(f"two different values of {key!r} must both hold: combine them into one")
    if _is_closed(one, other) or _is_closed(other, one):
        raise GrammarError(
            "'additionalProperties' of one schema applies to 'properties' of another: put both into one schema"
        )
    return result


def with_target(schema: Any, document: Any) -> Schema:
    """A schema whose top-level reference is replaced by its target.

    Raises:
        GrammarError: the reference refers to itself or to nothing.
    """
    for _ in range(_MAX_REFERENCES):
        plain = _as_mapping(schema)
        if "$ref" not in plain:
            return plain
        others = {key: item for key, item in plain.items() if key != "$ref"}
        schema = merged(_as_mapping(resolved(document, plain["$ref"])), others)
    raise GrammarError(f"the $ref {plain['$ref']!r} refers to itself: break the cycle")


def types_of(schema: Schema) -> list[str]:
    """The types that ``type`` allows; all types if the schema has no ``type``."""
    types = schema.get("type", TYPES)
    return [types] if isinstance(types, str) else list(types)


def same_json(one: object, other: object) -> bool:
    """Equality as JSON Schema defines it: 1 equals 1.0, but true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return not isinstance(other, str) and len(one) == len(other) and all(map(same_json, one, other))
    return one == other


def is_of(value: object, kind: str) -> bool:
    """Whether a JSON value has a type."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, type | tuple[type, ...]] = {
        "object": dict,
        "array": list,
        "string": str,
        "number": (int, float),
        "null": type(None),
    }
    return kind in types and isinstance(value, types[kind])


def exclude_each_other(schemas: Sequence[Schema]) -> bool:
    """Whether types and constants show that no value is valid under two of the schemas."""
    return all(_are_disjoint(one, other) for i, one in enumerate(schemas) for other in schemas[:i])


def _common_types(one: list[str], other: list[str]) -> list[str]:
    common = [name for name in one if name in other]
    is_whole = ("integer" in one and "number" in other) or ("number" in one and "integer" in other)
    return [*common, "integer"] if is_whole and "integer" not in common else common


def _items_of(schema: Schema) -> tuple[list[Any], dict[str, Any]]:
    """Schemas of an array's first items, and ``{"items": schema of the items after them}``, or ``{}``."""
    first, key = schema.get("prefixItems", []), "items"
    if isinstance(schema.get("items"), list):  # until draft 2019-09
        first, key = schema["items"], "additionalItems"
    return first, {"items": schema[key]} if key in schema else {}


def _with_merged_items(one: Schema, other: Schema) -> tuple[Schema, Schema]:
    """Moves the items of both to the first: ``items`` applies to each item that its own schema does not name."""
    (first_one, rest_one), (first_other, rest_other) = _items_of(one), _items_of(other)
    n = max(len(first_one), len(first_other))
    rests = rest_one.get("items", True), rest_other.get("items", True)
    firsts = map(
        _merged_or_bool,
        [*first_one, *[rests[0]] * (n - len(first_one))],
        [*first_other, *[rests[1]] * (n - len(first_other))],
    )
    items: dict[str, Any] = {"prefixItems": list(firsts)}
    if rest_one or rest_other:
        items["items"] = _merged_or_bool(*rests)
    moved = ("prefixItems", "items", "additionalItems")
    left = [{key: value for key, value in schema.items() if key not in moved} for schema in (one, other)]
    return {**left[0], **items}, left[1]


def _merged_properties(one: Schema, other: Schema) -> dict[str, Any]:
    both = {name: _merged_or_bool(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **both}


def _merged_or_bool(one: Any, other: Any) -> Any:
    if isinstance(one, bool):
        return other if one else False
    if isinstance(other, bool):
        return one if other else False
    return merged(one, other)


def _is_closed(one: Schema, other: Schema) -> bool:
    """Whether ``additionalProperties`` of ``one`` constrains properties that only ``other`` names."""
    return one.get("additionalProperties", True) is not True and not (
        other.get("properties", {}).keys() <= one.get("properties", {}).keys()
    )


def _are_disjoint(one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    kinds = [{*types_of(schema)} | ({"integer"} if "number" in types_of(schema) else set()) for schema in (one, other)]
    if not kinds[0] & kinds[1]:
        return True
    constants = [schema.get("enum", [schema["const"]] if "const" in schema else None) for schema in (one, other)]
    if None not in constants:
        return not any(same_json(a, b) for a in constants[0] for b in constants[1])
    if kinds[0] & kinds[1] != {"object"}:
        return False
    both = set(one.get("required", ())) & set(other.get("required", ()))
    parts = [schema.get("properties", {}) for schema in (one, other)]
    return any(_are_disjoint(parts[0].get(name), parts[1].get(name)) for name in both)


def _as_mapping(schema: Any) -> Schema:
    if isinstance(schema, bool):
        return {} if schema else {"type": []}
    if not isinstance(schema, Mapping):
        raise GrammarError(f"{schema!r} is not a schema: use an object, true or false")
    return schema
