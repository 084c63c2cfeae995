"""Sets of code points and their GBNF, in plain text or inside a JSON string."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TypeAlias

__all__ = [
    "ANY",
    "CharSet",
    "ascii_class",
    "char_set",
    "complement",
    "in_json",
    "in_text",
    "quoted",
    "unicode_class",
]

CharSet: TypeAlias = "tuple[tuple[int, int], ...]"
"""Ranges of code points as (first, last), sorted, neither overlapping nor adjacent."""

ANY: CharSet = ((1, 0xD7FF), (0xE000, 0x10FFFF))
"""Every code point that UTF-8 can encode, except NUL."""

_SHORT_ESCAPES = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 0x22: '"', 0x5C: "\\"}
_UNESCAPED: CharSet = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))
"""Code points that a JSON string may contain unescaped."""
_ASCII = {"DIGIT": "0-9", "WORD": "a-zA-Z0-9_", "SPACE": r" \t\n\r\v\f"}
_UNICODE = {"DIGIT": r"\d+", "WORD": r"\w+", "SPACE": r"\s+"}
_PLAIN = re.compile(r"[ !#-'*-\[\]-~]")  # needs no escape in quotes; escaped parentheses keep counts right


def char_set(ranges: Iterable[tuple[int, int]]) -> CharSet:
    """The union of ranges, given in any order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(characters: CharSet, of: CharSet = ANY) -> CharSet:
    """The code points of ``of`` that are not in ``characters``."""
    left = []
    for first, last in of:
        for excluded_first, excluded_last in characters:
            if excluded_last < first or excluded_first > last:
                continue
            if first < excluded_first:
                left.append((first, excluded_first - 1))
            first = excluded_last + 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def ascii_class(name: str) -> CharSet:
    """The ASCII characters that match ``\\d`` ("DIGIT"), ``\\w`` ("WORD") or ``\\s`` ("SPACE")."""
    member = re.compile(f"[{_ASCII[name]}]")
    return char_set((code, code) for code in range(128) if member.match(chr(code)))


@cache
def unicode_class(name: str) -> CharSet:
    """All characters that match ``\\d``, ``\\w`` or ``\\s`` in Python."""
    everything = "".join(map(chr, range(0x110000)))
    return tuple((match.start(), match.end() - 1) for match in re.finditer(_UNICODE[name], everything))


def quoted(text: str) -> str:
    """GBNF for a literal."""
    return '"' + "".join(one if _PLAIN.match(one) else _escaped(ord(one)) for one in text) + '"'


def in_text(characters: CharSet) -> str:
    """GBNF for one character of the set."""
    if len(characters) == 1 and characters[0][0] == characters[0][1]:
        return quoted(chr(characters[0][0]))
    return f"[{''.join(map(_spelled_range, characters))}]"


def in_json(characters: CharSet) -> str:
    """GBNF for one character of the set in a JSON string, in its shortest spelling.

    Control characters without a short escape are omitted unless the set contains nothing else.
    """
    unescaped = complement(complement(characters), _UNESCAPED)
    escapes = [ord(escape) for code, escape in _SHORT_ESCAPES.items() if _has(characters, code)]
    parts = [in_text(unescaped)] if unescaped else []
    if escapes:
        parts.append(f"{quoted(chr(0x5C))} {in_text(char_set((code, code) for code in escapes))}")
    parts = parts or [quoted(f"\\u{code:04x}") for code in range(1, 0x20) if _has(characters, code)]
    return parts[0] if len(parts) == 1 and not escapes else f"({' | '.join(parts)})"


def _has(characters: CharSet, code: int) -> bool:
    return any(first <= code <= last for first, last in characters)


def _spelled_range(characters: tuple[int, int]) -> str:
    first, last = (chr(code) if code < 0x80 and chr(code).isalnum() else _escaped(code) for code in characters)
    return first if first == last else f"{first}-{last}"


def _escaped(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x80 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
