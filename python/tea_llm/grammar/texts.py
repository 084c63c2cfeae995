"""Grammars of values whose strings have no quotes, as in some models' call formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import ANY, in_text, quoted
from tea_llm.grammar.combine import Schema, is_of, merged, same_json, types_of, with_target
from tea_llm.grammar.compose import prefixed
from tea_llm.grammar.formats import FORMATS, UNCHECKED_FORMATS
from tea_llm.grammar.keywords import KNOWN, NOT_ENFORCED, OF_TYPE
from tea_llm.grammar.language import (
    Language,
    automaton_rules,
    both,
    characters,
    either,
    except_for,
    repeated,
    sequence,
)
from tea_llm.grammar.prefixes import one_of
from tea_llm.grammar.regex import regex_language
from tea_llm.grammar.rules import NothingError, Rules
from tea_llm.grammar.scalars import limits
from tea_llm.grammar.schema import schema_to_gbnf

__all__ = ["alternatives", "any_text", "kinds_of", "text_to_gbnf", "without", "word"]

_MAX_REFERENCES = 50
_MAX_ALTERNATIVES = 1000
_MAX_COUNTED = 300
"""In characters; each adds two states to the automaton."""


def text_to_gbnf(schema: Any, document: Schema, *, end: str, takes_json: bool) -> str | None:
    """A grammar of a value's texts: strings without quotes, other types as JSON.

    Args:
        schema: schema of the value.
        document: schema in which references are resolved.
        end: the text after the value, which no string may contain.
        takes_json: allow values that are not strings.

    Returns:
        GBNF; None: any text without ``end``. No text contains ``end`` even without its surrounding white space.

    Raises:
        GrammarError: a grammar cannot enforce the schema, or it allows no value.
    """
    try:
        written = _text_to_gbnf(schema, document, end.strip() or end, takes_json=takes_json)
    except NothingError as reason:
        raise GrammarError(f"the schema allows no value: {reason}") from None
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise GrammarError(f"invalid schema: {error}") from None
    if written is not None or end.strip() in ("", end):
        return written
    rules = Rules()  # a model that forgets a line break would write the next arguments into this one
    for name, body in automaton_rules(without(end.strip()), in_text, "text-").items():
        rules.define(name, body)
    return rules.gbnf("text-0")


def _text_to_gbnf(schema: Any, document: Schema, end: str, *, takes_json: bool) -> str | None:
    rules = Rules()
    bodies: list[str] = []
    constants: list[str] = []
    languages: list[Language] = []
    others: list[dict[str, Any]] = []
    for one in alternatives(schema, document):
        kinds = kinds_of(one)
        if "string" in kinds and one.keys() & {"const", "enum"}:
            constants += [value for value in _constants(one) if isinstance(value, str) and end not in value]
        elif "string" in kinds:
            languages.append(_strings(one))
        kinds = [kind for kind in kinds if kind != "string"]
        if kinds and takes_json:
            others.append(_of_kinds(one, kinds))
    if any_text() in languages:
        return None
    automaton = _automaton(either(languages), end)
    for name, body in automaton.items():
        rules.define(name, body)
    bodies += ["text-0"] if automaton else []
    bodies += [one_of(constants, quoted, rules.either)] if constants else []
    json_rules = ""
    if others:
        json_rules = prefixed(schema_to_gbnf({"anyOf": others}, document), "json-")
        bodies.append("json-root")
    if not bodies:
        raise NothingError("no allowed value can be written without quotes")
    return rules.gbnf(rules.either(bodies)) + json_rules


def alternatives(schema: Any, document: Schema) -> list[Schema]:
    """Schemas without references or combinations; a value must be valid under one of them.

    Raises:
        GrammarError: references or combinations cannot be expanded.
    """
    found = list(_alternatives(schema, document, 0))
    if len(found) > _MAX_ALTERNATIVES:
        raise GrammarError(f"the schema has {len(found)} alternatives: at most {_MAX_ALTERNATIVES} are supported")
    return found


def kinds_of(schema: Schema) -> list[str]:
    """The types that one of the ``alternatives`` allows."""
    if schema.keys() & {"const", "enum"}:
        return [kind for kind in types_of(schema) if any(is_of(value, kind) for value in _constants(schema))]
    kinds = types_of(schema)
    if "type" not in schema and schema.keys() & KNOWN:  # the types that its keywords constrain, as for JSON
        kinds = [kind for kind in kinds if schema.keys() & set(OF_TYPE.get(kind, ()))]
    return kinds


def without(*words: str) -> Language:
    """Texts that contain none of the words."""
    return except_for(either(sequence(any_text(), word(one), any_text()) for one in words))


def word(text: str) -> Language:
    """The language of a single text."""
    return sequence(*(characters(((ord(character), ord(character)),)) for character in text))


def any_text() -> Language:
    return repeated(characters(ANY))


def _alternatives(schema: Any, document: Schema, n_references: int) -> Iterator[Schema]:
    if schema is False:
        return
    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise GrammarError(f"{schema!r} is not a schema: use an object, true or false")
    schema = {key: value for key, value in schema.items() if key in KNOWN}
    if n_references > _MAX_REFERENCES:
        raise GrammarError("a $ref of the schema refers to itself: break the cycle")
    if "$ref" in schema:
        yield from _alternatives(with_target(schema, document), document, n_references + 1)
    elif "allOf" in schema:
        parts = schema.pop("allOf")
        for part in parts:
            schema = merged(schema, with_target(part, document))
        yield from _alternatives(schema, document, n_references + 1)
    else:
        key = "anyOf" if "anyOf" in schema else "oneOf"
        if key not in schema:
            yield schema
            return
        for part in schema.pop(key):
            yield from _alternatives(merged(with_target(part, document), schema), document, n_references + 1)


def _constants(schema: Schema) -> list[Any]:
    values = schema.get("enum", [schema.get("const")])
    if "const" in schema:
        values = [value for value in values if same_json(value, schema["const"])]
    return [value for value in values if any(is_of(value, kind) for kind in types_of(schema))]


def _of_kinds(schema: Schema, kinds: list[str]) -> dict[str, Any]:
    """The schema restricted to some types."""
    if schema.keys() & {"const", "enum"}:
        return {"enum": [value for value in _constants(schema) if any(is_of(value, kind) for kind in kinds)]}
    return {**schema, "type": kinds}


def _automaton(language: Language, end: str) -> dict[str, str]:
    """Rules of texts without the first two characters of ``end``, or without all of it if there are no such texts."""
    for mark in dict.fromkeys((end[:2], end)):
        rules = automaton_rules(both([language, without(mark)]), in_text, "text-")
        if rules:
            return rules
    return {}


def _strings(schema: Schema) -> Language:
    """The strings that one of the ``alternatives`` allows, which has no constants."""
    unknown = sorted(NOT_ENFORCED & schema.keys())
    if unknown:
        raise GrammarError(f"{', '.join(map(repr, unknown))} is not supported")
    patterns = [schema["pattern"]] if "pattern" in schema else []
    if schema.get("format") is not None and schema["format"] not in UNCHECKED_FORMATS:
        if schema["format"] not in FORMATS:
            raise GrammarError(f"the format {schema['format']!r} is not supported: use 'pattern' instead")
        patterns.append(FORMATS[schema["format"]])
    low, high = limits(schema, "Length")
    longest = max(low, high or 0)
    if longest > _MAX_COUNTED:
        raise GrammarError(f"a length of {longest} is not supported without quotes: use at most {_MAX_COUNTED}")
    languages = [regex_language(pattern, is_search=True) for pattern in patterns]
    return both([*languages, repeated(characters(ANY), low, high)])
