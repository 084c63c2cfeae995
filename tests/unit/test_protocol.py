"""OpenAI's protocol as servers really speak it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.odd_values import ODD_VALUES, in_each_place
from support.process import run_python
from tea_llm import ApiResponseError, LlmCallResult, ToolCall
from tea_llm.answers.response_format import ResponseFormat
from tea_llm.backends.api.embedding import parse_scores, parse_vectors
from tea_llm.backends.api.protocol import Answer, error_in, parse_answer


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


def ended(answer: Answer, reason: str = "stop") -> LlmCallResult:
    answer.add({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return answer.result()


@pytest.mark.parametrize("number", [{}, {"index": 0}])
@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([("f", '{"a": 1}'), ("g", '{"b": 2}')], [("f", {"a": 1}), ("g", {"b": 2})]),
        ([("f", '{"a": 1}'), ("f", '{"a": 2}')], [("f", {"a": 1}), ("f", {"a": 2})]),  # the same one twice
        ([("f", '{"a":'), ("", " 1}"), ("g", ""), ("", "{}")], [("f", {"a": 1}), ("g", {})]),
        ([("f", '{"a":'), ("f", " 1}")], [("f", {"a": 1})]),  # a name that comes with each piece
        ([("get_", ""), ("it", ""), ("", "{}")], [("get_it", {})]),  # a name in pieces
    ],
)
def test_calls_without_ids(number: dict[str, int], pieces: list[tuple[str, str]], calls: list[Any]) -> None:
    """Names and whole arguments tell them apart, and each gets an id of its own to be answered by."""
    answer = Answer("m")
    deltas = [delta for name, text in pieces for delta in answer.add(call(name, text, **number))[0].tool_call_deltas]
    made = ended(answer, "tool_calls").tool_calls
    assert [(one.name, one.arguments) for one in made] == calls
    assert len({one.id for one in made} - {""}) == len(calls)
    assert [delta.id for delta in deltas if delta.id is not None] == [one.id for one in made]
    for index, one in enumerate(made):
        assert json.loads("".join(delta.arguments for delta in deltas if delta.index == index)) == one.arguments


def test_an_id_that_comes_late_is_no_other_call() -> None:
    answer = Answer("m")
    for event in (call("f", "", index=0), call("", '{"a": 1}', index=0, id="late")):
        answer.add(event)
    assert [(one.name, one.arguments) for one in ended(answer).tool_calls] == [("f", {"a": 1})]


def test_calls_of_one_number_in_a_whole_answer() -> None:
    calls = [{"index": 0, "function": {"name": "f", "arguments": {"a": n}}} for n in (1, 2)]
    message = {"content": None, "tool_calls": calls}
    result = parse_answer({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}, "m")
    assert [one.arguments for one in result.tool_calls] == [{"a": 1}, {"a": 2}]


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "one "},
    "two ",
    {"type": "text", "text": "three"},
]


@pytest.mark.parametrize("part", ["message", "delta"])
def test_content_in_parts(part: str) -> None:
    answer = Answer("m")
    chunks = answer.add({"choices": [{"index": 0, part: {"content": PARTS}}]}, part=part)
    result = ended(answer)
    assert (result.content, result.reasoning, result.refusal) == ("one two three", "hm", None)
    assert [(chunk.text, chunk.reasoning) for chunk in chunks] == [("one two three", "hm")]


def test_a_part_that_is_no_text_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    answer = Answer("m")
    answer.add(delta(content=[{"type": "image_url"}, {"type": "text", "text": "x"}]))
    assert ended(answer).content == "x"
    assert "'image_url'" in caplog.text


@pytest.mark.parametrize(
    "content", [{"refusal": "I will not."}, {"content": [{"type": "refusal", "refusal": "I will not."}]}]
)
def test_a_refusal_is_said(content: dict[str, Any]) -> None:
    answer = Answer("m")
    (chunk,) = answer.add(delta(**content))
    result = ended(answer)
    assert chunk.text == result.content == result.refusal == "I will not."
    form = ResponseFormat.checked({"type": "object"})
    assert form is not None
    with pytest.raises(ApiResponseError, match="the model refused to answer: I will not."):
        form.read(result)


@given(text=st.text(), data=st.data())
def test_characters_in_two_halves_are_joined(text: str, data: st.DataObject) -> None:
    """JSON has a character above U+FFFF as two halves, which may come in two chunks."""
    data16 = text.encode("utf-16-le")
    halves = [data16[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(data16), 2)]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(halves)))))
    pieces = ["".join(halves[i:j]) for i, j in zip([0, *cuts], [*cuts, len(halves)], strict=True)]
    for field in ("content", "reasoning", "refusal"):
        answer = Answer("m")
        chunks = [chunk for piece in pieces for chunk in answer.add(json.loads(json.dumps(delta(**{field: piece}))))]
        result = ended(answer)
        assert (result.reasoning if field == "reasoning" else result.content) == (
            text or (None if field == "reasoning" else "")
        )
        assert "".join(chunk.reasoning if field == "reasoning" else chunk.text for chunk in chunks) == text


@pytest.mark.parametrize(("pieces", "text"), [(["a\ud83d"], "a"), (["\ud83d", "b"], "\ufffdb"), (["\ude00"], "\ufffd")])
def test_half_a_character_alone_is_no_text(pieces: list[str], text: str) -> None:
    answer = Answer("m")
    texts = [chunk.text for piece in pieces for chunk in answer.add(delta(content=piece))]
    assert ended(answer).content == "".join(texts) == text


def test_a_server_that_gives_fewer_choices_than_asked_for() -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    assert parse_answer(whole, "m").content == "x"
    with pytest.raises(ApiResponseError, match="each of 2 choices"):
        parse_answer(whole, "m", 2)
    with pytest.raises(ApiResponseError, match="not a choice of 1"):
        parse_answer({"choices": [{"index": 1, "message": {"content": "x"}, "finish_reason": "stop"}]}, "m")


CHOICE = {
    "index": 0,
    "finish_reason": "stop",
    "logprobs": {
        "content": [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -1.0}]}]
    },
}
MESSAGE = {
    "content": [
        {"type": "text", "text": "a"},
        {"type": "refusal", "refusal": "no"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
    ],
    "reasoning": "r",
    "tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}],
}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
LEGACY = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]}
ERROR = {"error": {"message": "long", "code": "context_length_exceeded", "n_prompt_tokens": 9, "n_ctx": 8}}


def streamed(answer: object) -> object:
    made = Answer("m")
    made.add(answer)
    return made.result()


@pytest.mark.parametrize(
    ("parse", "answer"),
    [
        (lambda answer: parse_answer(answer, "m"), {"choices": [{**CHOICE, "message": MESSAGE}], "usage": USAGE}),
        (streamed, {"choices": [{**CHOICE, "delta": MESSAGE}], "usage": USAGE}),
        (
            lambda answer: parse_answer(answer, "m"),
            {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": LEGACY}]},
        ),
        (lambda answer: parse_vectors(answer, 2), {"data": [{"index": at, "embedding": [1.0, at]} for at in range(2)]}),
        (lambda answer: parse_scores(answer, 2), {"results": [{"index": at, "score": 1.0} for at in range(2)]}),
        (lambda answer: error_in(answer, status_code=400, provider="p", request_id=None), ERROR),
    ],
    ids=["whole", "streamed", "raw", "vectors", "scores", "error"],
)
def test_an_answer_with_something_odd_in_it(parse: Callable[[object], object], answer: object) -> None:
    """It is read all the same, or refused as what it is: no server makes us raise a TypeError."""
    assert parse(answer) is not None
    for odd in ODD_VALUES:
        for changed in in_each_place(answer, odd):
            with suppress(ApiResponseError):
                parse(changed)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (delta(content=5), "not a part of an answer's content: 5"),
        (delta(tool_calls=5), "not a list of tool calls: 5"),
        (delta(tool_calls=[{"id": "1"}]), 'not a tool call: {"id": "1"}'),
        ({"choices": [{"delta": {}, "logprobs": {"content": [{"token": "a"}]}}]}, "not log-probabilities: "),
    ],
)
def test_what_is_no_answer_is_quoted(answer: object, words: str) -> None:
    with pytest.raises(ApiResponseError, match=re.escape(words)):
        Answer("m").add(answer)


def test_arguments_that_are_not_json_are_refused_unless_they_were_cut_off() -> None:
    answer = Answer("m")
    answer.add(call("f", '{"a": ', id="1"))
    with pytest.raises(ApiResponseError, match="the arguments for 'f' are not a JSON object: "):
        ended(answer, "tool_calls")
    assert ended(answer, "length").tool_calls == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "not an answer with 2 embeddings"),
        ([{"embedding": []}, {}], "not an embedding"),
        ([{"embedding": ["x"]}, {}], "more than numbers"),
        ([{"embedding": [1e39]}, {}], "NaN or infinite"),  # above float32
        ([{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}], "differ in length"),
        ([{"embedding": [1.0], "index": 1}, {"embedding": [1.0]}], "one by one"),
    ],
)
def test_vectors_that_are_none(data: list[object], words: str) -> None:
    with pytest.raises(ApiResponseError, match=words):
        parse_vectors({"data": data}, 2)


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
