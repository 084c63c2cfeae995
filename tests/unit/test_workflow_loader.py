"""Checks of a workflow when it is loaded: each problem, with its line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.odd_values import ODD_VALUES, in_each_place
from tea_llm import ConfigError
from tea_llm.workflow import Problem, WorkflowError, load, loads


def problems(text: str, **options: Any) -> list[tuple[int, str]]:
    with pytest.raises(WorkflowError) as caught:
        loads(text, source="w.yaml", **options)
    assert str(caught.value).startswith(f"w.yaml:{caught.value.problems[0].line}: ")
    return [(problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("nodes: []", 1, "needs a list of nodes"),
        ("- a", 1, "a workflow must be a mapping with nodes"),
        ("", 1, "a workflow must be a mapping with nodes"),
        ("a: [", 1, "expected the node content"),
        ("name: x\nnodes: \x01", 2, "unacceptable character #x0001"),
        ("nodes: [{name: a}]\nvariables:\n  day: 2026-13-45", 3, "'2026-13-45' is not a valid timestamp"),
        ("nodes: [{name: a}]\nvariables: {on: !!bool x}", 2, "'x' is not a valid bool"),
        pytest.param("nodes: " + "[" * 3000, 1, "the YAML is nested too deeply", id="nested too deeply"),
        ("name: x\nname: y\nnodes: [{name: a}]", 2, "the key 'name' is repeated"),
        ("nodes: [{name: a, params: {prompt: {{ state.q }}}}]", 1, "put a template in quotes"),
        ("nodez: 1\nnodes: [{name: a}]", 1, "unknown key 'nodez': did you mean 'nodes'"),
        ("nodes:\n- {name: a}\n- {name: a}", 3, "node 'a' is already defined in line 2"),
        ("nodes:\n- {nam: a}", 2, "a node needs a name"),
        ("nodes:\n- just text", 1, "each node must be a mapping"),
        ("nodes:\n- {name: a, action: llm.cal}", 2, "unknown action 'llm.cal': did you mean 'llm.call'"),
        ("nodes:\n- {name: a, acton: llm.call}", 2, "unknown key 'acton': did you mean 'action'"),
        (
            "nodes:\n- name: a\n  action: llm.call\n  params:\n    promt: x",
            5,
            "no parameter 'promt': did you mean 'prompt'",
        ),
        ("nodes:\n- {name: a, action: llm.call, uses: llm.call}", 2, "both action and uses: use"),
        ("nodes:\n- {name: a, action: llm.call, run: 'pass'}", 2, "both an action and run: use one"),
        ("nodes:\n- {name: a, params: {prompt: x}}", 2, "params but no action"),
        ("nodes:\n- {name: a, action: llm.call, params: [x]}", 2, "params must be a mapping, not a list"),
        ("nodes:\n- {name: a, action: llm.call, output: [x]}", 2, "output must be a key or a mapping"),
        ("nodes:\n- name: a\n  action: llm.call\n  params:\n    prompt: |\n      x\n      {{ y", 7, "params.prompt: "),
        ("nodes:\n- {name: a, action: llm.call, params: {prompt: '{{ 1 + }}'}}", 2, "params.prompt: "),
        ("nodes:\n- {name: a, goto: b}", 2, "unknown target node 'b'"),
        ("nodes:\n- {name: a, goto: [5]}", 2, "goto must be a node's name"),
        ("nodes:\n- name: a\n  goto:\n  - {if: 'state.x >', to: a}", 4, "if: "),
        ("nodes:\n- name: a\n  goto:\n  - {if: 'x {{ state.x }}', to: a}", 4, "a condition must be one expression"),
        ("nodes:\n- {name: a, goto: __end__}\n- {name: b}", 3, "node 'b' cannot be reached from the start"),
        ("nodes:\n- {name: a}\nedges:\n- {from: x, to: a}", 4, "an edge starts at unknown node 'x'"),
        ("nodes:\n- {name: a}\nedges:\n- {from: a, to: a, fan_in: z}", 4, "fan_in: unknown target node 'z'"),
        (
            "nodes:\n- {name: a}\nedges:\n- {from: a, to: a, type: odd}",
            4,
            "must be simple, conditional or parallel, not 'odd'",
        ),
        ("nodes:\n- {name: a}\nedges: x", 3, "edges must be a list"),
        ("nodes:\n- {name: __start__}", 2, "node name '__start__' must not begin with __"),
        ("nodes:\n- {name: 'a:b'}", 2, "node name 'a:b' must not"),
        ("nodes:\n- {name: a, action: llm.call, with: {prompt: x}}", 2, "both action and with: use"),
        (
            "nodes:\n- {name: a, action: llm.call, params: {prompt: '{{ q }}'}}",
            2,
            "unknown variable 'q' (available: state, variables)",
        ),
        ("nodes:\n- {name: a, goto: [__end__, a]}", 2, "after one without a condition are never reached"),
        ("nodes:\n- {name: a, goto: __end__}\nedges:\n- {from: a, to: a}", 4, "node 'a' has both a goto and this edge"),
        ("imports:\n- {package: mine}\nnodes:\n- {name: a}", 2, "only tea_llm.actions can be imported"),
        ("nodes:\n- {name: a, on_error: ignore}", 2, "on_error must be 'raise' or 'continue', not 'ignore'"),
        (
            "settings:\n  llm:\n    bakend: local\nnodes:\n- {name: a}",
            3,
            "unknown key 'bakend': did you mean 'backend'",
        ),
        ("state_schema: {x: lst}\nnodes:\n- {name: a}", 1, "state_schema.x: 'lst' is not one of list, str"),
        ("nodes:\n- name: a\n  run: |\n    x = 1\n    y = = 2", 5, "invalid syntax"),
        ("nodes:\n- {name: a, run: ''}", 2, "run must be Python code"),
    ],
)
def test_a_problem_has_its_line(text: str, line: int, message: str) -> None:
    found = problems(text, allow_code=True)
    assert any(at == line and message in words for at, words in found), found


def test_odd_values_are_problems() -> None:
    """Wherever one stands in a file, it is read all the same or reported."""
    workflow = {
        "name": "w",
        "state_schema": {"q": "str"},
        "variables": {"v": 1},
        "settings": {"llm": {"backend": "api"}},
        "imports": [{"package": "tea_llm.actions"}],
        "nodes": [
            {"name": "a", "uses": "llm.call", "with": {"prompt": "x"}, "output": "y", "goto": [{"if": "x", "to": "b"}]},
            {"name": "b", "run": "pass", "on_error": "continue", "output": {"z": "{{ state.y }}"}},
        ],
        "edges": [{"from": "b", "to": "a", "type": "parallel", "fan_in": "a", "when": "state.z"}],
    }
    n_problems = 0
    for odd in ODD_VALUES:
        for changed in in_each_place(workflow, odd):
            try:
                loads(yaml.safe_dump(changed), allow_code=True)
            except WorkflowError:
                n_problems += 1
    assert n_problems > 400


def test_all_problems_at_once() -> None:
    text = "nodes:\n- {name: a, action: llm.cal}\n- {name: a}\n- {name: b, goto: c}\nedgs: 1\n"
    assert [line for line, _ in problems(text)] == [2, 3, 4, 5]
    error = WorkflowError("w.yaml", [Problem(2, "b"), Problem(1, "a")])
    assert isinstance(error, ConfigError)
    assert str(pickle.loads(pickle.dumps(error))) == "w.yaml:1: a\nw.yaml:2: b"  # noqa: S301


def test_code_needs_permission() -> None:
    assert problems("nodes:\n- {name: a, run: 'state[\"x\"] = 1'}") == [
        (2, "node 'a' contains Python code: allow it with --allow-code or allow_code=True")
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="No such file"):
        load(tmp_path / "none.yaml")
