"""Regular expressions as GBNF: Python's own parser reads them, and its tree is written out again."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import (
    ANY,
    CharSet,
    ascii_class,
    char_set,
    complement,
    in_json,
    in_text,
    quoted,
    unicode_class,
)

if sys.version_info >= (3, 11):
    from re import _constants as sre
    from re import _parser as sre_parser
else:  # pragma: no cover - the same modules by their older names
    import sre_constants as sre
    import sre_parse as sre_parser

__all__ = ["MOST_REPEATS", "regex_in_json", "regex_to_gbnf"]

MOST_REPEATS = 2000  # llama.cpp's
_EMPTY = quoted("")
_NOT_A_LINE_END = complement(((10, 10),))


def regex_to_gbnf(pattern: str) -> str:
    """A grammar of the texts that the whole pattern matches.

    Raises:
        GrammarError: not a regular expression, or one that a grammar cannot express.
    """
    return f"root ::= {_Writer(in_text, is_search=False).whole(_parsed(pattern))}\n"


def regex_in_json(pattern: str) -> str:
    """The inside of JSON strings that hold a match, as JSON Schema's ``pattern`` wants it.

    Raises:
        GrammarError: as ``regex_to_gbnf``.
    """
    return _Writer(in_json, is_search=True).whole(_parsed(pattern))


def _parsed(pattern: str) -> list[Any]:
    try:
        tree = sre_parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise GrammarError(f"not a regular expression: {error}") from None
    if tree.state.flags & ~re.UNICODE:
        raise GrammarError("flags in regular expressions are not supported")
    return list(tree.data)


class _Writer:
    """Writes a parsed pattern.

    Args:
        spell: how one character of a set is written.
        is_search: the text may have more before and after, where no anchor forbids it.
    """

    def __init__(self, spell: Callable[[CharSet], str], *, is_search: bool) -> None:
        self._spell = spell
        self._filler = f"{spell(ANY)}*" if is_search else ""

    def whole(self, items: list[Any]) -> str:
        """A pattern with its anchors: they may stand at its ends, and at those of alternatives that are all of it."""
        if len(items) == 1 and items[0][0] is sre.BRANCH:
            return "(" + " | ".join(self.whole(list(branch)) or _EMPTY for branch in items[0][1][1]) + ")"
        if len(items) == 1 and items[0][0] is sre.SUBPATTERN:
            return f"({self.whole(self._group(items[0][1]))})"
        before = after = self._filler
        if items and items[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING)):
            items, before = items[1:], ""
        if items and items[-1] in ((sre.AT, sre.AT_END), (sre.AT, sre.AT_END_STRING)):
            items, after = items[:-1], ""
        return " ".join(filter(None, (before, self._sequence(items), after))) or _EMPTY

    def _sequence(self, items: list[Any]) -> str:
        return " ".join(filter(None, (self._item(operator, argument) for operator, argument in items)))

    def _item(self, operator: Any, argument: Any) -> str:
        if operator is sre.LITERAL:
            return self._spell(((argument, argument),))
        if operator is sre.NOT_LITERAL:
            return self._spell(complement(((argument, argument),)))
        if operator is sre.ANY:
            return self._spell(_NOT_A_LINE_END)
        if operator is sre.IN:
            return self._spell(_class(argument))
        if operator is sre.BRANCH:
            return "(" + " | ".join(self._sequence(list(branch)) or _EMPTY for branch in argument[1]) + ")"
        if operator is sre.SUBPATTERN:
            return f"({self._sequence(self._group(argument)) or _EMPTY})"
        if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, items = argument
            return f"({self._sequence(list(items)) or _EMPTY}){_repeats(low, high)}"
        raise _unsupported(operator)

    @staticmethod
    def _group(argument: Any) -> list[Any]:
        _, added, removed, items = argument
        if added or removed:
            raise GrammarError("flags in regular expressions are not supported")
        return list(items)


def _unsupported(operator: Any) -> GrammarError:
    return GrammarError(f"a grammar cannot express {str(operator).lower()} of a regular expression")


def _repeats(low: int, high: Any) -> str:
    if low > MOST_REPEATS or (high is not sre.MAXREPEAT and high > MOST_REPEATS):
        raise GrammarError(f"more than {MOST_REPEATS} repetitions in a regular expression")
    if high is sre.MAXREPEAT:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _class(items: list[Any]) -> CharSet:
    is_negated = bool(items) and items[0][0] is sre.NEGATE
    ranges: list[tuple[int, int]] = []
    for operator, argument in items[is_negated:]:
        if operator is sre.LITERAL:
            ranges.append((argument, argument))
        elif operator is sre.RANGE:
            ranges.append(argument)
        elif operator is sre.CATEGORY:
            ranges += _category(str(argument).removeprefix("CATEGORY_"), is_negated=is_negated)
        else:
            raise _unsupported(operator)
    characters = complement(char_set(ranges)) if is_negated else char_set(ranges)
    if not characters:
        raise GrammarError("a character class that no character is in")
    return characters


def _category(name: str, *, is_negated: bool) -> CharSet:
    """A class of Python's: of what it matches only ASCII, of what it does not match everything."""
    is_complement = name.startswith("NOT_")
    name = name.removeprefix("NOT_")
    characters = ascii_class(name) if is_complement == is_negated else unicode_class(name)
    return complement(characters) if is_complement else characters
