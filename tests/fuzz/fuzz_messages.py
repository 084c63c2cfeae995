"""Messages and tools of every shape, with every template: a result or one of our errors, and no text is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tea_llm
from support.fuzzing import fuzz
from support.templates import NAMES, NOW, source_of
from tea_llm import Conversation, LlmError, LocalLlmBackend, TemplateError
from tea_llm.chat.messages import check_messages

REFUSED = (LlmError, TypeError, ValueError)
TEXT = st.text(st.characters(), max_size=12)  # surrogates included
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=4) | st.just(object())
ANY = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(), inner, max_size=3),
    max_leaves=6,
)
ROLE = st.sampled_from(["system", "user", "assistant", "tool", "developer", "function", "ipython", "x", ""]) | TEXT
KEYS = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal", "annotations", "audio"]
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]), "text": TEXT | st.none()})
ARGUMENTS = ANY | st.sampled_from(["", "null", "[]", "{", '{"a": 1}', '{"a": NaN}', "[" * 3000, '{"a": "\\ud800"}'])
CALL = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({}, optional={"name": TEXT | st.none(), "arguments": ARGUMENTS})},
    optional={"id": TEXT | st.none() | st.integers(), "type": st.just("function")},
)
LOOSE = st.lists(
    st.dictionaries(st.sampled_from(KEYS) | TEXT, ANY, max_size=4)
    | st.fixed_dictionaries(
        {"role": ROLE, "content": TEXT | st.lists(PART | ANY, max_size=2) | ANY},
        optional={"tool_calls": st.lists(CALL | ANY, max_size=3) | ANY, "name": TEXT, "tool_call_id": TEXT | st.none()},
    )
    | ANY,
    max_size=4,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": TEXT | st.sampled_from(["f", "get_it"])},
                optional={"description": TEXT | ANY, "parameters": ANY | st.just({"type": "object"}), "strict": ANY},
            ),
        }
    )
    | ANY,
    max_size=2,
)

# The same without what is refused at once.
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(
    WORDS | st.sampled_from(["type", "properties", "required", "description", "$ref"]), JSON, max_size=3
)
GOOD_ROLE = st.sampled_from(
    ["system", "user", "user", "assistant", "assistant", "tool", "developer", "ipython", "x", ""]
)
GOOD_CALL = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": WORDS}, optional={"arguments": OBJECT | JSON.map(json.dumps) | WORDS})},
    optional={"id": WORDS},
)
GOOD = st.lists(
    st.fixed_dictionaries(
        {
            "role": GOOD_ROLE,
            "content": WORDS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": WORDS})),
        },
        optional={
            "tool_calls": st.lists(GOOD_CALL, max_size=3),
            "name": WORDS,
            "tool_call_id": WORDS,
            "reasoning_content": WORDS,
        },
    ),
    min_size=1,
    max_size=5,
)
GOOD_TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.sampled_from(["f", "get_it"]) | WORDS.filter(bool)},
                optional={"description": WORDS, "parameters": OBJECT, "strict": JSON},
            ),
        }
    ),
    max_size=2,
)
VARIABLES = st.none() | st.dictionaries(st.sampled_from(["enable_thinking", "tools", "x", ""]) | st.integers(), ANY)


Models = Callable[[str], LocalLlmBackend]


@pytest.fixture(scope="module")
def llm_of(tiny_model: Callable[..., Path]) -> Iterator[Models]:
    """A tiny model with the template of that name, loaded once."""
    with ExitStack() as stack:

        @cache
        def load(name: str) -> LocalLlmBackend:
            loaded = tea_llm.load(tiny_model("llama"), n_ctx=4096, n_threads=1, chat_template=source_of(name))
            return stack.enter_context(loaded)

        yield load


@fuzz
@given(messages=GOOD | LOOSE | ANY)
def test_what_is_checked_can_be_checked_again(messages: Any) -> None:
    for joins in (True, False):
        try:
            checked = check_messages(messages, joins_parts=joins)
        except (TypeError, ValueError):
            continue
        assert check_messages(checked, joins_parts=joins) == checked
        assert Conversation(checked).messages == check_messages(checked, joins_parts=False)


@fuzz
@given(
    messages=GOOD | LOOSE,
    tools=GOOD_TOOLS | TOOLS,
    name=st.sampled_from(NAMES),
    variables=VARIABLES,
    continues=st.booleans(),
)
def test_a_prompt_or_an_error_of_ours(
    llm_of: Models, messages: Any, tools: Any, name: str, variables: Any, continues: bool
) -> None:
    options = {"tools": tools, "template_kwargs": variables, "continue_final_message": continues, "now": NOW}
    try:
        prompt = llm_of(name).render_chat(messages, **options)
    except REFUSED:
        return
    assert isinstance(prompt, str)
    prompt.encode()


@fuzz
@given(
    messages=GOOD | LOOSE,
    tools=GOOD_TOOLS | TOOLS,
    name=st.sampled_from(NAMES),
    choice=st.sampled_from([None, "auto", "required", "none"]),
    data=st.data(),
)
def test_an_answer_or_an_error_of_ours(
    llm_of: Models, messages: Any, tools: Any, name: str, choice: str | None, data: st.DataObject
) -> None:
    options = {"tools": tools, "tool_choice": choice} if tools else {"continue_final_message": data.draw(st.booleans())}
    try:
        result = llm_of(name).chat(messages, max_tokens=3, timeout=60, **options)
    except REFUSED:
        return
    assert len(result.content) < 200


# Conversations that make sense, each text and argument of them unlike all others.

SPACE = st.sampled_from(["", " ", "\n", "\n\n  "])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Messages, and the words that a prompt of them must have."""
    words: list[str] = []

    def word() -> str:
        words.append(f"wörd{len(words)}x")
        return words[-1]

    def content() -> Any:
        if draw(st.integers(0, 3)):
            return f"{draw(SPACE)}{word()}{draw(SPACE)}"
        return [{"type": "text", "text": f"{draw(SPACE)}{word()}{draw(SPACE)}"} for _ in range(draw(st.integers(1, 2)))]

    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": content()})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": content()})
        n_calls = draw(st.sampled_from([0, 0, 1, 2, 3]))
        if n_calls:
            ids = [f"call{turn}{index}0000"[:9] for index in range(n_calls)]
            form = draw(st.sampled_from([lambda text: {"a": text}, lambda text: f'{{"a": "{text}"}}']))
            calls = [
                {"id": id_, "type": "function", "function": {"name": "f", "arguments": form(word())}} for id_ in ids
            ]
            messages.append({"role": "assistant", "content": draw(st.sampled_from([None, ""])), "tool_calls": calls})
            order = draw(st.permutations(ids))
            messages += [{"role": "tool", "tool_call_id": id_, "name": "f", "content": content()} for id_ in order]
        messages.append({"role": "assistant", "content": word()})
    messages.append({"role": "user", "content": content()})
    if draw(st.integers(0, 3)) == 0:
        odd = {"role": draw(st.sampled_from(["system", "function", "critic", "developer"])), "content": content()}
        messages.insert(draw(st.integers(1, len(messages) - 1)), odd)
    return messages, words


@fuzz
@given(made=conversations(), name=st.sampled_from(NAMES), has_tools=st.booleans())
def test_no_word_is_lost(
    llm_of: Models, made: tuple[list[dict[str, Any]], list[str]], name: str, has_tools: bool
) -> None:
    messages, words = made
    tools = [{"type": "function", "function": {"name": "f"}}] if has_tools else None
    variables = {"functions": "", "datetime": ""} if "firefunction" in name else None
    try:
        prompt = llm_of(name).render_chat(messages, tools=tools, template_kwargs=variables, now=NOW)
    except TemplateError:
        return
    assert [word for word in words if word not in prompt and word.replace("ö", "\\u00f6") not in prompt] == []
