"""``parsed`` of results, which raises if the answer was cut off before its value was complete."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from tea_llm.errors import AnswerCutError

__all__ = ["CUT_OFF", "Parsed", "takes_parsed"]


@dataclass(frozen=True, slots=True)
class _CutOff:
    """Marks the value of an answer that was cut off before its value was complete."""

    def __repr__(self) -> str:
        return "<cut off>"


CUT_OFF = _CutOff()
"""``response_format`` sets ``parsed`` to it; reading ``parsed`` then raises ``AnswerCutError``."""

_Answer = TypeVar("_Answer")


class Parsed:
    """Gives ``Choice`` and ``LlmCallResult`` a ``parsed`` that raises if the answer was cut off.

    The dataclass field is ``_parsed``, so that results can still be copied, compared, printed and pickled. Type
    checkers see an ordinary field ``parsed``.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        @property
        def parsed(self):
            if isinstance(self._parsed, _CutOff):
                is_limit = self.finish_reason == "length"
                reason = "max_tokens or the context was reached: raise one of them" if is_limit else self.finish_reason
                raise AnswerCutError(
                    f"the answer was cut off before its value was complete ({reason}); it ends with "
                    f"{self.content[-40:]!r}",
                    self.content,
                )
            return self._parsed

    def __repr__(self) -> str:
        values = ", ".join(
            f"{item.name.lstrip('_')}={getattr(self, item.name)!r}"
            for item in fields(self)  # type: ignore[arg-type]  # both classes are dataclasses
        )
        return f"{type(self).__name__}({values})"


def takes_parsed(cls: type[_Answer]) -> type[_Answer]:
    """Makes the constructor, and therefore ``dataclasses.replace``, take ``_parsed`` as ``parsed``."""
    init: Any = cls.__init__

    @wraps(init)
    def __init__(self: object, *args: object, **values: object) -> None:  # noqa: N807
        if "parsed" in values:
            values["_parsed"] = values.pop("parsed")
        init(self, *args, **values)

    signature = inspect.signature(init)
    shown = [parameter.replace(name=name.lstrip("_")) for name, parameter in signature.parameters.items()]
    __init__.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls
