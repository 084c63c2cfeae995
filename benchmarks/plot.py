"""Charts of a result file: time relative to tea-llm for each work, and curves of the works that have a number."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = {
    "tea_llm": "tea-llm",
    "llama_server": "llama-server",
    "llama_cpp_python": "llama-cpp-python",
    "xllamacpp": "xllamacpp",
    "openvino_genai": "openvino-genai",
    "llama_bench": "llama.cpp's benchmarks (no library)",
}
CURVES = {
    "width": ("requests at once", "generated tokens per second"),
    "prompt": ("tokens of the prompt", "seconds to the first token"),
    "cached": ("% of 1600 prompt tokens that came before", "seconds to the first token"),
}


def main() -> None:
    """Writes a PNG beside the JSON."""
    source = Path(sys.argv[1])
    result = json.loads(source.read_text())
    works = result["works"]
    engines = [name for name in NAMES if name in next(iter(works.values()))]
    figure = curves(works, engines) if all(map(curve_of, works)) else bars(works, engines)
    figure.suptitle(f"{result['cpu']}, {result['threads']} threads, {result['model']}, {result['date']}", fontsize=9)
    figure.savefig(source.with_suffix(".png"), dpi=120)


def bars(works: dict[str, Any], engines: list[str]) -> Any:
    """One bar for each work and library."""
    figure, axes = plt.subplots(figsize=(1.6 * len(works) + 2, 4), layout="constrained")
    width = 0.8 / len(engines)
    for place, engine in enumerate(engines):
        heights = {
            x + place * width: work[engine]["median_s"] / work["tea_llm"]["median_s"]
            for x, work in enumerate(works.values())
            if engine in work
        }
        drawn = axes.bar(list(heights), list(heights.values()), width, label=NAMES[engine])
        axes.bar_label(drawn, fmt="%.2f", fontsize=7)
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(works))], list(works))
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set_ylabel("time relative to tea-llm (less is faster)")
    axes.legend(fontsize=8)
    return figure


def curves(works: dict[str, Any], engines: list[str]) -> Any:
    """One chart for each kind of work, one line for each library."""
    kinds = [kind for kind in CURVES if any(curve_of(name) == kind for name in works)]
    figure, all_axes = plt.subplots(1, len(kinds), figsize=(4.5 * len(kinds), 4), layout="constrained", squeeze=False)
    for axes, kind in zip(all_axes[0], kinds, strict=True):
        names = [name for name in works if curve_of(name) == kind]
        numbers = [int(name.removeprefix(kind)) for name in names]
        for engine in engines:
            key = "tokens_per_s" if kind == "width" else "median_s"
            axes.plot(numbers, [works[name][engine][key] for name in names], marker="o", label=NAMES[engine])
        if kind != "cached":
            axes.set_xscale("log")
            axes.set_xticks(numbers, map(str, numbers))
            axes.minorticks_off()
        axes.set_xlabel(CURVES[kind][0])
        axes.set_ylabel(CURVES[kind][1])
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)
    return figure


def curve_of(name: str) -> str | None:
    """The kind of work that a number is given for."""
    kind = re.sub(r"\d+$", "", name)
    return kind if kind in CURVES else None


if __name__ == "__main__":
    main()
