"""JSON schemas as GBNF: what a grammar allows, the schema allows, too; what it cannot enforce is refused.

The other way round a grammar may be narrower: keys come in the schema's order, properties that are not named come only
where ``additionalProperties`` asks for them, numbers have at most 18 digits, and white space is little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import char_set, complement, in_text, quoted
from tea_llm.grammar.combine import Schema, exclude_each_other, is_of, merged, same_json, types_of
from tea_llm.grammar.formats import FORMATS, UNCHECKED_FORMATS
from tea_llm.grammar.keywords import KNOWN, NOT_ENFORCED, OF_TYPE
from tea_llm.grammar.numbers import INTEGER, NUMBER, integers_between, numbers_between
from tea_llm.grammar.regex import MOST_REPEATS, regex_in_json

__all__ = ["schema_to_gbnf"]

_RULES = {
    "space": r'" "? | "\n" [ \t]{0,20}',
    "char": r'[^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" code)',
    "code": '[0-9A-CE-Fa-ce-f] hex hex hex | [Dd] [0-7] hex hex | [Dd] [89ABab] hex hex "\\\\u" [Dd] [C-Fc-f] hex hex',
    "hex": "[0-9A-Fa-f]",
    "string": r'"\"" char* "\""',
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": '"true" | "false"',
    "null": '"null"',
    "member": 'string ":" space value',
    "object": '"{" space (member ("," space member)*)? space "}"',
    "array": '"[" space (value ("," space value)*)? space "]"',
    "value": "object | array | string | number | boolean | null",
}
"""Rules of the same name in every grammar."""

_CONSTRAINTS = frozenset(name for names in OF_TYPE.values() for name in names)
_KEY_CHARACTERS = complement(((1, 31), (0x22, 0x22), (0x5C, 0x5C)))


def schema_to_gbnf(schema: Schema | bool) -> str:
    """A grammar of JSON texts that are valid under the schema (draft 2020-12, and older drafts' tuples).

    Unknown keywords are annotations, as the standard says.

    Raises:
        GrammarError: not a schema, or it says what a grammar cannot enforce; the message lists all of that.
        TypeError: a schema that is not made of JSON's types.
    """
    try:
        plain = json.loads(json.dumps(schema, allow_nan=False))
        compiler = _Compiler(plain)
        root = compiler.value(plain, "#")
    except ValueError as error:  # json's
        raise GrammarError(f"not a JSON schema: {error}") from None
    except RecursionError:
        raise GrammarError("the schema is nested too deep, or a $ref of it leads to itself") from None
    if compiler.problems:
        raise GrammarError("a grammar cannot enforce this schema: " + "; ".join(compiler.problems))
    return "".join(f"{name} ::= {body}\n" for name, body in ({"root": root} | compiler.rules).items())


class _Compiler:
    """Turns schemas into rules. Each method that returns text returns the name of a rule, or a body for one.

    Attributes:
        problems: what cannot be enforced, and where.
    """

    def __init__(self, document: Any) -> None:
        self.problems: list[str] = []
        self._document = document
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}  # of rules, by their bodies
        self._references: dict[str, str] = {}  # rule names by pointer

    @property
    def rules(self) -> dict[str, str]:
        return _RULES | self._rules

    def value(self, schema: Any, where: str) -> str:
        """A value that the schema allows."""
        if schema is True:
            return "value"
        if not isinstance(schema, Mapping):
            return self._problem(where, f"{schema!r} allows nothing" if schema is False else f"{schema!r} is no schema")
        try:
            return self._value(schema, where)
        except GrammarError as error:
            return self._problem(where, str(error))
        except (TypeError, AttributeError, KeyError) as error:
            return self._problem(where, f"not valid: {error}")

    def _value(self, schema: Schema, where: str) -> str:
        schema = {key: item for key, item in schema.items() if key in KNOWN}
        for key in sorted(NOT_ENFORCED & schema.keys()):
            self._problem(where, f"{key!r} is not supported")
        if not schema:
            return "value"
        if schema.keys() == {"$ref"}:
            return self._reference(schema["$ref"])
        if "$ref" in schema:
            return self.value(self._with_target(schema), where)
        for key in ("allOf", "anyOf", "oneOf"):
            if key in schema:
                rest = {name: item for name, item in schema.items() if name != key}
                return self._combination(key, schema[key], rest, where)
        if "const" in schema or "enum" in schema:
            return self._literals(schema, where)
        types = types_of(schema)
        if "type" not in schema:  # those that it says something of
            types = [kind for kind in types if schema.keys() & set(OF_TYPE.get(kind, ()))]
        if "number" in types and "integer" in types:
            types.remove("integer")
        return self._either(self._typed(kind, schema, where) for kind in types)

    def _typed(self, kind: str, schema: Schema, where: str) -> str:
        writers: dict[str, Callable[[Schema, str], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._integer,
            "boolean": lambda *_: "boolean",
            "null": lambda *_: "null",
        }
        if kind not in writers:
            return self._problem(where, f"there is no type {kind!r}")
        return writers[kind](schema, where)

    def _combination(self, key: str, schemas: Sequence[Any], rest: Schema, where: str) -> str:
        resolved = [self._with_target(schema) for schema in schemas]
        if not resolved:
            return self._problem(where, f"{key!r} is empty")
        if key == "allOf":
            whole: dict[str, Any] = dict(rest)
            for schema in resolved:
                whole = merged(whole, schema)
            return self.value(whole, where)
        if key == "oneOf" and not exclude_each_other(resolved):
            return self._problem(where, "'oneOf' whose schemas do not exclude each other by type or by a constant")
        if rest:
            alternatives: Iterable[Any] = (merged(schema, rest) for schema in resolved)
        else:
            alternatives = schemas
        return self._either(self.value(schema, f"{where}/{key}/{i}") for i, schema in enumerate(alternatives))

    def _with_target(self, schema: Any) -> Schema:
        """A schema with its own reference replaced by what it refers to."""
        for _ in range(100):
            if schema is True:
                return {}
            if not isinstance(schema, Mapping):
                raise GrammarError(f"{schema!r} among schemas that are combined")
            if "$ref" not in schema:
                return schema
            others = {key: item for key, item in schema.items() if key != "$ref"}
            schema = merged(self._resolved(schema["$ref"]), others)
        raise GrammarError("a $ref that leads to itself")

    def _literals(self, schema: Schema, where: str) -> str:
        values = schema.get("enum", [schema.get("const")])
        if "const" in schema:
            values = [value for value in values if same_json(value, schema["const"])]
        values = [value for value in values if any(is_of(value, kind) for kind in types_of(schema))]
        if _CONSTRAINTS & schema.keys():
            return self._problem(where, f"{', '.join(sorted(_CONSTRAINTS & schema.keys()))} beside constants")
        if not values:
            return self._problem(where, "no constant is allowed")
        return self._either(quoted(json.dumps(value, ensure_ascii=False)) for value in values)

    # --- strings and numbers

    def _string(self, schema: Schema, where: str) -> str:
        lengths = {"minLength", "maxLength"} & schema.keys()
        given = [name for name in ("pattern", "format") if name in schema] + sorted(lengths)
        if schema.get("format") in UNCHECKED_FORMATS:
            given.remove("format")
        if not given:
            return "string"
        if len(given) > len(lengths or "x"):
            return self._problem(where, f"{' and '.join(given)} together")
        if lengths:
            return self._rule(rf'"\"" char{self._repeats(schema, "Length", where)} "\""')
        pattern = schema["pattern"] if given == ["pattern"] else FORMATS.get(schema["format"])
        if pattern is None:
            return self._problem(where, f"the format {schema['format']!r}")
        return self._rule(rf'"\"" {regex_in_json(pattern)} "\""')

    def _integer(self, schema: Schema, where: str) -> str:
        low, high, excludes_low, excludes_high = self._bounds(schema, where)
        if low is None and high is None:
            return "integer"
        least = None if low is None else int(low.to_integral_value("ROUND_CEILING"))
        most = None if high is None else int(high.to_integral_value("ROUND_FLOOR"))
        if least is not None and excludes_low and least == low:
            least += 1
        if most is not None and excludes_high and most == high:
            most -= 1
        if least is not None and most is not None and least > most:
            return self._problem(where, "there is no integer between its bounds")
        return self._either(map(self._rule, integers_between(least, most)))

    def _number(self, schema: Schema, where: str) -> str:
        low, high, excludes_low, excludes_high = self._bounds(schema, where)
        if low is None and high is None:
            return "number"
        found = numbers_between(low, high, excludes_low=excludes_low, excludes_high=excludes_high)
        if not found:
            return self._problem(where, "there is no number between its bounds")
        return self._either(map(self._rule, found))

    def _bounds(self, schema: Schema, where: str) -> tuple[Decimal | None, Decimal | None, bool, bool]:
        if "multipleOf" in schema and (schema["multipleOf"] != 1 or "number" in types_of(schema)):
            self._problem(where, "'multipleOf' is not supported")
        low, high = (_decimal(schema.get(name)) for name in ("minimum", "maximum"))
        above, below = (_decimal(schema.get(name)) for name in ("exclusiveMinimum", "exclusiveMaximum"))
        excludes_low = above is not None and (low is None or above >= low)
        excludes_high = below is not None and (high is None or below <= high)
        return (above if excludes_low else low), (below if excludes_high else high), excludes_low, excludes_high

    # --- arrays and objects

    def _array(self, schema: Schema, where: str) -> str:
        if schema.get("uniqueItems", False) is not False:
            self._problem(where, "'uniqueItems' is not supported")
        key, first = "items", schema.get("prefixItems", [])
        if isinstance(schema.get("items"), list):  # until draft 2019-09
            key, first = "additionalItems", schema["items"]
        high = schema.get("maxItems")
        low = schema.get("minItems", min(len(first), len(first) if high is None else high))
        others = schema.get(key, low > len(first) or not first)  # of a tuple no more than it lists
        if not first and others is True and low == 0 and high is None:
            return "array"
        items = [self.value(item, f"{where}/prefixItems/{i}") for i, item in enumerate(first[:high])]
        n_left = None if high is None else high - len(items)
        if others is False or n_left == 0:
            return self._items(items, low, "", where)
        other = self.value(others, f"{where}/items")
        repeats = self._repeats({"min": max(0, low - len(items)), "max": n_left}, "", where)
        if items and low >= len(items):
            return self._items(items, low, f'("," space {other}){repeats}', where)
        if items:
            return self._problem(where, "fewer items than 'prefixItems' has, and more, too")
        return self._rule(f'"[" space {self._list_of(other, low, high, where)} space "]"')

    def _items(self, items: list[str], n_least: int, tail: str, where: str) -> str:
        """An array of certain items, the last of which may be left out, and then ``tail``."""
        if n_least > len(items) and not tail:
            return self._problem(where, "fewer items are allowed than are asked for")
        body = tail
        for index in range(len(items) - 1, -1, -1):
            comma = '"," space ' if index > 0 else ""
            body = self._rule(f"{comma}{items[index]} {body}".rstrip())
            if index >= n_least:
                body += "?"
        return self._rule(f'"[" space {body} space "]"')

    def _list_of(self, item: str, low: int, high: int | None, where: str) -> str:
        """Items with commas between."""
        if high == 0:
            return '""'
        rest = {"min": max(0, low - 1), "max": None if high is None else high - 1}
        some = f'{item} ("," space {item}){self._repeats(rest, "", where)}'
        return some if low > 0 else f"({some})?"

    def _repeats(self, schema: Schema, what: str, where: str) -> str:
        low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
        if high is not None and low > high:
            self._problem(where, f"min{what} is more than max{what}")
        elif max(low, high or 0) > MOST_REPEATS:
            self._problem(where, f"more than {MOST_REPEATS} repetitions")
        return f"{{{int(low)},{'' if high is None else int(high)}}}"

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
                self._problem(where, f"{key!r} beside named properties")
        members = []
        for name, item in properties.items():
            if item is False and name not in required:
                continue
            value = self.value(item, f"{where}/properties/{name}")
            member = self._rule(f'{quoted(json.dumps(name, ensure_ascii=False))} ":" space {value}')
            members.append((member, name in required))
        if others is not False:
            key_rule = self._other_key(sorted(properties))
            member = f'{key_rule} ":" space {self.value(others, f"{where}/additionalProperties")}'
            members.append((self._rule(f'{member} ("," space {member})*'), False))
        return self._rule(f'"{{" space {self._members(members)} space "}}"')

    def _map(self, schema: Schema, others: Any, where: str) -> str:
        """An object of any keys."""
        low, high = schema.get("minProperties", 0), schema.get("maxProperties")
        if low > 1:  # a key may come twice
            self._problem(where, "'minProperties' without named properties")
        if others is True and low == 0 and high is None and "propertyNames" not in schema:
            return "object"
        names = schema.get("propertyNames", True)
        key = "string" if names is True else self.value(merged({"type": "string"}, self._with_target(names)), where)
        member = self._rule(f'{key} ":" space {self.value(others, f"{where}/additionalProperties")}')
        return self._rule(f'"{{" space {self._list_of(member, low, high, where)} space "}}"')

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """Members in their order with commas between, of which those that are not required may be left out."""
        rest, alone = "", ['""']  # what may come from here on: after other members, and as the first
        for member, is_required in reversed(members):
            begun = f"{member} {rest}".rstrip()
            alone = [begun] if is_required else [begun, *alone]
            rest = self._rule(f'("," space {member}){"" if is_required else "?"} {rest}'.rstrip())
        return self._either(alone)

    def _other_key(self, names: list[str]) -> str:
        """A key that is none of these, written without escapes."""
        return self._rule(rf'"\"" {self._other_than(names)} "\""')

    def _other_than(self, names: list[str]) -> str:
        heads = sorted({name[0] for name in names if name})
        others = complement(char_set((ord(head), ord(head)) for head in heads), _KEY_CHARACTERS)
        alternatives = [f"{in_text(others)} {in_text(_KEY_CHARACTERS)}*"]
        for head in heads:
            tails = [name[1:] for name in names if name.startswith(head)]
            alternatives.append(f"{quoted(head)} {self._other_than(tails)}")
        return self._either([*alternatives, *([] if "" in names else ['""'])])

    # --- references, rules and complaints

    def _reference(self, pointer: str) -> str:
        if pointer not in self._references:
            name = self._references[pointer] = f"ref{len(self._references)}"
            self._rules[name] = self.value(self._resolved(pointer), pointer)
            if self._rules[name] == name:
                self._problem(pointer, "leads to itself")
        return self._references[pointer]

    def _resolved(self, pointer: str) -> Any:
        """What a ``$ref`` refers to (RFC 6901)."""
        target = self._document
        if not pointer.startswith("#"):
            raise GrammarError(f"the $ref {pointer!r} leads out of the schema")
        try:
            for part in unquote(pointer[1:]).split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                target = target[int(key) if isinstance(target, list) else key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise GrammarError(f"the $ref {pointer!r} leads nowhere") from None
        return target

    def _rule(self, body: str) -> str:
        """The name of a rule with this body."""
        if body not in self._names:
            self._names[body] = f"r{len(self._names)}"
            self._rules[self._names[body]] = body
        return self._names[body]

    def _either(self, alternatives: Iterable[str]) -> str:
        found = list(dict.fromkeys(alternatives))
        return found[0] if len(found) == 1 else self._rule(" | ".join(found))

    def _problem(self, where: str, what: str) -> str:
        self.problems.append(f"{where}: {what}")
        return "null"  # something to go on with


def _decimal(bound: object) -> Decimal | None:
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise TypeError(f"a bound must be a number, not {bound!r}")
    return Decimal(repr(bound))
