"""What the commands say, and where: results on stdout, everything else on stderr, nothing that steers a terminal.

``print`` is for no other module of the command line; ruff (T20) sees to that.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tea_llm._shown import shown, without_secrets

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["complain", "log_to_stderr", "note", "print_table", "progress_bar", "say", "say_exactly"]


def say(text: object = "") -> None:
    """Prints a line or more for people, or JSON, to stdout at once."""
    print(shown(text), flush=True)


def say_exactly(text: object, *, end: str = "\n") -> None:
    """Prints a value at once: for a program as it is, and on a terminal so that it cannot steer it."""
    print(shown(text) if sys.stdout.isatty() else text, end=end, flush=True)


def print_table(rows: list[tuple[object, ...]]) -> None:
    """Prints rows in columns of even width."""
    cells = [[shown(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def complain(text: object) -> None:
    """Prints to stderr, without secrets. Where nobody can read it, the work is not the worse for it."""
    _to_stderr(shown(without_secrets(text)))


def note(text: object) -> None:
    """Prints a remark to stderr, dim on a terminal that wants colour."""
    remark = f"[{shown(without_secrets(text))}]"
    is_dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    _to_stderr(f"\x1b[2m{remark}\x1b[0m" if is_dim else remark)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A bar on stderr where that is a terminal; it is gone when it is done."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def log_to_stderr() -> logging.Handler:
    """Shows the package's warnings as the command's own; of llama.cpp's lines only errors."""
    handler = _Handler(logging.WARNING)
    handler.setFormatter(logging.Formatter("tea-llm: %(message)s"))
    handler.addFilter(lambda record: record.name != "tea_llm.llama" or record.levelno >= logging.ERROR)
    logging.getLogger("tea_llm").addHandler(handler)
    return handler


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # a full disk, a reader that left: there is no other place to say it
        print(text, file=sys.stderr, flush=True)
