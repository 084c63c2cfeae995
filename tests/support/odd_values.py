"""Values in places where nobody expects them, as files and answers from elsewhere may have them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

__all__ = ["ODD_VALUES", "in_each_place"]

ODD_VALUES: tuple[object, ...] = (
    *(None, True, -1, 1.5, float("nan"), 10**400),
    *("x", [], [5], [None], [[]], {}, {"a": 1}, [{}]),
)


def in_each_place(value: Any, odd: object) -> Iterator[Any]:
    """Copies of a JSON value, each with ``odd`` in another place."""
    yield odd
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in places:
        for other in in_each_place(part, odd):
            changed = copy.copy(value)
            changed[place] = other
            yield changed
