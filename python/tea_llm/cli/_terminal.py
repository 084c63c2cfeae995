"""What the commands read and say: results on stdout, the rest on stderr, and nothing that steers a terminal.

``print`` is for no other module of the command line: ruff (T20) sees to that.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING

from tea_llm._files import naming
from tea_llm._shown import shown, without_secrets

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = [
    "complain",
    "decoded",
    "log_to_stderr",
    "note",
    "print_table",
    "progress_bar",
    "read_stdin",
    "say",
    "say_exactly",
    "usable_streams",
]


@contextmanager
def usable_streams() -> Iterator[None]:
    """Puts the null device where stdin, stdout or stderr is closed, as after ``2>&-``.

    Without that, the next file that is opened would become file 1 or 2 and be written to, and Python's ``print`` would
    send errors to stdout.
    """
    for number in filterfalse(_is_open, range(3)):
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    with Path(os.devnull).open(encoding="utf-8") as source, Path(os.devnull).open("w", encoding="utf-8") as sink:
        for name in closed:
            setattr(sys, name, source if name == "stdin" else sink)
        try:
            yield
        finally:
            for name in closed:
                setattr(sys, name, None)


def say(text: object = "", *, one_line: bool = False) -> None:
    """Prints text for people, or JSON, to stdout at once; ``one_line``: with no line ends but its own."""
    _to_stdout(shown(text, one_line=one_line), "\n")


def say_exactly(text: object, *, end: str = "\n") -> None:
    """Prints a value at once: for a program as it is, and on a terminal so that it cannot steer it."""
    _to_stdout(shown(text) if sys.stdout.isatty() else str(text), end)


def print_table(rows: list[tuple[object, ...]]) -> None:
    """Prints rows in columns of even width."""
    cells = [[shown(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def complain(text: object) -> None:
    """Prints to stderr, without secrets."""
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
    """Shows the package's warnings as the command's own, each once; of llama.cpp's lines only errors."""
    handler = _Handler(logging.WARNING)
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        is_known = text in said
        said.add(text)
        return not is_known

    handler.setFormatter(logging.Formatter("tea-llm: %(message)s"))
    handler.addFilter(lambda record: record.name != "tea_llm.llama" or record.levelno >= logging.ERROR)
    handler.addFilter(is_new)
    logging.getLogger("tea_llm").addHandler(handler)
    return handler


def read_stdin() -> str:
    """All of stdin, as text."""
    buffer = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if buffer is None else decoded(buffer.read(), "stdin").replace("\r\n", "\n")


def decoded(data: bytes, where: str) -> str:
    """Text from a file or a pipe: UTF-8, with or without a byte order mark, or what stdin is declared to be.

    Args:
        data: the text's bytes.
        where: they come from, for the error.

    Raises:
        ValueError: it is neither.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        declared = (getattr(sys.stdin, "encoding", None) or "utf-8").lower().replace("_", "-")
        if declared not in ("utf-8", "utf8", "ascii", "us-ascii"):
            return data.decode(declared)
        raise ValueError(
            f"{where} is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}. Convert it first, "
            "for example with 'iconv -f latin1 -t utf-8'"
        ) from None


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


def _to_stdout(text: str, end: str) -> None:
    with naming("stdout"):
        print(text, end=end, flush=True)


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # a full disk, a reader that left: there is no other place to say it
        print(text, file=sys.stderr, flush=True)
