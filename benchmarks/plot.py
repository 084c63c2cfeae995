"""A chart of a result file: time relative to tea-llm, for each work and library."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NAMES = {
    "tea_llm": "tea-llm",
    "llama_server": "llama-server",
    "llama_cpp_python": "llama-cpp-python",
    "xllamacpp": "xllamacpp",
}


def main() -> None:
    """Writes a PNG beside the JSON."""
    source = Path(sys.argv[1])
    result = json.loads(source.read_text())
    works = result["works"]
    engines = [name for name in NAMES if name in next(iter(works.values()))]
    figure, axes = plt.subplots(figsize=(1.6 * len(works) + 2, 4), layout="constrained")
    width = 0.8 / len(engines)
    for place, engine in enumerate(engines):
        heights = [work[engine]["median_s"] / work["tea_llm"]["median_s"] for work in works.values()]
        bars = axes.bar([x + place * width for x in range(len(works))], heights, width, label=NAMES[engine])
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(works))], list(works))
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set_ylabel("time relative to tea-llm (less is faster)")
    axes.set_title(f"{result['cpu']}, {result['threads']} threads, {result['date']}", fontsize=9)
    axes.legend(fontsize=8)
    figure.savefig(source.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
