"""Function calls as text: tools described in a prompt, calls found in an answer, as far as simple JSON goes."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tea_llm.types import ToolCall

__all__ = ["chosen_tools", "describe_tools", "find_calls", "in_words", "parsed_call", "text_of"]

_TAGGED = re.compile(r"<tool_call>((?:(?!<tool_call>).)*?)(?:</tool_call>|$)", re.DOTALL)
_FENCED = re.compile(r"^```(?:json)?\s*(.*?)\s*(?:```)?$", re.DOTALL)
_CALL_KEYS = {"name", "arguments", "parameters", "id", "type"}

_INSTRUCTION = (
    "You may call functions. To call one, answer with nothing but a JSON object for each call, in this form:\n"
    '<tool_call>{"name": "the function\'s name", "arguments": {"parameter": "value"}}</tool_call>\n'
    "These are the functions:\n"
)


def describe_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages for a template that knows nothing of tools: what concerns tools is said in words.

    Args:
        messages: checked.
        tools: in the OpenAI API's form.
    """
    described: list[dict[str, Any]] = []
    for before, message in zip(({}, *messages), messages, strict=False):
        worded = in_words(message)
        if message["role"] == before.get("role") == "tool":  # one user's message, as templates want turns to alternate
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
        tools: in the OpenAI API's form.
        choice: the option ``tool_choice``.

    Raises:
        ValueError: the choice is none of the tools.
    """
    if choice == "none":
        return (), False
    if choice is None or isinstance(choice, str):
        return tools, choice == "required"
    name = choice.get("function", {}).get("name")
    chosen = [tool for tool in tools if tool["function"]["name"] == name]
    if not chosen:
        raise ValueError(f"tool_choice={choice!r} is none of the tools")
    return chosen, True


def find_calls(text: str, names: Collection[str]) -> tuple[str, tuple[ToolCall, ...]]:
    """Splits an answer into its text and its calls.

    A call is ``{"name": ..., "arguments": {...}}`` (or ``parameters``) between ``<tool_call>`` tags, or the whole
    answer is one or a list of them, fenced or not. What is not a call of a known function stays text.

    Args:
        text: of the answer.
        names: of the functions that there are.

    Example:
        >>> find_calls('{"name": "add", "arguments": {"a": 1}}', ["add"])[1][0].arguments
        {'a': 1}
    """
    calls: list[tuple[str, dict[str, Any]]] = []

    def take(match: re.Match[str]) -> str:
        found = list(_calls_in(match[1], names))
        calls.extend(found)
        return "" if found else match[0]

    rest = _TAGGED.sub(take, text).strip()
    if calls:
        return rest, _numbered(calls)
    fenced = _FENCED.match(text.strip())
    calls = list(_calls_in(fenced[1] if fenced else text, names))
    return ("", _numbered(calls)) if calls else (text, ())


def _calls_in(text: str, names: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    items = found if isinstance(found, list) else [found]
    calls = [_call_of(item, names) for item in items]
    if all(calls):
        yield from (call for call in calls if call is not None)


def _call_of(item: object, names: Collection[str]) -> tuple[str, dict[str, Any]] | None:
    if not isinstance(item, dict):
        return None
    nested = item.get("function")
    function = nested if isinstance(nested, dict) else item
    if not _CALL_KEYS.issuperset(function):
        return None
    name, arguments = function.get("name"), function.get("arguments", function.get("parameters", {}))
    return (name, arguments) if isinstance(name, str) and name in names and isinstance(arguments, dict) else None


def _numbered(calls: Sequence[tuple[str, dict[str, Any]]]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"call_{index}", name, arguments) for index, (name, arguments) in enumerate(calls))


def in_words(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its calls, or what a function gave, as text."""
    content = message["content"] or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"The function returned: {text_of(content)}"}
    functions = [parsed_call(call)["function"] for call in message.get("tool_calls", ())]
    calls = [f"<tool_call>{json.dumps(function)}</tool_call>" for function in functions]
    kept = {key: message[key] for key in ("role", "name", "reasoning_content") if key in message}
    return {**kept, "content": "".join([text_of(content), *calls]) if calls else content}


def parsed_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as a dict; as they are where they are not JSON, which a model's words need not be."""
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return dict(call)
    return {**call, "function": {"name": function["name"], "arguments": arguments}}


def text_of(content: str | Sequence[Mapping[str, str]]) -> str:
    """A content as one text, as llama.cpp joins parts."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)
