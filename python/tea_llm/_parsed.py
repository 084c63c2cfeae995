"""``parsed`` of results: a field that raises where the answer was cut off before it had a value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from tea_llm.errors import AnswerCutError

__all__ = ["CUT_OFF", "Parsed", "takes_parsed"]


@dataclass(frozen=True, slots=True)
class _CutOff:
    """Stands for the value of an answer that was cut off before it had one."""

    def __repr__(self) -> str:
        return "<cut off>"


CUT_OFF = _CutOff()
"""What ``response_format`` puts into ``parsed`` then; reading it raises ``AnswerCutError``."""

_Answer = TypeVar("_Answer")


class Parsed:
    """``parsed`` of ``Choice`` and ``LlmCallResult``, which raises where the answer was cut off.

    The field behind it is ``_parsed``, so that an answer can be copied, compared, shown and pickled all the same. Type
    checkers see an ordinary field.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        @property
        def parsed(self):
            if isinstance(self._parsed, _CutOff):
                is_limit = self.finish_reason == "length"
                reason = "max_tokens or the context is used up, raise one of them" if is_limit else self.finish_reason
                raise AnswerCutError(
                    f"the answer was cut off before it was a whole value ({reason}): it ends with "
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
    """Lets the constructor, and so ``dataclasses.replace``, call ``_parsed`` by its public name."""
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
