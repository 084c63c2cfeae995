"""``tea-llm embed``: embeds the lines of a file."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from tea_llm._files import naming, replacing
from tea_llm.backends.embedding import EmbedOptions, VectorTable
from tea_llm.cli._terminal import decoded, progress_bar

if TYPE_CHECKING:
    from io import BufferedReader

    import numpy as np
    from numpy.typing import NDArray

    from tea_llm.backends.local import LocalLlmBackend

    Vectors = NDArray[np.float32]

__all__ = ["embed"]

_BLOCK_BYTES = 1 << 18


def embed(
    file: str = typer.Argument(help="One text per line, or JSON Lines (*.jsonl); - is stdin."),
    gguf: str | None = typer.Option(None, metavar="PATH", help="Model file.", show_default="searched"),
    out: Path | None = typer.Option(None, help="Output file, *.npy or *.jsonl.", show_default="JSON Lines to stdout"),
    jsonl: bool = typer.Option(False, "--jsonl", help="Read the lines as JSON, whatever the file name."),
    field: str = typer.Option("text", help="The field of a JSON object to embed."),
    truncate: str = typer.Option("error", help="If a text is too long: error, or cut off its end or start."),
    pooling: str | None = typer.Option(None, help="mean, cls or last.", show_default="the model's"),
    dimensions: int | None = typer.Option(None, help="Keep the first N numbers of a vector.", show_default="all"),
    prompt: str | None = typer.Option(
        None, help="query, document, or a text to put before each line.", show_default=False
    ),
    normalize: bool = typer.Option(True, help="Scale vectors to length 1."),
    threads: int | None = typer.Option(None, help="CPU threads.", show_default="auto"),
) -> None:
    """Embed the lines of a file, in order: as float32 rows of an .npy file, or as one JSON object per line."""
    import tea_llm

    if out is not None and out.suffix not in (".npy", ".jsonl"):
        raise ValueError(f"--out={out}: the name must end in .npy or .jsonl")
    if pooling == "none":
        raise ValueError("--pooling=none gives several vectors per text, which only the Python API supports")
    options = EmbedOptions.checked(
        {"truncate": truncate, "pooling": pooling, "dimensions": dimensions, "prompt": prompt, "normalize": normalize}
    )
    is_json = jsonl or file.endswith(".jsonl")
    with ExitStack() as opened:
        groups = opened.enter_context(_opened(file))
        sink = sys.stdout.buffer if out is None else opened.enter_context(replacing(out))
        llm = opened.enter_context(tea_llm.load(gguf, n_threads=threads))
        rows = _rows(llm, _texts(groups, field if is_json else None), options)
        if out is not None and out.suffix == ".npy":
            _write_npy(sink, rows)
        else:
            _write_json_lines(sink, "stdout" if out is None else str(out), rows)


def _rows(llm: LocalLlmBackend, groups: Iterable[list[str]], options: EmbedOptions) -> Iterator[Vectors]:
    n_done = 0
    for texts in groups:
        (vectors,) = llm._embed_from(n_done, texts, options)
        n_done += len(texts)
        yield vectors
    if not n_done:
        yield from llm._embed_from(0, [], options)


def _write_json_lines(sink: BinaryIO, name: str, rows: Iterable[Vectors]) -> None:
    index = 0
    for vectors in rows:
        with naming(name):
            for vector in vectors.tolist():
                sink.write(json.dumps({"index": index, "embedding": vector}, allow_nan=False).encode() + b"\n")
                index += 1
            sink.flush()  # a reader sees rows as soon as they are computed


def _write_npy(sink: BinaryIO, rows: Iterator[Vectors]) -> None:
    import numpy as np

    first = next(rows)
    table = VectorTable(first.shape[1], None)
    for vectors in itertools.chain([first], rows):
        table.add(vectors)
    np.save(SimpleNamespace(write=sink.write), table.array())  # numpy would seek in a file object, and a pipe cannot


def _texts(groups: Iterable[list[bytes]], field: str | None) -> Iterator[list[str]]:
    """The texts of each group of lines; ``field``: of JSON lines. Trailing blank lines of JSON Lines are ignored."""
    number = 0
    n_blank = 0
    for lines in groups:
        texts = []
        for raw in lines:
            number += 1
            line = decoded(raw, f"line {number}").rstrip("\r\n")
            if field is None:
                texts.append(line)
            elif not line.strip():
                n_blank += 1
            elif n_blank:
                raise ValueError(f"line {number - n_blank} is not JSON: it is blank")
            else:
                texts.append(_text_of(line, number, field))
        yield texts


def _text_of(line: str, number: int, field: str) -> str:
    try:
        text = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is not JSON: {error}") from error
    text = text.get(field) if isinstance(text, dict) else text
    if not isinstance(text, str):
        raise ValueError(f"line {number} must be a string or an object whose field {field!r} is a string")
    return text


@contextmanager
def _opened(file: str) -> Iterator[Iterator[list[bytes]]]:
    """Yields the lines in groups; from a pipe, a group is the lines that have arrived."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    opened: Any = nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")  # noqa: SIM115 - next line
    with opened as source, progress_bar(*columns) as bar:
        size = os.fstat(source.fileno()).st_size if file != "-" else 0
        task = bar.add_task("0 texts", total=size or None)

        def groups() -> Iterator[list[bytes]]:
            n_lines = n_bytes = 0
            for lines in _line_groups(source):
                yield lines
                n_lines += len(lines)
                n_bytes += sum(map(len, lines))
                bar.update(task, completed=n_bytes, description=f"{n_lines:,} texts")

        yield groups()


def _line_groups(source: BufferedReader) -> Iterator[list[bytes]]:
    begun: list[bytes] = []
    while block := source.read1(_BLOCK_BYTES):
        lines = block.split(b"\n")
        begun.append(lines[0])
        if len(lines) > 1:
            yield [b"".join(begun), *lines[1:-1]]
            begun = [lines[-1]]
    if any(begun):
        yield [b"".join(begun)]
