"""The ``response_format`` option: the JSON that an answer must be, and parsing it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tea_llm._parsed import CUT_OFF
from tea_llm.errors import ApiResponseError, InferenceError
from tea_llm.grammar.keywords import KNOWN
from tea_llm.grammar.pydantic_schema import schema_of_class
from tea_llm.types import Choice, LlmCallResult

__all__ = ["ResponseFormat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """The JSON that an answer must be.

    Attributes:
        wire: the option as OpenAI's API has it.
        schema: of the answer.
        model: a pydantic class that it becomes; None: plain lists and dicts.
    """

    wire: Mapping[str, Any]
    schema: Mapping[str, Any]
    model: Any = None

    @classmethod
    def checked(cls, given: object) -> ResponseFormat | None:
        """The format that a caller asks for. None: any text.

        Raises:
            TypeError: not a pydantic class or a dict, or one of other values than JSON has.
            ValueError: a dict that is neither a schema nor one of OpenAI's forms, or that is nested too deep.
        """
        if given is None:
            return None
        if isinstance(given, type) and hasattr(given, "model_json_schema") and hasattr(given, "model_validate_json"):
            of_class = schema_of_class(given)
            return cls(wire=_wire(of_class, given.__name__), schema=of_class, model=given)
        if not isinstance(given, Mapping):
            raise TypeError(f"response_format must be a pydantic class or a dict, not {_name_of(given)}")
        if given.get("type") == "text":
            return None
        if given.get("type") == "json_object":
            return cls._json_object(given)
        if given.get("type") == "json_schema":
            inner = given.get("json_schema")
            schema = inner.get("schema") if isinstance(inner, Mapping) else None
            if not isinstance(schema, Mapping):
                raise ValueError("response_format has no 'schema' in its 'json_schema'")
            return cls(wire=given, schema=schema)
        if not KNOWN & given.keys():
            raise ValueError(
                f"response_format={dict(given)!r} is neither a JSON schema nor of type 'text', 'json_object' or "
                "'json_schema'"
            )
        try:
            schema = json.loads(json.dumps(given, allow_nan=False))
        except RecursionError:
            raise ValueError("response_format is a schema that is nested too deep, or holds itself") from None
        return cls(wire=_wire(schema, schema.get("title")), schema=schema)

    @classmethod
    def _json_object(cls, given: Mapping[str, Any]) -> ResponseFormat:
        """OpenAI's ``json_object``, or with a ``schema`` as llama.cpp's server and llama-cpp-python accept it."""
        unknown = given.keys() - {"type", "schema"}
        if unknown:
            raise ValueError(
                f"response_format of type 'json_object' has unknown keys: {', '.join(sorted(map(str, unknown)))}"
            )
        schema = given.get("schema")
        if schema is None:
            return cls(wire={"type": "json_object"}, schema={"type": "object"})
        if not isinstance(schema, Mapping):
            raise TypeError(f"the 'schema' of response_format must be a dict, not {_name_of(schema)}")
        return cls(wire=_wire(schema, schema.get("title")), schema=schema)

    def grammar(self) -> str:
        """The GBNF of these answers.

        Raises:
            GrammarError: the schema says what a grammar cannot enforce.
        """
        return _grammar(json.dumps(self.schema))

    def read(self, result: LlmCallResult) -> LlmCallResult:
        """The result with the values of its texts in ``parsed``.

        Raises:
            ApiResponseError: an API's answer has another form, or is a refusal.
            InferenceError: the pydantic class does not take the answer.
        """
        values = [self._parsed(answer, result.backend) for answer in result.choices or (result,)]
        choices = tuple(replace(choice, parsed=value) for choice, value in zip(result.choices, values, strict=False))
        return replace(result, choices=choices, parsed=values[0])

    def _parsed(self, answer: Choice | LlmCallResult, backend: str) -> Any:
        if answer.tool_calls:
            return None
        if answer.refusal is not None:
            raise ApiResponseError(f"the model refused to answer: {answer.refusal}")
        if answer.finish_reason != "stop" and not _is_whole(answer.content):
            return CUT_OFF
        try:
            return json.loads(answer.content) if self.model is None else self.model.model_validate_json(answer.content)
        except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
            kind = ApiResponseError if backend == "api" else InferenceError
            raise kind(f"the answer does not match response_format: {error}") from error


def _is_whole(text: str) -> bool:
    """Whether a text that was cut off is a JSON value all the same, which no more text could have changed."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, bool) or not isinstance(value, (int, float))  # 12 may be the beginning of 120


@lru_cache(maxsize=64)
def _grammar(schema: str) -> str:
    from tea_llm.grammar.schema import schema_to_gbnf

    return schema_to_gbnf(json.loads(schema))


def _wire(schema: Mapping[str, Any], name: object) -> dict[str, Any]:
    usable_name = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)[:64] if isinstance(name, str) and name else "answer"
    strict = {"strict": True} if _is_strict(schema) else {}
    return {"type": "json_schema", "json_schema": {"name": usable_name, "schema": schema, **strict}}


def _is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode accepts it: every property is required, and there are no others."""
    parts = [schema]
    for part in parts:  # it grows
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            names = part.get("properties", {})
            is_object = "properties" in part or part.get("type") == "object"
            if is_object and (part.get("additionalProperties") is not False or {*part.get("required", ())} != {*names}):
                return False
            parts += part.values()
    return True


def _name_of(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
