"""Regular languages with "and" and "not", which GBNF lacks, as grammars with one rule per automaton state.

Each state is a derivative of the expression (Brzozowski 1964; Owens, Reppy and Turon 2009): the derivative by a
character is the language of the texts that may follow that character.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from tea_llm.errors import GrammarError
from tea_llm.grammar.characters import ANY, CharSet, char_set, quoted

__all__ = [
    "EMPTY_TEXT",
    "NOTHING",
    "Language",
    "automaton_rules",
    "both",
    "characters",
    "either",
    "except_for",
    "repeated",
    "sequence",
]

MAX_STATES = 4000
"""Larger automata are refused: llama.cpp would need seconds to parse the grammar."""


class Language:
    """An immutable expression. The functions below create and simplify it.

    Attributes:
        kind: "characters", "sequence", "either", "both", "except" or "repeated".
        parts: sub-expressions, a set of characters, or the limits of a repetition.
        has_empty: whether the language contains the empty text.
        shortest: lower bound on the length of its texts, in characters.
        longest: upper bound on their length; may be infinite.
    """

    __slots__ = ("_hash", "has_empty", "kind", "longest", "parts", "shortest")

    def __init__(self, kind: str, parts: tuple[Any, ...], has_empty: bool, shortest: float, longest: float) -> None:
        self.kind = kind
        self.parts = parts
        self.has_empty = has_empty
        self.shortest = shortest
        self.longest = longest
        self._hash = hash((kind, parts))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Language)
            and self._hash == other._hash
            and self.kind == other.kind
            and self.parts == other.parts
        )


def characters(allowed: CharSet) -> Language:
    """The texts of one character from a set."""
    if not allowed:
        return NOTHING
    return Language("characters", (allowed,), False, 1, 1)


NOTHING = Language("characters", ((),), False, math.inf, 0)
"""The language without texts."""
EMPTY_TEXT = Language("sequence", (), True, 0, 0)


def sequence(*parts: Language) -> Language:
    """Texts that consist of one text of each part, in order."""
    flat: list[Language] = []
    for part in parts:
        flat += part.parts if part.kind == "sequence" else (part,)
    if NOTHING in flat:
        return NOTHING
    if len(flat) == 1:
        return flat[0]
    shortest, longest = sum(part.shortest for part in flat), sum(part.longest for part in flat)
    return Language("sequence", tuple(flat), all(part.has_empty for part in flat), shortest, longest)


def either(parts: Iterable[Language]) -> Language:
    """Texts that are in at least one part."""
    found = _flat("either", parts) - {NOTHING}
    if len(found) < 2:
        return found.pop() if found else NOTHING
    shortest, longest = min(part.shortest for part in found), max(part.longest for part in found)
    return Language("either", (frozenset(found),), any(part.has_empty for part in found), shortest, longest)


def both(parts: Iterable[Language]) -> Language:
    """Texts that are in every part."""
    found = _flat("both", parts)
    if NOTHING in found:
        return NOTHING
    shortest, longest = max(part.shortest for part in found), min(part.longest for part in found)
    if shortest > longest:
        return NOTHING
    # Drop length limits that the other parts already imply.
    limits = {part for part in found if _is_any_text(part)}
    others = found - limits
    if others:
        low, high = max(part.shortest for part in others), min(part.longest for part in others)
        found -= {part for part in limits if part.shortest <= low and part.longest >= high}
    if len(found) == 1:
        return found.pop()
    return Language("both", (frozenset(found),), all(part.has_empty for part in found), shortest, longest)


def except_for(part: Language) -> Language:
    """All texts that are not in a part."""
    if part.kind == "except":
        inner: Language = part.parts[0]
        return inner
    return Language("except", (part,), not part.has_empty, 1 if part.has_empty else 0, math.inf)


def repeated(part: Language, low: int = 0, high: int | None = None) -> Language:
    """``low`` to ``high`` texts of a part in a row; ``high`` None: no upper limit."""
    if high == 0 or part == EMPTY_TEXT:
        return EMPTY_TEXT
    if part == NOTHING:
        return EMPTY_TEXT if low == 0 else NOTHING
    if (low, high) == (1, 1):
        return part
    shortest, longest = part.shortest * low, math.inf if high is None else part.longest * high
    return Language("repeated", (part, low, high), low == 0 or part.has_empty, shortest, longest)


def _flat(kind: str, parts: Iterable[Language]) -> set[Language]:
    found: set[Language] = set()
    for part in parts:
        found |= part.parts[0] if part.kind == kind else {part}
    return found


def _is_any_text(part: Language) -> bool:
    return part.kind == "repeated" and part.parts[0] == characters(ANY)


def automaton_rules(language: Language, spell: Callable[[CharSet], str], prefix: str) -> dict[str, str]:
    """Grammar rules for a language, one per state, named ``prefix`` plus a number; the start state is 0.

    Args:
        language: an expression.
        spell: returns the GBNF for one character of a set.
        prefix: prefix of the rule names.

    Returns:
        GBNF bodies by rule name; empty if the language contains no text.

    Raises:
        GrammarError: the automaton has more than ``MAX_STATES`` states.
    """
    edges, ends = _automaton(language)
    alive = _alive(edges, ends)
    rules = {}
    for state, targets in enumerate(edges):
        steps = [f"{spell(ranges)} {prefix}{target}" for target, ranges in targets.items() if target in alive]
        if state in alive:
            rules[f"{prefix}{state}"] = " | ".join([*steps, *([quoted("")] if state in ends else [])])
    return rules if 0 in alive else {}


def _automaton(language: Language) -> tuple[list[dict[int, CharSet]], set[int]]:
    """The successors of each state with the characters that lead to them, and the accepting states."""
    derivatives = _Derivatives(language)
    numbers = {language: 0}
    states = [language]
    edges: list[dict[int, CharSet]] = []
    for state in states:  # the list grows during the loop
        targets: dict[int, list[tuple[int, int]]] = {}
        for kind, ranges in enumerate(derivatives.kinds):
            following = derivatives.of(state, kind)
            if following == NOTHING:
                continue
            if following not in numbers:
                numbers[following] = len(states)
                states.append(following)
                if len(states) > MAX_STATES:
                    raise GrammarError(f"the grammar needs more than {MAX_STATES} states: simplify the pattern")
            targets.setdefault(numbers[following], []).extend(ranges)
        edges.append({target: char_set(ranges) for target, ranges in targets.items()})
    return edges, {number for number, state in enumerate(states) if state.has_empty}


def _alive(edges: list[dict[int, CharSet]], ends: set[int]) -> set[int]:
    """The states from which an accepting state can be reached."""
    sources: dict[int, list[int]] = {}
    for source, targets in enumerate(edges):
        for target in targets:
            sources.setdefault(target, []).append(source)
    found = list(ends)
    seen = set(ends)
    for state in found:  # the list grows during the loop
        new = [source for source in sources.get(state, ()) if source not in seen]
        seen.update(new)
        found += new
    return seen


class _Derivatives:
    """Derivatives of an expression and of its derivatives.

    Attributes:
        kinds: classes of characters that every set of the expression contains fully or not at all, as ranges.
    """

    def __init__(self, language: Language) -> None:
        sets = list(dict.fromkeys(_character_sets(language)))
        bounds = sorted({bound for ranges in (ANY, *sets) for first, last in ranges for bound in (first, last + 1)})
        by_membership: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
        for first, end in pairwise(bounds):
            if _has(ANY, first):
                by_membership.setdefault(tuple(_has(ranges, first) for ranges in sets), []).append((first, end - 1))
        self.kinds = list(by_membership.values())
        self._members: dict[CharSet, set[int]] = {(): set()} | {
            ranges: {kind for kind, members in enumerate(by_membership) if members[index]}
            for index, ranges in enumerate(sets)
        }
        self._known: dict[tuple[Language, int], Language] = {}

    def of(self, language: Language, kind: int) -> Language:
        """The derivative by a character of a kind."""
        key = (language, kind)
        if key not in self._known:
            self._known[key] = self._computed(language, kind)
        return self._known[key]

    def _computed(self, language: Language, kind: int) -> Language:
        parts = language.parts
        if language.kind == "characters":
            return EMPTY_TEXT if kind in self._members[parts[0]] else NOTHING
        if language.kind == "sequence":
            found = []
            for index, part in enumerate(parts):
                found.append(sequence(self.of(part, kind), *parts[index + 1 :]))
                if not part.has_empty:
                    break
            return either(found)
        if language.kind == "either":
            return either(self.of(part, kind) for part in parts[0])
        if language.kind == "both":
            return both(self.of(part, kind) for part in parts[0])
        if language.kind == "except":
            return except_for(self.of(parts[0], kind))
        part, low, high = parts
        rest = repeated(part, max(0, low - 1), None if high is None else high - 1)
        return sequence(self.of(part, kind), rest)


def _character_sets(language: Language) -> Iterator[CharSet]:
    if language.kind == "characters":
        yield language.parts[0]
    elif language.kind in ("either", "both"):
        for part in language.parts[0]:
            yield from _character_sets(part)
    else:
        for part in language.parts:
            if isinstance(part, Language):
                yield from _character_sets(part)


def _has(ranges: CharSet, code: int) -> bool:
    index = bisect_right(ranges, (code, sys.maxunicode + 1)) - 1
    return index >= 0 and ranges[index][1] >= code
