"""Validates values against a JSON schema (draft 2020-12, and older spellings of its keywords)."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.combine import is_of, same_json, types_of
from tea_llm.grammar.references import resolved

__all__ = ["problems_of"]

_MAX_SHOWN = 60
_UNITS = {
    "Contains": "items that match 'contains'",
    "Items": "items",
    "Length": "characters",
    "Properties": "properties",
}


def problems_of(value: Any, schema: Any) -> tuple[str, ...]:
    """The problems of a value, each with its place; empty if the schema allows the value.

    Args:
        value: a value of JSON types.
        schema: the schema; constraints that cannot be checked are reported as problems.

    Example:
        >>> problems_of({"color": "green"}, {"properties": {"color": {"enum": ["red", "blue"]}}, "required": ["size"]})
        ("the required 'size' is missing", "color: 'green' is not one of ['red', 'blue']")
    """
    try:
        return tuple(_Checker(schema).check(value, schema, "").problems)
    except RecursionError:
        return ("the value cannot be checked: it is nested too deeply, or a $ref of the schema refers to itself",)


@dataclass(slots=True)
class _Outcome:
    """The result of checking a value against a schema.

    Attributes:
        problems: why the value is not valid.
        names: properties that a keyword has evaluated.
        items: indices of items that a keyword has evaluated.
    """

    problems: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    items: set[int] = field(default_factory=set)

    def add(self, other: _Outcome) -> None:
        self.problems += other.problems
        if not other.problems:
            self.learn(other)

    def learn(self, other: _Outcome) -> None:
        """Adds the evaluated properties and items of another outcome."""
        self.names |= other.names
        self.items |= other.items


class _Checker:
    def __init__(self, document: Any) -> None:
        self._document = document

    def check(self, value: Any, schema: Any, where: str) -> _Outcome:
        outcome = _Outcome()
        if isinstance(schema, bool):
            return outcome if schema else _Outcome([_placed(where, "no value is allowed here")])
        try:
            self._check(value, schema, where, outcome)
        except (AttributeError, GrammarError, KeyError, TypeError, ValueError, re.error) as error:
            outcome.problems.append(_placed(where, f"the schema cannot be checked: {error}"))
        return outcome

    def _check(self, value: Any, schema: Mapping[str, Any], where: str, outcome: _Outcome) -> None:
        def wrong(what: str) -> None:
            outcome.problems.append(_placed(where, what))

        if "$ref" in schema:
            outcome.add(self.check(value, resolved(self._document, schema["$ref"]), where))
        for key in ("$dynamicRef", "$recursiveRef"):
            if key in schema:
                wrong(f"the schema cannot be checked: {key!r} is not supported")
        if "type" in schema and not any(is_of(value, kind) for kind in types_of(schema)):
            wrong(f"{_shown(value)} is not of type {' or '.join(map(repr, types_of(schema)))}")
        if "enum" in schema and not any(same_json(value, one) for one in schema["enum"]):
            wrong(f"{_shown(value)} is not one of {_shown(schema['enum'])}")
        if "const" in schema and not same_json(value, schema["const"]):
            wrong(f"{_shown(value)} is not {_shown(schema['const'])}")
        if isinstance(value, str):
            _check_text(value, schema, wrong)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, schema, wrong)
        elif isinstance(value, list):
            self._check_items(value, schema, where, outcome, wrong)
        elif isinstance(value, Mapping):
            self._check_properties(value, schema, where, outcome, wrong)
        self._check_combinations(value, schema, where, outcome, wrong)
        self._check_rest(value, schema, where, outcome)

    def _check_combinations(
        self, value: Any, schema: Mapping[str, Any], where: str, outcome: _Outcome, wrong: Callable[[str], None]
    ) -> None:
        for one in schema.get("allOf", ()):
            outcome.add(self.check(value, one, where))
        for key in ("anyOf", "oneOf"):
            if key not in schema:
                continue
            found = [self.check(value, one, where) for one in schema[key]]
            valid = [one for one in found if not one.problems]
            if not valid:
                reasons = [one.problems[0] for one in found]
                wrong(f"{_shown(value)} matches no alternative of {key!r} ({'; '.join(dict.fromkeys(reasons))})")
            elif key == "oneOf" and len(valid) > 1:
                wrong(f"{_shown(value)} matches {len(valid)} alternatives of 'oneOf': only one may match")
            for one in valid:
                outcome.learn(one)
        if "not" in schema and not self.check(value, schema["not"], where).problems:
            wrong(f"{_shown(value)} is forbidden by 'not'")
        if "if" in schema:
            condition = self.check(value, schema["if"], where)
            if not condition.problems:
                outcome.learn(condition)
            outcome.add(self.check(value, schema.get("else" if condition.problems else "then", True), where))

    def _check_items(
        self, value: list[Any], schema: Mapping[str, Any], where: str, outcome: _Outcome, wrong: Callable[[str], None]
    ) -> None:
        _check_count(len(value), schema, "Items", wrong)
        key, first = "items", schema.get("prefixItems", [])
        if isinstance(schema.get("items"), list):  # until draft 2019-09
            key, first = "additionalItems", schema["items"]
        for index, item in enumerate(value):
            rule = first[index] if index < len(first) else schema.get(key)
            if rule is not None:
                outcome.problems += self.check(item, rule, f"{where}[{index}]").problems
                outcome.items.add(index)
        if schema.get("uniqueItems") and any(same_json(a, b) for i, a in enumerate(value) for b in value[:i]):
            wrong("the items are not unique")
        if "contains" in schema:
            found = {i for i, item in enumerate(value) if not self.check(item, schema["contains"], where).problems}
            outcome.items |= found
            _check_count(len(found), {"minContains": 1, **schema}, "Contains", wrong)

    def _check_properties(
        self,
        value: Mapping[str, Any],
        schema: Mapping[str, Any],
        where: str,
        outcome: _Outcome,
        wrong: Callable[[str], None],
    ) -> None:
        _check_count(len(value), schema, "Properties", wrong)
        asked = [(name, f"the required {name!r}") for name in schema.get("required", ())]
        needs: Mapping[str, Any] = {**schema.get("dependencies", {}), **schema.get("dependentRequired", {})}
        for key, names in needs.items():
            if key in value and isinstance(names, list):
                asked += [(name, f"{name!r}, which {key!r} requires,") for name in names]
        for name, subject in asked:
            if name not in value:
                wrong(f"{subject} is missing")
        for key, one in {**schema.get("dependencies", {}), **schema.get("dependentSchemas", {})}.items():
            if key in value and not isinstance(one, list):
                outcome.add(self.check(value, one, where))
        patterns = [(re.compile(one), rule) for one, rule in schema.get("patternProperties", {}).items()]
        named = schema.get("properties", {})
        for name, item in value.items():
            rules = [named[name]] if name in named else []
            rules += [rule for pattern, rule in patterns if pattern.search(name)]
            if not rules and "additionalProperties" in schema:
                rules = [schema["additionalProperties"]]
                if rules == [False]:
                    wrong(f"the property {name!r} is not allowed")
                    continue
            for rule in rules:
                outcome.problems += self.check(item, rule, f"{where}.{name}" if where else name).problems
                outcome.names.add(name)
            if "propertyNames" in schema:
                outcome.problems += self.check(name, schema["propertyNames"], where).problems

    def _check_rest(self, value: Any, schema: Mapping[str, Any], where: str, outcome: _Outcome) -> None:
        """Checks the items and properties that no other keyword has evaluated."""
        if "unevaluatedItems" in schema and isinstance(value, list):
            for index, item in enumerate(value):
                if index not in outcome.items:
                    outcome.problems += self.check(item, schema["unevaluatedItems"], f"{where}[{index}]").problems
            outcome.items |= set(range(len(value)))
        if "unevaluatedProperties" in schema and isinstance(value, Mapping):
            for name, item in value.items():
                if name not in outcome.names:
                    place = f"{where}.{name}" if where else name
                    outcome.problems += self.check(item, schema["unevaluatedProperties"], place).problems
            outcome.names |= value.keys()


def _check_text(value: str, schema: Mapping[str, Any], wrong: Callable[[str], None]) -> None:
    _check_count(len(value), schema, "Length", wrong)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        wrong(f"{_shown(value)} does not match the pattern {schema['pattern']!r}")
    check = _FORMATS.get(schema.get("format", ""))
    if check is not None:
        try:
            is_right = check(value) is not None
        except ValueError:
            is_right = False
        if not is_right:
            wrong(f"{_shown(value)} does not match the format {schema['format']!r}")


def _check_number(value: float, schema: Mapping[str, Any], wrong: Callable[[str], None]) -> None:
    if "minimum" in schema and value < schema["minimum"]:
        wrong(f"{value} is less than {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        wrong(f"{value} is more than {schema['maximum']}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        wrong(f"{value} is not more than {schema['exclusiveMinimum']}")
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        wrong(f"{value} is not less than {schema['exclusiveMaximum']}")
    step = schema.get("multipleOf")
    if step is not None and not _is_multiple(value, step):
        wrong(f"{value} is not a multiple of {step}")


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    quotient = value / step
    return math.isfinite(quotient) and int(quotient) == quotient


def _check_count(n: int, schema: Mapping[str, Any], what: str, wrong: Callable[[str], None]) -> None:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)
    if n < low:
        wrong(f"the number of {_UNITS[what]} is {n}, but min{what} is {low}")
    if n > high:
        wrong(f"the number of {_UNITS[what]} is {n}, but max{what} is {high}")


def _placed(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_FORMATS: dict[str, Callable[[str], object]] = {
    "date": lambda text: re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) and date.fromisoformat(text),
    "time": lambda text: re.match(r"\d\d:\d\d:\d\d", text, re.ASCII) and time.fromisoformat(text[:8]),
    "date-time": lambda text: re.match(r"\d{4}-\d\d-\d\d[Tt ]", text, re.ASCII) and datetime.fromisoformat(text[:19]),
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": lambda text: re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text),
    "uuid": lambda text: re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text),
}
"""Coarse checks of formats: a value that passes may still be wrong in a detail."""
