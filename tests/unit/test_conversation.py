"""The Conversation helper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tea_llm import ChatMessage, Conversation, LlmCallResult, ToolCall, Usage

SYSTEM = {"role": "system", "content": "sys"}


def n_characters(messages: list[dict[str, Any]]) -> int:
    return sum(len(message["content"]) for message in messages)


def talk(n_turns: int) -> Conversation:
    conversation = Conversation([SYSTEM])
    for turn in range(n_turns):
        conversation.append({"role": "user", "content": f"u{turn}"})
        conversation.append(ChatMessage("assistant", f"a{turn}"))
    return conversation


def test_messages_answers_and_calls() -> None:
    conversation = talk(1)
    usage = Usage(1, 1, 2)
    call = ToolCall("1", "f", {"x": [1]})
    conversation.append(
        LlmCallResult(content="", model="m", tokens_used=1, finish_reason="tool_calls", usage=usage, tool_calls=(call,))
    )
    conversation.append({"role": "tool", "content": "7", "tool_call_id": "1"})
    conversation.append(LlmCallResult(content="ok", model="m", tokens_used=1, finish_reason="stop", usage=usage))
    roles = [message["role"] for message in conversation]
    assert roles == ["system", "user", "assistant", "assistant", "tool", "assistant"]
    assert conversation.messages[3]["content"] is None
    assert json.loads(conversation.messages[3]["tool_calls"][0]["function"]["arguments"]) == {"x": [1]}
    assert conversation.messages[5]["content"] == "ok"
    assert repr(conversation) == "<Conversation of 6 messages>"
    conversation.messages.clear()
    assert len(conversation) == 6


@pytest.mark.parametrize(
    ("n_most", "left"),
    [
        (100, ["sys", "u0", "a0", "u1", "a1", "u2", "a2"]),
        (15, ["sys", "u0", "a0", "u1", "a1", "u2", "a2"]),
        (14, ["sys", "u1", "a1", "u2", "a2"]),
        (10, ["sys", "u2", "a2"]),
        (0, ["sys", "u2", "a2"]),
    ],
)
def test_whole_turns_are_forgotten(n_most: int, left: list[str]) -> None:
    conversation = talk(3)
    assert conversation.trim(n_most, n_characters) == 7 - len(left)
    assert [message["content"] for message in conversation] == left


def test_system_messages_between_turns_are_kept() -> None:
    conversation = talk(2)
    conversation.append({"role": "developer", "content": "dev"})
    for message in talk(2):
        conversation.append(message)
    assert conversation.trim(0, n_characters) == 6
    assert [message["content"] for message in conversation] == ["sys", "dev", "sys", "u1", "a1"]


@pytest.mark.parametrize("n_most", [0, 30, 1000, 4999, 10**6])
def test_long_conversations_are_counted_few_times(n_most: int) -> None:
    conversation, counts = talk(1000), []

    def count(messages: list[dict[str, Any]]) -> int:
        counts.append(len(messages))
        return n_characters(messages)

    whole = conversation.messages
    n_forgotten = conversation.trim(n_most, count)
    assert len(counts) <= 11
    assert conversation.messages == whole[:1] + whole[1 + n_forgotten :]
    assert n_characters(conversation.messages) <= n_most or len(conversation) == 3
    if n_forgotten:
        assert n_characters(whole[:1] + whole[n_forgotten - 1 :]) > n_most  # one turn more


def test_wrong_arguments_of_trim() -> None:
    with pytest.raises(TypeError, match=r"n_most must be an integer, not str \('100'\)"):
        talk(2).trim("100", n_characters)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="count must be a function of messages, as llm.count_tokens, not int"):
        talk(2).trim(100, 5)  # type: ignore[arg-type]


def test_parts_stay_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert Conversation([{"role": "user", "content": parts}]).messages[0]["content"] == parts


def test_trimming_what_has_no_turns() -> None:
    assert Conversation().trim(0, n_characters) == 0
    assert Conversation([SYSTEM]).trim(0, n_characters) == 0


def test_saved_and_read(tmp_path: Path) -> None:
    conversation = Conversation([SYSTEM, {"role": "user", "content": "ünï😀"}])
    conversation.save(tmp_path / "talk.json")
    assert Conversation.load(tmp_path / "talk.json").messages == conversation.messages
    assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]
    with pytest.raises(FileNotFoundError):
        conversation.save(tmp_path / "none" / "talk.json")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"messages": [{"role": "user"}]}',
        '{"messages": {}}',
        pytest.param('{"messages": ' + "[" * 100_000, id="nested too deeply"),
    ],
)
def test_what_is_no_conversation(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=r"."):
        Conversation.load(tmp_path / "x")


def test_messages_are_checked() -> None:
    with pytest.raises(ValueError, match=r"messages\[1\] has no 'content'"):
        talk(0).append({"role": "user"})
