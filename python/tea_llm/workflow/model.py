"""A workflow as it was checked: plain values, ready to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tea_llm.workflow.templates import Renderer, constant

__all__ = ["END", "START", "Code", "Edge", "Node", "Plan", "branch_of"]

START, END = "__start__", "__end__"

_NO_PARAMS = constant({})

Code = Callable[[dict[str, Any]], Any]
"""A ``run`` block: takes the state, which it may change, and may return more of it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    Attributes:
        name: unique.
        line: where it stands.
        action: what is called; "" for code, and for a node that only joins others.
        params: of the action, rendered together.
        output: key of the state for the whole result; None: the primary value under the node's name.
        outputs: keys of the state, each with a template over ``action_result``; goes before ``output``.
        code: of a ``run`` block.
        keeps_errors: whether a failed action is a result like any other.
    """

    name: str
    line: int
    action: str = ""
    params: Renderer = _NO_PARAMS
    output: str | None = None
    outputs: Mapping[str, Renderer] | None = None
    code: Code | None = None
    keeps_errors: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """Where to go next.

    Attributes:
        source: a node, or ``START``.
        target: a node, or ``END``.
        condition: None: always, if no condition of another edge from here holds.
        fan_in: where the branches that begin with such edges meet; "" where they are none.
    """

    source: str
    target: str
    condition: Renderer | None = None
    fan_in: str = ""


def branch_of(edges: Iterable[Edge]) -> dict[str, tuple[str, str]]:
    """For each node of a parallel branch, the branch: the node that it begins with, and the one where all meet."""
    edges = list(edges)
    branches: dict[str, tuple[str, str]] = {}
    for first in edges:
        ahead = [first.target] if first.fan_in else []
        while ahead:
            node = ahead.pop()
            if node in branches or node in (END, first.fan_in):
                continue
            branches[node] = (first.target, first.fan_in)
            ahead += [edge.target for edge in edges if edge.source == node]
    return branches


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole workflow.

    Attributes:
        source: the file's name.
        settings: under ``settings:``.
        schema: declared type of each key of the state.
        initial_state: values it begins with.
        variables: constants for templates.
        nodes: by name, in their order.
        edges: in their order.
    """

    source: str
    settings: Mapping[str, Any]
    schema: Mapping[str, type]
    initial_state: Mapping[str, Any]
    variables: Mapping[str, Any]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]

    @property
    def last(self) -> Node:
        """The node that stands last in the file."""
        return list(self.nodes.values())[-1]
