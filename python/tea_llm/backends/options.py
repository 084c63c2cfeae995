"""The generation options: one definition for all methods of all backends (docs/adr/0005-options.md)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypedDict, TypeVar

from tea_llm._check import check_flag, check_float, check_int, check_text

__all__ = ["GenerationOptions", "Options", "takes_options"]

_MOST_TOKENS = 2**31 - 1
_Method = TypeVar("_Method", bound=Callable[..., object])


class Options(TypedDict, total=False):
    """The keyword arguments of ``call``, ``chat``, ``stream`` and ``stream_chat``; ``LlmBackend`` explains them."""

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    stop: str | Sequence[str] | None
    ignore_eos: bool
    timeout: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """The same with defaults and normal types: what a backend works with."""

    max_tokens: int | None = 100
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    timeout: float | None = None

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
        return cls(**values)  # type: ignore[arg-type]  # _CHECKS has a check of the right type for each field


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


def _check_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    seconds = check_float("timeout", timeout, 0, 1e9)
    if seconds == 0:
        raise ValueError("timeout=0 is no time at all: give seconds, or None for no limit")
    return seconds


_CHECKS: dict[str, Callable[[object], object]] = {
    "max_tokens": lambda value: None if value is None else check_int("max_tokens", value, 1, _MOST_TOKENS),
    "temperature": lambda value: check_float("temperature", value, 0, 1e6),
    "top_p": lambda value: check_float("top_p", value, 0, 1),
    "top_k": lambda value: check_int("top_k", value, 0, _MOST_TOKENS),
    "min_p": lambda value: check_float("min_p", value, 0, 1),
    "seed": lambda value: None if value is None else check_int("seed", value, 0, 2**64 - 1),
    "stop": _check_stop,
    "ignore_eos": lambda value: check_flag("ignore_eos", value),
    "timeout": _check_timeout,
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
            default=None if field.name == "stop" else field.default,
            annotation=getattr(annotations[field.name], "__forward_arg__", annotations[field.name]),
        )
        for field in fields(GenerationOptions)
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method
