"""What ``chat`` takes as messages, and how it refuses the rest."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tea_llm.chat.messages import check_messages
from tea_llm.types import ChatMessage

USER = {"role": "user", "content": "Hi"}


def test_dicts_and_objects_become_plain_dicts() -> None:
    given = (ChatMessage("system", "Be brief."), MappingProxyType(USER), {**USER, "name": "Ada"})
    assert check_messages(given) == [{"role": "system", "content": "Be brief."}, USER, {**USER, "name": "Ada"}]


def test_tool_calls_and_their_answers() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    asked, answer = {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "5"}
    assert check_messages([asked, answer]) == [{**asked, "content": None}, answer]


@pytest.mark.parametrize("function", [{"arguments": ""}, {"arguments": " \n"}, {"arguments": None}, {}])
def test_a_call_without_arguments_has_empty_ones(function: dict[str, Any]) -> None:
    asked = {"role": "assistant", "tool_calls": [{"id": None, "function": {"name": "now", **function}}]}
    (call,) = check_messages([asked])[0]["tool_calls"]
    assert call == {"id": "", "type": "function", "function": {"name": "now", "arguments": "{}"}}


DUMPED: dict[str, Any] = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
"""What ``message.model_dump()`` of openai 2.x has beside role and content."""


def test_a_dumped_answer_of_openais_package_can_be_sent_back() -> None:
    answer = {"role": "assistant", "content": "Ho"}
    assert check_messages([{**answer, **DUMPED}]) == [answer]
    assert check_messages([{**answer, **DUMPED, "annotations": None, "name": None}]) == [answer]
    for content in (None, ""):
        assert check_messages([{**answer, **DUMPED, "content": content, "refusal": "No."}])[0]["content"] == "No."
    assert check_messages([{**answer, **DUMPED, "content": None}])[0]["content"] == ""
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    reasoned = {**answer, "reasoning_content": "Hm."}
    assert check_messages([{**answer, **DUMPED, "reasoning": "Hm.", "reasoning_content": None}]) == [reasoned]
    assert check_messages([{**answer, **DUMPED, "reasoning": None, "token_ids": None}]) == [answer]
    called = {**answer, **DUMPED, "content": None, "tool_calls": [call]}
    assert check_messages([called]) == [{"role": "assistant", "content": None, "tool_calls": [call]}]


def test_the_callers_messages_are_not_touched_or_kept() -> None:
    message = dict(USER)
    checked = check_messages([message])
    checked[0]["content"] = "changed"
    assert message == USER


def test_any_iterable_will_do() -> None:
    assert check_messages(message for message in [USER]) == [USER]


@pytest.mark.parametrize("messages", ["Hi", b"Hi", USER, ChatMessage("user", "Hi"), None, 5])
def test_what_is_no_list_is_a_type_error(messages: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a list of messages, not {type(messages).__name__}"):
        check_messages(messages)


def test_no_messages_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="messages is empty"):
        check_messages([])


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ("Hi", TypeError, r"messages\[1\] must be a dict or a ChatMessage, not str"),
        (("user", "Hi"), TypeError, r"messages\[1\] must be .* not tuple"),
        ({"content": "Hi"}, ValueError, r"messages\[1\] has no 'role'"),
        ({"role": "user"}, ValueError, r"messages\[1\] has no 'content'"),
        ({"role": None, "content": "Hi"}, TypeError, r"messages\[1\]: 'role' must be a string, not NoneType"),
        ({"role": "user", "content": None}, TypeError, r"messages\[1\]: 'content' must be a string, not NoneType"),
        ({"role": "user", "content": b"Hi"}, TypeError, r"messages\[1\]: 'content' must be a string, not bytes"),
        ({**USER, "name": 5}, TypeError, r"messages\[1\]: 'name' must be a string, not int"),
        (ChatMessage("user", 5), TypeError, r"messages\[1\]: 'content' must be a string, not int"),  # type: ignore[arg-type]
        ({**USER, "tools": []}, ValueError, r"messages\[1\] has an unknown key 'tools': allowed are role, "),
        ({"role": "assistant", "tool_calls": []}, ValueError, r"messages\[1\] has no 'content'"),
        ({"role": "assistant", "tool_calls": "f"}, TypeError, r"'tool_calls' must be a list, not str"),
        ({"role": "assistant", "tool_calls": ["f"]}, TypeError, r"'tool_calls'\[0\] must be like"),
        (
            {"role": "assistant", "tool_calls": [{"function": {}}]},
            TypeError,
            r"'tool_calls'\[0\]: 'name' must be a str",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]},
            TypeError,
            r"'tool_calls'\[0\]: 'arguments' must be JSON or a dict, not int",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": {1}}}}]},
            TypeError,
            r"'tool_calls'\[0\]: 'arguments' cannot be written as JSON: Object of type set",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "\ud83d"}}}]},
            ValueError,
            r"'tool_calls'\[0\]: 'arguments' holds a lone surrogate",
        ),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, ValueError, r"'audio' is not supported"),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, ValueError, r"calls in 'tool_calls'"),
        ({"role": "assistant", "content": "", "tool_calls": ""}, TypeError, r"'tool_calls' must be a list, not str"),
        ({5: 6}, ValueError, r"messages\[1\] has an unknown key 5"),
    ],
)
def test_bad_item_is_named(item: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_messages([USER, item])


@pytest.mark.parametrize("key", ["role", "content"])
def test_lone_surrogate_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=rf"messages\[1\]: '{key}' holds a lone surrogate, U\+D83D at index 2"):
        check_messages([USER, {**USER, key: "ab\ud83d"}])


def test_text_parts_are_joined_or_kept() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert check_messages([{"role": "user", "content": parts}], joins_parts=False)[0]["content"] == parts
    assert check_messages([{"role": "user", "content": parts}]) == [{"role": "user", "content": "one\ntwo"}]


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ({"type": "image_url", "image_url": {"url": "x"}}, ValueError, r"\[0\] is of type 'image_url': only 'text'"),
        ({"text": "Hi"}, ValueError, r"\[0\] is of type None"),
        ({"type": "text"}, TypeError, r"\[0\]: 'text' must be a string, not NoneType"),
        ("Hi", TypeError, r"\[0\] must be a dict, not str"),
        ({"type": "text", "text": "\udc80"}, ValueError, r"'text' holds a lone surrogate, U\+DC80 at index 0"),
    ],
)
def test_other_parts_are_refused(part: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"messages\[0\]: .*{message}|messages\[0\]: {message}"):
        check_messages([{"role": "user", "content": [part]}])


@given(st.text(st.characters(codec="utf-8")))
def test_content_passes_unchanged(content: str) -> None:
    assert check_messages([{"role": "user", "content": content}])[0]["content"] == content
