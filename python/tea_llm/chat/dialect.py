"""Detects by trial rendering which forms of messages a chat template accepts, and converts messages to them.

transformers renders messages unchanged; llama-server first converts them for the template. Here a message in a form
that the template accepts is left unchanged; any other is converted as in llama-server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tea_llm.chat.tools import describe_tools, in_words, parsed_call, text_of
from tea_llm.errors import TemplateError

if TYPE_CHECKING:
    from tea_llm.chat.template import ChatTemplate

__all__ = ["Dialect"]

Messages = list[dict[str, Any]]

_MARK, _OTHER = "first9mark", "second9mark"
_USER = {"role": "user", "content": "Hi"}
_ANSWER = {"role": "assistant", "content": "Ho"}
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Dialect:
    """Converts messages to the forms that one template accepts. Thread-safe.

    Args:
        template: the template that will render them.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template
        self.takes_text = lru_cache(64)(self._takes_text)
        self.takes_parts = lru_cache(64)(self._takes_parts)

    def adapt(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[Messages, Sequence[Mapping[str, Any]] | None]:
        """The messages and the tools to render; without template support for tools, the messages describe them.

        Args:
            messages: checked messages; contents may be parts.
            tools: in the form of the OpenAI API.
        """
        given: Sequence[Mapping[str, Any]] | None = None
        if self.template.uses_tools:
            adapted = [self._called(message) for message in messages]
            if any(len(message.get("tool_calls", ())) > 1 for message in adapted) and not self._takes_several_calls:
                adapted = _one_by_one(adapted)
            given = [self._complete(tool) for tool in tools] or self._no_tools
        else:
            adapted = describe_tools(messages, tools)
        for message in adapted:
            if message["role"] == "developer" and not self._takes_developer:
                message["role"] = "system"
        if adapted[0]["role"] == "system" and not self._takes_system:
            adapted = _merged(adapted)
        return [{**message, "content": self._content(message)} for message in adapted], given

    def _called(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message whose calls are in the form that the template writes, or else in its text."""
        message = {**message, "content": message["content"] or ""}
        if "tool_calls" in message:
            if not self._writes_calls or (message["content"] and not self._writes_calls_beside_text):
                return in_words(message)
            put = _json_call if self._wants_json else parsed_call
            message["tool_calls"] = list(map(put, message["tool_calls"]))
        return message

    def _complete(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        """A tool with a description and parameters; each parameter gets a description if the template requires it."""
        function = {key: value for key, value in tool["function"].items() if value is not None}
        parameters = function.get("parameters") or _NO_PARAMETERS
        properties = parameters.get("properties", {})
        if parameters.get("type") == "object" and isinstance(properties, Mapping) and self._wants_full_schemas:
            described = {
                name: {"description": "", **schema} if isinstance(schema, Mapping) else schema
                for name, schema in properties.items()
            }
            parameters = {**parameters, "properties": described}
        return {**tool, "function": {"name": "", "description": "", **function, "parameters": parameters}}

    def _content(self, message: Mapping[str, Any]) -> str | list[dict[str, str]]:
        """The content as text or as parts, whichever the template accepts; unchanged if it accepts both."""
        role, content = message["role"], message["content"]
        if isinstance(content, str):
            is_part = not self.takes_text(role) and self.takes_parts(role)
            return [{"type": "text", "text": content}] if is_part else content
        parts: list[dict[str, str]] = content
        return parts if self.takes_parts(role) else text_of(parts)

    def _takes_text(self, role: str) -> bool:
        return _MARK in self._rendered(_talk(role, _MARK))

    def _takes_parts(self, role: str) -> bool:
        parts = [{"type": "text", "text": text} for text in (_MARK, _OTHER)]
        rendered = self._rendered(_talk(role, parts))
        is_dumped = "'type'" in rendered or '"type"' in rendered  # the list itself was written
        return _MARK in rendered and _OTHER in rendered and not is_dumped

    @cached_property
    def _takes_system(self) -> bool:
        return self.takes_text("system") or self.takes_parts("system") or not self._rendered([_USER])

    @cached_property
    def _takes_developer(self) -> bool:
        return self.takes_text("developer") or self.takes_parts("developer")

    @cached_property
    def _wants_full_schemas(self) -> bool:
        """Whether the template fails with an object without ``properties`` or a property without a description."""
        sparse = ({"type": "object"}, {"type": "object", "properties": {"a": {"type": "string"}}})
        return not all(self._rendered([_USER], [_tool(parameters)]) for parameters in sparse)

    @cached_property
    def _wants_json(self) -> bool:
        """Whether arguments of calls must be JSON in a string."""
        return not self._shows_calls({"a": _MARK}) and self._shows_calls(f'{{"a": "{_MARK}"}}')

    @cached_property
    def _writes_calls(self) -> bool:
        """Whether calls of earlier answers are in the prompt, or the template fails with them."""
        return self._wants_json or self._shows_calls({"a": _MARK}) or not self._rendered_calls({})

    @cached_property
    def _writes_calls_beside_text(self) -> bool:
        rendered = self._rendered_calls({"a": _MARK}, text=_OTHER)
        return self._wants_json or _OTHER not in rendered or _MARK in rendered

    @cached_property
    def _takes_several_calls(self) -> bool:
        arguments = [{"a": mark} for mark in (_MARK, _OTHER)]
        return self._shows_calls(*(map(json.dumps, arguments) if self._wants_json else arguments))

    @cached_property
    def _no_tools(self) -> list[Mapping[str, Any]] | None:
        """The value for no tools: None as in transformers, or an empty list if the template fails with None."""
        return [] if not self._rendered([_USER], None) and self._rendered([_USER], []) else None

    def _shows_calls(self, *arguments: object) -> bool:
        rendered = self._rendered_calls(*arguments)
        return all(mark in rendered for mark in (_MARK, _OTHER)[: len(arguments)])

    def _rendered_calls(self, *arguments: object, text: str = "") -> str:
        """The prompt with an answer that calls a function once or more."""
        calls = [_call(index, given) for index, given in enumerate(arguments)]
        asked = {"role": "assistant", "content": text, "tool_calls": calls}
        given = [{"role": "tool", "tool_call_id": call["id"], "name": "probe", "content": "7"} for call in calls]
        return self._rendered([_USER, asked, *given, _ANSWER, _USER], [_tool(_NO_PARAMETERS)])

    def _rendered(self, messages: Messages, tools: Sequence[Mapping[str, Any]] | None = ()) -> str:
        """The prompt; empty where the template fails."""
        if tools == ():
            tools = self._no_tools
        try:
            return self.template.render_text(messages, tools=tools)
        except TemplateError:
            return ""


def _json_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as JSON in a string."""
    function = call["function"]
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def _one_by_one(messages: Messages) -> Messages:
    """Splits answers with several calls: one message per call, each followed by its result."""
    split: Messages = []
    position = 0
    while position < len(messages):
        message = messages[position]
        position += 1
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            split.append(message)
            continue
        given = list(takewhile(lambda item: item["role"] == "tool", messages[position:]))
        position += len(given)
        for call in calls:
            split.append({**message, "tool_calls": [call]})
            own = next((item for item in given if item.get("tool_call_id", "") == call["id"]), None)
            if own is not None:
                split.append(own)
                given = [item for item in given if item is not own]
            message = {"role": message["role"], "content": ""}  # text and reasoning belong to the first message only
        split += given
    return split


def _merged(messages: Messages) -> Messages:
    """The messages without a leading system message, whose text is put before that of the next message."""
    first, *rest = messages
    while first["role"] == "system" and rest:
        first = {**rest[0], "content": f"{text_of(first['content'])}\n{text_of(rest[0]['content'])}"}
        rest = rest[1:]
    return [{**first, "role": "user"} if first["role"] == "system" else first, *rest]


def _tool(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "probe", "description": "", "parameters": parameters}}


def _call(index: int, arguments: object) -> dict[str, Any]:
    return {"id": f"call0000{index}", "type": "function", "function": {"name": "probe", "arguments": arguments}}


def _talk(role: str, content: object) -> Messages:
    """A conversation with a message of this role at a valid place."""
    message = {"role": role, "content": content}
    if role in ("user", "system", "developer"):
        return [message] if role == "user" else [message, _USER]
    if role == "tool":
        call = _call(0, {})
        asked = {"role": "assistant", "content": "", "tool_calls": [call]}
        return [_USER, asked, {**message, "tool_call_id": call["id"], "name": "probe"}]
    return [_USER, message, _USER] if role == "assistant" else [_USER, message]
