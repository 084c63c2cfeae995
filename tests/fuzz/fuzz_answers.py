"""Answers of any text, cut anywhere, streamed in any pieces: nothing is lost, and the pieces joined are the result."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from support.answers import TOOLS, WRITTEN, form_of, streamed
from support.fuzzing import fuzz
from support.templates import NAMES
from tea_llm.answers.format import AnswerFormat

SPLITS = sorted({piece for case in WRITTEN for piece in case.text.replace("><", "> <").split()})
ODD = [*"{}[]<>|`\"'\\\n \té中\u2028\0", "```json\n", "\n\n"]
WORDS = st.integers(100, 999).map(lambda number: f"w{number}w")


@cache
def format_of(name: str, has_tools: bool) -> AnswerFormat:
    """Without the grammar, which these texts do not hold to."""
    form = form_of(name, has_tools=has_tools) or form_of(name)
    assert form is not None
    return replace(form, grammar="")


@cache
def marks_of(form: AnswerFormat) -> list[str]:
    """Marks of a format, and their beginnings."""
    native = form.native
    marks = [*native.markers, native.reasoning_start, *native.reasoning_ends, native.generation_prompt, "<tool_call>"]
    return sorted({mark[:end] for mark in marks for end in {1, 3, len(mark) // 2, len(mark) - 1, len(mark)}} - {""})


@st.composite
def answers(draw: st.DrawFn) -> tuple[AnswerFormat, str]:
    """Marks and words in any order, or an answer in the model's form with something put into it."""
    name = draw(st.sampled_from(NAMES))
    form = format_of(name, draw(st.booleans()))
    pieces = st.one_of(WORDS, st.sampled_from(marks_of(form)), st.sampled_from(ODD), st.sampled_from(SPLITS))
    written = [case.text for case in WRITTEN if case.template == name]
    if not written or draw(st.booleans()):
        return form, "".join(draw(st.lists(pieces, max_size=12)))
    text = draw(st.sampled_from(written))
    place = draw(st.integers(0, len(text)))
    return form, text[:place] + draw(pieces) + text[place : draw(st.sampled_from([None, place]))] + draw(pieces)


@fuzz
@given(answer=answers(), is_cut=st.booleans(), seed=st.integers(0, 99))
def test_the_pieces_joined_are_the_result(answer: tuple[AnswerFormat, str], is_cut: bool, seed: int) -> None:
    form, text = answer
    whole = form.parse(text, is_cut=is_cut)
    pieces = streamed(form, text, seed=seed, is_cut=is_cut)
    assert (pieces.content, pieces.reasoning) == (whole.content, whole.reasoning)
    assert [call[1:] for call in pieces.calls] == [call[1:] for call in whole.calls]
    for _, _, arguments in whole.calls:
        assert isinstance(json.loads(arguments), dict)


@fuzz
@given(answer=answers())
def test_nothing_is_lost(answer: tuple[AnswerFormat, str]) -> None:
    form, text = answer
    whole = form.parse(text, is_cut=False)
    kept = " ".join([whole.content, whole.reasoning, *(" ".join(call) for call in whole.calls)])
    for word in re.findall("w[0-9]{3}w", text):
        assert word in kept


@fuzz
@given(answer=answers())
def test_a_cut_loses_nothing_but_a_call(answer: tuple[AnswerFormat, str]) -> None:
    form, text = answer
    cut, ended = form.parse(text, is_cut=True), form.parse(text, is_cut=False)
    texts = (cut.reasoning + cut.content, ended.reasoning + ended.content)
    assert texts[1].startswith(texts[0])
    lost = texts[1][len(texts[0]) :].strip()
    names = [tool["function"]["name"] for tool in TOOLS]
    marks = tuple(filter(None, (mark.strip() for mark in form.native.markers)))
    assert not lost or lost.startswith(marks) or any(name in lost for name in names)
