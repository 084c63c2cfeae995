"""``tea-llm embed``: vectors of the lines of a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO, cast

import typer

__all__ = ["embed"]


def embed(
    file: str = typer.Argument(help="One text a line, or JSON Lines (*.jsonl); - is stdin."),
    gguf: str | None = typer.Option(None, metavar="PATH", help="Model file.", show_default="searched"),
    out: Path | None = typer.Option(None, help="*.npy or *.jsonl.", show_default="JSON Lines to stdout"),
    jsonl: bool = typer.Option(False, "--jsonl", help="Lines are JSON, whatever the file is called."),
    field: str = typer.Option("text", help="Of a JSON object, what is embedded."),
    truncate: str = typer.Option("error", help="Too long a text is an error, or loses its end or start."),
    pooling: str | None = typer.Option(None, help="mean, cls or last.", show_default="the model's"),
    dimensions: int | None = typer.Option(None, help="Keep so many numbers.", show_default="all"),
    prompt: str | None = typer.Option(None, help="query, document, or a text to put before each.", show_default=False),
    normalize: bool = typer.Option(True, help="Scale vectors to length 1."),
    threads: int | None = typer.Option(None, help="CPU threads.", show_default="auto"),
) -> None:
    """Embed the lines of a file: float32 rows in an .npy file, or a JSON object a line, in their order."""
    import numpy as np

    import tea_llm
    from tea_llm._files import replacing

    if out is not None and out.suffix not in (".npy", ".jsonl"):
        raise ValueError(f"--out={out}: the name must end in .npy or .jsonl")
    if pooling == "none":
        raise ValueError("--pooling=none gives several vectors a line: use the Python API")
    options: dict[str, Any] = {"truncate": truncate, "pooling": pooling, "dimensions": dimensions}
    options |= {"prompt": prompt, "normalize": normalize}
    with tea_llm.load(gguf, n_threads=threads) as llm, _opened(file) as (lines, report):
        texts = _texts(lines, field if jsonl or file.endswith(".jsonl") else None)
        vectors = llm.embed(texts, progress=report, **options)
    with nullcontext(sys.stdout.buffer) if out is None else replacing(out) as sink:
        if out is not None and out.suffix == ".npy":
            np.save(sink, vectors)
        else:
            for index, vector in enumerate(vectors):
                sink.write(json.dumps({"index": index, "embedding": vector.tolist()}, allow_nan=False).encode() + b"\n")


def _texts(lines: Iterable[str], field: str | None) -> Iterator[str]:
    """The text of each line; ``field``: of lines in JSON."""
    for number, line in enumerate(lines, 1):
        if field is None:
            yield line.rstrip("\r\n")
            continue
        try:
            text = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from error
        text = text.get(field) if isinstance(text, dict) else text
        if not isinstance(text, str):
            raise ValueError(f"line {number} is neither a string nor an object with a text as {field!r}")
        yield text


@contextmanager
def _opened(file: str) -> Iterator[tuple[Iterable[str], Callable[[int], None]]]:
    """The file's lines, and what shows on stderr how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        if file == "-":
            task = bar.add_task("0 texts", total=None)
            opened: Any = nullcontext(_utf8_stdin())
        else:
            task = bar.add_task("0 texts")
            opened = bar.open(file, "rt", encoding="utf-8", task_id=task)
        with opened as lines:
            yield lines, lambda n: bar.update(task, description=f"{n:,} texts")


def _utf8_stdin() -> TextIO:
    return cast("TextIO", open(0, encoding="utf-8", closefd=False))
