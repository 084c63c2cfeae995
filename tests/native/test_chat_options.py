"""What chats take beside messages: variables of the template, the clock, token counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import tea_llm
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


def test_wrong_ones(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=128, n_threads=1, chat_format="chatml") as llm:
        with pytest.raises(ValueError, match="'chatml' is a format without one"):
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
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_is_for_chats_only(tiny_model: Callable[..., Path], option: dict[str, Any]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=128, n_threads=1) as llm, pytest.raises(ValueError, match="for chats"):
        llm.call("x", **option)
