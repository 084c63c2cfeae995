"""Turns a file into a plan and reports every problem before anything runs."""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from tea_llm.actions import ACTIONS
from tea_llm.actions._request import parameter_problem
from tea_llm.errors import ModelNotFoundError
from tea_llm.paths import explicit_model_path, missing_models
from tea_llm.settings import LlmSettings
from tea_llm.workflow.document import Map, read
from tea_llm.workflow.errors import Problem, WorkflowError, WorkflowRunError
from tea_llm.workflow.model import END, START, Code, Edge, Node, Plan, branch_of
from tea_llm.workflow.templates import (
    Renderer,
    TemplateSyntaxError,
    compile_condition,
    compile_value,
    constant,
    is_constant,
)

__all__ = ["plan_of"]

_TOP = frozenset(
    {"description", "edges", "imports", "initial_state", "name", "nodes", "settings", "state_schema", "variables"}
)
_NODE = frozenset(
    {"action", "description", "goto", "name", "on_error", "output", "outputs", "params", "run", "uses", "with"}
)
_EDGE = frozenset({"condition", "fan_in", "from", "if", "to", "type", "when"})
_CONDITIONS = frozenset({"condition", "if", "when"})
_TYPES: dict[str, type] = {"list": list, "str": str, "int": int, "float": float, "bool": bool, "dict": dict}


def plan_of(
    text: str, source: str, *, allow_code: bool, extra_actions: Iterable[str] = (), looks_for_files: bool = False
) -> Plan:
    """Reads and checks a workflow.

    Args:
        text: YAML.
        source: the file's name, for errors.
        allow_code: whether ``run`` blocks are allowed.
        extra_actions: names of actions that the caller supplies.
        looks_for_files: whether model files named in it must exist.

    Raises:
        WorkflowError: the workflow is invalid; lists every problem.
    """
    return _Reader(read(text, source), source, allow_code, frozenset(extra_actions), looks_for_files).plan()


class _Reader:
    def __init__(
        self, document: Map, source: str, allow_code: bool, extra_actions: frozenset[str], looks_for_files: bool
    ) -> None:
        self._document = document
        self._source = source
        self._allow_code = allow_code
        self._extra_actions = extra_actions
        self._looks_for_files = looks_for_files
        self._problems: list[Problem] = []
        self._nodes: dict[str, Node] = {}

    def plan(self) -> Plan:
        document = self._document
        self._check_keys(document, _TOP, "a workflow")
        self._check_imports()
        settings = self._settings()
        schema = self._schema()
        given_nodes = self._nodes_given()
        for given in given_nodes:
            self._read_node(given)
        edges = self._edges(given_nodes)
        self._check_graph(edges)
        plan = Plan(
            source=self._source,
            settings=settings,
            schema=schema,
            initial_state=self._mapping("initial_state"),
            variables=self._mapping("variables"),
            nodes=self._nodes,
            edges=tuple(edges),
        )
        if self._problems:
            raise WorkflowError(self._source, self._problems)
        return plan

    def _report(self, line: int, message: str) -> None:
        self._problems.append(Problem(line, message))

    def _check_keys(self, mapping: Map, allowed: frozenset[str], what: str) -> None:
        for key in mapping:
            if key not in allowed:
                self._report(mapping.line_of(key), f"{what} has an unknown key {key!r}{_near(key, allowed)}")

    def _mapping(self, key: str) -> Map:
        value = self._document.get(key)
        if value is None:
            return Map()
        if not isinstance(value, Map):
            self._report(self._document.line_of(key), f"{key} must be a mapping, not {_kind(value)}")
            return Map()
        return value

    def _check_imports(self) -> None:
        imports = self._document.get("imports") or []
        for item in imports if isinstance(imports, list) else [imports]:
            if not isinstance(item, Map) or item.get("package") != "tea_llm.actions":
                line = item.line if isinstance(item, Map) else self._document.line_of("imports")
                self._report(line, "only tea_llm.actions can be imported: pass other actions to load(actions=...)")

    def _settings(self) -> Map:
        settings = self._mapping("settings")
        llm = settings.get("llm")
        problems = LlmSettings.problems(settings)
        for key, message in problems.items():
            place = llm if isinstance(llm, Map) and key in llm else settings
            self._report(place.line_of(key), message)
        if self._looks_for_files and not problems:
            parsed = LlmSettings.parse(settings)
            for message in missing_models(parsed, stops=False) if parsed.backend != "api" else ():
                place = llm if isinstance(llm, Map) and message.startswith("settings") else Map()
                self._report(place.line_of("model_path"), message)
        return settings

    def _schema(self) -> dict[str, type]:
        schema = self._mapping("state_schema")
        for key, name in schema.items():
            if not isinstance(name, str) or name not in _TYPES:
                self._report(schema.line_of(key), f"state_schema.{key}: {name!r} is not one of {', '.join(_TYPES)}")
        return {key: _TYPES[name] for key, name in schema.items() if isinstance(name, str) and name in _TYPES}

    def _nodes_given(self) -> list[Map]:
        given = self._document.get("nodes")
        if not isinstance(given, list) or not given:
            self._report(self._document.line_of("nodes"), "a workflow needs a list of nodes")
            return []
        nodes = [node for node in given if isinstance(node, Map)]
        if len(nodes) < len(given):
            self._report(self._document.line_of("nodes"), "each node must be a mapping")
        return nodes

    def _read_node(self, given: Map) -> None:
        name = given.get("name")
        if not isinstance(name, str) or not name:
            self._report(given.line_of("name"), "a node needs a name")
            return
        if name.startswith("__") or ":" in name or "|" in name:
            self._report(given.line_of("name"), f"node name {name!r} must not begin with __ or contain ':' or '|'")
        if name in self._nodes:
            first = self._nodes[name].line
            self._report(given.line_of("name"), f"node {name!r} is already defined in line {first}")
            return
        self._check_keys(given, _NODE, f"node {name!r}")
        for ours, theirs in (("action", "uses"), ("action", "with"), ("params", "uses"), ("params", "with")):
            if ours in given and theirs in given:
                self._report(
                    given.line_of(theirs),
                    f"node {name!r} has both {ours} and {theirs}: use action and params, or uses and with",
                )
        if "output" in given and "outputs" in given:
            self._report(given.line_of("outputs"), f"node {name!r} has both output and outputs: use one of them")
        action = given.get("action", given.get("uses", ""))
        if action and "run" in given:
            self._report(given.line_of("run"), f"node {name!r} has both an action and run: use one of them")
        output, outputs = self._output(name, given)
        self._nodes[name] = Node(
            name=name,
            line=given.line,
            action=self._action(name, action, given),
            params=self._params(name, action, given),
            output=output,
            outputs=outputs,
            code=self._code(name, given) if "run" in given else None,
            keeps_errors=self._keeps_errors(name, given),
        )

    def _action(self, name: str, action: object, given: Map) -> str:
        known = {*ACTIONS, *self._extra_actions}
        if not action:
            for key in ("params", "with"):
                if key in given:
                    self._report(given.line_of(key), f"node {name!r} has {key} but no action")
            return ""
        if _plain_name(action) not in known:
            line = given.line_of("action" if "action" in given else "uses")
            self._report(line, f"node {name!r}: unknown action {action!r}{_near(action, known)}")
        return str(action)

    def _params(self, name: str, action: object, given: Map) -> Renderer:
        key = "with" if "with" in given else "params"
        params = given.get(key)
        if params is None:
            return constant({})
        if not isinstance(params, Map):
            self._report(given.line_of(key), f"node {name!r}: {key} must be a mapping, not {_kind(params)}")
            return constant({})
        known = ACTIONS.get(_plain_name(action))
        for param, value in params.items() if known else ():
            if known and param not in known.parameters:
                near = _near(param, known.parameters)
                self._report(params.line_of(param), f"node {name!r}: {action} has no parameter {param!r}{near}")
            elif value is not None and is_constant(value) and (param, action) != ("tools", "llm.tools"):
                problem = parameter_problem(param, value) or self._file_problem(param, value)
                if problem:
                    self._report(params.line_of(param), f"node {name!r}, {key}.{param}: {problem}")
        renderers = {
            param: self._compiled(value, params.line_of_text(param), f"{key}.{param}", name)
            for param, value in params.items()
        }
        return lambda variables: {param: render(variables) for param, render in renderers.items()}

    def _file_problem(self, param: str, value: object) -> str | None:
        if not self._looks_for_files or param != "model_path":
            return None
        try:
            explicit_model_path(str(value))
        except ModelNotFoundError as error:
            return str(error)
        return None

    def _output(self, name: str, given: Map) -> tuple[str | None, dict[str, Renderer] | None]:
        key = "outputs" if "outputs" in given else "output"
        output = given.get(key)
        if output is None or isinstance(output, str):
            return output, None
        if not isinstance(output, Map):
            self._report(given.line_of(key), f"node {name!r}: {key} must be a key or a mapping, not {_kind(output)}")
            return None, None
        return None, {
            target: self._compiled(value, output.line_of_text(target), f"{key}.{target}", name, kind="output")
            for target, value in output.items()
        }

    def _compiled(self, value: Any, line: int, where: str, node: str, *, kind: str = "value") -> Renderer:
        """A renderer whose errors name the line and the node."""
        names = ("state", "variables", "action_result") if kind == "output" else ("state", "variables")
        try:
            render = (compile_condition if kind == "condition" else compile_value)(value, names)
        except TemplateSyntaxError as error:
            self._report(line + error.lineno - 1, f"node {node!r}, {where}: {error.message}")
            return constant(None)
        source = self._source

        def located(variables: Mapping[str, Any]) -> Any:
            try:
                return render(variables)
            except Exception as error:
                raise WorkflowRunError(f"{source}:{line}: node {node!r}, {where}: {error}", node, line) from error

        return located

    def _code(self, name: str, given: Map) -> Code | None:
        line, source = given.line_of("run"), given["run"]
        first = given.line_of_text("run") - 1
        if not self._allow_code:
            self._report(line, f"node {name!r} contains Python code: allow it with --allow-code or allow_code=True")
        if not isinstance(source, str) or not source.strip():
            self._report(line, f"node {name!r}: run must be Python code")
            return None
        try:
            # The tree is inserted, not the text: indenting the text would change its multi-line strings.
            body = ast.parse(source).body
            wrapper = ast.parse("def run(state): pass")
            wrapper.body[0].body = body  # type: ignore[attr-defined]
            code = compile(ast.increment_lineno(wrapper, first), f"<{self._source}, node {name}>", "exec")
        except (SyntaxError, ValueError) as error:
            at = first + (getattr(error, "lineno", None) or 1)
            self._report(at, f"node {name!r}: {getattr(error, 'msg', error)}")
            return None
        namespace: dict[str, Any] = {}
        if self._allow_code:
            exec(code, namespace)  # noqa: S102 - defines the function; the user has allowed code
        return namespace.get("run")

    def _keeps_errors(self, name: str, given: Map) -> bool:
        value = given.get("on_error", "raise")
        if value not in ("raise", "continue"):
            self._report(
                given.line_of("on_error"), f"node {name!r}: on_error must be 'raise' or 'continue', not {value!r}"
            )
        return bool(value == "continue")

    def _edges(self, given_nodes: list[Map]) -> list[Edge]:
        """All edges: from ``goto``, from ``edges``, and for nodes without either, to the next node of the file."""
        named = [given for given in given_nodes if isinstance(given.get("name"), str)]
        gotos = {given["name"]: given for given in named if given.get("goto") is not None}
        edges = [edge for given in gotos.values() for edge in self._goto(given)]
        given_edges = self._document.get("edges")
        if given_edges is not None and not isinstance(given_edges, list):
            self._report(self._document.line_of("edges"), f"edges must be a list, not {_kind(given_edges)}")
            given_edges = None
        for given in given_edges or ():
            for edge in self._edge(given):
                if edge.source in gotos:
                    self._report(given.line, f"node {edge.source!r} has both a goto and this edge: use one of them")
                edges.append(edge)
        settled = {edge.source for edge in edges} | gotos.keys() | branch_of(edges).keys()
        following = itertools.pairwise([*self._nodes, END])
        edges += [Edge(source, target) for source, target in following if source not in settled]
        if self._nodes and not any(edge.source == START for edge in edges):
            edges.insert(0, Edge(START, next(iter(self._nodes))))
        return edges

    def _goto(self, given: Map) -> Iterable[Edge]:
        name, goto, line = given["name"], given["goto"], given.line_of("goto")
        items = goto if isinstance(goto, list) else [goto]
        is_settled = False
        for item in items:
            if is_settled:
                self._report(line, f"node {name!r}: goto entries after one without a condition are never reached")
            is_settled = isinstance(item, str) or (isinstance(item, Map) and not _CONDITIONS.intersection(item))
            if isinstance(item, str):
                self._check_target(item, line, f"node {name!r}, goto")
                yield Edge(name, item)
            elif isinstance(item, Map):
                yield from self._edge(item, source=name)
            else:
                self._report(line, f"node {name!r}: goto must be a node's name or a list of {{if, to}}")

    def _edge(self, given: object, source: str | None = None) -> Iterable[Edge]:
        if not isinstance(given, Map):
            self._report(self._document.line_of("edges"), "each edge must be a mapping with from and to")
            return
        self._check_keys(given, _EDGE, "an edge")
        source = given.get("from") if source is None else source
        if not isinstance(source, str) or (source not in self._nodes and source != START):
            self._report(
                given.line_of("from"), f"an edge starts at unknown node {source!r}{_near(source, self._nodes)}"
            )
            return
        fan_in = given.get("fan_in", "")
        if fan_in and not self._check_target(fan_in, given.line_of("fan_in"), "fan_in"):
            fan_in = ""
        kind = given.get("type", "parallel" if fan_in else "simple")
        if kind not in ("simple", "parallel", "conditional"):
            self._report(
                given.line_of("type"), f"the type of an edge must be simple, conditional or parallel, not {kind!r}"
            )
        if self._check_target(given.get("to"), given.line_of("to"), f"an edge from {source!r}"):
            yield Edge(source, given["to"], self._condition(given, source), fan_in)

    def _condition(self, given: Map, source: str) -> Renderer | None:
        keys = [key for key in sorted(_CONDITIONS) if given.get(key) is not None]
        if not keys:
            return None
        value = given[keys[0]]
        if len(keys) > 1:
            self._report(given.line_of(keys[1]), f"an edge has both {keys[0]} and {keys[1]}: use one of them")
        if isinstance(value, bool):
            return constant(value)
        if not isinstance(value, str):
            self._report(given.line_of(keys[0]), f"{keys[0]} must be an expression, not {_kind(value)}")
            return None
        return self._compiled(value, given.line_of_text(keys[0]), keys[0], source, kind="condition")

    def _check_target(self, target: object, line: int, where: str) -> bool:
        if isinstance(target, str) and (target == END or target in self._nodes):
            return True
        self._report(line, f"{where}: unknown target node {target!r}{_near(target, self._nodes)}")
        return False

    def _check_graph(self, edges: list[Edge]) -> None:
        """Checks that every node can be reached from the start."""
        reached, ahead = {START}, [START]
        while ahead:
            at = ahead.pop()
            for edge in edges:
                for target in (edge.target, edge.fan_in) if edge.source == at else ():
                    if target and target not in reached:
                        reached.add(target)
                        ahead.append(target)
        for name, node in self._nodes.items():
            if name not in reached:
                self._report(node.line, f"node {name!r} cannot be reached from the start")


def _plain_name(action: object) -> str:
    """The name without its alias form: ``llm.call`` for ``actions.llm_call``."""
    text = str(action)
    return text.removeprefix("actions.").replace("_", ".", 1) if text.startswith("actions.llm_") else text


def _near(name: object, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(name), list(known), n=1)
    return f": did you mean {found[0]!r}?" if found else f"; allowed: {', '.join(sorted(known))}"


def _kind(value: object) -> str:
    return {str: "text", list: "a list", Map: "a mapping", type(None): "nothing"}.get(type(value), type(value).__name__)
