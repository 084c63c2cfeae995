"""A plan as a LangGraph graph: one channel with the state, and a reducer that notices conflicting writes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict, cast

from jinja2 import TemplateError
from langgraph.graph import StateGraph

from tea_llm.workflow.errors import WorkflowRunError
from tea_llm.workflow.model import END, START, Edge, Node, Plan

__all__ = ["Channel", "begin", "build", "merge"]

Registry = Mapping[str, Callable[..., Any]]
_PRIMARY = ("content", "embedding", "cosine_similarity")


class Channel(TypedDict):
    """What goes from step to step. Plain values, so that checkpoints can hold it.

    Attributes:
        values: the state.
        step: how many steps were made.
        writers: the node and the step that wrote a key last.
    """

    values: dict[str, Any]
    step: int
    writers: dict[str, tuple[str, int]]


class Update(TypedDict):
    """What one node changed in the state that it saw."""

    node: str
    step: int
    changed: dict[str, Any]
    removed: list[str]


def begin(values: Mapping[str, Any]) -> Channel:
    """The channel of a run that begins with this state."""
    return {"values": dict(values), "step": 0, "writers": {}}


def merge(channel: Channel | None, update: Channel | Update) -> Channel:
    """The reducer: takes a node's changes in.

    Raises:
        WorkflowRunError: another node of the same step wrote something else under the same key.
    """
    if "values" in update:  # the input of a run; on an old thread it is added to what is there
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


class _State(TypedDict):
    state: Annotated[Channel, merge]


def build(plan: Plan, registry: Registry) -> StateGraph[Any, Any, Any, Any]:
    """The graph of a plan, to be compiled."""
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(_State)
    for node in plan.nodes.values():
        run: Any = _runner(plan, node, registry)  # of a type that mypy does not find among StateGraph's many
        graph.add_node(node.name, run)
    joins = _joins(plan)
    for source in (START, *plan.nodes):
        edges = [edge for edge in plan.edges if edge.source == source]
        targets = {edge.target for edge in edges}
        if any(edge.condition for edge in edges):
            graph.add_conditional_edges(source, _router(plan, source, edges), [*targets, END])
        elif targets:
            for target in sorted(targets):
                graph.add_edge(source, target)
        elif not any(source in ends for ends in joins.values()):
            graph.add_edge(source, END)
    for target, ends in joins.items():
        graph.add_edge(sorted(ends), target)
    return graph


def same(a: object, b: object) -> bool:
    """Whether two values are equal; ones that cannot tell are not."""
    try:
        return a is b or bool(a == b)
    except ValueError:  # arrays
        return False


def _joins(plan: Plan) -> dict[str, set[str]]:
    """For each ``fan_in``, the last nodes of the branches that meet there."""
    joins: dict[str, set[str]] = {}
    for edge in plan.edges:
        if edge.fan_in:
            joins.setdefault(edge.fan_in, set()).update(_ends(plan, edge.target, edge.fan_in))
    return joins


def _ends(plan: Plan, start: str, join: str) -> set[str]:
    seen, ahead, ends = {start}, [start], set()
    while ahead:
        at = ahead.pop()
        targets = {edge.target for edge in plan.edges if edge.source == at} - {join}
        if not targets:
            ends.add(at)
        ahead += targets - seen - {END}
        seen |= targets
    return ends


def _router(plan: Plan, source: str, edges: list[Edge]) -> Callable[[_State], list[str]]:
    """The first edge whose condition holds; else those without one; else the end."""

    def route(state: _State) -> list[str]:
        variables = _variables(plan, state["state"]["values"])
        for edge in edges:
            if edge.condition is not None and _rendered(edge.condition, variables, source, f"if, to {edge.target!r}"):
                return [edge.target]
        return [edge.target for edge in edges if edge.condition is None] or [END]

    return route


def _runner(plan: Plan, node: Node, registry: Registry) -> Callable[[_State], dict[str, Update]]:
    def run(state: _State) -> dict[str, Update]:
        channel = state["state"]
        before = channel["values"]
        values = copy.deepcopy(before)
        if node.code is not None:
            _run_code(node, values)
        elif node.action:
            _run_action(plan, node, registry, values)
        changed = {key: value for key, value in values.items() if key not in before or not same(before[key], value)}
        removed = [key for key in before if key not in values]
        return {"state": {"node": node.name, "step": channel["step"], "changed": changed, "removed": removed}}

    return run


def _run_code(node: Node, values: dict[str, Any]) -> None:
    assert node.code is not None  # noqa: S101
    try:
        returned = node.code(values)
    except Exception as error:
        raise WorkflowRunError(f"node {node.name!r}: {type(error).__name__}: {error}", node.name) from error
    if isinstance(returned, Mapping):
        values.update(returned)
    elif returned is not None:
        kind = type(returned).__name__
        raise WorkflowRunError(f"node {node.name!r} returned {kind}: return a dict, or nothing", node.name)


def _run_action(plan: Plan, node: Node, registry: Registry, values: dict[str, Any]) -> None:
    variables = _variables(plan, values)
    params = _rendered(node.params, variables, node.name, "params")
    result = registry[node.action](state=values, **params)
    if not isinstance(result, dict):
        result = {"result": result}
    if result.get("success") is False and "error" in result:
        if not node.keeps_errors:
            raise WorkflowRunError(f"node {node.name!r}, {node.action}: {result['error']}", node.name)
        values[node.output or node.name] = result
    elif node.outputs is not None:
        variables = {**variables, "action_result": result}
        values |= {key: _rendered(one, variables, node.name, f"output {key}") for key, one in node.outputs.items()}
    elif node.output is not None:
        values[node.output] = result
    else:
        values[node.name] = next((result[key] for key in _PRIMARY if key in result), result.get("result", result))


def _variables(plan: Plan, values: dict[str, Any]) -> dict[str, Any]:
    return {"state": values, "variables": plan.variables}


def _rendered(render: Callable[[Mapping[str, Any]], Any], variables: dict[str, Any], node: str, what: str) -> Any:
    try:
        return render(variables)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise WorkflowRunError(f"node {node!r}, {what}: {error}", node) from error
