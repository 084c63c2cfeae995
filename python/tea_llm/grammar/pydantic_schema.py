"""JSON schemas of pydantic classes that a grammar can enforce."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["schema_of_class"]


def schema_of_class(model: Any) -> dict[str, Any]:
    """The schema of a pydantic class.

    pydantic describes a ``Decimal`` as a number or any string, but then refuses most strings. Here it is a number, or a
    string of digits if the number of digits is limited and the value is not.

    Args:
        model: a class with ``model_json_schema``.
    """
    schema: dict[str, Any] = model.model_json_schema(schema_generator=_generator())
    return schema


@cache
def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        def decimal_schema(self, schema: Any) -> dict[str, Any]:
            whole: dict[str, Any] = super().decimal_schema(schema)
            number = next((one for one in whole.get("anyOf", ()) if one.get("type") == "number"), whole)
            digits, places = schema.get("max_digits"), schema.get("decimal_places")
            if number.keys() != {"type"} or (digits is None and places is None):
                return number
            n_whole = 15 if digits is None else max(1, digits - (places or 0))
            fraction = rf"(\.[0-9]{{1,{places}}})?" if places and digits != places else ""
            return {"type": "string", "pattern": f"^-?[0-9]{{1,{n_whole}}}{fraction}$"}

    return Generator
