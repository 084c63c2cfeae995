"""References within a JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from tea_llm.errors import GrammarError

__all__ = ["resolved", "resources_with_references"]

_BY_NAME = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_LISTS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_ONES = ("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not")
_MORE = ("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")
_INDEX = re.compile("0|[1-9][0-9]*", re.ASCII)


def resolved(document: Any, reference: object) -> Any:
    """The target of a ``$ref`` that is a JSON pointer (RFC 6901) or an ``$anchor``.

    Args:
        document: the whole schema.
        reference: the value of ``$ref``.

    Raises:
        GrammarError: it refers to another document, to nothing, or to several schemas.
    """
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise GrammarError(
            f"the $ref {reference!r} is not a reference within the schema: use a string that begins with '#'"
        )
    fragment = unquote(reference[1:])
    if fragment and not fragment.startswith("/"):
        found = [schema for _, schema in _subschemas(document, "#") if _has_anchor(schema, fragment)]
        if len(found) != 1:
            raise GrammarError(f"the $ref {reference!r} matches {len(found)} anchors: define $anchor {fragment!r} once")
        return found[0]
    target = document
    try:
        for part in fragment.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and not _INDEX.fullmatch(key):
                raise KeyError(key)
            target = target[int(key) if isinstance(target, list) else key]
    except (KeyError, IndexError, TypeError):
        raise GrammarError(f"the $ref {reference!r} refers to nothing: correct its path") from None
    return target


def resources_with_references(document: Any) -> Iterator[str]:
    """Places of subschemas with an ``$id``, which changes how their references are resolved."""
    for where, schema in _subschemas(document, "#", within_resources=True):
        parts = _subschemas(schema, where, within_resources=True)
        if where != "#" and _is_resource(schema) and any("$ref" in part for _, part in parts):
            yield where


def _subschemas(schema: Any, where: str, *, within_resources: bool = False) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A schema and its subschemas with their places; ``within_resources`` includes those with an ``$id``."""
    found = [(where, schema)]
    for place, part in found:  # the list grows during the loop
        if not isinstance(part, Mapping):
            continue
        if _is_resource(part) and place != where and not within_resources:
            continue
        yield place, part
        for key in _BY_NAME:
            if isinstance(part.get(key), Mapping):
                found += [(f"{place}/{key}/{name}", inner) for name, inner in part[key].items()]
        for key in _LISTS:
            if isinstance(part.get(key), list):
                found += [(f"{place}/{key}/{index}", inner) for index, inner in enumerate(part[key])]
        found += [(f"{place}/{key}", part[key]) for key in (*_ONES, *_MORE) if key in part]


def _is_resource(schema: Mapping[str, Any]) -> bool:
    name = schema.get("$id")
    return isinstance(name, str) and not name.startswith("#")


def _has_anchor(schema: Mapping[str, Any], name: str) -> bool:
    """Drafts 6 and 7 write an anchor as ``$id``."""
    return name in (schema.get("$anchor"), schema.get("$dynamicAnchor")) or schema.get("$id") == f"#{name}"
