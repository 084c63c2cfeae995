"""The parameters of a function, as its JSON schema has them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.combine import Schema
from tea_llm.grammar.keywords import KNOWN, NOT_ENFORCED, TYPES
from tea_llm.grammar.rules import Rules
from tea_llm.grammar.schema import schema_to_gbnf
from tea_llm.grammar.texts import alternatives, kinds_of

__all__ = ["Parameter", "Parameters", "kinds_in"]

_HELD = ("type", "properties", "required", "additionalProperties")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of them.

    Attributes:
        name: of the parameter.
        schema: of its values.
        is_required: each call must have it.
        kinds: types of its values.
    """

    name: str
    schema: Any
    is_required: bool
    kinds: frozenset[str]

    def wire_type(self, *, is_exact: bool) -> str | list[str]:
        """What a description says: whether texts are possible, and whether others are.

        Args:
            is_exact: say it where both are; else that texts are.
        """
        if "string" not in self.kinds:
            return "object"
        others = sorted(self.kinds - {"string"})
        return ["string", *others] if others and is_exact else "string"


class Parameters:
    """All of them.

    Args:
        schema: of a function's arguments; None: there are no parameters.
        document: where its references are resolved; None: in itself.

    Attributes:
        schema: as given.
        document: as given.
        all: the parameters, in their order.
        more: what the schema says beyond its parameters.
    """

    def __init__(self, schema: Any, document: Mapping[str, Any] | None = None) -> None:
        self.schema: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        self.document = self.schema if document is None else document
        self.more: list[str] = []
        self.all = self._found()

    def object_gbnf(self, spelling: type[Rules] = Rules) -> str:
        """A grammar of all arguments as one object.

        Args:
            spelling: how it is written; as JSON by default.

        Raises:
            GrammarError: it cannot enforce the schema.
        """
        return schema_to_gbnf({"type": "object", **self.schema}, self.document, spelling=spelling)

    def loose_gbnf(self, spelling: type[Rules] = Rules) -> str:
        """As ``object_gbnf``, of a schema that says less: what a grammar can enforce."""
        properties = {}
        for parameter in self.all:
            for schema in (parameter.schema, _less(parameter.schema), True):
                with suppress(GrammarError):  # a name may be what cannot be written
                    schema_to_gbnf({"properties": {parameter.name: schema}}, self.document, spelling=spelling)
                    properties[parameter.name] = schema
                    break
        required = [parameter.name for parameter in self.all if parameter.is_required and parameter.name in properties]
        schema = {"type": "object", "properties": properties, "required": required}
        return schema_to_gbnf(schema, self.document, spelling=spelling)

    def _found(self) -> list[Parameter]:
        try:
            return self._parameters()
        except (AttributeError, GrammarError, KeyError, RecursionError, TypeError, ValueError) as error:
            self.more.append(f"not a schema of an object: {error}")
            return []

    def _parameters(self) -> list[Parameter]:
        objects = [one for one in alternatives(self.schema, self.document) if "object" in kinds_of(one) or not one]
        if len(objects) > 1:
            self.more.append("its alternatives are not told apart")
        properties: dict[str, Any] = {}
        required = set(objects[0].get("required", ())) if objects else set()
        for one in objects:
            others = one.get("additionalProperties", True)
            named = {**one.get("properties", {})}
            named.update({name: others for name in one.get("required", ()) if name not in named})
            properties = {**named, **properties}
            required &= {*one.get("required", ())}
            self.more += [f"{key!r} is not supported here" for key in sorted(one.keys() & KNOWN - {*_HELD})]
        return [
            Parameter(name, one, name in required, kinds_in(one, self.document))
            for name, one in properties.items()
            if one is not False
        ]


def kinds_in(schema: Any, document: Schema) -> frozenset[str]:
    """The types of a schema's values; all where they cannot be told."""
    try:
        return frozenset(kind for one in alternatives(schema, document) for kind in kinds_of(one))
    except GrammarError:
        return frozenset(TYPES)


def _less(schema: Any) -> Any:
    """The same without keywords that no grammar enforces."""
    if not isinstance(schema, Mapping):
        return schema
    return {key: value for key, value in schema.items() if key not in NOT_ENFORCED}
