"""``tea-llm bench``: measures the speed of a model on this machine."""

from __future__ import annotations

import importlib.util
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from tea_llm._files import replacing
from tea_llm.cli._terminal import say

if TYPE_CHECKING:
    from tea_llm.benchmark import Figure
    from tea_llm.types import ModelInfo

__all__ = ["bench"]

_AXES = {
    "prompt": ("tokens of the prompt", "prompt tokens/s"),
    "generation": ("concurrent requests", "generated tokens/s"),
    "cached": ("% of the prompt cached", "ms to the first token"),
}


def bench(
    model: Path | None = typer.Argument(None, help="A GGUF file; default: the first one found.", show_default=False),
    threads: str = typer.Option("", help="Thread counts to compare, such as 1,2,4; default: automatic."),
    rounds: int = typer.Option(3, help="Repetitions of each measurement.", min=1),
    plot: Path | None = typer.Option(None, help="Plot the results into this PNG file.", show_default=False),
    json_file: Path | None = typer.Option(
        None, "--json", help="Write the results into this JSON file.", show_default=False
    ),
) -> None:
    """Measure a model on this machine: prompts, concurrent generation, cached prompts. Takes about a minute."""
    import tea_llm
    from tea_llm.benchmark import measure

    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise ValueError('--plot needs an additional package: pip install "tea-llm[bench]"')
    try:
        counts = [int(count) for count in threads.split(",")] if threads else [None]
    except ValueError:
        raise ValueError(f"--threads={threads!r} is not a list of integers such as 1,2,4") from None
    with ExitStack() as sinks:  # opened first, so that a file that cannot be written is reported before the work
        json_sink = None if json_file is None else sinks.enter_context(replacing(json_file))
        plot_sink = None if plot is None else sinks.enter_context(replacing(plot))
        figures: list[Figure] = []
        for count in counts:
            with tea_llm.load(model, n_ctx=2048, n_threads=count) as llm:
                info = llm.info
                say(f"{info.name} ({info.description}), {info.n_threads} threads", one_line=True)
                for figure in measure(llm, rounds=rounds):
                    figures.append(figure)
                    say(f"  {figure}")
        if json_sink is not None:
            facts = {"tea_llm": tea_llm.__version__, "model": info.name, "description": info.description}
            facts |= {"kernels": info.kernels}
            document = {**facts, "figures": [asdict(figure) for figure in figures]}
            json_sink.write(json.dumps(document, indent=1).encode() + b"\n")
        if plot_sink is not None:
            _draw(plot_sink, figures, info)


def _draw(file: BinaryIO, figures: list[Figure], info: ModelInfo) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    drawing, all_axes = plt.subplots(1, len(_AXES), figsize=(13, 4), layout="constrained")
    for axes, (work, (x_label, y_label)) in zip(all_axes, _AXES.items(), strict=True):
        for count in dict.fromkeys(figure.n_threads for figure in figures):
            shown = [figure for figure in figures if (figure.work, figure.n_threads) == (work, count)]
            axes.plot(
                [figure.size for figure in shown],
                [figure.median for figure in shown],
                marker="o",
                label=f"{count} thread{'s' if count > 1 else ''}",
            )
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_ylim(bottom=0)
        axes.legend()
    drawing.suptitle(f"{info.name}: {info.description}")
    drawing.savefig(file, dpi=120, format="png")
