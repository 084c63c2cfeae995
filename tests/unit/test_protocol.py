"""OpenAI's protocol as servers really speak it."""

from __future__ import annotations

from typing import Any

import pytest

from support.process import run_python
from tea_llm import ApiResponseError, ToolCall
from tea_llm.backends.protocol import Answer, parse_answer


def delta(**content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content}]}


def call(name: str = "", arguments: str = "", **more: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"function": {"name": name, "arguments": arguments}, **more}])


@pytest.mark.parametrize("number", [{}, {"index": 0}])
def test_calls_side_by_side_that_all_have_one_number(number: dict[str, int]) -> None:
    answer = Answer("m")
    for event in (
        call("f", '{"a":', id="1", **number),
        call("", "1}", **number),
        call("g", '{"b":', id="2", **number),
        call("", "2}", **number),
    ):
        answer.add(event)
    answer.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    assert answer.result().tool_calls == (ToolCall("1", "f", {"a": 1}), ToolCall("2", "g", {"b": 2}))


def test_a_server_that_gives_fewer_choices_than_asked_for() -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    assert parse_answer(whole, "m").content == "x"
    with pytest.raises(ApiResponseError, match="each of 2 choices"):
        parse_answer(whole, "m", 2)
    with pytest.raises(ApiResponseError, match="not a choice of 1"):
        parse_answer({"choices": [{"index": 1, "message": {"content": "x"}, "finish_reason": "stop"}]}, "m")


def test_closing_after_the_network_thread_has_stopped() -> None:
    """Exit handlers run in the reverse order of their registration."""
    child = run_python("""
        import atexit
        from tea_llm import ApiConnectionError, ApiLlmBackend, EngineClosedError
        llm = ApiLlmBackend({"llm": {"api_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}})
        def at_exit():
            try:
                llm.call("x")
            except EngineClosedError as error:
                print(error)
            llm.close()
        atexit.register(at_exit)
        try:
            llm.call("x")
        except ApiConnectionError:
            print("asked")
    """)
    assert child.stderr == ""
    assert child.stdout.splitlines() == ["asked", "the process is ending: its network thread has been stopped"]
