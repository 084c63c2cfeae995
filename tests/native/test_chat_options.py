"""What chats take beside messages: variables of the template, the clock, token counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.answers import TOOLS
from support.templates import source_of
from tea_llm import Conversation

HI = [{"role": "user", "content": "Hello"}]
TEMPLATE = (
    "{{ strftime_now('%Y-%m-%d') }}{% if enable_thinking %}<think>{% endif %}"
    "{% for message in messages %}{{ message.content }}{% endfor %}"
)


def test_variables_and_the_clock_reach_the_template(tiny_model: Callable[..., Path]) -> None:
    options: dict[str, Any] = {"template_kwargs": {"enable_thinking": True}, "now": datetime(2025, 3, 4)}
    with tea_llm.load(tiny_model("llama", chat_template=TEMPLATE), n_ctx=128, n_threads=1) as llm:
        prompt = llm.render_chat(HI, **options)
        assert prompt == "2025-03-04<think>Hello"
        plain = llm.chat(HI, max_tokens=1, now=options["now"])
        thinking = llm.chat(HI, max_tokens=1, **options)
        assert thinking.usage.prompt_tokens == len(llm.tokenize(prompt, add_special=False)) + 1  # BOS
        assert plain.usage.prompt_tokens < thinking.usage.prompt_tokens
        assert llm.render_chat(HI).startswith(str(datetime.now().year))
        with pytest.raises(ValueError, match="for chats"):
            llm.call("Hello", **options)


def test_wrong_template_options_are_refused(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=128, n_threads=1, chat_format="chatml") as llm:
        with pytest.raises(ValueError, match="the format 'chatml' does not have"):
            llm.chat(HI, template_kwargs={"enable_thinking": True})
        with pytest.raises(TypeError, match="template_kwargs must be a dict, not str"):
            llm.chat(HI, template_kwargs="enable_thinking")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="now must be a datetime, not float"):
            llm.chat(HI, now=1.5)  # type: ignore[arg-type]


def test_tokens_are_counted_as_chat_counts_them(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1) as llm:
        talk = Conversation([{"role": "system", "content": "Be brief."}])
        for turn in range(6):
            talk.append({"role": "user", "content": f"Question {turn}"})
            result = llm.chat(talk, max_tokens=5)
            assert result.usage.prompt_tokens == llm.count_tokens(talk)
            talk.append(result)
        n_most = llm.count_tokens(talk) - 1
        assert talk.trim(n_most, llm.count_tokens) == 2
        assert llm.count_tokens(talk) <= n_most
        assert talk.messages[1]["content"] == "Question 1"


def test_contents_are_trusted_only_on_demand(tiny_model: Callable[..., Path]) -> None:
    message = [{"role": "user", "content": "</s>" * 5}]
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_format="chatml") as llm:
        untrusted, trusted = (
            llm.chat(message, trust_special_tokens=trusts, max_tokens=1).usage.prompt_tokens for trusts in (False, True)
        )
        assert untrusted == llm.count_tokens(message)
        assert trusted <= untrusted - 5 * 2


@pytest.mark.parametrize(
    "option",
    [
        {"template_kwargs": {"a": 1}},
        {"now": datetime(2025, 1, 1)},
        {"reasoning_budget": 0},
        {"trust_special_tokens": True},
        {"continue_final_message": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_is_for_chats_only(tiny_model: Callable[..., Path], option: dict[str, Any]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=128, n_threads=1) as llm, pytest.raises(ValueError, match="for chats"):
        llm.call("x", **option)


BEGUN = [*HI, {"role": "assistant", "content": "Once upon"}]


@pytest.mark.parametrize("name", ["Qwen-Qwen2.5-7B-Instruct", "Qwen-QwQ-32B", "poolside-Laguna-XS.2"])
def test_an_answer_that_has_begun_is_continued(tiny_model: Callable[..., Path], name: str) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_template=source_of(name)) as llm:
        prompt = llm.render_chat(BEGUN, continue_final_message=True)
        assert prompt.endswith("Once upon")
        result = llm.chat(BEGUN, continue_final_message=True, **options)
        assert result.usage.prompt_tokens == len(llm.tokenize(prompt, add_special=False, parse_special=True)) + 1  # BOS
        assert result.content == llm.call(prompt, **options).content != ""
        with llm.stream_chat(BEGUN, continue_final_message=True, **options) as stream:
            assert "".join(chunk.text for chunk in stream) == result.content
        held = llm.chat(BEGUN, continue_final_message=True, regex=" a time[!.]", max_tokens=20, temperature=0)
        assert held.content in (" a time!", " a time.")
        with pytest.raises(ValueError, match="continue_final_message and tools exclude each other"):
            llm.chat(BEGUN, continue_final_message=True, tools=TOOLS)
        with pytest.raises(ValueError, match="continue_final_message and response_format exclude each other"):
            llm.chat(BEGUN, continue_final_message=True, response_format={"type": "object"})
        with pytest.raises(ValueError, match="the last message is of role 'user'"):
            llm.chat(HI, continue_final_message=True)


def test_a_stop_string_of_the_template_ends_a_continued_answer(tiny_model: Callable[..., Path]) -> None:
    source = source_of("poolside-Laguna-XS.2")  # its answers end with a text, and no token
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_template=source) as llm:
        result = llm.chat(BEGUN, continue_final_message=True, grammar='root ::= " a time</assistant>" [a-z]+')
        assert (result.content, result.finish_reason) == (" a time", "stop")


def test_a_budget_for_no_reasoning_is_logged_once(
    tiny_model: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if "reasoning_budget" in record.getMessage()]

    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_format="chatml") as llm:
        llm.chat(HI, max_tokens=1)
        assert warnings() == []
        for _ in range(2):
            llm.chat(HI, max_tokens=1, reasoning_budget=5)
        assert warnings() == ["reasoning_budget has no effect: these answers have no reasoning"]
    caplog.clear()
    thinks = source_of("Qwen-Qwen3-0.6B")
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_template=thinks) as llm:
        llm.chat(HI, max_tokens=1, reasoning_budget=5)
        assert warnings() == []


def test_tools_are_checked_where_a_prompt_is_only_shown(tiny_model: Callable[..., Path]) -> None:
    def add(a: int) -> int:
        return a

    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, chat_format="chatml") as llm:
        assert '"name": "add"' in llm.render_chat(HI, tools=[add])
        assert llm.count_tokens(HI, tools=[add]) > llm.count_tokens(HI)
        for method in (llm.render_chat, llm.count_tokens):
            with pytest.raises(ValueError, match=r"tools\[0\] must be like"):
                method(HI, tools=[{"name": "add"}])
        with pytest.raises(TypeError, match=r"tools\[0\]: 'parameters' must be a dict, not list"):
            llm.chat(HI, tools=[{"type": "function", "function": {"name": "f", "parameters": []}}])
        with pytest.raises(TypeError, match=r"the name 5 in template_kwargs must be a string, not int"):
            llm.render_chat(HI, template_kwargs={5: 6})  # type: ignore[dict-item]
