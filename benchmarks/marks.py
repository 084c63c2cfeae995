"""What tea-llm has to reach beside llama.cpp's programs, by model file: `python benchmarks/marks.py [NAME.TYPE ...]`.

For each file a table: rates of a prompt of 512 tokens and of one stream, the time of 8 requests at once, the time from
loading to the first token, and the memory that is not in the model's file. All take turns. The best peer is the better
one of llama.cpp's benchmark programs and llama-server, which has as many KV cells as tea-llm here. The marks were set
for Q4_K_M at 1B. Also: how much of what the machine can do (`peak.cpp`) this is, and OpenVINO's figures. Adds the files
to results/marks.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from run import BUILD, PAUSE_S, RESULTS, Worker, cpu, measure, model, needed, set_up, started, turns, versions
from synthetic import SHAPES
from works import N_CTX

FILES = (
    "synthetic-1b.q4_k_m",
    "synthetic-1b.q4_0",
    "synthetic-1b.q5_k_m",
    "synthetic-1b.q6_k",
    "synthetic-1b.q8_0",
    "synthetic-1b.iq4_xs",
    "synthetic-moe.q4_k_m",
)
PEERS = ("openvino-genai",)
ENGINES = ("tea_llm", "llama_server", "llama_bench", "openvino_genai")
RATES = {"prompt512": 512, "stream128": 128}  # tokens


@dataclass(frozen=True)
class Mark:
    """Our figure over the best peer's: what passes, and what would be better still."""

    what: str
    passes: float
    stretch: float
    is_rate: bool = False

    def verdict(self, ratio: float) -> str:
        """A word for it."""
        sign = 1 if self.is_rate else -1
        reached = [
            word for word, mark in (("stretch", self.stretch), ("pass", self.passes)) if sign * (ratio - mark) >= 0
        ]
        return reached[0] if reached else "missed"


MARKS = {
    "prompt512": Mark("prompt of 512 tokens, tokens/s", 1.5, 1.9, is_rate=True),
    "stream128": Mark("one stream of 128 tokens, tokens/s", 0.98, 1.05, is_rate=True),
    "conc8": Mark("8 requests at once (conc8), s", 0.60, 0.50),
    "load": Mark("load to first token, s", 0.5, 0.2),
    "memory": Mark("memory not shared with the file, MiB", 0.5, 0.3),
}


def main() -> None:
    """One file after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="NAME.TYPE", help=f"default: {' '.join(FILES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engines", default=",".join(ENGINES), help="default: %(default)s")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    set_up(needed(PEERS, engines), has_programs=not {"llama_server", "llama_bench"}.isdisjoint(engines))
    target = RESULTS / "marks.json"
    RESULTS.mkdir(exist_ok=True)
    found = json.loads(target.read_text()) if target.exists() else {}
    for name in arguments.files or FILES:
        path = model(*name.split(".", 1))
        result = {
            "cpu": cpu(),
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(PEERS),
            "peak": peak(arguments.threads),
            **measured(path, engines, arguments.threads, arguments.rounds),
        }
        report(name, path, result)
        found[name] = result
        target.write_text(json.dumps(found, indent=1) + "\n")


def measured(path: Path, engines: list[str], threads: int, rounds: int) -> dict[str, Any]:
    """Of each engine the median, the least and the most of all figures, and the reasons of those that refused."""
    loads = load_times(path, [name for name in engines if name in ("tea_llm", "llama_server")], threads, rounds)
    workers, refused = started(engines, path, threads, n_cells=N_CTX)
    figures: dict[str, dict[str, list[float]]] = {"load": {name: spread(times) for name, times in loads.items()}}
    if "openvino_genai" in workers:
        figures["load"]["openvino_genai"] = 3 * [workers["openvino_genai"].load_s]
    for work in ("prompt512", "stream128", "conc8"):
        result = measure(work, workers, rounds)
        figures[work] = {name: [one["median_s"], *one["spread_s"]] for name, one in result.items()}
        if work in RATES:
            for name, (median, least, most) in figures[work].items():
                figures[work][name] = [RATES[work] / seconds for seconds in (median, most, least)]
    figures["memory"] = {name: 3 * [one["own_mib"]] for name, one in result.items() if name != "llama_bench"}
    for worker in workers.values():
        worker.stop()
    return {"figures": figures, "refused": refused}


def load_times(path: Path, engines: list[str], threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds until the first token, each time in a new process; the first round brings the file into memory."""
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for index in range(rounds + 1):
        for engine in turns(engines, index):
            time.sleep(PAUSE_S)
            worker = Worker(engine, path, threads, n_cells=N_CTX)
            worker.stop()
            if index > 0:
                times[engine].append(worker.load_s)
    return times


def spread(values: list[float]) -> list[float]:
    """The median, the least and the most."""
    return [statistics.median(values), min(values), max(values)]


def peak(threads: int) -> dict[str, float | None]:
    """What the machine can do: bytes read and operations on bytes, in 1e9 a second."""
    source, program = Path(__file__).with_name("peak.cpp"), BUILD / "peak"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        options = ["-O3", "-march=native", "-std=c++17", "-pthread"]
        subprocess.run([os.environ.get("CXX", "c++"), *options, source, "-o", program], check=True)
    answer = subprocess.run([program, str(threads)], capture_output=True, text=True, check=True)
    rates: dict[str, float | None] = json.loads(answer.stdout)
    return rates


def demand(name: str, path: Path) -> tuple[float, float]:
    """Operations of a prompt's token in products with weights, and bytes of weights read for a stream's token."""
    shape = SHAPES[name.split(".", 1)[0]]
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    operations = read = 0.0
    for tensor in tensors.values():
        share = shape.n_expert_used / shape.n_expert if "_exps" in tensor.name else 1.0
        is_output = tensor.name == ("output.weight" if "output.weight" in tensors else "token_embd.weight")
        if tensor.name != "token_embd.weight" or is_output:
            read += share * int(tensor.n_bytes)
        if len(tensor.shape) > 1 and tensor.name != "token_embd.weight" and not is_output:
            operations += 2 * share * int(tensor.n_elements)
    return operations, read


def report(name: str, path: Path, result: dict[str, Any]) -> None:
    """The table of one file and what else is known of it."""
    figures = result["figures"]
    print(f"\n{name}: {path.stat().st_size / 1e6:.0f} MB, {result['threads']} threads, {result['rounds']} rounds\n")
    print("| | tea-llm | best peer | ratio | pass | stretch | |\n|---|---|---|---|---|---|---|")
    for key, mark in MARKS.items():
        peers = {engine: one for engine, one in figures[key].items() if engine in ("llama_bench", "llama_server")}
        if "tea_llm" not in figures[key] or not peers:
            continue
        best = (max if mark.is_rate else min)(peers, key=lambda engine: peers[engine][0])
        ratio = figures[key]["tea_llm"][0] / peers[best][0]
        shown = f"{number(figures[key]['tea_llm'])} | {number(peers[best])}, {best} | {ratio:.2f}"
        print(f"| {mark.what} | {shown} | {mark.passes:.2f} | {mark.stretch:.2f} | {mark.verdict(ratio)} |")
    operations, read = demand(name, path)
    gops = 1e-9 * operations * figures["prompt512"]["tea_llm"][0]
    gb_per_s = 1e-9 * read * figures["stream128"]["tea_llm"][0]
    most = result["peak"]
    reading = f"one stream reads {gb_per_s:.1f} GB/s of weights, {gb_per_s / most['gb_per_s']:.0%} of the most"
    of_most = f", {gops / most['gops']:.0%} of the most" if most["gops"] else ""
    print(f"\n{reading}; the prompt takes {gops:.0f} GOPS in products with weights{of_most}")
    print(f"the most that this machine can do: {most['gb_per_s']:.1f} GB/s, {most['gops'] or 0:.0f} GOPS in 8 bits")
    for engine, reason in result["refused"].items():
        print(f"{engine}: refused: {reason}")
    if "openvino_genai" in figures["conc8"]:
        parts = []
        for key, mark in MARKS.items():
            theirs = figures[key]["openvino_genai"]
            parts.append(f"{mark.what} {number(theirs)}, ratio {figures[key]['tea_llm'][0] / theirs[0]:.2f}")
        print("openvino_genai: " + "; ".join(parts), flush=True)


def number(values: list[float]) -> str:
    """A median with its spread."""
    digits = 0 if values[0] >= 100 else 1 if values[0] >= 10 else 2
    middle, least, most = (f"{value:.{digits}f}" for value in values)
    return middle if least == most else f"{middle} ({least} to {most})"


if __name__ == "__main__":
    main()
