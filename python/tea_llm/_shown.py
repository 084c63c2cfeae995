"""Foreign text, made fit to be shown: it neither steers a terminal nor tells a secret."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["shown", "without_secrets"]

# Control characters, those that turn the direction of text, and halves of surrogate pairs, which cannot be encoded.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LAYOUT = "\n\t"
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]+")


def shown(text: object, *, one_line: bool = False) -> str:
    """Text of a file, a model or a server, for a terminal.

    Args:
        text: any text, or an object with one, such as a path or an exception.
        one_line: also for line ends and tabs, as in a name or a cell of a table.

    Returns:
        the text, in which characters that a terminal acts upon are written as ``\\u001b``. That is JSON's own notation:
        a JSON document stays the same one. Without ``one_line``, carriage returns are left out.

    Example:
        >>> shown("a\\x1b[2Jb")
        'a\\\\u001b[2Jb'
    """

    def escape(match: re.Match[str]) -> str:
        char = match[0]
        if not one_line and char in _LAYOUT:
            return char
        return "" if char == "\r" and not one_line else f"\\u{ord(char):04x}"

    return _UNFIT.sub(escape, str(text))


def without_secrets(text: object) -> str:
    """The text with no user, password, query or fragment in its URLs: tokens stand there.

    Example:
        >>> without_secrets("GET https://me:pw@host:8000/x.gguf?token=abc failed")
        'GET https://host:8000/x.gguf failed'
    """
    return _URL.sub(lambda match: _bare(match[0]), str(text))


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:  # no port, or no address: then nothing behind the scheme is known to be harmless
        return f"{url.partition('://')[0]}://..."
