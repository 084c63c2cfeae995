"""Waits for native requests in an event loop: without threads, and with one wake-up per step for all requests."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Sequence

from tea_llm._native import _core

__all__ = ["LoopMailbox"]

_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopMailbox] = weakref.WeakKeyDictionary()


class _Watch:
    """The futures that wait for one request. They share its tag."""

    def __init__(self, tag: int) -> None:
        self.tag = tag
        self.waiting: dict[asyncio.Future[None], bool] = {}  # value: whether it waits for text


class LoopMailbox:
    """The requests that one event loop waits for. Use it in that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native = _core.Mailbox()
        self._tags = itertools.count()
        self._watches: dict[_core.Request, _Watch] = {}
        self._by_tag: dict[int, _Watch] = {}
        loop.add_reader(self._native.fileno(), self._wake)

    @classmethod
    def of_running_loop(cls) -> LoopMailbox:
        """The running loop's mailbox, created on first use."""
        loop = asyncio.get_running_loop()
        if loop not in _of_loop:
            _of_loop[loop] = cls(loop)
        return _of_loop[loop]

    async def wait(self, requests: Sequence[_core.Request], *, wants_text: bool) -> None:
        """Waits until a request may have ended or, with ``wants_text``, may have new text. Cancelling cancels them."""
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
