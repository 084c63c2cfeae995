"""Closes engines at exit, while the interpreter still runs."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from typing import TYPE_CHECKING

from tea_llm._native import IS_NATIVE, _core
from tea_llm.errors import EngineClosedError

if TYPE_CHECKING:
    from tea_llm.backends.local.backend import LocalLlmBackend

__all__ = ["open_backends"]

open_backends: weakref.WeakSet[LocalLlmBackend] = weakref.WeakSet()
"""The backends to close at exit."""


def _silence_daemon_threads() -> None:
    """Daemon threads whose requests fail because the program ends print no traceback."""
    show = threading.excepthook

    def hook(args: threading.ExceptHookArgs, /) -> None:
        is_ours = isinstance(args.exc_value, EngineClosedError)
        if not (is_ours and args.thread is not None and args.thread.daemon):
            show(args)

    threading.excepthook = hook


def _close_all_at_exit() -> None:
    """Closes all engines, and waits for threads to return from native code."""
    _silence_daemon_threads()
    for backend in list(open_backends):
        backend.close()
    deadline = time.monotonic() + 2
    while _core.n_without_gil() > 0 and time.monotonic() < deadline:
        time.sleep(0.001)


if IS_NATIVE:
    atexit.register(_close_all_at_exit)
