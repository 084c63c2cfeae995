"""``tea-llm quantize``: converts a model file to another type."""

from __future__ import annotations

from pathlib import Path

import typer

from tea_llm.cli._terminal import progress_bar, say

__all__ = ["quantize"]


def quantize(
    source: Path = typer.Argument(help="A GGUF file, preferably with 16 or 32 bits per weight.", metavar="IN"),
    target: Path = typer.Argument(help="The file to write.", metavar="OUT"),
    type_: str = typer.Option("q4_k_m", "--type", help="Type of most weights, such as q8_0.", metavar="T"),
    n_threads: int | None = typer.Option(
        None, "--threads", help="CPU threads; default: one per physical core.", show_default=False
    ),
    allow_requantize: bool = typer.Option(False, "--allow-requantize", help="Accept a file that is quantized already."),
) -> None:
    """Convert a model to a type that is smaller, or faster on this processor. OUT appears when it is complete."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from tea_llm import quantization

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with progress_bar(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(type_, total=1.0)
        quantization.quantize(
            source,
            target,
            type_,
            n_threads=n_threads,
            allow_requantize=allow_requantize,
            progress=lambda fraction: bar.update(task, completed=fraction),
        )
    before, after = source.stat().st_size, target.stat().st_size
    sizes = f"{after / 1e6:.1f} MB, {after / before:.2f} of the source's {before / 1e6:.1f} MB"
    say(f"{target}: {sizes}", one_line=True)
