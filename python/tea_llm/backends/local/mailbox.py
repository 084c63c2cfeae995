"""Waits for native requests in an event loop: no thread, one wake-up a step for all requests of a loop."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Sequence

from tea_llm._native import _core

__all__ = ["LoopMailbox"]

_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopMailbox] = weakref.WeakKeyDictionary()


class _Watch:
    """Those who wait for one request. A request knows one tag: they share it."""

    def __init__(self, tag: int) -> None:
        self.tag = tag
        self.waiting: dict[asyncio.Future[None], bool] = {}  # whether they want text


class LoopMailbox:
    """The requests that one event loop waits for. To be used in that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = _core.Mailbox()
        self._tags = itertools.count()
        self._watches: dict[_core.Request, _Watch] = {}
        self._by_tag: dict[int, _Watch] = {}
        loop.add_reader(self._native.fileno(), self._wake)

    @classmethod
    def of_running_loop(cls) -> LoopMailbox:
        """The running loop's mailbox, made when it is first needed."""
        loop = asyncio.get_running_loop()
        if loop not in _of_loop:
            _of_loop[loop] = cls(loop)
        return _of_loop[loop]

    async def wait(self, requests: Sequence[_core.Request], *, wants_text: bool) -> None:
        """Returns when any of them may have ended or, if wanted, have new text. Cancelling this cancels them."""
        future = asyncio.get_running_loop().create_future()
        try:
            for request in requests:
                watch = self._watches.get(request)
                if watch is None:
                    watch = self._watches[request] = _Watch(next(self._tags))
                    self._by_tag[watch.tag] = watch
                watch.waiting[future] = wants_text
                request.notify(self._native, watch.tag, wants_text=any(watch.waiting.values()))
            await future
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        finally:
            for request in requests:
                self._leave(request, future)

    def _leave(self, request: _core.Request, future: asyncio.Future[None]) -> None:
        watch = self._watches.get(request)
        if watch is not None:
            watch.waiting.pop(future, None)
            if not watch.waiting:
                del self._watches[request], self._by_tag[watch.tag]

    def _wake(self) -> None:
        for tag in self._native.take():
            watch = self._by_tag.get(tag)
            for future in watch.waiting if watch is not None else ():
                if not future.done():
                    future.set_result(None)
