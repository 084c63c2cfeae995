"""Grammars of whole answers, llama.cpp's rules included: which texts they take, and random texts of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import inf
from random import Random
from typing import NamedTuple

__all__ = ["AnswerGrammar"]

_TOKEN = re.compile(
    r"""(?P<name>[A-Za-z][\w-]*)(?P<defines>\s*::=)? | (?P<text>"(?:[^"\\]|\\.)*") | (?P<set>\[(?:[^\]\\]|\\.)*\])
    | (?P<repeat>[?*+]|\{\d+(?:,\d*)?\}) | (?P<sign>[()|.])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))|(.)", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_SAMPLES = [*"abcxyzABC019_ .,-", "\n", '"', "<", "é", "日"]


@dataclass(eq=False, slots=True)
class _Node:
    kind: str  # "set", "seq", "alt", "repeat" or "name"
    parts: list[_Node]
    name: str = ""
    ranges: tuple[tuple[str, str], ...] = ()
    is_negated: bool = False
    low: int = 0
    high: float = 0

    def takes(self, character: str) -> bool:
        return any(first <= character <= last for first, last in self.ranges) != self.is_negated


class _Frame(NamedTuple):
    node: _Node
    rest: _Frame | None


class AnswerGrammar:
    """A grammar.

    Args:
        gbnf: its rules.
    """

    def __init__(self, gbnf: str) -> None:
        self._tokens = list(_TOKEN.finditer(gbnf))
        self._rules: dict[str, _Node] = {}
        self._at = 0
        while self._at < len(self._tokens):
            name = self._tokens[self._at]["name"]
            assert self._tokens[self._at]["defines"], self._tokens[self._at]
            self._at += 1
            self._rules.setdefault(name, self._alternatives())
        self._frames: dict[tuple[int, int], _Frame] = {}

    def takes(self, text: str) -> bool:
        """Whether a text is one of the grammar's."""
        return None in self._after(text)

    def begins(self, text: str) -> bool:
        """Whether one of the grammar's texts begins like this."""
        return bool(self._after(text))

    def drawn(self, rng: Random, after: str = "", deepest: int = 30) -> str:
        """What follows ``after`` in a random text that begins with it."""
        written: list[str] = []
        frame = rng.choice(self._after(after))
        while frame is not None:
            self._write(frame.node, rng, deepest, written)
            frame = frame.rest
        return "".join(written)

    # --- reading

    def _alternatives(self) -> _Node:
        alternatives = [self._sequence()]
        while self._at < len(self._tokens) and self._tokens[self._at]["sign"] == "|":
            self._at += 1
            alternatives.append(self._sequence())
        return alternatives[0] if len(alternatives) == 1 else _Node("alt", alternatives)

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token["defines"] or token["sign"] in ("|", ")"):
                break
            self._at += 1
            if token["repeat"]:
                parts.append(_repeat(parts.pop(), token["repeat"]))
            elif token["sign"] == "(":
                parts.append(self._alternatives())
                self._at += 1
            elif token["sign"] == ".":
                parts.append(_Node("set", [], is_negated=True))
            elif token["name"]:
                parts.append(_Node("name", [], name=token["name"]))
            elif token["set"]:
                parts.append(_set(token["set"]))
            else:
                characters = _characters(token["text"][1:-1])
                parts.append(_Node("seq", [_Node("set", [], ranges=((one, one),)) for one, _ in characters]))
        return parts[0] if len(parts) == 1 else _Node("seq", parts)

    # --- taking texts

    def _after(self, text: str) -> list[_Frame | None]:
        """What may follow a text; None: nothing more."""
        now = self._open([self._frame(self._rules["root"], None)])
        for character in text:
            steps = [frame.rest for frame in now if frame is not None and frame.node.takes(character)]
            now = self._open(steps)
            if not now:
                break
        return now

    def _frame(self, node: _Node, rest: _Frame | None) -> _Frame:
        key = (id(node), id(rest))
        if key not in self._frames:
            self._frames[key] = _Frame(node, rest)
        return self._frames[key]

    def _open(self, frames: list[_Frame | None]) -> list[_Frame | None]:
        """The same places, each before one character."""
        found: dict[int, _Frame | None] = {}
        seen: set[int] = set()
        waiting = list(frames)
        while waiting:
            frame = waiting.pop()
            if id(frame) in seen:
                continue
            seen.add(id(frame))
            if frame is None or frame.node.kind == "set":
                found[id(frame)] = frame
            else:
                waiting += self._opened(*frame)
        return list(found.values())

    def _opened(self, node: _Node, rest: _Frame | None) -> list[_Frame | None]:
        if node.kind == "name":
            return [self._frame(self._rules[node.name], rest)]
        if node.kind == "alt":
            return [self._frame(part, rest) for part in node.parts]
        if node.kind == "seq":
            for part in reversed(node.parts):
                rest = self._frame(part, rest)
            return [rest]
        (part,) = node.parts
        if node.high == 0:
            return [rest]
        once = self._frame(part, self._frame(self._less(node), rest))
        return [once] if node.low else [once, rest]

    def _less(self, node: _Node) -> _Node:
        if node.low == 0 and node.high == inf:
            return node
        key = (id(node), -1)
        if key not in self._frames:
            less = _Node("repeat", node.parts, low=max(0, node.low - 1), high=node.high - 1)
            self._frames[key] = _Frame(less, None)
        return self._frames[key].node

    # --- writing texts

    @cached_property
    def _depths(self) -> dict[str, float]:
        """How deep the shortest way through each rule is."""
        depths: dict[str, float] = dict.fromkeys(self._rules, inf)
        while True:
            found = {name: 1 + self._depth(node, depths) for name, node in self._rules.items()}
            if found == depths:
                return depths
            depths = found

    def _depth(self, node: _Node, depths: dict[str, float]) -> float:
        if node.kind == "set":
            return 0
        if node.kind == "name":
            return depths[node.name]
        if node.kind == "repeat" and node.low == 0:
            return 0
        of_parts = [self._depth(part, depths) for part in node.parts]
        return min(of_parts) if node.kind == "alt" else max(of_parts, default=0)

    def _write(self, node: _Node, rng: Random, left: int, written: list[str]) -> None:
        if node.kind == "set":
            written.append(_character(node, rng))
        elif node.kind == "name":
            self._write(self._rules[node.name], rng, left - 1, written)
        elif node.kind == "seq":
            for part in node.parts:
                self._write(part, rng, left, written)
        elif node.kind == "alt":
            depths = [self._depth(part, self._depths) for part in node.parts]
            usable = [part for part, depth in zip(node.parts, depths, strict=True) if depth <= max(left, min(depths))]
            self._write(rng.choice(usable), rng, left, written)
        else:
            (part,) = node.parts
            most = min(node.high, node.low + 3) if self._depth(part, self._depths) <= left else node.low
            for _ in range(node.low + int((most - node.low + 1) * rng.random() ** 2)):  # rather few
                self._write(part, rng, left, written)


def _repeat(node: _Node, sign: str) -> _Node:
    if sign in "?*+":
        low, high = {"?": (0, 1.0), "*": (0, inf), "+": (1, inf)}[sign]
    else:
        first, comma, last = sign[1:-1].partition(",")
        low, high = int(first), float(last) if last else inf if comma else float(first)
    return _Node("repeat", [node], low=low, high=high)


def _set(text: str) -> _Node:
    is_negated = text.startswith("[^")
    characters = _characters(text[2 if is_negated else 1 : -1])
    ranges = []
    index = 0
    while index < len(characters):
        first = last = characters[index][0]
        if index + 2 < len(characters) and characters[index + 1] == ("-", False):
            last = characters[index + 2][0]
            index += 2
        ranges.append((first, last))
        index += 1
    return _Node("set", [], ranges=tuple(ranges), is_negated=is_negated)


def _characters(text: str) -> list[tuple[str, bool]]:
    """Each character, and whether it is escaped."""
    found = []
    for match in _ESCAPE.finditer(text):
        code = match[1] or match[2] or match[3]
        found.append((chr(int(code, 16)) if code else _SHORT.get(match[4], match[4]) or match[5], match[5] is None))
    return found


def _character(node: _Node, rng: Random) -> str:
    usable: list[str] = [one for one in _SAMPLES if node.takes(one)]
    if usable and (node.is_negated or rng.random() < 0.8):
        return rng.choice(usable)
    if node.is_negated:
        return next(chr(code) for code in range(33, 0x10FFFF) if node.takes(chr(code)))
    first, last = rng.choice(node.ranges)
    return chr(rng.randint(ord(first), ord(last)))
