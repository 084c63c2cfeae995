"""The network thread of API backends."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest

from tea_llm import EngineClosedError
from tea_llm.backends.api.portal import Portal


@pytest.mark.parametrize("is_task", [True, False])
def test_only_what_nobody_waits_for_is_no_error_in_the_log(is_task: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A dropped stream fails while it is cancelled: that is no error. One in a callback of the loop is."""
    portal = Portal.get()
    has_begun = threading.Event()

    async def fails_when_cancelled() -> None:
        has_begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise EngineClosedError("the backend was closed") from None

    async def fails_in_a_callback() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)

    with caplog.at_level(logging.DEBUG, logger="tea_llm"):
        if is_task:
            future = portal.start(fails_when_cancelled())
            assert has_begun.wait(10)
            future.cancel()
            del future  # holds the task
        else:
            portal.wait(portal.start(fails_in_a_callback()))
        portal.wait(portal.start(asyncio.sleep(0.05)))
        gc.collect()
    levels = [record.levelno for record in caplog.records if record.exc_info]
    assert levels == [logging.DEBUG if is_task else logging.ERROR]
