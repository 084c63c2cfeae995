"""Reads GBNF and draws texts from it, far faster than a model would write them."""

from __future__ import annotations

import math
import random
import re
from typing import Any

__all__ = ["Gbnf"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<literal>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<name>[A-Za-z][\w-]*)"""
    r"""|\{(?P<low>\d+),(?P<high>\d*)\}|(?P<sign>[()|?*+]))""",
    re.DOTALL,
)
_CHARACTER = re.compile(r"\\x([0-9A-F]{2})|\\u([0-9A-F]{4})|\\U([0-9A-F]{8})|\\(.)|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_MAX = 6  # repetitions of what may be repeated for ever


class Gbnf:
    """A grammar, one rule a line.

    A part is ("text", str), ("set", ranges), ("rule", name), ("all", parts), ("any", parts) or
    ("repeat", part, low, high).
    """

    def __init__(self, text: str) -> None:
        self.rules: dict[str, Any] = {}
        for line in filter(None, text.split("\n")):
            name, _, body = line.partition(" ::= ")
            tokens = list(_TOKEN.finditer(body.rstrip()))
            assert "".join(match[0] for match in tokens) == body.rstrip(), body
            self.rules[name] = _either(tokens)
            assert not tokens, body
        self._costs = dict.fromkeys(self.rules, math.inf)  # rules within rules, at least
        while True:
            costs = {name: 1 + self._cost(part) for name, part in self.rules.items()}
            if costs == self._costs:
                break
            self._costs = costs

    @property
    def has_end(self) -> bool:
        """Whether there is a text at all."""
        return self._costs["root"] < math.inf

    def draw(self, chance: random.Random, depth: int = 12) -> str:
        """A random text; beyond a depth of rules the shortest way to an end is taken."""
        found: list[str] = []
        todo: list[tuple[Any, int]] = [(("rule", "root"), depth)]
        while todo:
            part, left = todo.pop()
            if part[0] == "text":
                found.append(part[1])
            elif part[0] == "set":
                first, last = chance.choice(part[1])
                found.append(chr(chance.randint(first, last)))
            elif part[0] == "rule":
                todo.append((self.rules[part[1]], left - 1))
            elif part[0] == "all":
                todo += [(inner, left) for inner in reversed(part[1])]
            elif part[0] == "any":
                best = min(map(self._cost, part[1]))
                usable = [
                    inner
                    for inner in part[1]
                    if (self._cost(inner) < math.inf if left > 0 else self._cost(inner) == best)
                ]
                todo.append((chance.choice(usable), left))
            else:
                _, inner, low, high = part
                most = low if left <= 0 or self._cost(inner) == math.inf else min(high, low + _MAX)
                todo += [(inner, left)] * chance.randint(low, most)
        return "".join(found)

    def _cost(self, part: Any) -> float:
        if part[0] == "rule":
            return self._costs[part[1]]
        if part[0] == "all":
            return max(map(self._cost, part[1]), default=0)
        if part[0] == "any":
            return min(map(self._cost, part[1]))
        if part[0] == "repeat":
            return self._cost(part[1]) if part[2] > 0 else 0
        return 0


def _either(tokens: list[re.Match[str]]) -> Any:
    """Alternatives, up to a closing parenthesis or the end."""
    alternatives: list[list[Any]] = [[]]
    while tokens and tokens[0]["sign"] != ")":
        token = tokens.pop(0)
        sequence = alternatives[-1]
        if token["literal"]:
            sequence.append(("text", "".join(_characters(token["literal"][1:-1]))))
        elif token["set"]:
            sequence.append(("set", _ranges(token["set"][1:-1])))
        elif token["name"]:
            sequence.append(("rule", token["name"]))
        elif token["low"]:
            sequence.append(("repeat", sequence.pop(), int(token["low"]), int(token["high"] or 10**6)))
        elif token["sign"] == "(":
            sequence.append(_either(tokens))
            assert tokens.pop(0)["sign"] == ")"
        elif token["sign"] == "|":
            alternatives.append([])
        else:
            low, high = {"?": (0, 1), "*": (0, 10**6), "+": (1, 10**6)}[token["sign"]]
            sequence.append(("repeat", sequence.pop(), low, high))
    return ("any", [("all", sequence) for sequence in alternatives])


def _characters(spelled: str) -> list[str]:
    return [_character(match) for match in _CHARACTER.finditer(spelled)]


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _ESCAPES.get(match[4], match[4]) if match[4] else match[5]


def _ranges(spelled: str) -> list[tuple[int, int]]:
    is_negated = spelled.startswith("^")
    matches = list(_CHARACTER.finditer(spelled[is_negated:]))
    ranges = []
    while matches:
        first = last = ord(_character(matches.pop(0)))
        if len(matches) > 1 and matches[0][0] == "-":
            last = ord(_character(matches[1]))
            del matches[:2]
        ranges.append((first, last))
    if not is_negated:
        return ranges
    bounds = [(0, 0), *sorted(ranges), (0xD800, 0xDFFF), (0x10FFFF + 1, 0)]
    bounds.sort()
    left, at = [], 1
    for first, last in bounds:
        if first > at:
            left.append((at, first - 1))
        at = max(at, last + 1)
    return left
