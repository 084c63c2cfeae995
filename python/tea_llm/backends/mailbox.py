"""Waits for native requests in an event loop: no thread, one wake-up a step for all requests of a loop."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Sequence

from tea_llm._native import _core

__all__ = ["LoopMailbox"]

_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopMailbox] = weakref.WeakKeyDictionary()


class LoopMailbox:
    """The requests that one event loop waits for. To be used in that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = _core.Mailbox()
        self._tags = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._native.fileno(), self._wake)

    @classmethod
    def of_running_loop(cls) -> LoopMailbox:
        """The running loop's mailbox, made when it is first needed."""
        loop = asyncio.get_running_loop()
        if loop not in _of_loop:
            _of_loop[loop] = cls(loop)
        return _of_loop[loop]

    async def wait(self, requests: Sequence[_core.Request], *, wants_text: bool) -> None:
        """Returns when any of them has ended or, if wanted, has new text. Cancelling this cancels them."""
        tag = next(self._tags)
        future = asyncio.get_running_loop().create_future()
        self._waiting[tag] = future
        try:
            for request in requests:
                request.notify(self._native, tag, wants_text=wants_text)
            await future
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        finally:
            del self._waiting[tag]

    def _wake(self) -> None:
        for tag in self._native.take():
            future = self._waiting.get(tag)
            if future is not None and not future.done():
                future.set_result(None)
