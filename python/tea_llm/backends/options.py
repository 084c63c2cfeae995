"""The generation options: one definition for all methods of all backends (docs/adr/0005-options.md)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypedDict, TypeVar

from tea_llm._check import check_flag, check_float, check_int, check_text
from tea_llm.chat.response_format import ResponseFormat
from tea_llm.types import LlmCallParams

__all__ = ["GenerationOptions", "Options", "split_params", "takes_options"]

_MOST_TOKENS = 2**31 - 1
_MOST_CHOICES = 128  # as OpenAI's API
_MOST_LOGPROBS = 20  # as OpenAI's API
_Method = TypeVar("_Method", bound=Callable[..., object])


class Options(TypedDict, total=False):
    """The keyword arguments of ``call``, ``chat``, ``stream`` and ``stream_chat``; ``LlmBackend`` explains them."""

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    typical_p: float
    seed: int | None
    stop: str | Sequence[str] | None
    n: int
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    repeat_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    xtc_probability: float
    xtc_threshold: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    logit_bias: Mapping[int, float] | None
    logprobs: bool
    top_logprobs: int | None
    ignore_eos: bool
    tools: Sequence[Mapping[str, Any] | Callable[..., object]] | None
    tool_choice: str | Mapping[str, Any] | None
    response_format: Mapping[str, Any] | type | None
    grammar: str | None
    regex: str | None
    template_kwargs: Mapping[str, object] | None
    now: datetime | None
    reasoning_budget: int | None
    trust_special_tokens: bool
    timeout: float | None
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """The same with defaults and normal types: what a backend works with."""

    max_tokens: int | None = 100
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    typical_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: Mapping[int, float] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    ignore_eos: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = None
    regex: str | None = None
    template_kwargs: Mapping[str, object] | None = None
    now: datetime | None = None
    reasoning_budget: int | None = None
    trust_special_tokens: bool = False
    timeout: float | None = None
    priority: int = 0

    @classmethod
    def checked(cls, given: Mapping[str, object]) -> GenerationOptions:
        """Checks what a caller gave.

        Raises:
            TypeError: an option that does not exist, or of a wrong type.
            ValueError: an option out of range.
        """
        for name in given:
            if name not in _CHECKS:
                near = difflib.get_close_matches(name, _CHECKS, n=1)
                hint = f": did you mean {near[0]!r}?" if near else f": there are {', '.join(_CHECKS)}"
                raise TypeError(f"unknown option {name!r}{hint}")
        values = {name: _CHECKS[name](value) for name, value in given.items()}
        options = cls(**values)  # type: ignore[arg-type]  # _CHECKS has a check of the right type for each field
        if options.tool_choice is not None and not options.tools:
            raise ValueError(f"tool_choice={options.tool_choice!r} needs tools to choose from")
        constraints = [name for name in ("grammar", "regex", "response_format") if getattr(options, name) is not None]
        if len(constraints) > 1:
            raise ValueError(f"{' and '.join(constraints)} exclude each other")
        text = next((name for name in ("grammar", "regex") if getattr(options, name) is not None), None)
        if options.tools and text is not None:
            raise ValueError(f"tools and {text} exclude each other: a call has a form of its own")
        if options.top_logprobs is not None and not options.logprobs:
            raise ValueError(f"top_logprobs={options.top_logprobs} needs logprobs=True")
        return options


def split_params(
    prompt: str | Sequence[int] | LlmCallParams, options: Mapping[str, object]
) -> tuple[str | Sequence[int], Mapping[str, object]]:
    """The prompt, and the options with those of ``LlmCallParams`` in place of the same names.

    Raises:
        TypeError: not a prompt.
    """
    if not isinstance(prompt, LlmCallParams):
        given: object = prompt
        if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
            raise TypeError(f"prompt must be a string, token ids or LlmCallParams, not {type(given).__name__}")
        return prompt, options
    params = {"max_tokens": prompt.max_tokens, "temperature": prompt.temperature, "stop": prompt.stop}
    return prompt.prompt, {**options, **params}


def _check_stop(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, Sequence):
        raise TypeError(f"stop must be a string or a list of strings, not {type(stop).__name__}")
    checked = tuple(check_text(f"stop[{index}]", text) for index, text in enumerate(stop))
    if "" in checked:
        raise ValueError(f"stop[{checked.index('')}] is an empty string")
    return checked


def _check_breakers(breakers: object) -> tuple[str, ...]:
    if isinstance(breakers, str) or not isinstance(breakers, Sequence):
        raise TypeError(f"dry_sequence_breakers must be a list of strings, not {type(breakers).__name__}")
    checked = tuple(check_text(f"dry_sequence_breakers[{index}]", text) for index, text in enumerate(breakers))
    if "" in checked:
        raise ValueError(f"dry_sequence_breakers[{checked.index('')}] is an empty string")
    return checked


def _check_mirostat(version: object) -> int:
    checked = check_int("mirostat", version, 0, 2)
    if checked == 1:
        raise ValueError("mirostat=1 is not there: 2 is what became of it, and 0 is none")
    return checked


def _check_bias(biases: object) -> dict[int, float] | None:
    if biases is None:
        return None
    if not isinstance(biases, Mapping):
        raise TypeError(f"logit_bias must be a dict of token ids and numbers, not {type(biases).__name__}")
    checked = {}
    for key, bias in biases.items():
        token = int(key) if isinstance(key, str) and key.isdecimal() else key  # JSON has no other keys
        name = f"logit_bias[{key!r}]"
        checked[check_int(f"the token id of {name}", token, 0, _MOST_TOKENS)] = check_float(name, bias, -1e6, 1e6)
    return checked


def _check_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    seconds = check_float("timeout", timeout, 0, 1e9)
    if seconds == 0:
        raise ValueError("timeout=0 is no time at all: give seconds, or None for no limit")
    return seconds


def _check_template_kwargs(variables: object) -> Mapping[str, object] | None:
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"template_kwargs must be a dict, not {type(variables).__name__}")
    return variables


def _check_now(time: object) -> datetime | None:
    if time is not None and not isinstance(time, datetime):
        raise TypeError(f"now must be a datetime, not {type(time).__name__}")
    return time


def _check_tools(tools: object) -> tuple[Mapping[str, Any], ...]:
    if tools is None:
        return ()
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise TypeError(f"tools must be a list of function descriptions, not {type(tools).__name__}")
    return tuple(_check_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools))


def _check_tool(where: str, tool: object) -> Mapping[str, Any]:
    if callable(tool):
        from tea_llm.chat.functions import FunctionTool

        return FunctionTool(tool).definition
    if not isinstance(tool, Mapping):
        raise TypeError(f"{where} must be a function or a dict, not {type(tool).__name__}")
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        raise ValueError(f"{where} must be like {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError(f"{where}: the function has no 'name'")
    return tool


def _check_tool_choice(choice: object) -> str | Mapping[str, Any] | None:
    if choice is None or isinstance(choice, Mapping) or choice in ("auto", "none", "required"):
        return choice
    if not isinstance(choice, str):
        raise TypeError(f"tool_choice must be a string or a dict, not {type(choice).__name__}")
    raise ValueError(
        f"tool_choice={choice!r} is not one of 'auto', 'none', 'required'; a certain function is "
        f"{{'type': 'function', 'function': {{'name': {choice!r}}}}}"
    )


_CHECKS: dict[str, Callable[[object], object]] = {
    "max_tokens": lambda value: None if value is None else check_int("max_tokens", value, 1, _MOST_TOKENS),
    "temperature": lambda value: check_float("temperature", value, 0, 1e6),
    "top_p": lambda value: check_float("top_p", value, 0, 1),
    "top_k": lambda value: check_int("top_k", value, 0, _MOST_TOKENS),
    "min_p": lambda value: check_float("min_p", value, 0, 1),
    "typical_p": lambda value: check_float("typical_p", value, 0, 1),
    "seed": lambda value: None if value is None else check_int("seed", value, 0, 2**64 - 1),
    "stop": _check_stop,
    "n": lambda value: check_int("n", value, 1, _MOST_CHOICES),
    "repeat_penalty": lambda value: check_float("repeat_penalty", value, 0.01, 100),
    "presence_penalty": lambda value: check_float("presence_penalty", value, -2, 2),
    "frequency_penalty": lambda value: check_float("frequency_penalty", value, -2, 2),
    "repeat_last_n": lambda value: check_int("repeat_last_n", value, -1, _MOST_TOKENS),
    "dry_multiplier": lambda value: check_float("dry_multiplier", value, 0, 1e6),
    "dry_base": lambda value: check_float("dry_base", value, 1, 1e6),
    "dry_allowed_length": lambda value: check_int("dry_allowed_length", value, 1, _MOST_TOKENS),
    "dry_penalty_last_n": lambda value: check_int("dry_penalty_last_n", value, -1, _MOST_TOKENS),
    "dry_sequence_breakers": _check_breakers,
    "xtc_probability": lambda value: check_float("xtc_probability", value, 0, 1),
    "xtc_threshold": lambda value: check_float("xtc_threshold", value, 0, 1),
    "mirostat": _check_mirostat,
    "mirostat_tau": lambda value: check_float("mirostat_tau", value, 0, 1000),
    "mirostat_eta": lambda value: check_float("mirostat_eta", value, 0, 1000),
    "logit_bias": _check_bias,
    "logprobs": lambda value: check_flag("logprobs", value),
    "top_logprobs": lambda value: None if value is None else check_int("top_logprobs", value, 0, _MOST_LOGPROBS),
    "ignore_eos": lambda value: check_flag("ignore_eos", value),
    "tools": _check_tools,
    "tool_choice": _check_tool_choice,
    "response_format": ResponseFormat.checked,
    "grammar": lambda value: None if value is None else check_text("grammar", value),
    "regex": lambda value: None if value is None else check_text("regex", value),
    "template_kwargs": _check_template_kwargs,
    "now": _check_now,
    "reasoning_budget": lambda value: None if value is None else check_int("reasoning_budget", value, 0, _MOST_TOKENS),
    "trust_special_tokens": lambda value: check_flag("trust_special_tokens", value),
    "timeout": _check_timeout,
    "priority": lambda value: check_int("priority", value, -1000, 1000),
}


def takes_options(method: _Method) -> _Method:
    """Shows a method's ``**options`` as the keyword arguments that they are, in ``help()`` and completion."""
    signature = inspect.signature(method)
    annotations = Options.__annotations__
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if field.default == () else field.default,
            annotation=getattr(annotations[field.name], "__forward_arg__", annotations[field.name]),
        )
        for field in fields(GenerationOptions)
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method
