"""Input and output of the commands: results on stdout, the rest on stderr, with control characters escaped.

No other module of the command line calls ``print``; ruff (T20) checks that.
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
    """Replaces stdin, stdout and stderr by the null device where they are closed, as after ``2>&-``.

    Otherwise the next file opened would become descriptor 1 or 2 and receive the output, and Python's ``print`` would
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
    """Prints text for people, or JSON, to stdout and flushes it; ``one_line``: line ends in it are escaped."""
    _to_stdout(shown(text, one_line=one_line), "\n")


def say_exactly(text: object, *, end: str = "\n") -> None:
    """Prints a value and flushes it: unchanged to a program, with control characters escaped to a terminal."""
    _to_stdout(shown(text) if sys.stdout.isatty() else str(text), end)


def print_table(rows: list[tuple[object, ...]]) -> None:
    """Prints rows in aligned columns."""
    cells = [[shown(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def complain(text: object) -> None:
    """Prints to stderr, without secrets."""
    _to_stderr(shown(without_secrets(text)))


def note(text: object) -> None:
    """Prints a remark to stderr, dim on a terminal unless ``NO_COLOR`` is set."""
    remark = f"[{shown(without_secrets(text))}]"
    is_dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    _to_stderr(f"\x1b[2m{remark}\x1b[0m" if is_dim else remark)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on stderr if that is a terminal; it disappears when it is done."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def log_to_stderr() -> logging.Handler:
    """Prints the package's warnings to stderr, each once; of llama.cpp's messages, only errors."""
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
    """Decodes text from a file or a pipe: UTF-8, with or without a byte order mark, or the encoding of stdin.

    Args:
        data: the encoded text.
        where: its origin, for the error.

    Raises:
        ValueError: the text is in neither encoding.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        declared = (getattr(sys.stdin, "encoding", None) or "utf-8").lower().replace("_", "-")
        if declared not in ("utf-8", "utf8", "ascii", "us-ascii"):
            return data.decode(declared)
        raise ValueError(
            f"{where} is not UTF-8: invalid byte 0x{data[error.start]:02x} at offset {error.start}. Convert it first, "
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
    with suppress(OSError):  # a full disk or a closed pipe: there is no other place to report it
        print(text, file=sys.stderr, flush=True)
