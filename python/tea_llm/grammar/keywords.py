"""JSON Schema's keywords, grouped by whether a grammar can enforce them."""

from __future__ import annotations

__all__ = ["KNOWN", "NOT_ENFORCED", "OF_TYPE", "TYPES"]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
OF_TYPE = {
    "object": ("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""Keywords that constrain the values of one type."""
_NOT = ("contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "minContains")
_NEITHER = ("$dynamicRef", "$recursiveRef", "not", "patternProperties", "then", "unevaluatedItems")
NOT_ENFORCED = frozenset((*_NOT, *_NEITHER, "unevaluatedProperties"))
KNOWN = frozenset(("$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type")).union(NOT_ENFORCED, *OF_TYPE.values())
"""All keywords that constrain values. Others are annotations."""
