"""The native extension; where an installation has none, an object that says so when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NoReturn

from tea_llm.errors import LocalBackendUnavailableError

__all__ = ["IS_NATIVE", "_core"]

IS_NATIVE = True
"""Whether this installation can run models itself."""


class _Missing:
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise LocalBackendUnavailableError(
            f"this installation of tea-llm runs no models itself: {self._reason}\n"
            "It uses APIs only (TEA_LLM_LOCAL=0). To get the native engine, with a C++ compiler at hand: "
            "env -u TEA_LLM_LOCAL pip install --force-reinstall --no-cache-dir tea-llm"
        )


if TYPE_CHECKING:
    from tea_llm import _core
else:
    try:
        _core = importlib.import_module("tea_llm._core")
    except ImportError as error:  # not built, or a library of the system is missing: the message says which
        IS_NATIVE = False
        _core = _Missing(str(error))
