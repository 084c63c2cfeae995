"""Python functions as tools: what a model is told of them, and calling them as it asks."""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from tea_llm._check import check_int
from tea_llm.chat.conversation import Conversation
from tea_llm.grammar.pydantic_schema import schema_of_class
from tea_llm.types import LlmCallResult, Message, ToolCall

__all__ = ["FunctionTool", "FunctionTools", "ToolRun"]

logger = logging.getLogger("tea_llm")


class FunctionTool:
    """A function that a model may call.

    Its name, the first paragraph of its docstring and its type hints are what the model is told; arguments are
    checked and converted by the hints before each call (pydantic does both).

    Args:
        function: with a hint for each parameter; none of them may be positional only or ``*args``.

    Raises:
        TypeError: a parameter that has no hint or cannot be named.
        ValueError: pydantic is not installed.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        try:
            from pydantic import ConfigDict, create_model
        except ImportError:
            raise ValueError('functions as tools need one more package: pip install "tea-llm[tools]"') from None
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise TypeError(f"{self.name}: a model cannot give the parameter {parameter.name!r} by its name")
            if parameter.annotation is parameter.empty:
                raise TypeError(f"{self.name}: the parameter {parameter.name!r} has no type hint")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
        self._model = create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def definition(self) -> dict[str, Any]:
        """What the model is told, in the OpenAI API's form."""
        schema = {key: value for key, value in schema_of_class(self._model).items() if key != "title"}
        description = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
        described = {"description": description} if description else {}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": schema}}

    def call(self, arguments: dict[str, Any]) -> object:
        """What the function gives for a model's arguments; of an ``async`` one an awaitable.

        Raises:
            ValueError: arguments that do not fit the hints.
            Exception: whatever the function raises.
        """
        checked = self._model.model_validate(arguments)
        return self.function(**{name: getattr(checked, name) for name in type(checked).model_fields})


class FunctionTools:
    """The functions of one conversation.

    Args:
        functions: to be called.
        takes_async: whether they may be ``async``: ``aanswer`` waits for them.

    Raises:
        TypeError: not a function, an async one where none may be, or a parameter as ``FunctionTool``.
        ValueError: two functions of one name, or pydantic is not installed.
    """

    def __init__(self, functions: Sequence[Callable[..., object]], *, takes_async: bool = False) -> None:
        self._tools: dict[str, FunctionTool] = {}
        for function in functions:
            if not callable(function):
                raise TypeError(f"a tool must be a function, not {type(function).__name__}")
            tool = FunctionTool(function)
            if not takes_async and _is_async(function):
                raise TypeError(f"{tool.name} is async: use arun_tools")
            if tool.name in self._tools:
                raise ValueError(f"there are two tools named {tool.name!r}")
            self._tools[tool.name] = tool

    @property
    def definitions(self) -> list[dict[str, Any]]:
        return [tool.definition for tool in self._tools.values()]

    def answer(self, call: ToolCall) -> dict[str, Any]:
        """The message that answers a call. The model is told what goes wrong, and may do better.

        Raises:
            TypeError: the function gave an awaitable.
        """
        try:
            given = self._call(call)
            if not inspect.isawaitable(given):
                return _message(call, given)
        except Exception as error:
            return _failed(call, error)
        if inspect.iscoroutine(given):
            given.close()
        raise TypeError(f"{call.name} gave an awaitable: use arun_tools")

    async def aanswer(self, call: ToolCall) -> dict[str, Any]:
        """The same, for functions that may be async."""
        try:
            given = self._call(call)
            return _message(call, await given if isinstance(given, Awaitable) else given)
        except Exception as error:
            return _failed(call, error)

    def _call(self, call: ToolCall) -> object:
        if call.name not in self._tools:
            raise LookupError(f"there is no function {call.name!r}")
        return self._tools[call.name].call(call.arguments)


class ToolRun:
    """A conversation that goes on while its model calls functions.

    Raises:
        TypeError, ValueError: as ``FunctionTools`` and ``Conversation``; several answers at once.
    """

    def __init__(
        self,
        messages: Iterable[Message],
        functions: Sequence[Callable[..., object]],
        max_rounds: int,
        options: Mapping[str, Any],
        *,
        takes_async: bool = False,
    ) -> None:
        self.talk = messages if isinstance(messages, Conversation) else Conversation(messages)
        self.functions = FunctionTools(functions, takes_async=takes_async)
        self.result: LlmCallResult
        self.goes_on = True
        self._n_left = check_int("max_rounds", max_rounds, 1, 1000)
        self._options = {**options, "tools": self.functions.definitions}
        if options.get("n", 1) != 1:
            raise ValueError("n is for one answer at a time: functions can follow one conversation only")

    def options(self) -> dict[str, Any]:
        """Of the next round."""
        options = self._options
        self._options = {**options, "tool_choice": "auto"}
        return options

    def take(self, result: LlmCallResult) -> tuple[ToolCall, ...]:
        """The calls of an answer, to be answered before the next one."""
        self.result = result
        self.talk.append(result)
        self._n_left -= 1
        self.goes_on = self._n_left > 0 and bool(result.tool_calls)
        return result.tool_calls


def _is_async(function: Callable[..., object]) -> bool:
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = function.func
    return any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004


def _failed(call: ToolCall, error: Exception) -> dict[str, Any]:
    """What the model is told of a failed call; the log has the traceback."""
    logger.debug("The function %s failed for %s", call.name, call.arguments, exc_info=error)
    return _message(call, f"error: {type(error).__name__}: {error}")


def _message(call: ToolCall, given: object) -> dict[str, Any]:
    content = given if isinstance(given, str) else json.dumps(given, default=str, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content}
