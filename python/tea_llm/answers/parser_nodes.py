"""llama.cpp's parsers of answers, node by node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from tea_llm.grammar.characters import CharSet, in_text

__all__ = ["Node", "Nodes"]

Node: TypeAlias = "dict[str, Any]"
"""``type`` says how it matches. It refers to other nodes by their index, in ``child`` or ``children``."""


class Nodes:
    """The nodes of a parser, to be changed in place.

    Args:
        saved: ``AnswerFormat.parser``.

    Attributes:
        rules: index of each named node.
    """

    def __init__(self, saved: str) -> None:
        self._parser = json.loads(saved)
        self._nodes: list[Node] = self._parser["parsers"]
        self.rules: dict[str, int] = self._parser["rules"]

    def __getitem__(self, index: int) -> Node:
        return self._nodes[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    @property
    def root(self) -> int:
        """Index of the node that matches all of an answer."""
        return int(self._parser["root"])

    @root.setter
    def root(self, index: int) -> None:
        self._parser["root"] = index

    @property
    def saved(self) -> str:
        """The parser as it is now, for ``AnswerFormat.with_parser``."""
        return json.dumps(self._parser)

    def add(self, kind: str, **fields: Any) -> int:
        """Index of a new node."""
        self._nodes.append({"type": kind, **fields})
        return len(self._nodes) - 1

    def chars(self, characters: CharSet, *, count: int = 1) -> int:
        """Index of a new node for ``count`` characters of a set."""
        ranges = [{"start": first, "end": last} for first, last in characters]
        counts = {"min_count": count, "max_count": count}
        return self.add("chars", pattern=in_text(characters), ranges=ranges, negated=False, **counts)

    def some(self, child: int, *, min_count: int = 0, max_count: int = -1) -> int:
        """Index of a new node that repeats a child; -1: any number of times."""
        return self.add("repetition", child=child, min_count=min_count, max_count=max_count)

    def wrap(self, index: int, kind: str, **fields: Any) -> None:
        """Replaces a node by a new one whose child it becomes; references follow."""
        self._nodes.append(self._nodes[index])
        self._nodes[index] = {"type": kind, "child": len(self._nodes) - 1, **fields}

    def replace(self, index: int, kind: str, **fields: Any) -> None:
        """Replaces a node by a new one; references follow."""
        self._nodes[index] = {"type": kind, **fields}

    def rule(self, name: str, child: int) -> int:
        """Index of a new node that gives a child a rule of its own in the grammar, where it is used here."""
        self.rules[name] = self.add("rule", name=name, child=child, trigger=False)
        return self.rules[name]

    def name(self, index: int, rule: str) -> None:
        """Gives the node a rule of its own in the grammar."""
        self.wrap(index, "rule", name=rule, trigger=False)
        self.rules[rule] = index

    def children(self, index: int) -> list[int]:
        node = self._nodes[index]
        return node["children"] if "children" in node else [node["child"]] if "child" in node else []

    def inside(self, index: int, *, until: str = "") -> list[int]:
        """The node and all below it, each once, in the order of the text; what a tag ``until`` holds is left out."""
        found: dict[int, None] = {}
        waiting = [index]
        while waiting:
            here = waiting.pop()
            if here in found or (until and self.is_tag(here, until)):
                continue
            found[here] = None
            waiting += reversed(self.children(here))
        return list(found)

    def is_tag(self, index: int, *tags: str) -> bool:
        return self._nodes[index].get("tag") in tags

    def tagged(self, index: int, *tags: str) -> list[int]:
        """The nodes below this one that have one of the tags."""
        return [here for here in self.inside(index) if self.is_tag(here, *tags)]

    def literal(self, index: int) -> str:
        """The first fixed text below a node; empty: there is none."""
        return next((self[here]["literal"] for here in self.inside(index) if self[here]["type"] == "literal"), "")
