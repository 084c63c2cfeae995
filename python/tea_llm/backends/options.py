"""The generation options: one definition for all methods of all backends (docs/adr/0005-options.md)."""

# ruff: noqa: RUF009 - _option() makes dataclass fields

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, TypedDict, TypeVar

from tea_llm._check import check_flag, check_float, check_int, check_text
from tea_llm.answers.response_format import ResponseFormat
from tea_llm.types import LlmCallParams

__all__ = [
    "CHAT_ONLY",
    "LOCAL_ONLY",
    "NOT_OPENAI",
    "OPTIONS",
    "SAMPLING",
    "GenerationOptions",
    "Option",
    "Options",
    "split_params",
    "takes_options",
]

_MAX = 2**31 - 1
_MAX_CHOICES = 128  # as OpenAI's API
_MAX_LOGPROBS = 20  # as OpenAI's API
_Check = Callable[[str, object], Any]
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
    continue_final_message: bool
    timeout: float | None
    priority: int


def _integer(low: int, high: int) -> _Check:
    return lambda name, value: check_int(name, value, low, high)


def _number(low: float, high: float) -> _Check:
    return lambda name, value: check_float(name, value, low, high)


def _or_none(check: _Check) -> _Check:
    return lambda name, value: None if value is None else check(name, value)


def _check_filled(name: str, text: object) -> str:
    checked = check_text(name, text)
    if not checked:
        raise ValueError(f"{name} is an empty string")
    return checked


def _check_stop(name: str, stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, Sequence):
        raise TypeError(f"{name} must be a string or a list of strings, not {type(stop).__name__}")
    return tuple(_check_filled(f"{name}[{index}]", text) for index, text in enumerate(stop))


def _check_breakers(name: str, breakers: object) -> tuple[str, ...]:
    if isinstance(breakers, str) or not isinstance(breakers, Sequence):
        raise TypeError(f"{name} must be a list of strings, not {type(breakers).__name__}")
    return tuple(_check_filled(f"{name}[{index}]", text) for index, text in enumerate(breakers))


def _check_mirostat(name: str, version: object) -> int:
    checked = check_int(name, version, 0, 2)
    if checked == 1:
        raise ValueError(f"{name}=1 is not supported: use 2 (Mirostat 2.0) or 0 (off)")
    return checked


def _check_bias(name: str, biases: object) -> dict[int, float] | None:
    if biases is None:
        return None
    if not isinstance(biases, Mapping):
        raise TypeError(f"{name} must be a dict of token ids and numbers, not {type(biases).__name__}")
    checked = {}
    for key, bias in biases.items():
        token = int(key) if isinstance(key, str) and key.isdecimal() else key  # JSON has no other keys
        place = f"{name}[{key!r}]"
        checked[check_int(f"the token id of {place}", token, 0, _MAX)] = check_float(place, bias, -1e6, 1e6)
    return checked


def _check_timeout(name: str, timeout: object) -> float | None:
    if timeout is None:
        return None
    seconds = check_float(name, timeout, 0, 1e9)
    if seconds == 0:
        raise ValueError(f"{name}=0 leaves no time: give seconds, or None for no limit")
    return seconds


def _check_template_kwargs(name: str, variables: object) -> Mapping[str, object] | None:
    if variables is not None and not isinstance(variables, Mapping):
        raise TypeError(f"{name} must be a dict, not {type(variables).__name__}")
    for key in variables or ():
        check_text(f"the name {key!r} in {name}", key)
    return variables


def _check_now(name: str, time: object) -> datetime | None:
    if time is not None and not isinstance(time, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(time).__name__}")
    return time


_FUNCTION_NAME = re.compile(r"[\w.:/-]+")


def _check_tools(name: str, tools: object) -> tuple[Mapping[str, Any], ...]:
    if tools is None:
        return ()
    if not isinstance(tools, Sequence) or isinstance(tools, (str, bytes)):
        raise TypeError(f"{name} must be a list of function descriptions, not {type(tools).__name__}")
    checked = tuple(_check_tool(f"{name}[{index}]", tool) for index, tool in enumerate(tools))
    names = [tool["function"]["name"] for tool in checked]
    for index, one in enumerate(names):
        if one in names[:index]:
            raise ValueError(f"{name}[{index}]: there is another function named {one!r}")
    return checked


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
    check_text(f"{where}: 'name'", function["name"])
    if not _FUNCTION_NAME.fullmatch(function["name"]):
        raise ValueError(
            f"{where}: the name {function['name']!r} may have letters, digits and '_-.:/' only: models write it within "
            "their own marks"
        )
    if function.get("description") is not None:
        check_text(f"{where}: 'description'", function["description"])
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"{where}: 'parameters' must be a dict, not {type(parameters).__name__}")
    return tool


def _check_tool_choice(name: str, choice: object) -> str | Mapping[str, Any] | None:
    if choice is None or isinstance(choice, Mapping) or choice in ("auto", "none", "required"):
        return choice
    if not isinstance(choice, str):
        raise TypeError(f"{name} must be a string or a dict, not {type(choice).__name__}")
    raise ValueError(
        f"{name}={choice!r} is not one of 'auto', 'none', 'required'; to choose a function, give "
        f"{{'type': 'function', 'function': {{'name': {choice!r}}}}}"
    )


def _check_response_format(name: str, given: object) -> ResponseFormat | None:  # noqa: ARG001 - it names itself
    return ResponseFormat.checked(given)


@dataclass(frozen=True, slots=True)
class Option:
    """The properties of an option.

    Attributes:
        check: takes the option's name and the given value; returns the value that backends use.
        default: the value that backends use if none is given.
        is_sampling: whether it is a field of the engine's `SamplingOptions`, by the same name.
        is_for_chats: whether it applies to messages only, and not to raw prompts.
        apis: the APIs that support it. ``"compatible"``: servers that extend OpenAI's protocol, such as llama.cpp's;
            OpenAI, Azure and Ollama reject or ignore it. ``"none"``: only local models support it.
    """

    check: _Check
    default: Any
    is_sampling: bool = False
    is_for_chats: bool = False
    apis: Literal["all", "compatible", "none"] = "all"


def _option(default: Any, check: _Check, **where: Any) -> Any:
    """A field of ``GenerationOptions``, which becomes a row of ``OPTIONS``."""
    return field(default=default, metadata={"option": Option(check, default, **where)})


_SAMPLING_OF_ALL: dict[str, Any] = {"is_sampling": True}
_SAMPLING_BUT_OPENAI: dict[str, Any] = {"is_sampling": True, "apis": "compatible"}
_LOCAL: dict[str, Any] = {"apis": "none"}
_LOCAL_CHAT: dict[str, Any] = {"apis": "none", "is_for_chats": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """The options as backends use them: complete, checked, and of one type each. ``OPTIONS`` is derived from it."""

    max_tokens: int | None = _option(100, _or_none(_integer(1, _MAX)))
    temperature: float = _option(0.7, _number(0, 1e6), **_SAMPLING_OF_ALL)
    top_p: float = _option(0.95, _number(0, 1), **_SAMPLING_OF_ALL)
    top_k: int = _option(40, _integer(0, _MAX), **_SAMPLING_BUT_OPENAI)
    min_p: float = _option(0.05, _number(0, 1), **_SAMPLING_BUT_OPENAI)
    typical_p: float = _option(1.0, _number(0, 1), **_SAMPLING_BUT_OPENAI)
    seed: int | None = _option(None, _or_none(_integer(0, 2**64 - 1)))
    stop: tuple[str, ...] = _option((), _check_stop)
    n: int = _option(1, _integer(1, _MAX_CHOICES))
    repeat_penalty: float = _option(1.0, _number(0.01, 100), **_SAMPLING_BUT_OPENAI)
    presence_penalty: float = _option(0.0, _number(-2, 2), **_SAMPLING_OF_ALL)
    frequency_penalty: float = _option(0.0, _number(-2, 2), **_SAMPLING_OF_ALL)
    repeat_last_n: int = _option(64, _integer(-1, _MAX), **_SAMPLING_BUT_OPENAI)
    dry_multiplier: float = _option(0.0, _number(0, 1e6), **_SAMPLING_BUT_OPENAI)
    dry_base: float = _option(1.75, _number(1, 1e6), **_SAMPLING_BUT_OPENAI)
    dry_allowed_length: int = _option(2, _integer(1, _MAX), **_SAMPLING_BUT_OPENAI)
    dry_penalty_last_n: int = _option(-1, _integer(-1, _MAX), **_SAMPLING_BUT_OPENAI)
    dry_sequence_breakers: tuple[str, ...] = _option(("\n", ":", '"', "*"), _check_breakers, **_SAMPLING_BUT_OPENAI)
    xtc_probability: float = _option(0.0, _number(0, 1), **_SAMPLING_BUT_OPENAI)
    xtc_threshold: float = _option(0.1, _number(0, 1), **_SAMPLING_BUT_OPENAI)
    mirostat: int = _option(0, _check_mirostat, **_SAMPLING_BUT_OPENAI)
    mirostat_tau: float = _option(5.0, _number(0, 1000), **_SAMPLING_BUT_OPENAI)
    mirostat_eta: float = _option(0.1, _number(0, 1000), **_SAMPLING_BUT_OPENAI)
    logit_bias: Mapping[int, float] | None = _option(None, _check_bias)
    logprobs: bool = _option(False, check_flag)
    top_logprobs: int | None = _option(None, _or_none(_integer(0, _MAX_LOGPROBS)))
    ignore_eos: bool = _option(False, check_flag, apis="compatible")
    tools: tuple[Mapping[str, Any], ...] = _option((), _check_tools, is_for_chats=True)
    tool_choice: str | Mapping[str, Any] | None = _option(None, _check_tool_choice, is_for_chats=True)
    response_format: ResponseFormat | None = _option(None, _check_response_format)
    grammar: str | None = _option(None, _or_none(_check_filled), **_LOCAL)
    regex: str | None = _option(None, _or_none(check_text), **_LOCAL)
    template_kwargs: Mapping[str, object] | None = _option(None, _check_template_kwargs, **_LOCAL_CHAT)
    now: datetime | None = _option(None, _check_now, **_LOCAL_CHAT)
    reasoning_budget: int | None = _option(None, _or_none(_integer(0, _MAX)), **_LOCAL_CHAT)
    trust_special_tokens: bool = _option(False, check_flag, **_LOCAL_CHAT)
    continue_final_message: bool = _option(False, check_flag, **_LOCAL_CHAT)
    timeout: float | None = _option(None, _check_timeout)
    priority: int = _option(0, _integer(-1000, 1000), **_LOCAL)

    @classmethod
    def checked(cls, given: Mapping[str, object]) -> GenerationOptions:
        """Checks options.

        Raises:
            TypeError: an option is unknown, or has a wrong type.
            ValueError: an option is out of range, or two options exclude each other.
        """
        for name in given:
            if name not in OPTIONS:
                near = difflib.get_close_matches(name, OPTIONS, n=1)
                hint = f": did you mean {near[0]!r}?" if near else f": there are {', '.join(OPTIONS)}"
                raise TypeError(f"unknown option {name!r}{hint}")
        options = cls(**{name: OPTIONS[name].check(name, value) for name, value in given.items()})
        if options.response_format is not None and "max_tokens" not in given:
            options = replace(options, max_tokens=None)  # half a JSON document is useless
        if options.tool_choice is not None and not options.tools:
            raise ValueError(f"tool_choice={options.tool_choice!r} needs tools to choose from")
        constraints = [name for name in ("grammar", "regex", "response_format") if getattr(options, name) is not None]
        if len(constraints) > 1:
            raise ValueError(f"{' and '.join(constraints)} exclude each other")
        text = next((name for name in ("grammar", "regex") if getattr(options, name) is not None), None)
        if options.tools and text is not None:
            raise ValueError(f"tools and {text} exclude each other: a call has a form of its own")
        if options.continue_final_message and (options.tools or options.response_format is not None):
            other = "tools" if options.tools else "response_format"
            raise ValueError(
                f"continue_final_message and {other} exclude each other: the answer is a text that has begun"
            )
        if options.top_logprobs is not None and not options.logprobs:
            raise ValueError(f"top_logprobs={options.top_logprobs} needs logprobs=True")
        return options

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Raises ValueError if one of the options has another value than its default."""
        for name in names:
            if getattr(self, name) != OPTIONS[name].default:
                raise ValueError(f"{name} {why}")

    def refuse_for_raw_prompt(self) -> None:
        """Raises ValueError if an option for chats is set."""
        self.refuse(CHAT_ONLY, "is for chats: a raw prompt has no messages and no template")


OPTIONS: Mapping[str, Option] = {item.name: item.metadata["option"] for item in fields(GenerationOptions)}
"""All options. Everything that depends on the kind of an option is derived from this table."""

SAMPLING = tuple(name for name, option in OPTIONS.items() if option.is_sampling)
CHAT_ONLY = tuple(name for name, option in OPTIONS.items() if option.is_for_chats)
LOCAL_ONLY = tuple(name for name, option in OPTIONS.items() if option.apis == "none")
NOT_OPENAI = tuple(name for name, option in OPTIONS.items() if option.apis == "compatible")
"""Options that are not part of OpenAI's protocol, but that other servers may support."""


def split_params(
    prompt: str | Sequence[int] | LlmCallParams, options: Mapping[str, object]
) -> tuple[str | Sequence[int], Mapping[str, object]]:
    """Splits ``LlmCallParams`` into prompt and options; keyword options override its values.

    Raises:
        TypeError: the prompt has a wrong type.
    """
    if not isinstance(prompt, LlmCallParams):
        given: object = prompt
        if isinstance(given, (bytes, bytearray)) or not isinstance(given, Iterable):
            raise TypeError(f"prompt must be a string, token ids or LlmCallParams, not {type(given).__name__}")
        return prompt, options
    params = {"max_tokens": prompt.max_tokens, "temperature": prompt.temperature, "stop": prompt.stop}
    return prompt.prompt, {**params, **options}


def takes_options(method: _Method) -> _Method:
    """Makes ``help()`` and completion show a method's ``**options`` as keyword arguments."""
    signature = inspect.signature(method)
    annotations = Options.__annotations__
    parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if option.default == () else option.default,
            annotation=getattr(annotations[name], "__forward_arg__", annotations[name]),
        )
        for name, option in OPTIONS.items()
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method
