"""Answers as each template writes them itself are read: a history with calls is rendered and parsed back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.answer_grammar import AnswerGrammar
from support.answers import TOOLS, form_of
from support.round_trip import REASONING, Rendered, rendered, template_of
from support.templates import NAMES
from tea_llm.chat.answer_parts import Parts

WITH_TOOLS = [name for name in NAMES if template_of(name).uses_tools]
HARD = "a <b>\n \"q\" 'x' \\ {1}"
UNQUOTED = {"LFM2.5-8B-A1B"}
"""Templates that write texts between quotes and do not escape them."""
IN_WORDS = {"LFM2-8B-A1B", "LFM2.5-Instruct"}
"""Templates that leave calls out of a history; we write them in words, which their models do not."""


def calls_for(name: str) -> list[list[tuple[str, dict[str, Any]]]]:
    weather, add = ("get_weather", {"city": "Köln", "days": 3}), ("add", {"a": 1, "b": 2.5})
    hard = ("get_weather", {"city": "a <b>" if name in UNQUOTED else HARD, "days": -1})
    return [[], [weather], [weather, add], [add, hard, weather]]


def read(answer: Rendered) -> tuple[Parts, list[tuple[str, dict[str, Any]]]]:
    parts = answer.form.parse(answer.text, is_cut=False)
    return parts, [(name, json.loads(arguments)) for _, name, arguments in parts.calls]


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinks"])
@pytest.mark.parametrize("name", sorted(set(WITH_TOOLS) - IN_WORDS))
def test_what_a_template_writes_is_read(name: str, thinks: bool) -> None:
    for calls in calls_for(name):
        for content in ("", "Let me see."):
            answer = rendered(name, TOOLS, calls, content=content, thinks=thinks)
            if answer is None or not (content or calls):
                continue
            parts, found = read(answer)
            assert found == [call for call in calls if f"{call[0]}" in answer.text]
            if REASONING in answer.text:
                assert parts.reasoning == REASONING
            elif content and content in answer.text and content != parts.reasoning:  # gpt-oss's template moves it
                assert parts.content.strip() == content


def test_most_templates_were_tried() -> None:
    calls = calls_for("")[2]
    tried = [
        name for name in WITH_TOOLS if any(rendered(name, TOOLS, calls, thinks=thinks) for thinks in (False, True))
    ]
    assert len(tried) > 40


@pytest.mark.parametrize("name", ["Qwen3-Coder", "Qwen3.5-4B", "MiniMax-M2", "ByteDance-Seed-OSS"])
def test_the_mark_that_ends_an_argument_cannot_be_part_of_it(name: str) -> None:
    """A line that a model forgot beside the mark does not make the next arguments, and calls, a part of the first."""
    form = form_of(name)
    assert form is not None
    answer = rendered(name, TOOLS, calls_for(name)[1], thinks=form.is_reasoning)
    assert answer is not None
    written = AnswerGrammar(form.grammar)
    begun = form.grammar_prefix + answer.text[: answer.text.index("Köln") + 4]
    assert written.begins(f"{begun}</paramete")
    assert not written.begins(f"{begun}</parameter>x")
    assert not written.begins(f"{begun}</parameter><parameter")
    assert written.begins(form.grammar_prefix + answer.text)
