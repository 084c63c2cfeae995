"""A long prompt beside streams: `python benchmarks/pace.py [--threads 1] [--slowdown 2] [--rounds 3] [--model FILE]`.

Four streams generate. For a while nothing disturbs them, then a prompt of 4,000 tokens arrives: how much longer
are the gaps between a stream's tokens, and how much longer does the prompt take than alone? Times are those of
the wall clock, and with one thread also the CPU time of the engine's thread, which other processes hardly change. (The
engine itself goes by the wall clock when it chooses the size of the prompt's pieces.)
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from run import model

import tea_llm

N_STREAMS = 4
N_QUIET = 180  # tokens of each stream before the prompt
N_PROMPT = 4000

Clock = Callable[[], float]
"""Seconds."""

Times = dict[str, float]
"""What each clock says."""


def main() -> None:
    """All rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slowdown", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2")
    chosen = parser.parse_args()
    before = set(tasks())
    with tea_llm.load(
        model(chosen.model), n_ctx=8192, n_parallel=8, n_threads=chosen.threads, stream_slowdown=chosen.slowdown
    ) as llm:
        llm.call([1], max_tokens=1)
        clocks: dict[str, Clock] = {"wall": time.perf_counter}
        if chosen.threads == 1:
            clocks["CPU"] = busiest(set(tasks()) - before, lambda: llm.call([2], max_tokens=64, ignore_eos=True))
        for number in range(chosen.rounds):
            report(llm, clocks, number)


def tasks() -> list[int]:
    """Ids of this process's threads."""
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def busiest(threads: set[int], work: Callable[[], object]) -> Clock:
    """The CPU time of the thread that does most of a work."""
    clocks = [partial(time.clock_gettime, (~thread << 3) | 6) for thread in threads]  # Linux: CPUCLOCK_SCHED
    before = [clock() for clock in clocks]
    work()
    return max(zip(clocks, before, strict=True), key=lambda pair: pair[0]() - pair[1])[0]


def report(llm: tea_llm.LocalLlmBackend, clocks: dict[str, Clock], number: int) -> None:
    """One round: the prompt alone, then beside streams."""
    alone = prompt_times(llm, clocks, 2 * number)
    times: list[list[Times]] = [[] for _ in range(N_STREAMS)]
    is_over = threading.Event()
    streams = [threading.Thread(target=follow, args=(llm, clocks, *one, is_over)) for one in enumerate(times)]
    for stream in streams:
        stream.start()
    while min(map(len, times)) < N_QUIET:
        time.sleep(0.01)
    begin = [len(one) for one in times]
    beside = prompt_times(llm, clocks, 2 * number + 1)
    end = [len(one) for one in times]
    is_over.set()
    for stream in streams:
        stream.join()
    for name in clocks:
        quiet = [gap for one, first in zip(times, begin, strict=True) for gap in gaps(one[N_QUIET // 4 : first], name)]
        busy = [gap for one, *part in zip(times, begin, end, strict=True) for gap in gaps(one[slice(*part)], name)]
        median, p99 = statistics.median(quiet), statistics.quantiles(busy, n=100)[98]
        print(
            f"{name:4}: quiet median {median:.1f} ms; beside the prompt median {statistics.median(busy):.1f}, "
            f"p99 {p99:.1f} ms = {p99 / median:.2f} x, longest {max(busy):.1f} ms, {len(busy)} gaps; "
            f"prompt {beside[name]:.1f} s, alone {alone[name]:.1f} s",
            flush=True,
        )


def gaps(times: list[Times], name: str) -> list[float]:
    """Milliseconds from one token of a stream to the next."""
    return [1000 * (b[name] - a[name]) for a, b in pairwise(times) if a and b]


def ids(seed: str, n: int) -> list[int]:
    """Tokens without a meaning."""
    chance = random.Random(seed)
    return [chance.randrange(1000, 40000) for _ in range(n)]


def prompt_times(llm: tea_llm.LocalLlmBackend, clocks: dict[str, Clock], number: int) -> Times:
    """Seconds until the first token behind a prompt that nobody has asked before."""
    prompt = ids(f"prompt {number}", N_PROMPT)
    begin = {name: clock() for name, clock in clocks.items()}
    llm.call(prompt, max_tokens=1, temperature=0)
    return {name: clock() - begin[name] for name, clock in clocks.items()}


def follow(
    llm: tea_llm.LocalLlmBackend, clocks: dict[str, Clock], number: int, times: list[Times], is_over: threading.Event
) -> None:
    """One stream after another, and when their tokens came; between two streams is an empty entry."""
    options: dict[str, Any] = {"ignore_eos": True, "temperature": 0}
    while not is_over.is_set():
        times.append({})
        # Of different lengths, so that there is always one that generates.
        with llm.stream(ids(f"stream {number} {len(times)}", 1), max_tokens=200 + 37 * number, **options) as stream:
            for _ in stream:
                times.append({name: clock() for name, clock in clocks.items()})
                if is_over.is_set():
                    return


if __name__ == "__main__":
    main()
