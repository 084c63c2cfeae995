"""Messages and tools as templates take them: all of llama.cpp's templates, and kinds that it does not ship."""

from __future__ import annotations

import json
import logging
import re
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pytest

from support.templates import NAMES, NOW, Messages, attempt, chat, compiled, source_of
from tea_llm import TemplateError
from tea_llm.chat.functions import FunctionTool
from tea_llm.chat.prompt import ChatPrompt

SMOL_VLM = (  # HuggingFaceTB/SmolVLM-Instruct
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FIREFUNCTION = "fireworks-ai-llama-3-firefunction-v2"  # has no tools of its own, and two variables instead

files = pytest.mark.parametrize("name", NAMES)


@cache
def prompt_of(source: str) -> ChatPrompt:
    tokens = [(1, b"<BOS>", False, False), (2, b"<EOS>", False, False)]
    model = SimpleNamespace(chat_template=b"", bos=1, eos=2, adds_bos=False, control_tokens=lambda: tokens)
    return ChatPrompt(cast(Any, model), chat_template=source)


def render(source: str, messages: Messages, tools: list[dict[str, Any]] | None = None, **options: Any) -> str:
    extra = {"functions": "none", "datetime": "today"} if source == source_of(FIREFUNCTION) else None
    runs = prompt_of(source).render(messages, tools=tools, now=NOW, extra=extra, **options)
    return "".join(text for text, _ in runs)


def tool(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "tool9name", **more}}


def called(*arguments: object) -> Messages:
    """An answer with a call for each of the arguments, and what they gave."""
    calls = [
        {"id": f"call0000{i}", "type": "function", "function": {"name": "tool9name", "arguments": given}}
        for i, given in enumerate(arguments)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"gave9{i}"} for i, call in enumerate(calls)]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def holds(prompt: str, *texts: str) -> None:
    """Each of the texts is in the prompt, in this order."""
    position = 0
    for text in texts:
        position = prompt.find(text, position)
        assert position >= 0, f"{text} is not there, or too early: {prompt}"


def test_a_template_that_iterates_over_parts_gets_them() -> None:
    got = render(SMOL_VLM, chat("system: be brief", "user: hi", "assistant: ho", "user: "))
    assert got == (
        "<|im_start|>System: be brief<end_of_utterance>\nUser: hi<end_of_utterance>\nAssistant: ho<end_of_utterance>\n"
        "User: <end_of_utterance>\nAssistant:"
    )
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "User: onetwo<end" in render(SMOL_VLM, [{"role": "user", "content": parts}])
    assert "tool9name" in render(SMOL_VLM, chat("user: hi"), [tool()])
    runs = prompt_of(SMOL_VLM).render(chat("user: <BOS>"))
    assert ("<BOS>", False) in runs


def test_a_template_of_texts_gets_parts_as_one() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "\none\ntwo<|im_end|>" in render(CHATML, [{"role": "user", "content": parts}])
    assert "onetwo<|im_end|>" in render(source_of("Qwen3.5-4B"), [{"role": "user", "content": parts}])


@files
def test_texts_and_parts_of_any_role_are_in_the_prompt(name: str) -> None:
    for content in ("text9", [{"type": "text", "text": "text9"}, {"type": "text", "text": "more9"}]):
        marks = ("text9",) if isinstance(content, str) else ("text9", "more9")
        for role in ("system", "developer", "user"):
            others = [] if role == "user" else chat("user: hi")
            holds(render(source_of(name), [{"role": role, "content": content}, *others]), *marks)
        answered = [*chat("user: hi"), {"role": "assistant", "content": content}, *chat("user: and?")]
        holds(render(source_of(name), answered), *marks)
        asked, given = called({"a": 1})
        holds(render(source_of(name), [*chat("user: hi"), asked, {**given, "content": content}], [tool()]), *marks)


@files
@pytest.mark.parametrize("more", [{}, {"description": "d9"}, {"parameters": {"type": "object"}}, {"parameters": {}}])
def test_description_and_parameters_of_a_tool_are_optional(name: str, more: dict[str, Any]) -> None:
    for talk in (chat("user: hi9"), chat("system: sys9", "user: hi9")):
        got = render(source_of(name), talk, [tool(**more)])
        texts = ["tool9name", *more.values()] if "description" in more else ["tool9name"]
        assert all(text in got for text in [*texts, *(message["content"] for message in talk)])


@files
def test_descriptions_of_a_tools_parameters_are_optional(name: str) -> None:
    def tool9name(place: str, days: list[int], top: int | None = None) -> None:
        pass

    got = render(source_of(name), chat("user: hi9"), [FunctionTool(tool9name).definition])
    assert all(text in got for text in ("tool9name", "place", "days", "top", "hi9"))


@pytest.mark.parametrize("properties", [None, [], [1], {"a": True}, {"a": None}])
@pytest.mark.parametrize("name", ["ByteDance-Seed-OSS", "CohereForAI-c4ai-command-r-plus-tool_use"])
def test_schemas_that_are_none_are_the_templates_matter(name: str, properties: object) -> None:
    given = [tool(parameters={"type": "object", "properties": properties})]
    got = attempt(lambda: render(source_of(name), chat("user: hi"), given))
    assert isinstance(got, (str, TemplateError))


def test_tools_are_completed_as_llama_server_does() -> None:
    got = render("{{ tools | tojson }}{{ messages[0].content }}", chat("user: hi"), [tool(strict=True)])
    parameters = {"type": "object", "properties": {}}
    function = {"name": "tool9name", "description": "", "strict": True, "parameters": parameters}
    assert json.loads(got.removesuffix("hi")) == [{"type": "function", "function": function}]
    given = [tool(description="d", parameters={"type": "object"})]
    got = render("{{ tools | tojson }}{{ messages[0].content }}", chat("user: hi"), given)
    assert json.loads(got.removesuffix("hi")) == given


@files
@pytest.mark.parametrize("arguments", [{"a": "arg9"}, '{"a": "arg9"}'], ids=["dict", "json"])
def test_calls_of_earlier_answers_are_in_the_prompt(name: str, arguments: object) -> None:
    for tools in ([tool()], None):
        turns = [*chat("user: hi"), *called(arguments), *chat("assistant: done9", "user: and?")]
        holds(render(source_of(name), turns, tools), "tool9name", "arg9", "gave90", "done9")


@files
def test_several_calls_of_one_answer_are_in_the_prompt(name: str) -> None:
    turns = [*chat("user: hi"), *called({"a": "arg9"}, "", {"a": "arg8"})]
    got = render(source_of(name), turns, [tool()])
    holds(got, "arg9", "arg8")
    holds(got, "gave90", "gave91", "gave92")
    holds(got, "arg9", "gave90")


@files
def test_a_text_beside_calls_does_not_hide_them(name: str) -> None:
    asked, given = called({"a": "arg9"})
    assert "arg9" in render(source_of(name), [*chat("user: hi"), {**asked, "content": "Let me see."}, given], [tool()])


def test_arguments_are_json_where_a_template_adds_them_to_a_text() -> None:
    got = render(source_of("meetkai-functionary-medium-v3.2"), [*chat("user: hi"), *called({"a": "Köln"})], [tool()])
    assert '>>>tool9name\n{"a": "Köln"}' in got


def test_gemma_2_takes_a_system_message_before_the_users() -> None:
    gemma = source_of("google-gemma-2-2b-it")
    begin = "<BOS><start_of_turn>user\n"
    end = "<end_of_turn>\n<start_of_turn>model\n"
    assert render(gemma, chat("system: sys", "user: hi")) == f"{begin}sys\nhi{end}"
    assert render(gemma, chat("system: a", "developer: b", "user: hi")) == f"{begin}a\nb\nhi{end}"
    assert render(gemma, chat("system: sys")) == f"{begin}sys{end}"
    got = render(gemma, chat("user: hi"), [tool()])
    assert got.startswith(f"{begin}You may call functions.")
    assert got.endswith(f'{{"name": "tool9name"}}\nhi{end}')
    turns = [*chat("user: hi"), *called({}, {}), *chat("assistant: done", "user: and?")]
    assert "user\nThe function returned: gave90\nThe function returned: gave91<end_of_turn>" in render(gemma, turns)


def test_a_template_that_takes_all_is_given_messages_as_they_are() -> None:
    talk = chat("system: sys", "developer: dev", "user: hi", "critic: hm")
    assert render(CHATML, talk) == compiled(CHATML).render_text(talk)


@files
@pytest.mark.parametrize("role", ["function", "critic", "system"])
def test_no_message_is_dropped_in_silence(name: str, role: str) -> None:
    talk = [*chat("user: hi", "assistant: ho"), {"role": role, "content": "text9"}, *chat("user: hi")]
    got = attempt(lambda: render(source_of(name), talk))
    if isinstance(got, str):
        assert "text9" in got
    else:
        assert isinstance(got, TemplateError)
        assert re.match(rf"the template dropped message 2 \(role '{role}'\): |chat template, line ", str(got))


@pytest.mark.parametrize(
    ("source", "index"),
    [
        ("{{ messages[0].content }}", 1),
        ("{{ messages[-1].content }}", 0),
        ("{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", 0),
        ("{% for m in messages if m.role != 'function' %}{{ m.content }}{% endfor %}", 2),
        ("{% for m in messages | unique(attribute='content') %}{{ m.content }}{% endfor %}", None),
    ],
)
def test_a_dropped_message_is_found_also_when_its_text_is_elsewhere(source: str, index: int | None) -> None:
    talk = [*chat("user: hi", "user: this"), {"role": "function", "content": "is"}]
    if index is None:
        assert render(source, talk) == "hithisis"
        return
    with pytest.raises(TemplateError, match=f"^the template dropped message {index} "):
        render(source, talk)


def test_a_dropped_message_is_found_among_many_and_beside_an_answer_of_the_same_text() -> None:
    source = "{% for m in messages if m.role != 'critic' %}[{{ m.content }} {{ m.content | upper }}]{% endfor %}"
    talk = [*chat(*["user: no", "assistant: no"] * 60), {"role": "critic", "content": "no"}, *chat("user: yes")]
    with pytest.raises(TemplateError, match="^the template dropped message 120 "):
        render(source, talk)
    with pytest.raises(TemplateError, match="^the template dropped message 1 "):
        render(
            "{% for m in messages if m.role == 'assistant' %}{{ m.content }}{% endfor %}",
            chat("assistant: a", "user: a"),
        )


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content | upper }}|{% endfor %}",
        "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
        "{% for m in messages %}{{ m.content[:2] }}|{% endfor %}",
        "{% for m in messages %}{{ m.content ~ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.role ~ m.content | replace(' ', '_') }}{% endfor %}",
        "{% for m in messages %}{% if m.content == 'yes' %}1{% else %}0{% endif %}{% endfor %}",
        "{% for m in messages %}{{ 1 if m.content == 'yes' else raise_exception('no') }}{% endfor %}",
    ],
)
def test_what_a_template_makes_of_a_text_is_its_own_matter(source: str) -> None:
    render(source, chat("user: yes", "user: yes"))


def test_an_assistants_text_may_be_left_out() -> None:
    source = "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}"
    assert render(source, chat("user: a", "assistant: b", "user: c")) == "ac"


def test_variables_that_a_template_does_not_use_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    source = source_of("Qwen-Qwen3-0.6B")
    prompt_of.cache_clear()
    for _ in range(2):
        prompt_of(source).render(chat("user: hi"), extra={"enable_thinkin": False, "enable_thinking": False, "zzz": 1})
    assert sorted(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING) == [
        "template_kwargs: the chat template does not use 'enable_thinkin': did you mean 'enable_thinking'?",
        "template_kwargs: the chat template does not use 'zzz'",
    ]


BEGUN = [*chat("user: hi"), {"role": "assistant", "content": "text9 "}]


@files
def test_the_last_message_is_left_open_to_be_continued(name: str) -> None:
    got = render(source_of(name), BEGUN, continue_final_message=True)
    closed = render(source_of(name), BEGUN, add_generation_prompt=False)
    assert got.endswith(("text9 ", "text9"))
    assert closed.startswith(got)


def test_white_space_at_the_end_of_a_begun_answer_stays_unless_the_template_trims() -> None:
    assert render(CHATML, BEGUN, continue_final_message=True).endswith("assistant\ntext9 ")
    trims = CHATML.replace("m.content", "m.content | trim")
    assert render(trims, BEGUN, continue_final_message=True).endswith("assistant\ntext9")
    quoting = [*chat("user: text9 "), {"role": "assistant", "content": "text9 "}]
    assert render(CHATML, quoting, continue_final_message=True).endswith("assistant\ntext9 ")
    runs = prompt_of(CHATML).render(
        [*BEGUN[:1], {"role": "assistant", "content": "<BOS>"}], continue_final_message=True
    )
    assert runs[-1] == ("<BOS>", False)


@pytest.mark.parametrize("chat_format", ["chatml", "gemma", "plain"])
def test_formats_without_a_template_leave_it_open_too(chat_format: str) -> None:
    model = SimpleNamespace(chat_template=b"", control_tokens=list)
    runs = ChatPrompt(cast(Any, model), chat_format=chat_format).render(BEGUN, continue_final_message=True)
    assert runs[-1] == ("text9 ", False)


@pytest.mark.parametrize(
    "last",
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": " "},
        {"role": "assistant", "content": None},
        called({})[0],
        {**called({})[0], "content": "text"},
    ],
)
def test_what_cannot_be_continued(last: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="continue_final_message needs an assistant message with text"):
        render(CHATML, [*chat("user: hi"), last], continue_final_message=True)


def test_a_begun_answer_that_the_template_drops() -> None:
    source = "{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}"
    with pytest.raises(TemplateError, match="dropped the last message"):
        render(source, BEGUN, continue_final_message=True)
