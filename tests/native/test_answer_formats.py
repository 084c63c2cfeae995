"""What models write, told apart: reasoning, text and calls, in the forms of many families; whole, cut and streamed."""

from __future__ import annotations

import json
import random

import pytest

from support.answers import TOOLS, WRITTEN, Written
from support.templates import source_of
from tea_llm.chat.answer_format import AnswerFormat, AnswerFormats, Parts
from tea_llm.chat.answer_reader import AnswerReader, CallIds
from tea_llm.chat.template import ChatTemplate

THINKING = {"enable_thinking": True, "thinking": True}  # some templates do so only when told
_formats: dict[str, AnswerFormat] = {}


def format_of(name: str) -> AnswerFormat:
    if name not in _formats:
        template = ChatTemplate(source_of(name), bos_token="<s>", eos_token="</s>")
        found = AnswerFormats(template).get(tools=TOOLS, variables=THINKING)
        assert found is not None
        _formats[name] = found
    return _formats[name]


def case_id(case: Written) -> str:
    return f"{case.template}-{'-'.join(name for name, _ in case.calls) or 'text'}"


@pytest.mark.parametrize("case", WRITTEN, ids=case_id)
def test_whole(case: Written) -> None:
    parts = format_of(case.template).parse(case.text, is_cut=False)
    calls = tuple((name, json.loads(arguments)) for _, name, arguments in parts.calls)
    assert (parts.content, parts.reasoning, calls) == (case.content, case.reasoning, case.calls)


@pytest.mark.parametrize("case", WRITTEN, ids=case_id)
def test_cut_anywhere(case: Written) -> None:
    """What is told of the beginning of an answer is the beginning of what is told of all of it."""
    form = format_of(case.template)
    whole = form.parse(case.text, is_cut=False)
    for length in range(len(case.text)):
        cut = form.parse(case.text[:length], is_cut=True)
        calls = [call[1:] for call in cut.calls]  # a name of the call may come behind it
        assert calls == [call[1:] for call in whole.calls][: len(calls)], case.text[:length]
        partial = form.parse_partial(case.text[:length])
        if partial is not None:
            assert_begins(whole, partial)


def assert_begins(whole: Parts, begun: Parts) -> None:
    assert whole.reasoning.startswith(begun.reasoning)
    assert whole.content.startswith(begun.content)
    for (_, name, arguments), (_, begun_name, begun_arguments) in zip(whole.calls, begun.calls, strict=False):
        assert name.startswith(begun_name)
        assert arguments.startswith(begun_arguments)


@pytest.mark.parametrize("case", WRITTEN, ids=case_id)
@pytest.mark.parametrize("seed", range(3))
def test_streamed_in_random_pieces(case: Written, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tea_llm.chat.answer_reader._SHARE", 0)  # no rests: each piece is parsed
    rng = random.Random(seed)
    form = format_of(case.template)
    reader = AnswerReader(form, 0, CallIds())
    chunks, begin = [], 0
    while begin < len(case.text):
        end = begin + rng.randint(1, 7)
        chunks += reader.take(case.text[begin:end])
        begin = end
    chunks += reader.finish(is_cut=False)
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for delta in chunk.tool_call_deltas:
            known = calls.setdefault(delta.index, [delta.name or "", ""])
            assert (delta.id is None) == (delta.name is None)
            known[1] += delta.arguments
    assert "".join(chunk.text for chunk in chunks) == case.content
    assert "".join(chunk.reasoning for chunk in chunks) == case.reasoning
    assert tuple((name, json.loads(arguments)) for name, arguments in calls.values()) == case.calls
