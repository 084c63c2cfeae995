"""Runs of workflows, with ``MockBackend`` as the model."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import interrupt

from tea_llm import InferenceError, LlmError
from tea_llm.testing import MockBackend
from tea_llm.workflow import Workflow, WorkflowRunError, loads


def run(text: str, state: dict[str, Any] | None = None, replies: Any = (), **options: Any) -> dict[str, Any]:
    return loads(text, allow_code=True, llm=MockBackend(replies), **options).run(state)


ANSWER = "nodes:\n  - {name: a, action: llm.chat, params: {prompt: '{{ state.q }}'}}\n"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ state.n }}", 3), (" {{ state.n + 1 }} ", 4), ("{{ state.list }}", [1, "a"]), ("{{ state }}", None),
        ("n is {{ state.n }}", "n is 3"), ("{{ state.n }}{{ state.n }}", "33"), ("{{ state.items }}", "mine"),
        ("{{ state.nested.keys }}", 5), ("{{ '}}' }}", "}}"), ("{{- state.n -}}", 3), ("{{ none }}", None),
        ("{% if state.n %}yes{% endif %}", "yes"), ("{{ state.list | length }}", 2), ("plain", "plain"), (7, 7),
        ({"a": ["{{ state.n }}"]}, {"a": [3]}), ("{{ variables.v }}", "const"), ("{{ state.text }}", "{{ state.n }}"),
    ],
)  # fmt: skip
def test_templates(template: Any, value: Any) -> None:
    seen: list[Any] = []
    state = {"n": 3, "list": [1, "a"], "items": "mine", "nested": {"keys": 5}, "text": "{{ state.n }}"}
    text = f"variables: {{v: const}}\nnodes: [{{name: a, action: see, params: {{x: {template!r}}}}}]"

    def see(state: Any, x: Any) -> dict[str, bool]:
        seen.append(copy.deepcopy(x))
        return {"ok": True}

    loads(text, actions={"see": see}).run(state)
    assert seen == [state if template == "{{ state }}" else value]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ state.missing }}", "has no attribute 'missing'"),
        ("{{ state.missing.more }}", "has no attribute 'missing'"),
        ("{{ state.values }}", "is a function"),
        ("x {{ state.values }}", "is a function"),
        ("{{ state.n / 0 }}", "division by zero"),
        ("{{ state.__class__ }}", "unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ state.list.append(1) }}", "unsafe|not safely callable"),
    ],
)
def test_what_a_template_must_not(template: str, message: str) -> None:
    text = f"nodes: [{{name: a, action: llm.chat, params: {{prompt: {template!r}}}}}]"
    with pytest.raises(WorkflowRunError, match=f"<text>:1: node 'a', params.prompt: .*({message})") as caught:
        run(text, {"n": 3, "list": []})
    assert caught.value.node == "a"


def test_outputs_are_mapped_into_the_state() -> None:
    node = "nodes: [{{name: a, action: llm.chat, params: {{prompt: Hi}}{more}}}]"
    assert run(node.format(more=""), replies=["text"])["a"] == "text"
    whole = run(node.format(more=", output: r"), replies=["text"])
    assert (whole["r"]["content"], "a" in whole) == ("text", False)
    some = run(
        node.format(more=", outputs: {x: '{{ action_result.content }}', y: '{{ action_result.tokens_used + 1 }}'}"),
        replies=["text"],
    )
    assert some == {"x": "text", "y": 2}
    vector = run("nodes: [{name: v, action: llm.embed, params: {text: Hi}}]")["v"]
    assert len(vector) == 8
    assert type(vector) is list


def test_both_dialects_and_both_names() -> None:
    theirs = "nodes: [{name: a, uses: actions.llm_chat, with: {prompt: '{{ state.q }}'}, output: r}]"
    assert run(theirs, {"q": "Hi"}, ["one"])["r"]["content"] == "one"


def test_a_failed_action_names_its_node() -> None:
    text = "nodes: [{name: a, action: llm.chat, params: {prompt: Hi}MORE}]"
    with pytest.raises(WorkflowRunError, match="node 'a', llm.chat: Local LLM error: broken") as caught:
        run(text.replace("MORE", ""), replies=[InferenceError("broken")])
    assert isinstance(caught.value, LlmError)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(copy), copy.node) == (str(caught.value), "a")
    state = run(text.replace("MORE", ", on_error: continue"), replies=[InferenceError("broken")])
    assert state["a"]["success"] is False
    state = run("nodes: [{name: a, run: '1 / 0', on_error: continue}]")
    assert state["a"] == {
        "error": "ZeroDivisionError: division by zero",
        "success": False,
        "error_type": "ZeroDivisionError",
    }


def boom(state: dict[str, Any], **_: object) -> object:
    raise KeyError("boom")


async def later(state: dict[str, Any], **_: object) -> object:
    return None


def test_a_custom_action_that_raises_fails_its_node() -> None:
    text = "nodes:\n- {name: a}\n- {name: b, action: my.boom%s}"
    with pytest.raises(WorkflowRunError, match=r"<text>:3: node 'b', my.boom: KeyError: 'boom'") as caught:
        loads(text % "", actions={"my.boom": boom}).run()
    error = caught.value
    assert (error.node, error.line, type(error.__cause__)) == ("b", 3, KeyError)
    assert pickle.loads(pickle.dumps(error)).line == 3  # noqa: S301
    state = loads(text % ", on_error: continue, output: r", actions={"my.boom": boom}).run()
    assert state["r"] == {"error": "KeyError: 'boom'", "success": False, "error_type": "KeyError"}
    with pytest.raises(WorkflowRunError, match=r"<text>:3: node 'b', my.boom is async"):
        loads(text % ", on_error: continue", actions={"my.boom": later}).run()


def test_code_changes_the_state() -> None:
    text = """
state_schema: {messages: list, n: int}
initial_state: {n: 1}
nodes:
  - name: one
    run: |
      text = '''two
      lines'''
      state["messages"].append(text)
      state["gone"] = 1
      return {"n": state["n"] + 1}
  - name: two
    run: |
      del state["gone"]
      state["n"] *= 10
"""
    given: dict[str, Any] = {"kept": [1]}
    state = run(text, given)
    assert state == {"messages": ["two\nlines"], "n": 20, "kept": [1]}
    assert given == {"kept": [1]}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("state['x'] / 0", "KeyError: 'x'"),
        ("return 5", "returned int: return a dict"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_code_that_fails(code: str, message: str) -> None:
    with pytest.raises(WorkflowRunError, match=f"node 'a'.*{message}"):
        run(f"nodes: [{{name: a, run: {code!r}}}]".replace("\\'", "''"))


def test_branches_and_loops() -> None:
    text = """
nodes:
  - name: count
    run: 'state["n"] = state["n"] + 1'
    goto:
      - {if: "state.n < 3", to: count}
      - {if: "{{ state.n == 3 }}", to: end}
  - name: end
    run: 'state["done"] = True'
"""
    assert run(text, {"n": 0}) == {"n": 3, "done": True}
    assert run(text, {"n": 3}) == {"n": 4}  # no condition holds: the end
    steps = loads(text, allow_code=True).stream({"n": 1})
    assert [(node, state["n"]) for node, state in steps] == [("count", 2), ("count", 3), ("end", 3)]


def test_a_loop_without_end() -> None:
    with pytest.raises(WorkflowRunError, match="did not end after 12 steps"):
        loads("nodes: [{name: a, goto: a}]").run(max_steps=12)


PARALLEL = """
nodes:
  - {name: begin}
  - {name: left, run: 'state["KEY"] = 1'}
  - {name: left2, run: 'state["l2"] = state["KEY"]'}
  - {name: right, run: 'state["r"] = 2'}
  - {name: join, run: 'state["sum"] = state["KEY"] + state["r"]'}
edges:
  - {from: begin, to: left, type: parallel, fan_in: join}
  - {from: begin, to: right, fan_in: join}
  - {from: left, to: left2}
"""


def test_parallel_branches_join() -> None:
    assert run(PARALLEL.replace("KEY", "l")) == {"l": 1, "l2": 1, "r": 2, "sum": 3}
    assert asyncio.run(loads(PARALLEL.replace("KEY", "l"), allow_code=True).arun())["sum"] == 3


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("way", ["goto", "edges"])
def test_a_branch_may_branch(way: str, x: bool) -> None:
    nodes = """
nodes:
  - {name: begin}
  - {name: left, GOTO}
  - {name: left2, run: 'state["l2"] = 1'}
  - {name: right, run: 'state["r"] = 2'}
  - {name: join, run: 'state["joined"] = state.get("joined", 0) + 1'}
edges:
  - {from: begin, to: left, fan_in: join}
  - {from: begin, to: right, fan_in: join}
"""
    if way == "goto":
        text = nodes.replace("GOTO", "goto: [{if: state.x, to: left2}, {to: join}]")
    else:
        text = nodes.replace(", GOTO", "") + "  - {from: left, to: left2, if: state.x}\n"
    assert run(text, {"x": x}) == {"x": x, "r": 2, "joined": 1, **({"l2": 1} if x else {})}


def test_who_has_no_edge_goes_on_with_the_next() -> None:
    text = """
nodes:
  - {name: a}
  - {name: b, run: 'state["b"] = 1'}
  - {name: c, run: 'state["c"] = 1'}
edges:
  - {from: a, to: c, if: state.x}
  - {from: a, to: b}
"""
    assert run(text, {"x": True}) == {"x": True, "c": 1}
    assert run(text, {"x": False}) == {"x": False, "b": 1, "c": 1}


def test_parallel_writes_of_one_key_conflict() -> None:
    with pytest.raises(
        WorkflowRunError, match=r"nodes '(left|right)' and '(left|right)' ran at the same time.*state\.r"
    ):
        run(PARALLEL.replace("KEY", "r"))


def test_edges_of_the_other_kind() -> None:
    text = """
nodes: [{name: a}, {name: b, run: 'state["b"] = 1'}, {name: c, run: 'state["c"] = 1'}]
edges:
  - {from: __start__, to: a}
  - {from: a, to: b, when: "state.x"}
  - {from: a, to: c}
  - {from: b, to: __end__}
"""
    assert run(text, {"x": True}) == {"x": True, "b": 1}
    assert run(text, {"x": False}) == {"x": False, "c": 1}


def test_the_state_is_checked() -> None:
    workflow = loads("state_schema: {n: int, x: float}\nnodes: [{name: a}]")
    assert workflow.run({"n": 1, "x": 1}) == {"n": 1, "x": 1}
    with pytest.raises(WorkflowRunError, match=r"state\.n must be of type int, not 'one'"):
        workflow.run({"n": "one"})
    with pytest.raises(TypeError, match="state must be a mapping"):
        workflow.run(["x"])  # type: ignore[arg-type]


def test_a_thread_goes_on_where_it_was() -> None:
    text = 'nodes: [{name: a, run: \'state["seen"] = state.get("seen", []) + [state["x"]]\'}]'
    workflow = loads(text, allow_code=True)
    with SqliteSaver.from_conn_string(":memory:") as saver:
        assert workflow.run({"x": 1}, checkpointer=saver, thread_id="t")["seen"] == [1]
        assert workflow.run({"x": 2}, checkpointer=saver, thread_id="t")["seen"] == [1, 2]
        assert workflow.run({"x": 3}, checkpointer=saver, thread_id="other")["seen"] == [3]
    with pytest.raises(ValueError, match="thread_id='t' needs a checkpointer"):
        workflow.run({"x": 4}, thread_id="t")


def asks(state: dict[str, Any], **_: object) -> dict[str, Any]:
    return {"result": interrupt("may I?")}


ASKS = "nodes: [{name: a, run: 'state[\"n\"] = 1'}, {name: b, action: my.asks%s}]"


@pytest.mark.parametrize("options", ["", ", on_error: continue"])
def test_an_interrupt_is_an_error(options: str) -> None:
    workflow = loads(ASKS % options, allow_code=True, actions={"my.asks": asks})
    with SqliteSaver.from_conn_string(":memory:") as saver:
        with pytest.raises(WorkflowRunError, match=r"node 'b', my.asks: interrupt\(\) is not supported") as caught:
            workflow.run(checkpointer=saver, thread_id="t")
        assert (caught.value.node, caught.value.line) == ("b", 1)
    with pytest.raises(WorkflowRunError, match="interrupt"):
        asyncio.run(workflow.arun(checkpointer=InMemorySaver(), thread_id="t"))


def test_an_unfinished_run_of_a_thread_is_not_continued() -> None:
    fails = [False, True]

    def sometimes(state: dict[str, Any]) -> dict[str, Any]:
        if fails.pop():
            raise RuntimeError("not now")
        return {"result": 1}

    workflow = loads(ASKS % "", allow_code=True, actions={"my.asks": sometimes})
    saver = InMemorySaver()
    with pytest.raises(WorkflowRunError, match="not now"):
        workflow.run(checkpointer=saver, thread_id="t")
    for ask in (workflow.run, lambda **options: asyncio.run(workflow.arun(**options))):
        with pytest.raises(
            WorkflowRunError, match=r"last run of thread 't' stopped before 'b' and cannot be continued"
        ):
            ask(checkpointer=saver, thread_id="t")
    assert workflow.run(checkpointer=saver, thread_id="other")["b"] == 1
    fails.append(False)
    saver.delete_thread("t")
    assert workflow.run(checkpointer=saver, thread_id="t")["b"] == 1


def test_tools_are_actions_of_the_workflow() -> None:
    text = """
nodes:
  - name: a
    action: llm.tools
    params:
      prompt: Weather?
      tools: [{name: weather, parameters: {city: string}, action: weather.get}]
"""
    from tea_llm import LlmCallResult, ToolCall, Usage

    call = LlmCallResult(
        "", "m", 1, "tool_calls", Usage(1, 1, 2), tool_calls=(ToolCall("1", "weather", {"city": "Rome"}),)
    )
    got: list[str] = []

    def weather(state: Any, city: str) -> dict[str, int]:
        got.append(city)
        return {"degrees": 21}

    actions = {"weather.get": weather}
    assert run(text, replies=[call, "21 degrees"], actions=actions)["a"] == "21 degrees"
    assert got == ["Rome"]


def test_a_result_that_is_no_dict() -> None:
    text = "nodes: [{name: a, action: five}]"
    assert run(text, actions={"five": lambda state: 5})["a"] == 5
    assert "Workflow '<text>' of 1 nodes" in repr(loads(text, actions={"five": lambda state: 5}))
    assert isinstance(loads(ANSWER), Workflow)
