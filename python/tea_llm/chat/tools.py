"""Describes tools and calls as text, for templates that do not support them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["chosen_tools", "describe_tools", "in_words", "parsed_call", "text_of"]

_INSTRUCTION = (
    "You may call functions. To call one, answer with nothing but a JSON object for each call, in this form:\n"
    '<tool_call>{"name": "the function\'s name", "arguments": {"parameter": "value"}}</tool_call>\n'
    "These are the functions:\n"
)


def describe_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages for a template without support for tools, with tools, calls and results as text.

    Args:
        messages: checked messages.
        tools: in the form of the OpenAI API.
    """
    described: list[dict[str, Any]] = []
    for before, message in zip(({}, *messages), messages, strict=False):
        worded = in_words(message)
        if message["role"] == before.get("role") == "tool":  # one user message: templates expect turns to alternate
            described[-1]["content"] += f"\n{worded['content']}"
        else:
            described.append(worded)
    if tools:
        text = _INSTRUCTION + "\n".join(json.dumps(tool["function"]) for tool in tools)
        if described and described[0]["role"] == "system":
            described[0]["content"] = f"{text_of(described[0]['content'])}\n\n{text}"
        else:
            described.insert(0, {"role": "system", "content": text})
    return described


def chosen_tools(
    tools: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any] | None
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """The tools that an answer may call, and whether it must call one.

    Args:
        tools: in the form of the OpenAI API.
        choice: the option ``tool_choice``.

    Raises:
        ValueError: ``choice`` names a tool that is not in ``tools``.
    """
    if choice == "none":
        return (), False
    if choice is None or isinstance(choice, str):
        return tools, choice == "required"
    name = choice.get("function", {}).get("name")
    chosen = [tool for tool in tools if tool["function"]["name"] == name]
    if not chosen:
        raise ValueError(f"tool_choice={choice!r} does not name one of the tools")
    return chosen, True


def in_words(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its calls, or the result of a function, as text."""
    content = message["content"] or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"The function returned: {text_of(content)}"}
    functions = [parsed_call(call)["function"] for call in message.get("tool_calls", ())]
    calls = [f"<tool_call>{json.dumps(function)}</tool_call>" for function in functions]
    kept = {key: message[key] for key in ("role", "name", "reasoning_content") if key in message}
    return {**kept, "content": "".join([text_of(content), *calls]) if calls else content}


def parsed_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as a dict; unchanged if a model wrote arguments that are not JSON."""
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return dict(call)
    return {**call, "function": {"name": function["name"], "arguments": arguments}}


def text_of(content: str | Sequence[Mapping[str, str]]) -> str:
    """A content as one text; parts are joined as in llama.cpp."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)
