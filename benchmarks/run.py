"""The same work through tea-llm and its peers, alternating: `make bench`. Writes results/*.json and a chart.

Needs the package index the first time (peers, a model) and some minutes to build llama.cpp's own programs. Compare
ratios, not seconds: machines differ, and this one may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthetic import SHAPES, synthetic
from works import LENGTHS, SHARES, WIDTHS, WORKS

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
RESULTS = Path(__file__).parent / "results"
PEERS = ("llama-cpp-python==0.3.36", "xllamacpp", "openvino-genai", "matplotlib")
ENGINES = ("tea_llm", "llama_server", "llama_cpp_python", "xllamacpp", "openvino_genai", "llama_bench")
PROGRAMS = ("llama-bench", "llama-batched-bench", "llama-server")
TABLE = ("single", "conc8", "shared32", "turns10", "overhead")
CURVES = tuple(
    f"{kind}{n}" for kind, values in (("width", WIDTHS), ("prompt", LENGTHS), ("cached", SHARES)) for n in values
)
PAUSE_S = 0.7  # until the threads of the last run have stopped polling


def main() -> None:
    """All that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", help=f"of {', '.join(WORKS)}; or table (default) or curves")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", choices=("smollm2", *SHAPES), default="smollm2")
    parser.add_argument("--type", default="q4_k_m", help="of a synthetic model's file (default %(default)s)")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    works = [
        name
        for given in arguments.works or ["table"]
        for name in {"table": TABLE, "curves": CURVES}.get(given, [given])
    ]
    engines = arguments.engines.split(",")
    set_up(needed(PEERS, engines), has_programs=not {"llama_server", "llama_bench"}.isdisjoint(engines))
    groups = [([work for work in works if work != "overhead"], model(arguments.model, arguments.type))]
    if "overhead" in works:
        groups.append((["overhead"], model("overhead")))
    results: dict[str, Any] = {}
    refused: dict[str, str] = {}
    loads: dict[str, float] = {}
    for names, path in groups:
        if names:
            workers, refusals = started(engines, path, arguments.threads)
            refused.update({f"{engine}, {path.name}": reason for engine, reason in refusals.items()})
            loads = loads or {name: worker.load_s for name, worker in workers.items() if name != "llama_bench"}
            for name in names:
                results[name] = measure(name, workers, arguments.rounds)
                report(name, results[name])
            for worker in workers.values():
                worker.stop()
    RESULTS.mkdir(exist_ok=True)
    facts = {
        "cpu": cpu(),
        "model": "SmolLM2-135M Q4_1" if arguments.model == "smollm2" else f"{arguments.model} {arguments.type}",
        "threads": arguments.threads,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }
    prefix = "" if arguments.model == "smollm2" else f"{arguments.model}-{arguments.type}-"
    target = RESULTS / f"{prefix}{'-'.join(arguments.works) or 'table'}.json"
    target.write_text(json.dumps({**facts, "load_s": loads, "refused": refused, "works": results}, indent=1) + "\n")
    subprocess.run([python(), Path(__file__).with_name("plot.py"), target], check=True)


class Refused(Exception):  # noqa: N818 - it is no fault
    """A library does not take a model; the text says why."""


class Worker:
    """A library in a process of its own; Refused if it does not take the model."""

    def __init__(
        self, engine: str, model: Path, threads: int, script: str = "worker.py", n_cells: int | None = None
    ) -> None:
        own = sys.executable if engine == "tea_llm" else python()
        self.process = subprocess.Popen(
            [own, Path(__file__).with_name(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        server = str(BUILD / "llama.cpp" / "bin" / "llama-server")
        cells = {} if n_cells is None else {"n_cells": n_cells}
        answer = self.ask(engine=engine, model=str(model), threads=threads, server=server, **cells)
        if "refused" in answer:
            self.stop()
            raise RuntimeError(answer["refused"]) if engine == "tea_llm" else Refused(answer["refused"])
        self.load_s = answer["load_s"]
        self.note = answer.get("note", "")

    def ask(self, **line: Any) -> Any:
        """One line there, one back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else {"refused": f"the process ended with {self.process.wait()}"}

    def stop(self) -> None:
        """Ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def started(
    engines: Iterable[str], path: Path, threads: int, script: str = "worker.py", n_cells: int | None = None
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Workers of the engines that take a model, and the reasons of those that do not, which are printed."""
    workers, refused = {}, {}
    for engine in engines:
        try:
            workers[engine] = Worker(engine, path, threads, script, n_cells)
        except Refused as reason:
            refused[engine] = str(reason)
            print(f"{engine} refused {path.name}: {reason}", flush=True)
    return workers, refused


def measure(name: str, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Seconds of each round, by engine; the first round, which warms up, is left out."""
    if not WORKS[name].bound:
        workers = {engine: worker for engine, worker in workers.items() if engine != "llama_bench"}
    seconds: dict[str, list[float]] = {engine: [] for engine in workers}
    memory = {}
    for index in range(rounds + 1):
        for engine in turns(workers, index):
            time.sleep(PAUSE_S)
            answer = workers[engine].ask(work=name, run=index)
            memory[engine] = {"peak_mib": answer["peak_mib"], "own_mib": answer["own_mib"]}
            if index > 0:
                seconds[engine].append(answer["seconds"])
    return {
        engine: {
            "median_s": statistics.median(times),
            "spread_s": [min(times), max(times)],
            "tokens_per_s": WORKS[name].n_generated() / statistics.median(times),
            **memory[engine],
        }
        for engine, times in seconds.items()
    }


def turns(engines: Iterable[str], index: int) -> list[str]:
    """Another one begins in each round."""
    names = list(engines)
    return names[index % len(names) :] + names[: index % len(names)]


def report(name: str, result: dict[str, Any]) -> None:
    """A line for each engine."""
    print(f"\n{name}: {WORKS[name].what}")
    ours = result.get("tea_llm", {}).get("median_s")
    for engine, one in result.items():
        low, high = one["spread_s"]
        ratio = f"  tea_llm takes {ours / one['median_s']:.2f} of it" if ours and engine != "tea_llm" else ""
        print(f"  {engine:17} {one['median_s']:7.2f} s ({low:.2f} to {high:.2f}), {one['peak_mib']:.0f} MiB{ratio}")
    sys.stdout.flush()


def set_up(peers: Iterable[str] = PEERS, has_programs: bool = True) -> None:
    """The peers, and llama.cpp's own programs unless they are not wanted, where they are not there yet."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if not python().exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True)
    there = installed()
    missing = [peer for peer in peers if peer.partition("==")[0] not in there]
    if missing:
        subprocess.run([python(), "-m", "pip", "install", "--quiet", *missing], check=True)
    if has_programs and not all((BUILD / "llama.cpp" / "bin" / program).exists() for program in PROGRAMS):
        source, build = ROOT / "vendor" / "llama.cpp", BUILD / "llama.cpp"
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_OPENSSL=OFF", "-G", "Ninja"]
        bin_dir = Path(sys.executable).parent
        subprocess.run([bin_dir / "cmake", "-S", source, "-B", build, *options], check=True)
        subprocess.run([bin_dir / "cmake", "--build", build, "--target", *PROGRAMS], check=True)


def model(name: str, file_type: str = "") -> Path:
    """The model's file."""
    if name == "smollm2":
        from tea_llm.hub import pull

        return pull("smollm2-135m")
    if name in SHAPES:
        return synthetic(name, file_type, BUILD)
    path = BUILD / "overhead.gguf"
    if not path.exists():
        sys.path.insert(0, str(ROOT / "tests"))
        from support.tiny_gguf import write_tiny_model

        write_tiny_model(path, "llama", n_layer=2, n_vocab=49152, n_ctx_train=8192)
    return path


def python() -> Path:
    """The peers' interpreter."""
    return BUILD / "venv" / "bin" / "python"


def needed(peers: Iterable[str], engines: Iterable[str]) -> list[str]:
    """The packages without those of engines that are left out."""
    names = {peer: peer.partition("==")[0].replace("-", "_") for peer in peers}
    return [peer for peer, name in names.items() if name not in ENGINES or name in engines]


def installed() -> dict[str, str]:
    """Versions of the peers' packages."""
    found = subprocess.run([python(), "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    return {one["name"].replace("_", "-"): one["version"] for one in json.loads(found.stdout)}


def versions(peers: Iterable[str] = PEERS) -> dict[str, str]:
    """Of all that took part."""
    there = installed()
    names = [peer.partition("==")[0] for peer in peers]
    pin = json.loads((ROOT / "vendor" / "llama.cpp.json").read_text())
    import tea_llm

    return {
        "tea-llm": tea_llm.__version__,
        "llama.cpp": pin["upstream"],
        **{name: there[name] for name in names if name in there and name != "matplotlib"},
        "python": platform.python_version(),
    }


def cpu() -> str:
    """Its name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
