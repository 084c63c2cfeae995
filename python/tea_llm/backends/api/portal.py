"""One event loop in a thread of its own, for the network work of every API backend of the process.

Blocking callers wait for it, and so do the tasks of other loops: connections belong to one loop for as long as they
live, an asyncio request needs no thread, and there is one implementation for both (docs/adr/0006-one-network-loop.md).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from tea_llm.errors import EngineClosedError, GenerationCancelledError

__all__ = ["Future", "Portal"]

_T = TypeVar("_T")
Future = concurrent.futures.Future


class Closable(Protocol):
    """Has connections in the portal's loop."""

    async def close(self) -> None:
        """Drops them."""


class Portal:
    """Runs coroutines for other threads and loops. Thread-safe.

    Attributes:
        open: what is closed when the process ends. Touched in the portal's loop only.
        is_stopped: the process is ending, and nothing is open any more.
    """

    _lock = threading.Lock()
    _current: Portal | None = None

    def __init__(self) -> None:
        self.open: weakref.WeakSet[Closable] = weakref.WeakSet()
        self.is_stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tea-llm-network", daemon=True)
        self._thread.start()

    @classmethod
    def get(cls) -> Portal:
        """The process's portal, started when it is first needed."""
        with cls._lock:
            if cls._current is None:
                cls._current = cls()
                atexit.register(cls._current._stop)
            return cls._current

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Starts ``work``; the future's ``cancel()`` cancels it, from any thread.

        Raises:
            EngineClosedError: the process is ending.
        """
        if self.is_stopped:
            work.close()
            raise EngineClosedError("the process is ending: its network thread has been stopped")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @staticmethod
    def wait(future: Future[_T]) -> _T:
        """The result, for a thread that blocks. Ctrl-C and the like cancel the work.

        Raises:
            GenerationCancelledError: somebody else cancelled it.
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
        """The result, for a task of another loop. Cancelling the task cancels the work.

        Raises:
            GenerationCancelledError: somebody else cancelled it.
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
        """At exit: ends what runs, so that threads that wait for it get out."""
        self.is_stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    @classmethod
    def _forget(cls) -> None:
        """In a forked child, which has no such thread: the next request starts another."""
        cls._lock = threading.Lock()
        if cls._current is not None:
            atexit.unregister(cls._current._stop)
            cls._current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Portal._forget)
