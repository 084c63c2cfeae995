"""Answers as the chat templates themselves write them: a history rendered, and cut out of the prompt."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from support.templates import source_of
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.chat.dialect import Dialect
from tea_llm.chat.messages import check_messages
from tea_llm.chat.template import ChatTemplate
from tea_llm.errors import TemplateError

Calls = Sequence[tuple[str, Mapping[str, Any]]]

USER = {"role": "user", "content": "Hi"}
REASONING = "Hm. So."
_ENDS = ("<|call|>", "<|eom_id|>", "<|tool_response>", "<|im_end|>", "</s>", "<｜hy_eos:opensource｜>")
"""What ends a turn with calls, where it is another mark than the one that ends a text."""

_TURN_OF_COHERE = re.compile(r"<\|(?:START|END)_OF_TURN_TOKEN\|>")
"""Its templates write more behind the answer."""


class Rendered(NamedTuple):
    """An answer in a template's own words, and its format."""

    form: AnswerFormat
    text: str


@cache
def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(source_of(name), bos_token="<s>", eos_token="</s>")


@cache
def dialect_of(name: str) -> Dialect:
    return Dialect(template_of(name))


def rendered(
    name: str, tools: Sequence[Mapping[str, Any]], calls: Calls, *, content: str = "", thinks: bool = False
) -> Rendered | None:
    """The assistant's turn as the template writes it. None: it writes none such, or not as an answer to its prompt.

    A template may leave out the content beside calls, all calls but the first, or reasoning.
    """
    template, dialect = template_of(name), dialect_of(name)
    variables = {"enable_thinking": thinks, "thinking": thinks}
    form = _form_of(name, json.dumps(tools), thinks)
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [_call(number, *call) for number, call in enumerate(calls)]
    if thinks:
        message["reasoning_content"] = REASONING

    def render(*messages: dict[str, Any], asks: bool = False) -> str:
        adapted, given = dialect.adapt(check_messages(messages), tools)
        if len(adapted) > len(messages) and calls:
            raise TemplateError("each call is a turn of its own")
        return template.render_text(adapted, tools=given, add_generation_prompt=asks, extra=variables)

    try:
        prompt, turn = render(USER, asks=True), render(USER, message)
        plain = render(USER, {"role": "assistant", "content": "Zebra"})
    except TemplateError:
        return None
    text = _without_end(turn, plain[plain.rindex("Zebra") + 5 :])
    begin = len(os.path.commonprefix([prompt, text]))  # noqa: RUF071 - of texts
    if begin < len(prompt):  # the turn begins in another way: from the mark on that differs
        begin -= len(re.search(r"(<[^<>]*)?$", text[:begin])[0])  # type: ignore[index]
    rest, text = prompt[begin:], _TURN_OF_COHERE.split(text[begin:])[0]
    both = next(length for length in range(len(rest), -1, -1) if text.startswith(rest[len(rest) - length :]))
    text = text[both:]  # the end of an empty reasoning
    is_thought = form.native.reasoning_start in text if form.native.reasoning_start else "<|think|>" in text
    if form.is_reasoning != (form.reasoning_end in text and not is_thought) and REASONING in text:
        return None  # the prompt has begun, or ended, what this turn has not
    if form.is_reasoning and form.reasoning_end not in text:
        return None
    return Rendered(form, text)


@cache
def _form_of(name: str, tools: str, thinks: bool) -> AnswerFormat:
    variables = {"enable_thinking": thinks, "thinking": thinks}
    form = AnswerFormats(template_of(name)).get(tools=json.loads(tools), variables=variables)
    assert form is not None
    return form


def _call(number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call{number:05}", "type": "function", "function": function}


def _without_end(turn: str, end_of_text: str) -> str:
    turn = turn.rstrip()
    for end in (end_of_text.strip(), *_ENDS):
        if end and turn.endswith(end):
            return turn.removesuffix(end)
    return turn
