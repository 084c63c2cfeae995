"""Grammar rules for strings and numbers of JSON schemas."""

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
    """The values of ``min...`` and ``max...``, such as ``minLength``; None: no upper limit.

    Raises:
        NothingError: the minimum is greater than the maximum.
        TypeError: a limit is not a non-negative integer.
    """
    low, high = (schema.get(f"{bound}{what}") for bound in ("min", "max"))
    for name, limit in (("min", low), ("max", high)):
        if limit is not None and (isinstance(limit, bool) or limit != int(limit) or limit < 0):
            raise TypeError(f"{name}{what} must be a non-negative integer, not {limit!r}")
    if high is not None and (low or 0) > high:
        raise NothingError(f"min{what} {low} is greater than max{what} {high}")
    return int(low or 0), None if high is None else int(high)


def repeats(low: int, high: int | None) -> str:
    """The GBNF quantifier for ``low`` to ``high`` repetitions.

    Raises:
        GrammarError: a limit exceeds ``MAX_REPEATS``.
    """
    if max(low, high or 0) > MAX_REPEATS:
        raise GrammarError(f"a grammar repeats at most {MAX_REPEATS} times: lower the limits")
    return f"{{{low},{'' if high is None else high}}}"


def _string(schema: Schema, rules: Rules) -> str:
    low, high = limits(schema, "Length")
    patterns = [schema["pattern"]] if "pattern" in schema else []
    if "format" in schema and schema["format"] not in UNCHECKED_FORMATS:
        if schema["format"] not in FORMATS:
            raise GrammarError(f"the format {schema['format']!r} is not supported: use 'pattern' instead")
        patterns.append(FORMATS[schema["format"]])
    if not patterns:
        is_open = low == 0 and high is None
        return "string" if is_open else rules.named(rules.in_quotes(rules.characters(repeats(low, high))))
    languages = [regex_language(pattern, is_search=True) for pattern in patterns]
    whole = both([*languages, repeated(characters(ANY), low, high)])
    if [whole] == languages and rules.has_escapes:  # the pattern implies the length limits
        with suppress(NeedsAutomatonError):
            return rules.named(rf'"\"" {regex_in_json(patterns[0])} "\""')
    found = rules.string(whole)
    if found is None:
        raise NothingError("no string matches the pattern, the format and the length limits together")
    return found


def _integer(schema: Schema, rules: Rules) -> str:
    low, high, excludes_low, excludes_high = _bounds(schema)
    if low is None and high is None:
        return "integer"
    whole_low = None if low is None else int(low.to_integral_value("ROUND_CEILING"))
    whole_high = None if high is None else int(high.to_integral_value("ROUND_FLOOR"))
    if whole_low is not None and excludes_low and whole_low == low:
        whole_low += 1
    if whole_high is not None and excludes_high and whole_high == high:
        whole_high -= 1
    if whole_low is not None and whole_high is not None and whole_low > whole_high:
        raise NothingError(f"no integer is between the bounds {low} and {high}")
    return rules.either(map(rules.named, integers_between(whole_low, whole_high)))


def _number(schema: Schema, rules: Rules) -> str:
    low, high, excludes_low, excludes_high = _bounds(schema)
    if low is None and high is None:
        return "number"
    found = numbers_between(low, high, excludes_low=excludes_low, excludes_high=excludes_high)
    if not found:
        raise NothingError(f"no number is between the bounds {low} and {high}")
    return rules.either(map(rules.named, found))


def _bounds(schema: Schema) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    if "multipleOf" in schema and (schema["multipleOf"] != 1 or "number" in types_of(schema)):
        raise GrammarError(f"'multipleOf' {schema['multipleOf']!r} is not supported: only 1 for integers is")
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
"""Functions that write the rule of a scalar, by type."""
