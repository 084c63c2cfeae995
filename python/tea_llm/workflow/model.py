"""A checked workflow as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tea_llm.workflow.templates import Renderer, constant

__all__ = ["END", "START", "Code", "Edge", "Node", "Plan", "branch_of"]

START, END = "__start__", "__end__"

_NO_PARAMS = constant({})

Code = Callable[[dict[str, Any]], Any]
"""A ``run`` block: receives the state, may change it, and may return further keys."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step.

    Attributes:
        name: unique.
        line: its line in the file.
        action: the action to call; "" for code, and for a node that only joins others.
        params: parameters of the action, rendered together.
        output: key of the state for the whole result; None: the primary value under the node's name.
        outputs: keys of the state, each with a template over ``action_result``; overrides ``output``.
        code: the function of a ``run`` block.
        keeps_errors: whether the error of a failed action is stored as its result.
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
    """A transition from one node to another.

    Attributes:
        source: a node, or ``START``.
        target: a node, or ``END``.
        condition: when to follow it; None: if no condition of another edge from ``source`` is true.
        fan_in: the node where the parallel branches that begin with such edges meet; "": not a parallel edge.
    """

    source: str
    target: str
    condition: Renderer | None = None
    fan_in: str = ""


def branch_of(edges: Iterable[Edge]) -> dict[str, tuple[str, str]]:
    """Maps each node of a parallel branch to the first node of the branch and the node where all branches meet."""
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
        settings: the mapping under ``settings:``.
        schema: declared type of each key of the state.
        initial_state: values at the start of a run.
        variables: constants for templates.
        nodes: by name, in the order of the file.
        edges: in the order in which they are tried.
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
        """The last node of the file."""
        return list(self.nodes.values())[-1]
