"""Python functions as tools: describes them to a model and runs its calls."""

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

    The model sees its name, the first paragraph of its docstring and its type hints. pydantic checks and converts the
    arguments of each call by the hints.

    Args:
        function: a function with a hint for each parameter, none of which may be positional-only or ``*args``.

    Raises:
        TypeError: a parameter has no hint or cannot be passed by name.
        ValueError: pydantic is not installed.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        try:
            from pydantic import ConfigDict, create_model
        except ImportError:
            raise ValueError('functions as tools need an additional package: pip install "tea-llm[tools]"') from None
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise TypeError(f"{self.name}: the parameter {parameter.name!r} must be one that can be passed by name")
            if parameter.annotation is parameter.empty:
                raise TypeError(f"{self.name}: the parameter {parameter.name!r} has no type hint")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
        self._model = create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def definition(self) -> dict[str, Any]:
        """The description for the model, in the form of the OpenAI API."""
        schema = {key: value for key, value in schema_of_class(self._model).items() if key != "title"}
        description = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
        described = {"description": description} if description else {}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": schema}}

    def call(self, arguments: dict[str, Any]) -> object:
        """Calls the function with a model's arguments; returns an awaitable if it is ``async``.

        Raises:
            ValueError: the arguments do not match the hints.
            Exception: the function raised it.
        """
        checked = self._model.model_validate(arguments)
        return self.function(**{name: getattr(checked, name) for name in type(checked).model_fields})


class FunctionTools:
    """The functions of one conversation.

    Args:
        functions: the functions that the model may call.
        takes_async: whether they may be ``async``; ``aanswer`` awaits them.

    Raises:
        TypeError: one is not a function, is async where that is not allowed, or is refused by ``FunctionTool``.
        ValueError: two functions have the same name, or pydantic is not installed.
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
        """Runs a call and returns the message with its result, or with its error, so that the model can correct it.

        Raises:
            TypeError: the function returned an awaitable.
        """
        try:
            given = self._call(call)
            if not inspect.isawaitable(given):
                return _message(call, given)
        except Exception as error:
            return _failed(call, error)
        if inspect.iscoroutine(given):
            given.close()
        raise TypeError(f"{call.name} returned an awaitable: use arun_tools")

    async def aanswer(self, call: ToolCall) -> dict[str, Any]:
        """``answer`` for functions that may be async."""
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
    """A conversation that continues while the model calls functions.

    Raises:
        TypeError, ValueError: as ``FunctionTools`` and ``Conversation``; ``n`` is not 1.
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
            raise ValueError("n must be 1: functions can follow one conversation only")

    def options(self) -> dict[str, Any]:
        """The options of the next round."""
        options = self._options
        self._options = {**options, "tool_choice": "auto"}
        return options

    def take(self, result: LlmCallResult) -> tuple[ToolCall, ...]:
        """Records an answer; returns its calls, to be run before the next round."""
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
    """The message for a failed call; the log has the traceback."""
    logger.debug("The function %s failed for %s", call.name, call.arguments, exc_info=error)
    return _message(call, f"error: {type(error).__name__}: {error}")


def _message(call: ToolCall, given: object) -> dict[str, Any]:
    content = given if isinstance(given, str) else json.dumps(given, default=str, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content}
