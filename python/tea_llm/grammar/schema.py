"""Compiles JSON schemas to GBNF grammars that allow only valid values; unenforceable schemas are refused.

A grammar may be narrower than its schema: keys follow the schema's order, unnamed properties appear only if
``additionalProperties`` says so, numbers have at most 18 digits, and white space is limited.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import char_set, complement, in_text, quoted
from tea_llm.grammar.combine import Schema, exclude_each_other, is_of, merged, same_json, types_of, with_target
from tea_llm.grammar.keywords import KNOWN, NOT_ENFORCED, OF_TYPE, TYPES
from tea_llm.grammar.references import resolved, resources_with_references
from tea_llm.grammar.rules import NothingError, Rules
from tea_llm.grammar.scalars import SCALARS, limits, repeats

__all__ = ["schema_to_gbnf"]

_COMBINATIONS = ("allOf", "anyOf", "oneOf")
_CONSTRAINTS = frozenset(name for names in OF_TYPE.values() for name in names)


def schema_to_gbnf(
    schema: Schema | bool, document: Schema | bool | None = None, *, spelling: type[Rules] = Rules
) -> str:
    """A grammar of JSON texts that are valid under a schema (draft 2020-12, and older drafts' tuples).

    Unknown keywords are annotations, as the standard says.

    Args:
        schema: the schema to compile.
        document: the schema in which references are resolved; None: ``schema``.
        spelling: how values are written; JSON by default.

    Raises:
        GrammarError: the schema is invalid, or a grammar cannot enforce it; the message lists all problems.
        TypeError: the schema contains values that JSON does not have.
    """
    try:
        plain = json.loads(json.dumps(schema, allow_nan=False))
        whole = plain if document is None else json.loads(json.dumps(document, allow_nan=False))
        compiler, rules, root = _compiled(plain, whole, spelling)
    except ValueError as error:  # from json
        raise GrammarError(f"invalid JSON schema: {error}") from None
    except RecursionError:
        raise GrammarError("the schema is nested too deeply, or one of its $refs refers to itself") from None
    except NothingError as reason:
        raise GrammarError(f"the schema allows no value: {reason}") from None
    if compiler.problems:
        raise GrammarError("a grammar cannot enforce this schema: " + "; ".join(compiler.problems))
    return rules.gbnf(root)


def _compiled(schema: Any, document: Any, spelling: type[Rules]) -> tuple[_Compiler, Rules, str]:
    """A compiler that has read the schema, its rules, and the body of the schema's own rule.

    A reference is satisfiable if its target allows a value without referring to itself. Each pass starts from the
    satisfiable references of the passes before it, until a pass finds no more.
    """
    known: set[str] = set()
    while True:
        rules = spelling()
        compiler = _Compiler(document, rules, known)
        try:
            root = compiler.value(schema, "#")
        except NothingError:
            if not compiler.was_wrong_about_a_reference:
                raise
        else:
            if not compiler.was_wrong_about_a_reference:
                return compiler, rules, root
        known |= compiler.satisfiable


class _Compiler:
    """Compiles schemas to rules. Methods that return text return a rule name or a rule body.

    They raise ``NothingError`` if no value is allowed; that alternative is then omitted.

    Args:
        document: the whole schema.
        rules: receives the rules.
        known: references known to be satisfiable.

    Attributes:
        problems: constraints that cannot be enforced, with their places.
        satisfiable: references found to be satisfiable.
    """

    def __init__(self, document: Any, rules: Rules, known: Set[str]) -> None:
        self.problems = [
            f"{where}: $refs in a subschema that has an '$id' are not supported: remove the '$id'"
            for where in resources_with_references(document)
        ]
        self.satisfiable: set[str] = set()
        self._document = document
        self._known = known
        self._doubted: set[str] = set()  # references assumed to be unsatisfiable
        self._entered: frozenset[str] = frozenset()  # references followed to here without any text between
        self._rules = rules
        self._references: dict[str, str] = {}  # rule names by pointer

    @property
    def was_wrong_about_a_reference(self) -> bool:
        """Whether a reference assumed to be unsatisfiable turned out to be satisfiable."""
        return bool(self._doubted & self.satisfiable)

    def value(self, schema: Any, where: str) -> str:
        """A value that the schema allows."""
        if schema is True:
            return "value"
        if schema is False:
            raise NothingError("false allows no value", where)
        if not isinstance(schema, Mapping):
            return self._problem(where, f"{schema!r} is not a schema: use an object, true or false")
        try:
            return self._value(schema, where)
        except NothingError as error:
            error.where = error.where or where
            raise
        except GrammarError as error:
            return self._problem(where, str(error))
        except (TypeError, AttributeError, KeyError) as error:
            return self._problem(where, f"invalid schema: {error}")

    def _value(self, schema: Schema, where: str) -> str:
        schema = {key: item for key, item in schema.items() if key in KNOWN}
        for key in sorted(NOT_ENFORCED & schema.keys()):
            self._problem(where, f"{key!r} is not supported")
        if not schema:
            return "value"
        if schema.keys() == {"$ref"}:
            return self._reference(schema["$ref"])
        if "$ref" in schema:
            return self.value(with_target(schema, self._document), where)
        for key in _COMBINATIONS:
            if key in schema:
                rest = {name: item for name, item in schema.items() if name != key}
                return self._combination(key, schema[key], rest, where)
        if "const" in schema or "enum" in schema:
            return self._literals(self._constants(schema, where))
        types = types_of(schema)
        if "type" not in schema:  # the types that its keywords constrain
            types = [kind for kind in types if schema.keys() & set(OF_TYPE.get(kind, ()))]
        if "number" in types and "integer" in types:
            types.remove("integer")
        if not types:
            raise NothingError("no type is allowed")
        return self._rules.either(self._satisfiable(partial(self._typed, kind, schema, where) for kind in types))

    def _typed(self, kind: str, schema: Schema, where: str) -> str:
        if kind in SCALARS:
            return SCALARS[kind](schema, self._rules)
        writers = {"object": self._object, "array": self._array}
        if kind not in writers:
            return self._problem(where, f"unknown type {kind!r}: use one of {', '.join(TYPES)}")
        entered, self._entered = self._entered, frozenset()
        try:
            return writers[kind](schema, where)
        finally:
            self._entered = entered

    def _satisfiable(self, makers: Iterable[Callable[[], str]]) -> list[str]:
        """The alternatives that allow a value; raises ``NothingError`` if there are none."""
        outcomes = [_attempt(make) for make in makers]
        found = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if not found:
            reasons = "; ".join(dict.fromkeys(map(str, outcomes)))
            raise NothingError(f"no alternative allows a value ({reasons})" if len(outcomes) > 1 else reasons)
        return found

    def _combination(self, key: str, schemas: Sequence[Any], rest: Schema, where: str) -> str:
        if not schemas:
            return self._problem(where, f"{key!r} is empty: give at least one schema")
        if key == "allOf":
            whole: dict[str, Any] = dict(rest)
            for schema in schemas:
                whole = merged(whole, with_target(schema, self._document))
            return self.value(whole, where)
        places = {f"{where}/{key}/{i}": schema for i, schema in enumerate(schemas) if schema is not False}
        targets = {place: with_target(schema, self._document) for place, schema in places.items()}
        if not rest and all(_has_constants_only(target) for target in targets.values()):
            constants = [value for place, target in targets.items() for value in self._constants(target, place)]
            if key == "anyOf" or len({json.dumps(value) for value in constants}) == len(constants):
                return self._literals(constants)
        if key == "oneOf" and not exclude_each_other(list(targets.values())):
            return self._problem(
                where, "the schemas of 'oneOf' do not exclude each other by type or by a constant: use 'anyOf'"
            )
        if rest:
            places = {place: merged(target, rest) for place, target in targets.items()}
        if not places:
            raise NothingError(f"all schemas of {key!r} are false")
        return self._rules.either(
            self._satisfiable(partial(self.value, schema, place) for place, schema in places.items())
        )

    def _constants(self, schema: Schema, where: str) -> list[Any]:
        values = schema.get("enum", [schema.get("const")])
        if "const" in schema:
            values = [value for value in values if same_json(value, schema["const"])]
        if _CONSTRAINTS & schema.keys():
            names = ", ".join(sorted(_CONSTRAINTS & schema.keys()))
            self._problem(where, f"{names} cannot be combined with 'const' or 'enum': remove one of them")
        return [value for value in values if any(is_of(value, kind) for kind in types_of(schema))]

    def _literals(self, values: Sequence[Any]) -> str:
        if not values:
            raise NothingError("no constant is allowed")
        return self._rules.one_of(values)

    # --- arrays and objects

    def _array(self, schema: Schema, where: str) -> str:
        if schema.get("uniqueItems", False) is not False:
            self._problem(where, "'uniqueItems' is not supported")
        key, first = "items", schema.get("prefixItems", [])
        if isinstance(schema.get("items"), list):  # until draft 2019-09
            key, first = "additionalItems", schema["items"]
        low, high = limits(schema, "Items")
        if not first and schema.get(key, True) is True and low == 0 and high is None:
            return "array"
        items: list[str] = []
        for index, item in enumerate(first[:high]):
            found = self._or_nothing(item, f"{where}/prefixItems/{index}")
            if not found:
                high = index
                break
            items.append(found)
        low = low if "minItems" in schema else len(items)  # a tuple is complete by default
        others = schema.get(key, low > len(first) or not first)  # a tuple has no further items by default
        other = "" if high == len(items) else self._or_nothing(others, f"{where}/items")
        if not other:
            return self._items(items, low, "")
        rest = max(0, low - len(items)), None if high is None else high - len(items)
        if items and low >= len(items):
            return self._items(items, low, f'("," space {other}){repeats(*rest)}')
        if items:
            return self._problem(where, f"'minItems' {low} is less than the {len(items)} items of the tuple: raise it")
        return self._rules.named(f'"[" space {self._list_of(other, low, high)} space "]"')

    def _items(self, items: list[str], min_items: int, tail: str) -> str:
        """An array of given items, optional from ``min_items`` on, followed by ``tail``."""
        if min_items > len(items) and not tail:
            raise NothingError(f"'minItems' {min_items} is greater than the {len(items)} items allowed")
        body = tail
        for index in range(len(items) - 1, -1, -1):
            comma = '"," space ' if index > 0 else ""
            body = self._rules.named(f"{comma}{items[index]} {body}".rstrip())
            if index >= min_items:
                body += "?"
        return self._rules.named(f'"[" space {body} space "]"')

    def _list_of(self, item: str, low: int, high: int | None) -> str:
        """Items separated by commas."""
        if high == 0:
            return '""'
        rest = max(0, low - 1), None if high is None else high - 1
        some = f'{item} ("," space {item}){repeats(*rest)}'
        return some if low > 0 else f"({some})?"

    def _object(self, schema: Schema, where: str) -> str:
        required = set(schema.get("required", ()))
        others = schema.get("additionalProperties", not (schema.get("properties") or required))
        properties = {**schema.get("properties", {})}
        for name in schema.get("required", ()):
            properties.setdefault(name, schema.get("additionalProperties", True))
        if not properties and others is not False:
            return self._map(schema, others, where)
        for key in ("propertyNames", "minProperties", "maxProperties"):
            if key in schema and not (key == "minProperties" and schema[key] <= len(required)):
                self._problem(where, f"{key!r} cannot be combined with named properties: remove it")
        members = []
        for name, item in properties.items():
            place = f"{where}/properties/{name}"
            value = self.value(item, place) if name in required else self._or_nothing(item, place)
            if not value:
                continue
            member = self._rules.named(f'{quoted(self._rules.key(name))} ":" space {value}')
            members.append((member, name in required))
        other = self._or_nothing(others, f"{where}/additionalProperties")
        if other:
            member = f'{self._other_key(sorted(properties))} ":" space {other}'
            members.append((self._rules.named(f'{member} ("," space {member})*'), False))
        return self._rules.named(f'"{{" space {self._members(members)} space "}}"')

    def _map(self, schema: Schema, others: Any, where: str) -> str:
        """An object without named properties."""
        low, high = limits(schema, "Properties")
        if low > 1:  # a key may be repeated
            self._problem(where, f"'minProperties' {low} is not supported without named properties: use 0 or 1")
        if others is True and low == 0 and high is None and "propertyNames" not in schema:
            return "object"
        key = self._rules.any_key
        if "propertyNames" in schema:
            if not self._rules.has_escapes:
                return self._problem(where, "'propertyNames' is not supported in this call format")
            names = merged({"type": "string"}, with_target(schema["propertyNames"], self._document))
            key = self._or_nothing(names, f"{where}/propertyNames")
        value = self._or_nothing(others, f"{where}/additionalProperties")
        if not key or not value:
            if low > 0:
                raise NothingError("'minProperties' requires a property, but none is allowed")
            return self._rules.named('"{" space "}"')
        member = self._rules.named(f'{key} ":" space {value}')
        return self._rules.named(f'"{{" space {self._list_of(member, low, high)} space "}}"')

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """Members in order, separated by commas; those that are not required are optional."""
        rest, alone = "", ['""']  # the rest after another member, and as the first
        for member, is_required in reversed(members):
            begun = f"{member} {rest}".rstrip()
            alone = [begun] if is_required else [begun, *alone]
            rest = self._rules.named(f'("," space {member}){"" if is_required else "?"} {rest}'.rstrip())
        return self._rules.either(alone)

    def _other_key(self, names: list[str]) -> str:
        """A key without escapes that is not one of the names."""
        # Such keys have no escapes, so names that need them cannot match.
        plain = [name for name in names if json.dumps(name, ensure_ascii=False) == f'"{name}"']
        excluded = plain if self._rules.has_empty_key else ["", *plain]
        return self._rules.named(self._rules.other_key(self._other_than(excluded)))

    def _other_than(self, names: list[str]) -> str:
        heads = sorted({name[0] for name in names if name})
        characters = self._rules.key_characters
        others = complement(char_set((ord(head), ord(head)) for head in heads), characters)
        alternatives = [f"{in_text(others)} {in_text(characters)}*"]
        for head in heads:
            tails = [name[1:] for name in names if name.startswith(head)]
            alternatives.append(f"{quoted(head)} {self._other_than(tails)}")
        return self._rules.either([*alternatives, *([] if "" in names else ['""'])])

    # --- references

    def _reference(self, pointer: Any) -> str:
        target = resolved(self._document, pointer)
        if pointer not in self._references:
            name = self._references[pointer] = f"ref{len(self._references)}"
            entered, self._entered = self._entered, self._entered | {pointer}
            body = self._or_nothing(target, pointer)
            self._entered = entered
            if body:
                self._rules.define(name, body)
                self.satisfiable.add(pointer)
        elif pointer in self._entered:
            raise NothingError(f"the $ref {pointer!r} refers to itself")
        if pointer not in self.satisfiable and pointer not in self._known:
            self._doubted.add(pointer)
            raise NothingError(f"the $ref {pointer!r} allows no finite value")
        return self._references[pointer]

    def _or_nothing(self, schema: Any, where: str) -> str:
        """As ``value``; empty if no value is allowed."""
        outcome = _attempt(partial(self.value, schema, where))
        return outcome if isinstance(outcome, str) else ""

    def _problem(self, where: str, what: str) -> str:
        self.problems.append(f"{where}: {what}")
        return "null"  # a placeholder, to find further problems


def _has_constants_only(schema: Schema) -> bool:
    return bool({"const", "enum"} & schema.keys()) and not set(_COMBINATIONS) & schema.keys()


def _attempt(make: Callable[[], str]) -> str | NothingError:
    try:
        return make()
    except NothingError as reason:
        return reason
