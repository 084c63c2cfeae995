"""``llm.tools``: a chat whose tool calls run the engine's actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tea_llm.actions._answer import failure, success
from tea_llm.actions._host import Host
from tea_llm.actions._request import OPTIONS, ActionError, Request
from tea_llm.actions.generation import conversation
from tea_llm.chat.conversation import message_of
from tea_llm.errors import LlmError
from tea_llm.types import LlmCallResult, ToolCall

__all__ = ["TOOLS_PARAMETERS", "ToolDefinitionError", "Toolbox", "tools"]

TOOLS_PARAMETERS = OPTIONS | {"messages", "prompt", "system", "max_tool_rounds"}

_MAX_ROUNDS = 10


class ToolDefinitionError(ValueError):
    """A tool definition has neither of the two forms."""


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of one request.

    Attributes:
        definitions: the tools in the form of the OpenAI API.
        actions: the name of the action that runs each tool, by tool name; tools without an action are left out.
    """

    definitions: list[dict[str, Any]]
    actions: dict[str, str]

    @classmethod
    def of(cls, tools: Sequence[Any] | None) -> Toolbox:
        """Reads both forms of definitions: the workflow's and the OpenAI API's.

        Raises:
            ToolDefinitionError: a definition has neither form.
        """
        if tools is not None and (isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence)):
            raise ToolDefinitionError(f"tools must be a list, not {type(tools).__name__}")
        box = cls([], {})
        for tool in tools or ():
            definition = _definition(tool)
            box.definitions.append(definition)
            if "action" in tool:
                box.actions[definition["function"]["name"]] = _action(tool["action"])
        return box

    def use(self, call: ToolCall, registry: Mapping[str, Callable[..., Any]], state: Mapping[str, Any] | None) -> str:
        """The result or the error of a call, as JSON for the model."""
        result = self._result_of(call, registry, state)
        try:
            return json.dumps(result, default=str)
        except (TypeError, ValueError):  # keys that are not strings, a list that contains itself
            return json.dumps(str(result))

    def _result_of(self, call: ToolCall, registry: Mapping[str, Callable[..., Any]], state: Any) -> object:
        name = self.actions.get(call.name)
        if name is None:
            return {"note": f"Tool '{call.name}' called but no action mapped", "arguments": call.arguments}
        if name not in registry:
            return {"error": f"Action '{name}' is not registered"}
        if "state" in call.arguments:
            return {"error": "'state' is not allowed as an argument of a tool"}
        try:
            return registry[name](state=state, **call.arguments)
        except Exception as error:  # the model sees the error and can correct the call
            return {"error": str(error)}


def tools(
    params: Mapping[str, Any], *, host: Host, state: Mapping[str, Any] | None, registry: Mapping[str, Any]
) -> dict[str, Any]:
    """Sends the messages, runs the tool calls and sends their results, until the model makes no more calls."""
    done: dict[str, Any] = {"tool_calls": [], "tool_results": [], "rounds": 0}
    try:
        request = Request.of(params, known=TOOLS_PARAMETERS, host=host, state=state)
        messages, _ = conversation(request.own, is_chat=True)
        box = Toolbox.of(request.options.pop("tools", None))
        choice = request.options.pop("tool_choice", "auto")
        max_rounds = request.own.get("max_tool_rounds")
        max_rounds = _MAX_ROUNDS if max_rounds is None else max_rounds
        backend = request.open(host)
        messages = list(messages)
        for number in range(max_rounds):
            asked: dict[str, Any] = (
                {"tools": box.definitions, "tool_choice": "auto" if number else choice} if box.definitions else {}
            )
            result = backend.chat(messages, **request.options, **asked)
            done["rounds"] = number + 1
            if not result.tool_calls:
                return success(result, backend, **done)
            messages += _carry_out(result, box, registry, state, done)
    except ActionError as error:
        return failure(str(error), **done)
    except ToolDefinitionError as error:
        return failure(f"Invalid tool definition: {error}", error, **done)
    except (LlmError, TypeError, ValueError) as error:
        return failure(f"LLM tool calling failed: {error}", error, **done)
    except Exception as error:
        return failure(f"LLM tool calling failed: Unexpected error: {error}", error, **done)
    return {"content": "", "response": "", "warning": f"Max tool rounds ({max_rounds}) reached", **done}


def _carry_out(
    result: LlmCallResult, box: Toolbox, registry: Mapping[str, Any], state: Any, done: dict[str, Any]
) -> list[dict[str, Any]]:
    """Runs the calls of an answer; returns the messages to append: the answer and the result of each call."""
    messages = [message_of(result)]
    for call in result.tool_calls:
        given = box.use(call, registry, state)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": given})
        done["tool_calls"].append({"id": call.id, "name": call.name, "arguments": call.arguments})
        done["tool_results"].append({"tool_call_id": call.id, "name": call.name, "result": given})
    return messages


def _definition(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise ToolDefinitionError(f"a tool must be a mapping, not {type(tool).__name__}")
    function = tool.get("function") if tool.get("type") == "function" else tool
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ToolDefinitionError("a tool needs a name")
    if function is not tool:
        return {"type": "function", "function": dict(function)}
    parameters = tool.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise ToolDefinitionError(f"parameters of {tool['name']!r} must be a mapping, not {type(parameters).__name__}")
    properties = {name: _property(tool["name"], name, given) for name, given in parameters.items()}
    required = [name for name, given in parameters.items() if isinstance(given, Mapping) and given.get("required")]
    schema = {"type": "object", "properties": properties, "required": required}
    described = {"description": tool["description"]} if tool.get("description") else {}
    return {"type": "function", "function": {"name": tool["name"], **described, "parameters": schema}}


def _property(tool: str, name: object, given: object) -> dict[str, Any]:
    if isinstance(given, str):
        return {"type": given}
    if not isinstance(given, Mapping):
        raise ToolDefinitionError(f"parameter {name!r} of {tool!r} must be a type or a mapping, not {given!r}")
    return {"type": "string", **{key: value for key, value in given.items() if key != "required"}}


def _action(name: object) -> str:
    if not isinstance(name, str) or not name or ".." in name or "/" in name or "\\" in name:
        raise ToolDefinitionError(f"{name!r} is not the name of an action")
    return name
