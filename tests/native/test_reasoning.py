"""Reasoning, told apart from answers: its budget, and what must be matched behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from tea_llm import GrammarError, LocalLlmBackend
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.answers.parts import Parts
from tea_llm.chat.template import ChatTemplate

HARMONY = Path(__file__).parents[2] / "vendor/llama.cpp/models/templates/openai-gpt-oss-120b.jinja"
HI = [{"role": "user", "content": "x"}]
THINKS = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined and enable_thinking is false %}"
    "<think></think>{% elif enable_thinking is defined %}<think>{% endif %}{% endif %}"
)
"""A template that begins the reasoning, forbids it, or leaves it to the model."""

BEGUN: dict[str, Any] = {"template_kwargs": {"enable_thinking": True}}
OPTIONS: dict[str, Any] = {"temperature": 1.0, "seed": 5, "max_tokens": 60}


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(
        tiny_model("llama"), n_ctx=1024, n_parallel=4, n_threads=1, chat_template=THINKS, seed=1
    ) as loaded:
        yield loaded


def test_reasoning_that_never_ends(llm: LocalLlmBackend) -> None:
    result = llm.chat(HI, **OPTIONS, **BEGUN)
    assert result.content == ""
    assert result.reasoning
    assert result.finish_reason == "length"


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_budget_ends_it(llm: LocalLlmBackend, budget: int) -> None:
    result = llm.chat(HI, reasoning_budget=budget, **OPTIONS, **BEGUN)
    assert len(llm.tokenize(result.reasoning or "", add_special=False)) <= budget + 3  # told anew, a text may have more
    assert (result.reasoning is not None) == (budget > 0)
    assert result.content
    assert result.tokens_used == 60


def test_no_reasoning(llm: LocalLlmBackend) -> None:
    for kwargs in ({}, {"enable_thinking": False}):
        result = llm.chat(HI, reasoning_budget=3, template_kwargs=kwargs, **OPTIONS)
        assert result.reasoning is None
        assert result.content


@pytest.mark.parametrize("kwargs", [{"enable_thinking": True}, {"enable_thinking": False}, {}])
@pytest.mark.parametrize("constraint", [{"regex": "[0-9]{3}"}, {"grammar": "root ::= [0-9] [0-9] [0-9]"}])
def test_constraints_begin_behind_it(llm: LocalLlmBackend, kwargs: dict[str, Any], constraint: dict[str, Any]) -> None:
    result = llm.chat(HI, reasoning_budget=5, template_kwargs=kwargs, **constraint, **OPTIONS)
    assert re.fullmatch("[0-9]{3}", result.content)
    assert bool(result.reasoning) or not kwargs.get("enable_thinking")


def test_structured_answers_behind_it(llm: LocalLlmBackend) -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    result = llm.chat(HI, response_format=form, reasoning_budget=5, **OPTIONS, **BEGUN)
    assert result.reasoning
    assert isinstance(result.parsed["n"], int)


def test_calls_behind_it(llm: LocalLlmBackend) -> None:
    def add(a: int) -> int:
        return a

    result = llm.chat(
        HI, tools=[add], tool_choice="required", reasoning_budget=5, **OPTIONS | {"max_tokens": 200}, **BEGUN
    )
    assert result.reasoning
    assert result.content == ""
    assert result.tool_calls[0].name == "add"


def test_reasoning_is_streamed(llm: LocalLlmBackend) -> None:
    asked: dict[str, Any] = {"reasoning_budget": 10, "n": 2, **OPTIONS, **BEGUN}
    with llm.stream_chat(HI, **asked) as stream:
        chunks = list(stream)
    for choice in stream.result.choices:
        mine = [chunk for chunk in chunks if chunk.index == choice.index]
        assert "".join(chunk.reasoning for chunk in mine) == choice.reasoning
        assert "".join(chunk.text for chunk in mine) == choice.content
        assert [chunk.finish_reason for chunk in mine[-2:]] == [None, "length"]

    async def ask() -> None:
        stream = llm.astream_chat(HI, **asked)
        texts = [chunk.reasoning async for chunk in stream if chunk.index == 0]
        assert "".join(texts) == (await stream.result()).reasoning

    asyncio.run(ask())


def test_a_conversation_keeps_it(llm: LocalLlmBackend) -> None:
    talk = tea_llm.Conversation(HI)
    talk.append(llm.chat(talk, reasoning_budget=5, **OPTIONS, **BEGUN))
    assert talk.messages[-1]["reasoning_content"]
    assert "<think>" in llm.render_chat(talk)
    assert tea_llm.Conversation(talk).messages == talk.messages


def test_a_constraint_needs_a_place(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=8192, n_threads=1, chat_template=HARMONY) as llm:
        with pytest.raises(GrammarError, match=r"grammar and regex are for call\(\)"):
            llm.chat(HI, regex="a")
        form = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
        for seed in range(4):
            result = llm.chat(HI, response_format=form, max_tokens=80, seed=seed, temperature=1.5)
            assert result.finish_reason == "length" or set(result.parsed) == {"n"}


@pytest.mark.parametrize("channel", ["final", "final json", "final <|constrain|>json"])
@pytest.mark.parametrize("tools", [(), ({"type": "function", "function": {"name": "add", "parameters": {}}},)])
def test_every_form_of_a_constrained_answer_is_read(channel: str, tools: tuple[dict[str, Any], ...]) -> None:
    template = ChatTemplate(HARMONY.read_text("utf-8"), bos_token="", eos_token="<|return|>")
    form = AnswerFormats(template).get(constraint='root ::= "[1]"', is_json=True, tools=tools)
    assert form is not None
    answer = f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>{channel}<|message|>[1]"
    assert form.parse(answer, is_cut=False) == Parts("[1]", "Hm.")
    assert form.parse_partial(answer[:-1]) == Parts("[1", "Hm.")
