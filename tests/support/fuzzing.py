"""Property tests that go on trying new inputs until their share of the time is used up."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

Test = TypeVar("Test", bound=Callable[..., None])

seconds_per_test = 10.0  # tests/fuzz/conftest.py divides the session's time among its tests


def fuzz(test: Test) -> Test:
    """Repeats a hypothesis test, with new examples each time. Goes above ``@given``."""

    @functools.wraps(test)
    def repeated(*args: Any, **kwargs: Any) -> None:
        end = time.monotonic() + seconds_per_test
        while True:
            test(*args, **kwargs)
            if time.monotonic() >= end:
                return

    return cast(Test, repeated)
