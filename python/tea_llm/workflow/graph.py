"""Builds a LangGraph graph from a plan: one channel with the state, and a reducer that detects conflicting writes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypedDict, cast

from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.graph import StateGraph

from tea_llm.workflow.errors import WorkflowRunError
from tea_llm.workflow.model import END, START, Edge, Node, Plan, branch_of

__all__ = ["CHANNEL", "Channel", "begin", "build", "merge"]

Registry = Mapping[str, Callable[..., Any]]
_PRIMARY = ("content", "embedding", "cosine_similarity")


class Channel(TypedDict):
    """The data passed from step to step: plain values, so that checkpoints can store it.

    Attributes:
        values: the state.
        step: the number of steps completed.
        writers: the node and the step that last wrote each key.
    """

    values: dict[str, Any]
    step: int
    writers: dict[str, tuple[str, int]]


class Update(TypedDict):
    """The changes that one node made to the state it received."""

    node: str
    step: int
    changed: dict[str, Any]
    removed: list[str]


def begin(values: Mapping[str, Any]) -> Channel:
    """The channel of a run with this initial state."""
    return {"values": dict(values), "step": 0, "writers": {}}


def merge(channel: Channel | None, update: Channel | Update) -> Channel:
    """The reducer: applies a node's changes.

    Raises:
        WorkflowRunError: another node of the same step wrote a different value to the same key.
    """
    if "values" in update:  # the input of a run; on an existing thread it is added to the saved state
        given = cast(Channel, update)
        return {**channel, "values": {**channel["values"], **given["values"]}} if channel else given
    assert channel, "a run begins with its input"  # noqa: S101
    values, writers = dict(channel["values"]), dict(channel["writers"])
    for key in (*update["changed"], *update["removed"]):
        node, step = writers.get(key, ("", -1))
        is_same = key in values and key in update["changed"] and same(values[key], update["changed"][key])
        if step == update["step"] and not is_same:
            raise WorkflowRunError(
                f"nodes {node!r} and {update['node']!r} ran at the same time and both wrote state.{key}", update["node"]
            )
        writers[key] = (update["node"], update["step"])
    values.update(update["changed"])
    for key in update["removed"]:
        values.pop(key, None)
    return {"values": values, "step": max(channel["step"], update["step"] + 1), "writers": writers}


CHANNEL = "__tea__"
"""The name of the only channel; nodes cannot have such a name."""

_State = TypedDict("_State", {CHANNEL: Annotated[Channel, merge]})  # type: ignore[misc]


def build(plan: Plan, registry: Registry) -> StateGraph[Any, Any, Any, Any]:
    """Builds the graph of a plan, to be compiled.

    Each parallel branch ends in a node of its own, where it waits for the others.
    """
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(_State)
    branches = branch_of(plan.edges)
    arrivals = {branch: f"__arrived {branch[0]}" for branch in branches.values()}
    for node in plan.nodes.values():
        run: Any = _runner(plan, node, registry)  # Any: mypy does not match it with any overload of add_node
        graph.add_node(node.name, run)
    for join in {join for _, join in arrivals}:
        ends = sorted(name for (_, met), name in arrivals.items() if met == join)
        for name in ends:
            arrive: Any = lambda state: {}  # noqa: E731, ARG005
            graph.add_node(name, arrive)
        graph.add_edge(ends, join)
    for source in (START, *plan.nodes):
        branch = branches.get(source)
        end, join = (END, "") if branch is None else (arrivals[branch], branch[1])
        edges = [
            replace(edge, target=end) if edge.target in (END, join) else edge
            for edge in plan.edges
            if edge.source == source
        ]
        targets = {edge.target for edge in edges} or {end}
        if any(edge.condition for edge in edges):
            graph.add_conditional_edges(source, _router(plan, edges, end), sorted(targets | {end}))
        else:
            for target in sorted(targets):
                graph.add_edge(source, target)
    return graph


def same(a: object, b: object) -> bool:
    """Whether two values are equal; False if they cannot be compared."""
    try:
        return a is b or bool(a == b)
    except ValueError:  # arrays
        return False


def _router(plan: Plan, edges: list[Edge], end: str) -> Callable[[Any], list[str]]:
    """Chooses the first edge whose condition is true; else all edges without a condition; else the end."""

    def route(state: Any) -> list[str]:
        variables = _variables(plan, state[CHANNEL]["values"])
        for edge in edges:
            if edge.condition is not None and edge.condition(variables):
                return [edge.target]
        return [edge.target for edge in edges if edge.condition is None] or [end]

    return route


def _runner(plan: Plan, node: Node, registry: Registry) -> Callable[[Any], dict[str, Update]]:
    def run(state: Any) -> dict[str, Update]:
        channel: Channel = state[CHANNEL]
        before = channel["values"]
        values = copy.deepcopy(before)
        if node.code is not None:
            _run_code(plan, node, values)
        elif node.action:
            _run_action(plan, node, registry, values)
        changed = {key: value for key, value in values.items() if key not in before or not same(before[key], value)}
        removed = [key for key in before if key not in values]
        return {CHANNEL: {"node": node.name, "step": channel["step"], "changed": changed, "removed": removed}}

    return run


def _run_code(plan: Plan, node: Node, values: dict[str, Any]) -> None:
    assert node.code is not None  # noqa: S101
    try:
        returned = _called(plan, node, node.code, values)
    except WorkflowRunError as error:
        if not node.keeps_errors or error.__cause__ is None:
            raise
        returned = {node.output or node.name: _error_result(error.__cause__)}
    if isinstance(returned, Mapping):
        values.update(returned)
    elif returned is not None:
        raise _failure(plan, node, f" returned {type(returned).__name__}: return a dict or None")


def _run_action(plan: Plan, node: Node, registry: Registry, values: dict[str, Any]) -> None:
    variables = _variables(plan, values)
    params = node.params(variables)
    try:
        result = _called(plan, node, registry[node.action], state=values, **params)
    except WorkflowRunError as error:
        if not node.keeps_errors or error.__cause__ is None:
            raise
        result = _error_result(error.__cause__)
    if not isinstance(result, dict):
        result = {"result": result}
    if result.get("success") is False and "error" in result:
        if not node.keeps_errors:
            raise _failure(plan, node, f": {result['error']}")
        values[node.output or node.name] = result
    elif node.outputs is not None:
        variables = {**variables, "action_result": result}
        values |= {key: render(variables) for key, render in node.outputs.items()}
    elif node.output is not None:
        values[node.output] = result
    else:
        values[node.name] = next((result[key] for key in _PRIMARY if key in result), result.get("result", result))


def _called(plan: Plan, node: Node, function: Callable[..., Any], *args: Any, **params: Any) -> Any:
    """Calls a node's code or action, and returns its result.

    Raises:
        WorkflowRunError: the call failed, with the exception as the cause; or it uses an unsupported feature.
    """
    try:
        result = function(*args, **params)
    except GraphInterrupt:
        raise _failure(plan, node, ": interrupt() is not supported; end the workflow here and run another") from None
    except GraphBubbleUp:
        raise
    except Exception as error:
        raise _failure(plan, node, f": {type(error).__name__}: {error}") from error
    if inspect.iscoroutine(result):
        result.close()
        raise _failure(plan, node, " is async: actions and code must be synchronous functions")
    return result


def _failure(plan: Plan, node: Node, problem: str) -> WorkflowRunError:
    what = f"node {node.name!r}{', ' if node.action else ''}{node.action}"
    return WorkflowRunError(f"{plan.source}:{node.line}: {what}{problem}", node.name, node.line)


def _error_result(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    return {"error": f"{kind}: {error}", "success": False, "error_type": kind}


def _variables(plan: Plan, values: dict[str, Any]) -> dict[str, Any]:
    return {"state": values, "variables": plan.variables}
