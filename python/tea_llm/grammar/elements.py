"""Grammars of arguments that MiniMax M3 writes as elements, one per property and item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import in_text, quoted
from tea_llm.grammar.combine import Schema
from tea_llm.grammar.compose import needed, prefixed
from tea_llm.grammar.language import automaton_rules
from tea_llm.grammar.parameters import Parameter, Parameters
from tea_llm.grammar.scalars import limits, repeats
from tea_llm.grammar.schema import schema_to_gbnf
from tea_llm.grammar.texts import alternatives, kinds_of, text_to_gbnf, without

__all__ = ["Elements", "shape_of"]

_MAX_DEPTH = 6
"""Deeper values are JSON, since a reference may be recursive."""


class Elements:
    """Builds the rules of arguments that are written as elements.

    Args:
        mark: beginning of each tag.
        attempt: calls a function and returns None if it raises GrammarError.
    """

    def __init__(self, mark: str, attempt: Callable[[Callable[[], str | None]], str | None]) -> None:
        self._mark = mark
        self._attempt = attempt
        self._rules: list[str] = []

    def gbnf(self, signature: Parameters) -> str:
        """A grammar of a function's arguments."""
        body = self._members(signature, 0)
        return "\n".join([f"root ::= {body}", 'space ::= " "? | "\\n"{1,2} [ \\t]{0,20}', *self._rules, ""])

    def _members(self, signature: Parameters, depth: int) -> str:
        members = (self._member(one, signature.document, depth) for one in signature.all)
        return " ".join(members) or '""'

    def _member(self, parameter: Parameter, document: Schema, depth: int) -> str:
        value = self._value(parameter.schema, document, depth + 1)
        return f"(space {self._element(parameter.name, value)}){'' if parameter.is_required else '?'}"

    def _element(self, name: str, value: str) -> str:
        return f"{quoted(f'{self._mark}<{name}>')} {value} {quoted(f'{self._mark}</{name}>')}"

    def _value(self, schema: Any, document: Schema, depth: int) -> str:
        kind, one = shape_of(schema, document, depth)
        if kind == "object":
            return f"{self._members(Parameters(one, document), depth)} space"
        if kind == "array":
            low, high = limits(one, "Items")
            item = self._element("item", self._value(one["items"], document, depth + 1))
            return f"(space {item}){repeats(low, high)} space"
        if kind == "string":
            gbnf = self._attempt(lambda: text_to_gbnf(schema, document, end=self._mark, takes_json=False))
            rules = automaton_rules(without(self._mark), in_text, "text-")
            gbnf = gbnf or "root ::= text-0\n" + "".join(f"{name} ::= {body}\n" for name, body in rules.items())
        else:
            gbnf = self._attempt(lambda: schema_to_gbnf(schema, document)) or schema_to_gbnf(True)
        prefix = f"value-{len(self._rules)}-"
        self._rules.append(prefixed(needed(gbnf), prefix))
        return f"{prefix}root"


def shape_of(schema: Any, document: Schema, depth: int) -> tuple[str, Schema]:
    """The form of a value and its schema; the form is "string", "object", "array" or "" (JSON)."""
    try:
        found = alternatives(schema, document)
        kinds = {kind for one in found for kind in kinds_of(one)}
    except GrammarError:
        return "", {}
    if "string" in kinds:
        return "string", {}
    if len(found) == 1 and depth < _MAX_DEPTH:
        if kinds == {"object"} and isinstance(found[0].get("properties"), Mapping) and found[0]["properties"]:
            return "object", found[0]
        if kinds == {"array"} and isinstance(found[0].get("items"), Mapping):
            return "array", found[0]
    return "", {}
