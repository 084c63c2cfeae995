"""Translates regular expressions to GBNF, from the syntax tree of Python's own parser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar import language
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
from tea_llm.grammar.prefixes import one_of

if sys.version_info >= (3, 11):
    from re import _constants as sre
    from re import _parser as sre_parser
else:  # pragma: no cover - older names of the same modules
    import sre_constants as sre
    import sre_parse as sre_parser

__all__ = ["MAX_REPEATS", "NeedsAutomatonError", "regex_in_json", "regex_language", "regex_to_gbnf"]

MAX_REPEATS = 2000  # llama.cpp's limit
_EMPTY = quoted("")
_NOT_A_LINE_END = complement(((10, 10),))
_ANY_TEXT = language.repeated(language.characters(ANY))
_BEGINNINGS = ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING))
_ENDS = ((sre.AT, sre.AT_END), (sre.AT, sre.AT_END_STRING))
_UNSUPPORTED: dict[Any, str] = {
    sre.AT: "this anchor",
    sre.ASSERT: "this look-around",
    sre.ASSERT_NOT: "this look-around",
    sre.GROUPREF: "a back-reference",
}


class NeedsAutomatonError(GrammarError):
    """The pattern needs an automaton, which ``regex_language`` may provide."""


def regex_to_gbnf(pattern: str) -> str:
    """A grammar of the texts that fully match a pattern.

    Raises:
        GrammarError: the pattern is invalid, cannot be expressed by a grammar, or matches no text.
    """
    try:
        return f"root ::= {_Writer(in_text, is_search=False).whole(_parsed(pattern))}\n"
    except NeedsAutomatonError:
        rules = language.automaton_rules(regex_language(pattern, is_search=False), in_text, "s")
    if not rules:
        raise GrammarError(f"no text matches the regular expression {pattern!r}")
    return "root ::= s0\n" + "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def regex_in_json(pattern: str) -> str:
    """GBNF for the inside of JSON strings that contain a match, as JSON Schema's ``pattern`` requires.

    Raises:
        NeedsAutomatonError: the pattern has look-ahead, or anchors that are not at its ends.
        GrammarError: as ``regex_to_gbnf``.
    """
    return _Writer(in_json, is_search=True).whole(_parsed(pattern))


def regex_language(pattern: str, *, is_search: bool) -> language.Language:
    """The texts that fully match a pattern; with ``is_search`` those that contain a match.

    Raises:
        GrammarError: as ``regex_to_gbnf``.
    """
    items = _parsed(pattern)
    if not is_search:
        return _Reader().following(items, language.EMPTY_TEXT, is_start=True)
    later = _Reader().following(items, _ANY_TEXT, is_start=False)
    some_text = language.repeated(language.characters(ANY), 1)
    return language.either([_Reader().following(items, _ANY_TEXT, is_start=True), language.sequence(some_text, later)])


def _parsed(pattern: str) -> list[Any]:
    try:
        tree = sre_parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise GrammarError(f"{pattern!r} is not a valid regular expression: {error}") from None
    if tree.state.flags & ~re.UNICODE:
        raise GrammarError("flags such as (?i) are not supported in regular expressions: remove them")
    return list(tree.data)


class _Writer:
    """Writes a parsed pattern as GBNF.

    Args:
        spell: returns the GBNF for one character of a set.
        is_search: allow text before and after the match, unless an anchor forbids it.
    """

    def __init__(self, spell: Callable[[CharSet], str], *, is_search: bool) -> None:
        self._spell = spell
        self._filler = f"{spell(ANY)}*" if is_search else ""

    def whole(self, items: list[Any]) -> str:
        """A whole pattern; anchors may be at its ends, or at the ends of its top-level alternatives."""
        if not self._filler and _words(items):
            return self._sequence(items)
        if len(items) == 1 and items[0][0] is sre.BRANCH:
            return _grouped(self.whole(list(branch)) or _EMPTY for branch in items[0][1][1])
        if len(items) == 1 and items[0][0] is sre.SUBPATTERN:
            return f"({self.whole(_group(items[0][1]))})"
        before = after = self._filler
        if items and items[0] in _BEGINNINGS:
            items, before = items[1:], ""
        if items and items[-1] in _ENDS:
            items, after = items[:-1], ""
        return " ".join(filter(None, (before, self._sequence(items), after))) or _EMPTY

    def _sequence(self, items: list[Any]) -> str:
        return " ".join(filter(None, (self._item(operator, argument) for operator, argument in items)))

    def _spell_text(self, text: str) -> str:
        return " ".join(self._spell(((ord(one), ord(one)),)) for one in text) or _EMPTY

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
            words = _words([(operator, argument)])
            return (
                one_of(words, self._spell_text, _grouped)
                if words
                else _grouped(self._sequence(list(branch)) or _EMPTY for branch in argument[1])
            )
        if operator is sre.SUBPATTERN:
            return f"({self._sequence(_group(argument)) or _EMPTY})"
        if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, items = argument
            return f"({self._sequence(list(items)) or _EMPTY}){_repeats(low, high)}"
        if operator in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            raise NeedsAutomatonError(str(_unsupported(operator)))
        raise _unsupported(operator)


class _Reader:
    """Finds the language of a parsed pattern.

    Args:
        is_negated: the pattern must not match; where regex dialects differ, take the wider meaning.
    """

    def __init__(self, *, is_negated: bool = False) -> None:
        self._is_negated = is_negated

    def following(self, items: list[Any], rest: language.Language, *, is_start: bool | None) -> language.Language:
        """Texts of a pattern followed by ``rest``; ``is_start``: they begin the text, None: unknown."""
        before: list[language.Language] = []
        for index, item in enumerate(items):
            if _has_zero_width(item):
                then = items[index + 1 :]
                return language.sequence(*before, self._zero_width(item, then, rest, is_start=is_start))
            before.append(self._plain(*item))
            if before[-1].shortest > 0:
                is_start = False
            elif is_start:
                is_start = None
        return language.sequence(*before, rest)

    def _zero_width(
        self, item: Any, then: list[Any], rest: language.Language, *, is_start: bool | None
    ) -> language.Language:
        operator, argument = item
        if operator is sre.BRANCH:
            branches = [[*branch, *then] for branch in argument[1]]
            return language.either(self.following(branch, rest, is_start=is_start) for branch in branches)
        if operator is sre.SUBPATTERN:
            return self.following([*_group(argument), *then], rest, is_start=is_start)
        following = self.following(then, rest, is_start=is_start)
        if (operator, argument) in _BEGINNINGS and is_start is not None:
            return following if is_start else language.NOTHING
        if (operator, argument) in _ENDS:
            line_end = language.characters(((10, 10),))  # only Python's $ matches before a final newline
            ends = [language.EMPTY_TEXT, *([line_end] if self._is_negated and argument is sre.AT_END else [])]
            return language.both([following, language.either(ends)])
        if operator in (sre.ASSERT, sre.ASSERT_NOT) and argument[0] > 0:
            is_negated = self._is_negated != (operator is sre.ASSERT_NOT)
            ahead = _Reader(is_negated=is_negated).following(list(argument[1]), _ANY_TEXT, is_start=is_start)
            return language.both([following, ahead if operator is sre.ASSERT else language.except_for(ahead)])
        raise _unsupported(operator)

    def _plain(self, operator: Any, argument: Any) -> language.Language:
        if operator is sre.LITERAL:
            return language.characters(((argument, argument),))
        if operator is sre.NOT_LITERAL:
            return language.characters(complement(((argument, argument),)))
        if operator is sre.ANY:
            return language.characters(_NOT_A_LINE_END)
        if operator is sre.IN:
            return language.characters(_class(argument, is_wide=self._is_negated))
        if operator is sre.BRANCH:
            return language.either(self._plain_sequence(list(branch)) for branch in argument[1])
        if operator is sre.SUBPATTERN:
            return self._plain_sequence(_group(argument))
        if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, items = argument
            _repeats(low, high)
            return language.repeated(self._plain_sequence(list(items)), low, None if high is sre.MAXREPEAT else high)
        raise _unsupported(operator)

    def _plain_sequence(self, items: list[Any]) -> language.Language:
        return language.sequence(*(self._plain(*item) for item in items))


def _grouped(alternatives: Iterable[str]) -> str:
    return f"({' | '.join(alternatives)})"


def _words(items: list[Any]) -> list[str]:
    """The alternatives of a pattern that consists only of literal alternatives; otherwise empty."""
    if len(items) != 1 or items[0][0] is not sre.BRANCH:
        return []
    branches = items[0][1][1]
    if any(operator is not sre.LITERAL for branch in branches for operator, _ in branch):
        return []
    return ["".join(chr(code) for _, code in branch) for branch in branches]


def _has_zero_width(item: Any) -> bool:
    """Whether a part of a pattern has anchors or look-around, which are not supported in repetitions."""
    operator, argument = item
    if operator is sre.BRANCH:
        return any(_has_zero_width(inner) for branch in argument[1] for inner in branch)
    if operator is sre.SUBPATTERN:
        return any(map(_has_zero_width, argument[3]))
    return operator in (sre.AT, sre.ASSERT, sre.ASSERT_NOT)


def _group(argument: Any) -> list[Any]:
    _, added, removed, items = argument
    if added or removed:
        raise GrammarError("flags such as (?i) are not supported in regular expressions: remove them")
    return list(items)


def _unsupported(operator: Any) -> GrammarError:
    name = _UNSUPPORTED.get(operator, str(operator).lower())
    return GrammarError(f"a grammar cannot express {name} in a regular expression: rewrite the pattern")


def _repeats(low: int, high: Any) -> str:
    if low > MAX_REPEATS or (high is not sre.MAXREPEAT and high > MAX_REPEATS):
        upper = "" if high is sre.MAXREPEAT else high
        given = f"{{{low}}}" if low == high else f"{{{low},{upper}}}"
        raise GrammarError(f"{given} in a regular expression is too large: repeat at most {MAX_REPEATS} times")
    if high is sre.MAXREPEAT:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _class(items: list[Any], *, is_wide: bool = False) -> CharSet:
    """Characters of a class; ``is_wide``: the larger set where Python and other dialects differ."""
    is_negated = bool(items) and items[0][0] is sre.NEGATE
    ranges: list[tuple[int, int]] = []
    for operator, argument in items[is_negated:]:
        if operator is sre.LITERAL:
            ranges.append((argument, argument))
        elif operator is sre.RANGE:
            ranges.append(argument)
        elif operator is sre.CATEGORY:
            ranges += _category(str(argument).removeprefix("CATEGORY_"), is_wide=is_negated != is_wide)
        else:
            raise _unsupported(operator)
    characters = complement(char_set(ranges)) if is_negated else char_set(ranges)
    if not characters:
        raise GrammarError("a character class of the regular expression contains no character: remove it")
    return characters


def _category(name: str, *, is_wide: bool) -> CharSet:
    """A class such as ``\\d``: ASCII only, or all of Python's if ``is_wide``; ``\\D`` is the reverse."""
    is_complement = name.startswith("NOT_")
    name = name.removeprefix("NOT_")
    characters = ascii_class(name) if is_complement == is_wide else unicode_class(name)
    return complement(characters) if is_complement else characters
