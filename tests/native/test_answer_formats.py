"""What models write, told apart: reasoning, text and calls, in the forms of many families; whole, cut and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.answers import TOOLS, WRITTEN, Written, form_of, streamed
from support.templates import DIRECTORY, NAMES
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.parts import Parts
from tea_llm.answers.reader import AnswerReader, CallIds

HARD = 'Here: {"a": [1]}. 2 < 3 <b> | `x` </ '


def format_of(name: str) -> AnswerFormat:
    found = form_of(name)
    assert found is not None
    return found


def case_id(case: Written) -> str:
    return f"{case.template}-{'-'.join(name for name, _ in case.calls) or 'text'}"


@pytest.mark.parametrize("case", WRITTEN, ids=case_id)
def test_a_whole_answer_is_told_apart(case: Written) -> None:
    parts = format_of(case.template).parse(case.text, is_cut=False)
    calls = tuple((name, json.loads(arguments)) for _, name, arguments in parts.calls)
    assert (parts.content, parts.reasoning, calls) == (case.content, case.reasoning, case.calls)


@pytest.mark.parametrize("case", WRITTEN, ids=case_id)
def test_an_answer_cut_anywhere_is_told_apart(case: Written) -> None:
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
def test_streamed_in_random_pieces(case: Written, seed: int) -> None:
    parts = streamed(format_of(case.template), case.text, seed=seed)
    calls = tuple((name, json.loads(arguments)) for _, name, arguments in parts.calls)
    assert (parts.content, parts.reasoning, calls) == (case.content, case.reasoning, case.calls)


@pytest.mark.parametrize("has_tools", [False, True], ids=["plain", "tools"])
@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_lost_and_no_scaffold_comes_back(name: str, has_tools: bool) -> None:
    """Whatever comes behind the prompt as text is the content: cut anywhere, and streamed."""
    form = form_of(name, has_tools=has_tools)
    if form is None:
        return  # the answer is taken as it is
    begin = form.reasoning_end if form.is_reasoning else ""
    reader = AnswerReader(form, 0, CallIds())
    reader.take(begin)
    given = ""
    for end, letter in enumerate(HARD, start=1):
        for is_cut in (False, True):
            parts = form.parse(begin + HARD[:end], is_cut=is_cut)
            assert (parts.content, parts.reasoning, parts.calls) == (HARD[:end], "", ())
        reader._rest_until = 0.0
        given += "".join(chunk.text for chunk in reader.take(letter))
        assert HARD.startswith(given)
    assert given + "".join(chunk.text for chunk in reader.finish(is_cut=False)) == HARD


@pytest.mark.parametrize(
    ("template", "text", "content"),
    [
        ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1, "b": two}}', None),
        ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1,', None),
        ("meta-llama-Llama-3.1-8B-Instruct", '\nHere: {"a": 1}. Done.', 'Here: {"a": 1}. Done.'),
        ("LFM2.5-8B-A1B", "<|tool_call_start|>[get_weather(city='a', days=1", None),
        ("Qwen3-Coder", "<tool_call>\n<function=add>\n<parameter=a>\none\n</parameter>\n", None),
        ("openai-gpt-oss-120b", "The answer is 4.", None),
        ("openai-gpt-oss-120b", "<|channel|>commentary to=browser.open<|message|>{}<|end|>", None),
        ("meetkai-functionary-medium-v3.2", "The answer is 4.", None),
    ],
)
def test_a_call_that_is_none_is_text(template: str, text: str, content: str | None) -> None:
    form = format_of(template)
    assert form.parse(text, is_cut=False) == Parts(text if content is None else content)
    assert streamed(replace(form, grammar=""), text, seed=1) == Parts(text if content is None else content)


def test_a_raw_newline_in_a_string_is_taken_for_one() -> None:
    for template, text in (
        ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "get_weather", "parameters": {"city": "a\nb", "days": 1}}'),
        ("LFM2.5-8B-A1B", "<|tool_call_start|>[get_weather(city='a\nb', days=1)]<|tool_call_end|>"),
    ):
        ((_, name, arguments),) = format_of(template).parse(text, is_cut=False).calls
        assert (name, json.loads(arguments)) == ("get_weather", {"city": "a\nb", "days": 1})


def test_what_follows_an_unfinished_mark_is_streamed() -> None:
    reader = AnswerReader(format_of("meta-llama-Llama-3.1-8B-Instruct"), 0, CallIds())
    text = 'Here: {"a": 1}. ' + "And so on. " * 100
    given = ""
    for begin in range(0, len(text), 100):
        reader._rest_until = 0.0
        given += "".join(chunk.text for chunk in reader.take(text[begin : begin + 100]))
        assert len(given) > begin - 200
    assert given + "".join(chunk.text for chunk in reader.finish(is_cut=True)) == text


@pytest.mark.parametrize("name", ["meta-llama-Llama-3.1-8B-Instruct", "openai-gpt-oss-120b", "llama-cpp-rwkv-world"])
def test_what_is_streamed_is_the_result(tiny_model: Callable[..., Path], name: str) -> None:
    question = [{"role": "user", "content": "x"}]
    path = tiny_model("llama")
    with tea_llm.load(path, n_ctx=4096, n_threads=1, chat_template=DIRECTORY / f"{name}.jinja") as llm:
        for seed in range(6):
            options: dict[str, Any] = {
                "tools": TOOLS if seed % 2 else None,
                "max_tokens": 40,
                "temperature": 1.0,
                "seed": seed,
            }
            with llm.stream_chat(question, **options) as stream:
                text = "".join(chunk.text for chunk in stream)
            assert text == stream.result.content == llm.chat(question, **options).content
            assert text
