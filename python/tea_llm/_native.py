"""The native extension; where an installation has none, an object that says so when it is used."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tea_llm.errors import LocalBackendUnavailableError

__all__ = ["COMPANIONS", "IS_NATIVE", "_core", "backend_directories"]

IS_NATIVE = True
"""Whether this installation can run models itself."""

COMPANIONS = ("tea_llm_cuda", "tea_llm_vulkan", "tea_llm_hip")
"""Packages that bring a GPU backend, as a module in their ``lib``, without replacing this one."""


def backend_directories() -> list[str]:
    """Directories with modules of kernels: this package's own, and those of the companions that are installed."""
    specs = [importlib.util.find_spec(name) for name in COMPANIONS]
    packages = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return [str(package.parent / "lib") for package in (Path(__file__), *packages)]


_REMEDY = (
    "It uses APIs only (TEA_LLM_LOCAL=0). To get the native engine, with a C++ compiler at hand: "
    "env -u TEA_LLM_LOCAL pip install --force-reinstall --no-cache-dir tea-llm"
)
_REMEDY_OF_ARCHIVE = "No system loads native code from an archive: unpack it, or install tea-llm with pip beside it"


class _Missing:
    def __init__(self, reason: str) -> None:
        package = Path(__file__).parent
        is_archive = not package.is_dir()  # a zipapp
        self._reason = f"it lies in an archive, {package}" if is_archive else reason
        self._remedy = _REMEDY_OF_ARCHIVE if is_archive else _REMEDY

    def __getattr__(self, name: str) -> NoReturn:
        raise LocalBackendUnavailableError(
            f"this installation of tea-llm runs no models itself: {self._reason}\n{self._remedy}"
        )


if TYPE_CHECKING:
    from tea_llm import _core
else:
    try:
        if sys.platform == "win32":  # where a library's own directory says nothing about its dependencies
            os.add_dll_directory(str(Path(__file__).parent / "lib"))
        _core = importlib.import_module("tea_llm._core")
        _core.set_backend_directories(backend_directories())
    except ImportError as error:  # not built, or a library of the system is missing: the message says which
        if error.name == "tea_llm":  # a sub-interpreter: nothing that needs numpy would work, either
            raise
        IS_NATIVE = False
        _core = _Missing(str(error))
