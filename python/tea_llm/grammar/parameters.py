"""The parameters of a function, read from its JSON schema."""

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
    """A parameter of a function.

    Attributes:
        name: the parameter's name.
        schema: schema of its values.
        is_required: whether each call must contain it.
        kinds: types of its values.
    """

    name: str
    schema: Any
    is_required: bool
    kinds: frozenset[str]

    def wire_type(self, *, is_exact: bool) -> str | list[str]:
        """The type in the function's description: ``"string"`` if texts are possible, else ``"object"``.

        Args:
            is_exact: list the other possible types beside ``"string"``.
        """
        if "string" not in self.kinds:
            return "object"
        others = sorted(self.kinds - {"string"})
        return ["string", *others] if others and is_exact else "string"


class Parameters:
    """All parameters of a function.

    Args:
        schema: schema of the arguments; None: the function has no parameters.
        document: schema in which references are resolved; None: ``schema``.

    Attributes:
        schema: as given.
        document: as given.
        all: the parameters, in the schema's order.
        more: constraints of the schema that the parameters do not express, as messages.
    """

    def __init__(self, schema: Any, document: Mapping[str, Any] | None = None) -> None:
        self.schema: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        self.document = self.schema if document is None else document
        self.more: list[str] = []
        self.all = self._found()

    def object_gbnf(self, spelling: type[Rules] = Rules) -> str:
        """A grammar of all arguments as one object.

        Args:
            spelling: how values are written; JSON by default.

        Raises:
            GrammarError: a grammar cannot enforce the schema.
        """
        return schema_to_gbnf({"type": "object", **self.schema}, self.document, spelling=spelling)

    def loose_gbnf(self, spelling: type[Rules] = Rules) -> str:
        """As ``object_gbnf``, without the constraints that a grammar cannot enforce."""
        properties = {}
        for parameter in self.all:
            for schema in (parameter.schema, _less(parameter.schema), True):
                with suppress(GrammarError):  # the name itself may be impossible to write
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
            self.more.append(f"the parameters are not a valid object schema: {error}")
            return []

    def _parameters(self) -> list[Parameter]:
        objects = [one for one in alternatives(self.schema, self.document) if "object" in kinds_of(one) or not one]
        if len(objects) > 1:
            self.more.append("alternatives at the top of the schema are not distinguished")
        properties: dict[str, Any] = {}
        required = set(objects[0].get("required", ())) if objects else set()
        for one in objects:
            others = one.get("additionalProperties", True)
            named = {**one.get("properties", {})}
            named.update({name: others for name in one.get("required", ()) if name not in named})
            properties = {**named, **properties}
            required &= {*one.get("required", ())}
            self.more += [f"{key!r} is not supported for parameters" for key in sorted(one.keys() & KNOWN - {*_HELD})]
        return [
            Parameter(name, one, name in required, kinds_in(one, self.document))
            for name, one in properties.items()
            if one is not False
        ]


def kinds_in(schema: Any, document: Schema) -> frozenset[str]:
    """The types of a schema's values; all types if the schema cannot be analysed."""
    try:
        return frozenset(kind for one in alternatives(schema, document) for kind in kinds_of(one))
    except GrammarError:
        return frozenset(TYPES)


def _less(schema: Any) -> Any:
    """The schema without keywords that a grammar cannot enforce."""
    if not isinstance(schema, Mapping):
        return schema
    return {key: value for key, value in schema.items() if key not in NOT_ENFORCED}
