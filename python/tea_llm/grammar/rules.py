"""Grammar rules for JSON texts, named on demand, and the spelling of values in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

from tea_llm.grammar.characters import CharSet, complement, in_json, quoted
from tea_llm.grammar.language import Language, automaton_rules
from tea_llm.grammar.numbers import INTEGER, NUMBER
from tea_llm.grammar.prefixes import one_of

__all__ = ["NothingError", "Rules"]

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
"""Rules that every grammar contains under the same names."""


class NothingError(Exception):
    """No value is valid under a schema.

    Args:
        reason: why no value is valid.
        where: the schema's place in the document; empty until it is known.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {super().__str__()}" if self.where else super().__str__()


class Rules:
    """Grammar rules by name. Methods that return text return a rule name or a rule body.

    Attributes:
        base: rules that every grammar contains.
        any_key: the base rule for a property name.
        key_characters: characters of property names that a schema does not list.
        has_escapes: whether strings are written with JSON's escapes.
        has_empty_key: whether a property name may be empty.
    """

    base: ClassVar[Mapping[str, str]] = _RULES
    any_key: ClassVar[str] = "string"
    key_characters: ClassVar[CharSet] = complement(((1, 31), (0x22, 0x22), (0x5C, 0x5C)))
    has_escapes: ClassVar[bool] = True
    has_empty_key: ClassVar[bool] = True

    def __init__(self) -> None:
        self._rules = dict(self.base)
        self._names: dict[str, str] = {}  # by body
        self._strings: dict[Language, str] = {}  # names of the start rules

    def gbnf(self, root: str) -> str:
        """The grammar whose root has a body."""
        return "".join(f"{name} ::= {body}\n" for name, body in ({"root": root} | self._rules).items())

    def define(self, name: str, body: str) -> None:
        """Sets the body of a rule."""
        self._rules[name] = body

    def named(self, body: str) -> str:
        """The name of the rule with a body; creates it if necessary."""
        if body not in self._names:
            self._names[body] = f"r{len(self._names)}"
            self._rules[self._names[body]] = body
        return self._names[body]

    def either(self, alternatives: Iterable[str]) -> str:
        """One of several bodies; there must be at least one."""
        found = list(dict.fromkeys(alternatives))
        return found[0] if len(found) == 1 else self.named(" | ".join(found))

    def string(self, language: Language) -> str | None:
        """A string whose text is in a language; None if the language is empty."""
        if language not in self._strings:
            prefix = f"s{len(self._strings)}-"
            rules = self.automaton(language, prefix)
            self._strings[language] = f"{prefix}0" if rules else ""
            self._rules.update(rules)
        first = self._strings[language]
        return self.named(self.in_quotes(first)) if first else None

    def one_of(self, values: Iterable[object]) -> str:
        """One of several constants."""
        return one_of(map(self.constant, values), quoted, self.either)

    # --- spelling

    def automaton(self, language: Language, prefix: str) -> dict[str, str]:
        """The rules for the inside of a string."""
        return automaton_rules(language, in_json, prefix)

    def in_quotes(self, inside: str) -> str:
        """A string with the given inside."""
        return rf'"\"" {inside} "\""'

    def characters(self, repeats: str) -> str:
        """Any characters of a string, with a quantifier."""
        return f"char{repeats}"

    def constant(self, value: object) -> str:
        """The text of a constant."""
        return json.dumps(value, ensure_ascii=False)

    def key(self, name: str) -> str:
        """The text of a property name."""
        return self.constant(name)

    def other_key(self, inside: str) -> str:
        """A property name that the schema does not list."""
        return self.in_quotes(inside)
