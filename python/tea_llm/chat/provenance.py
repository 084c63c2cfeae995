"""Strings that record for each character whether the chat template wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from string import Formatter
from typing import SupportsIndex, TypeVar

from markupsafe import Markup

__all__ = ["SafeText", "Text", "concat", "format_text", "runs", "shown_as", "trusted"]

_RUN = re.compile(rb"\x00+|\x01+")
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;"))


_Class = TypeVar("_Class", bound=type)


def shown_as(real: type) -> Callable[[_Class], _Class]:
    """Gives a class the name of the class it replaces, for errors of templates."""

    def rename(cls: _Class) -> _Class:
        cls.__name__, cls.__qualname__, cls.__module__ = real.__name__, real.__qualname__, real.__module__
        return cls

    return rename


@shown_as(str)
class Text(str):
    """A ``str`` that marks each character as trusted (the template wrote it) or untrusted (it came from outside).

    The value behaves as any ``str``; the methods overridden here keep the marks and return the same value as ``str``.
    It fails closed: every other method returns a plain ``str``, and every character of a plain ``str`` is untrusted.
    A chat template runs these methods, so none of them can turn an untrusted character into a trusted one, and all
    names that ``str`` does not have begin with an underscore, which the sandbox hides.

    Args:
        value: the characters.
        mask: one byte per character, 1 trusted, 0 untrusted; None: all untrusted.

    Raises:
        ValueError: the mask and the value differ in length.
    """

    __slots__ = ("_mask",)
    _mask: bytes

    def __new__(cls, value: str = "", mask: bytes | None = None) -> Text:
        self = super().__new__(cls, value)
        self._mask = bytes(len(self)) if mask is None else mask
        if len(self._mask) != len(self):
            raise ValueError(f"the mask has {len(self._mask)} bytes for {len(self)} characters")
        return self

    def __str__(self) -> Text:
        return self

    def __add__(self, other: str) -> Text:
        return concat((self, other)) if type(other) in (str, Text) else NotImplemented  # Markup escapes, see SafeText

    def __radd__(self, other: str) -> Text:
        return concat((other, self)) if type(other) in (str, Text) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> Text:
        return Text(str.__mul__(self, count), self._mask * count)

    __rmul__ = __mul__

    def __mod__(self, args: object) -> str:
        value = str.__mod__(self, args)
        values = args if isinstance(args, tuple) else (args,)
        gaps = self.split("%s")
        if len(gaps) != len(values) + 1:
            return value
        pieces = [piece for gap, arg in zip(gaps, (*values, ""), strict=True) for piece in (gap, str(arg))]
        return _checked(concat(pieces), value)

    def __getitem__(self, key: SupportsIndex | slice) -> Text:
        value = str.__getitem__(self, key)
        mask = self._mask[key]
        return Text(value, mask if isinstance(mask, bytes) else bytes((mask,)))

    def __iter__(self) -> Iterator[Text]:
        return map(self.__getitem__, range(len(self)))

    def join(self, items: Iterable[str], /) -> Text:
        items = list(items)
        return Text(str.join(self, items), self._mask.join(map(_mask_of, items)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Text:
        value = str.replace(self, old, new, count)
        if not old:
            return Text(value)
        return Text(value, _mask_of(new).join(piece._mask for piece in self.split(old, count)))

    def lstrip(self, chars: str | None = None, /) -> Text:
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None, /) -> Text:
        return self[: len(str.rstrip(self, chars))]

    def strip(self, chars: str | None = None, /) -> Text:
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str, /) -> Text:
        return self[len(self) - len(str.removeprefix(self, prefix)) :]

    def removesuffix(self, suffix: str, /) -> Text:
        return self[: len(str.removesuffix(self, suffix))]

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Text]:  # type: ignore[override]
        return self._cut(str.split(self, sep, maxsplit), None if sep is None else len(sep))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Text]:  # type: ignore[override]
        return self._cut(str.rsplit(self, sep, maxsplit), None if sep is None else len(sep))

    def splitlines(self, keepends: bool = False) -> list[Text]:  # type: ignore[override]
        return self._cut(str.splitlines(self, keepends), 0 if keepends else None)

    def partition(self, sep: str, /) -> tuple[Text, Text, Text]:
        before, found, after = self._cut(str.partition(self, sep), 0)
        return before, found, after

    def rpartition(self, sep: str, /) -> tuple[Text, Text, Text]:
        before, found, after = self._cut(str.rpartition(self, sep), 0)
        return before, found, after

    def upper(self) -> Text:
        return self._mapped(str.upper(self))

    def lower(self) -> Text:
        return self._mapped(str.lower(self))

    def _cut(self, pieces: Iterable[str], gap: int | None) -> list[Text]:
        """The pieces with their marks. ``gap``: characters between pieces; None: white space, with none in front."""
        cut = []
        position = 0
        for piece in pieces:
            if gap is None:
                position = str.find(self, piece, position)
            cut.append(self[position : position + len(piece)])
            position += len(piece) + (gap or 0)
        return cut

    def _mapped(self, value: str) -> Text:
        """Keeps the marks if the length is equal: no character is removed, so then each became exactly one."""
        return Text(value, self._mask if len(value) == len(self) else None)


@shown_as(Markup)
class SafeText(Markup):
    """What the filter ``safe`` gives: markupsafe's ``Markup``, which escapes what is added to it, with marks.

    Mistral's templates put control tokens before a ``tojson | safe``. Only adding keeps marks.
    """

    __slots__ = ("_mask",)
    _mask: bytes

    def __new__(cls, value: object = "") -> SafeText:
        self = super().__new__(cls, value)
        mask = _mask_of(value) if isinstance(value, str) else b""
        self._mask = mask if len(mask) == len(self) else bytes(len(self))
        return self

    def __str__(self) -> Text:
        return Text(str.__str__(self), self._mask)

    def __repr__(self) -> str:
        return f"Markup({str.__repr__(self)})"

    def __add__(self, other: object) -> SafeText:
        return SafeText(concat((str(self), _escaped(other)))) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> SafeText:
        return SafeText(concat((_escaped(other), str(self)))) if isinstance(other, str) else NotImplemented


def trusted(value: str) -> Text:
    """``value`` with all characters trusted."""
    return Text(value, b"\x01" * len(value))


def concat(pieces: Iterable[str]) -> Text:
    """The pieces joined, each character with its mark; those of a plain ``str`` are untrusted.

    Raises:
        TypeError: a piece is not a string.
    """
    pieces = list(pieces)
    return Text("".join(pieces), b"".join(map(_mask_of, pieces)))


def format_text(
    text: Text, formatter: Formatter, value: str, args: Sequence[object], kwargs: Mapping[str, object]
) -> str:
    """The result of ``text.format(*args, **kwargs)``, with marks.

    Args:
        text: the format; unless it is all trusted, the result is untrusted.
        formatter: looks up the fields.
        value: the plain result.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call.
    """
    if 0 in text._mask:
        return value
    pieces: list[str] = []
    n_auto = 0
    for literal, field, spec, conversion in formatter.parse(text):
        pieces.append(trusted(literal))
        if field is None:
            continue
        if spec or conversion:
            return value
        if not field:
            field, n_auto = str(n_auto), n_auto + 1
        pieces.append(str(formatter.get_field(field, args, kwargs)[0]))
    return _checked(concat(pieces), value)


def runs(text: str) -> list[tuple[str, bool]]:
    """Splits the text into the longest pieces of one kind, none of them empty.

    Returns:
        ``(piece, is_trusted)`` pairs whose plain ``str`` pieces join to ``text``.

    Example:
        >>> runs(trusted("<|user|>") + "Hi")
        [('<|user|>', True), ('Hi', False)]
    """
    plain = str.__str__(text)
    return [(plain[slice(*run.span())], run[0][0] == 1) for run in _RUN.finditer(_mask_of(text))]


def _mask_of(text: str) -> bytes:
    return text._mask if isinstance(text, (Text, SafeText)) else bytes(len(text))


def _escaped(text: str) -> str:
    """``text`` escaped as by ``Markup``; entities are untrusted."""
    if isinstance(text, Markup):
        return str(text)
    for character, entity in _ENTITIES:
        text = Text(text, _mask_of(text)).replace(character, entity)
    return text


def _checked(text: Text, value: str) -> str:
    """``text`` if it equals the result of Python's own formatting, else that result."""
    return text if text == value else value
