"""Regular expressions as GBNF: Python's own parser reads them, and its tree is written out again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

from tea_llm.errors import GrammarError

if sys.version_info >= (3, 11):
    from re import _constants as sre
    from re import _parser as sre_parser
else:  # pragma: no cover - the same modules by their older names
    import sre_constants as sre
    import sre_parse as sre_parser

__all__ = ["regex_to_gbnf"]

_CLASSES = {"DIGIT": "0-9", "WORD": "a-zA-Z0-9_", "SPACE": r" \t\n\r\x0B\x0C"}
_MOST_REPEATS = 2000  # llama.cpp's


def regex_to_gbnf(pattern: str) -> str:
    """A grammar of the texts that the whole pattern matches.

    Raises:
        GrammarError: not a regular expression, or one that a grammar cannot express.
    """
    try:
        tree = sre_parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise GrammarError(f"not a regular expression: {error}") from None
    if tree.state.flags & ~re.UNICODE:
        raise GrammarError("flags in regular expressions are not supported")
    return f"root ::= {_sequence(_without_anchors(tree.data)) or _quoted('')}\n"


def _without_anchors(items: list[Any]) -> list[Any]:
    """The whole text is matched anyway."""
    if items and items[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING)):
        items = items[1:]
    if items and items[-1] in ((sre.AT, sre.AT_END), (sre.AT, sre.AT_END_STRING)):
        items = items[:-1]
    return items


def _sequence(items: Iterable[Any]) -> str:
    return " ".join(filter(None, (_item(operator, argument) for operator, argument in items)))


def _item(operator: Any, argument: Any) -> str:
    if operator is sre.LITERAL:
        return _quoted(chr(argument))
    if operator is sre.NOT_LITERAL:
        return f"[^{_in_class(argument)}]"
    if operator is sre.ANY:
        return r"[^\n]"
    if operator is sre.IN:
        return _class(argument)
    if operator is sre.BRANCH:
        return "(" + " | ".join(_sequence(branch) or _quoted("") for branch in argument[1]) + ")"
    if operator is sre.SUBPATTERN:
        _, added, removed, items = argument
        if added or removed:
            raise GrammarError("flags in regular expressions are not supported")
        return f"({_sequence(items) or _quoted('')})"
    if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, items = argument
        return f"({_sequence(items) or _quoted('')}){_repeats(low, high)}"
    raise GrammarError(f"a grammar cannot express {str(operator).lower()} of a regular expression")


def _repeats(low: int, high: Any) -> str:
    if low > _MOST_REPEATS or (high is not sre.MAXREPEAT and high > _MOST_REPEATS):
        raise GrammarError(f"more than {_MOST_REPEATS} repetitions in a regular expression")
    if high is sre.MAXREPEAT:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _class(items: list[Any]) -> str:
    is_negated = bool(items) and items[0][0] is sre.NEGATE
    parts = []
    for operator, argument in items[is_negated:]:
        if operator is sre.LITERAL:
            parts.append(_in_class(argument))
        elif operator is sre.RANGE:
            parts.append(f"{_in_class(argument[0])}-{_in_class(argument[1])}")
        elif operator is sre.CATEGORY:
            name = str(argument).removeprefix("CATEGORY_")
            if name in _CLASSES:
                parts.append(_CLASSES[name])
            elif len(items) == 1 and name.removeprefix("NOT_") in _CLASSES:
                return f"[^{_CLASSES[name.removeprefix('NOT_')]}]"
            else:
                raise GrammarError("a negated class inside another class of a regular expression")
        else:
            raise GrammarError(f"a grammar cannot express {str(operator).lower()} of a regular expression")
    return f"[{'^' if is_negated else ''}{''.join(parts)}]"


def _in_class(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else _escaped(code)


def _quoted(text: str) -> str:
    return '"' + "".join(one if one.isascii() and one.isalnum() else _escaped(ord(one)) for one in text) + '"'


def _escaped(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x80 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
