"""Strings and numbers of JSON schemas as rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import ANY
from tea_llm.grammar.combine import Schema, types_of
from tea_llm.grammar.formats import FORMATS, UNCHECKED_FORMATS
from tea_llm.grammar.language import both, characters, repeated
from tea_llm.grammar.numbers import integers_between, numbers_between
from tea_llm.grammar.regex import MAX_REPEATS, NeedsAutomatonError, regex_in_json, regex_language
from tea_llm.grammar.rules import NothingError, Rules

__all__ = ["SCALARS", "limits", "repeats"]


def limits(schema: Schema, what: str) -> tuple[int, int | None]:
    """The values of ``min...`` and ``max...``; None: no limit.

    Raises:
        NothingError: there is no number between them.
        TypeError: one is not a number of things.
    """
    low, high = (schema.get(f"{bound}{what}") for bound in ("min", "max"))
    for name, limit in (("min", low), ("max", high)):
        if limit is not None and (isinstance(limit, bool) or limit != int(limit) or limit < 0):
            raise TypeError(f"{name}{what} must be a whole number, not {limit!r}")
    if high is not None and (low or 0) > high:
        raise NothingError(f"min{what} is more than max{what}")
    return int(low or 0), None if high is None else int(high)


def repeats(low: int, high: int | None) -> str:
    """GBNF's form of a number of repetitions.

    Raises:
        GrammarError: there are more than llama.cpp takes.
    """
    if max(low, high or 0) > MAX_REPEATS:
        raise GrammarError(f"more than {MAX_REPEATS} repetitions")
    return f"{{{low},{'' if high is None else high}}}"


def _string(schema: Schema, rules: Rules) -> str:
    low, high = limits(schema, "Length")
    patterns = [schema["pattern"]] if "pattern" in schema else []
    if "format" in schema and schema["format"] not in UNCHECKED_FORMATS:
        if schema["format"] not in FORMATS:
            raise GrammarError(f"the format {schema['format']!r} is not supported")
        patterns.append(FORMATS[schema["format"]])
    if not patterns:
        is_open = low == 0 and high is None
        return "string" if is_open else rules.named(rules.in_quotes(rules.characters(repeats(low, high))))
    languages = [regex_language(pattern, is_search=True) for pattern in patterns]
    whole = both([*languages, repeated(characters(ANY), low, high)])
    if [whole] == languages and rules.has_escapes:  # the lengths say nothing that the pattern does not say
        with suppress(NeedsAutomatonError):
            return rules.named(rf'"\"" {regex_in_json(patterns[0])} "\""')
    found = rules.string(whole)
    if found is None:
        raise NothingError("no string has the pattern, the format and the length")
    return found


def _integer(schema: Schema, rules: Rules) -> str:
    low, high, excludes_low, excludes_high = _bounds(schema)
    if low is None and high is None:
        return "integer"
    least = None if low is None else int(low.to_integral_value("ROUND_CEILING"))
    most = None if high is None else int(high.to_integral_value("ROUND_FLOOR"))
    if least is not None and excludes_low and least == low:
        least += 1
    if most is not None and excludes_high and most == high:
        most -= 1
    if least is not None and most is not None and least > most:
        raise NothingError("there is no integer between its bounds")
    return rules.either(map(rules.named, integers_between(least, most)))


def _number(schema: Schema, rules: Rules) -> str:
    low, high, excludes_low, excludes_high = _bounds(schema)
    if low is None and high is None:
        return "number"
    found = numbers_between(low, high, excludes_low=excludes_low, excludes_high=excludes_high)
    if not found:
        raise NothingError("there is no number between its bounds")
    return rules.either(map(rules.named, found))


def _bounds(schema: Schema) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    if "multipleOf" in schema and (schema["multipleOf"] != 1 or "number" in types_of(schema)):
        raise GrammarError("'multipleOf' is not supported")
    low, high = (_decimal(schema.get(name)) for name in ("minimum", "maximum"))
    above, below = (_decimal(schema.get(name)) for name in ("exclusiveMinimum", "exclusiveMaximum"))
    excludes_low = above is not None and (low is None or above >= low)
    excludes_high = below is not None and (high is None or below <= high)
    return (above if excludes_low else low), (below if excludes_high else high), excludes_low, excludes_high


def _decimal(bound: object) -> Decimal | None:
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise TypeError(f"a bound must be a number, not {bound!r}")
    return Decimal(repr(bound))


SCALARS: dict[str, Callable[[Schema, Rules], str]] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": lambda *_: "boolean",
    "null": lambda *_: "null",
}
"""Writers of rules by type."""
