"""Argument checks: every error names the argument, the value given and what is allowed."""

from __future__ import annotations

import math
import os

__all__ = [
    "MAX_CTX",
    "MAX_SEQUENCES",
    "MAX_THREADS",
    "check_flag",
    "check_float",
    "check_int",
    "check_path",
    "check_text",
]

# The engine's limits: ``load`` raises ValueError beyond them, ``settings.llm`` ConfigError.
MAX_CTX = 2**31 - 257
MAX_SEQUENCES = 256
MAX_THREADS = 512


def check_int(name: str, value: object, low: int, high: int) -> int:
    """``value`` as an int between ``low`` and ``high``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__} ({value!r})")
    number = int(value.__index__())
    if not low <= number <= high:
        raise ValueError(f"{name}={number} is out of range: allowed are {low} to {high}")
    return number


def check_float(name: str, value: object, low: float, high: float) -> float:
    """``value`` as a finite float between ``low`` and ``high``."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {type(value).__name__} ({value!r})")
    try:
        number = float(value.__float__())
    except OverflowError:  # of an int
        raise ValueError(f"{name} is out of range: allowed are {low:g} to {high:g}") from None
    if math.isnan(number) or not low <= number <= high:
        raise ValueError(f"{name}={number} is out of range: allowed are {low:g} to {high:g}")
    return number


def check_flag(name: str, value: object) -> bool:
    """``value`` as a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__} ({value!r})")
    return value


def check_text(name: str, value: object) -> str:
    """``value`` as a str that can be encoded."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds a lone surrogate, U+{ord(value[error.start]):04X} at index {error.start}, "
            "which no text can hold"
        ) from None
    return value


def check_path(name: str, value: object) -> str:
    """``value``, a string or a path, as a string."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        hint = "; os.fsdecode() makes a string of bytes" if isinstance(path, bytes) else ""
        raise TypeError(f"{name} must be a string or a pathlib.Path, not {type(path).__name__} ({value!r}){hint}")
    return path
