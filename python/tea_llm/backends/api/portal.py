"""One event loop in its own thread, which does the network I/O of all API backends in the process.

Blocking callers and tasks of other loops wait for it. So connections stay in one loop, asyncio requests need no thread,
and sync and async calls share one implementation (docs/adr/0006-one-network-loop.md).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from tea_llm.errors import EngineClosedError, GenerationCancelledError

__all__ = ["Future", "Portal"]

logger = logging.getLogger("tea_llm")

_T = TypeVar("_T")
Future = concurrent.futures.Future


class Closable(Protocol):
    """An object with connections in the portal's loop."""

    async def close(self) -> None:
        """Drops the connections."""


class Portal:
    """Runs coroutines for other threads and loops. Thread-safe.

    Attributes:
        open: objects to close at exit. Only used in the portal's loop.
        is_stopped: the process is exiting, and everything is closed.
    """

    _lock = threading.Lock()
    _current: Portal | None = None

    def __init__(self) -> None:
        self.open: weakref.WeakSet[Closable] = weakref.WeakSet()
        self.is_stopped = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_problem)
        self._thread = threading.Thread(target=self._run, name="tea-llm-network", daemon=True)
        self._thread.start()

    @classmethod
    def get(cls) -> Portal:
        """The process's portal, started on first use."""
        with cls._lock:
            if cls._current is None:
                cls._current = cls()
                atexit.register(cls._current._stop)
            return cls._current

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Starts ``work``. The future's ``cancel()`` cancels it and may be called from any thread.

        Raises:
            EngineClosedError: the process is exiting.
        """
        if self.is_stopped:
            work.close()
            raise EngineClosedError("the process is ending: its network thread has been stopped")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @staticmethod
    def wait(future: Future[_T]) -> _T:
        """Blocks until the result is there. Interrupts such as Ctrl-C cancel the work.

        Raises:
            GenerationCancelledError: another thread or task cancelled the work.
        """
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise GenerationCancelledError("the request was cancelled") from None
        except BaseException:
            future.cancel()
            raise

    @staticmethod
    async def join(future: Future[_T]) -> _T:
        """Waits for the result in a task of another loop. Cancelling the task cancels the work.

        Raises:
            GenerationCancelledError: another thread or task cancelled the work.
        """
        mine = asyncio.wrap_future(future)
        try:
            await asyncio.wait({mine})
        except asyncio.CancelledError:
            future.cancel()
            raise
        if mine.cancelled():
            raise GenerationCancelledError("the request was cancelled")
        return mine.result()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in self.open), return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _stop(self) -> None:
        """Cancels all work at exit, so that waiting threads return."""
        self.is_stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    @classmethod
    def _forget(cls) -> None:
        """Forgets the portal in a forked child, which does not have its thread."""
        cls._lock = threading.Lock()
        if cls._current is not None:
            atexit.unregister(cls._current._stop)
            cls._current = None


def _log_problem(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs a problem of the loop. Nobody waits for a cancelled request, so its exception is no problem."""
    if isinstance(context.get("future"), asyncio.Task) and context.get("exception") is not None:
        logger.debug("a cancelled request failed", exc_info=context["exception"])
    else:
        loop.default_exception_handler(context)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Portal._forget)
