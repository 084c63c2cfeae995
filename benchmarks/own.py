"""What only needs tea-llm and llama-bench: `python benchmarks/own.py [neighbour quiet constrained]`.

- neighbour: threads that adapt, while another process keeps a core busy, beside llama-bench with one thread. The other
  process is of another session, which is the usual and the worse case for schedulers that share by session.
- quiet: threads that adapt on a machine with nothing else to do, beside fixed numbers of them.
- constrained: a token of an answer under a JSON schema, beside a free one.

Figures take turns, and only their ratios mean something.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from run import BUILD, PAUSE_S, model, set_up

import tea_llm

ROUNDS = 5
N_TOKENS = 192
SCHEMA = {
    "type": "object",
    "properties": {
        "names": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 12}, "minItems": 500},
    },
    "required": ["names"],
}

Rates = Mapping[str, Callable[[], float]]


def main() -> None:
    """All that was asked for."""
    set_up([])
    for name in sys.argv[1:] or ("neighbour", "quiet", "constrained"):
        {"neighbour": neighbour, "quiet": quiet, "constrained": constrained}[name]()


def neighbour() -> None:
    """One other process that computes all the time."""
    with tea_llm.load(model("smollm2")) as llm, busy():
        llm.call("The", max_tokens=N_TOKENS, ignore_eos=True)  # the neighbour is noticed
        report(
            "tokens/s beside a busy process",
            {"llama-bench, one thread": llama_bench, "tea-llm, threads that adapt": lambda: generate(llm)},
        )


def quiet() -> None:
    """Nothing else."""
    path = model("smollm2")
    with tea_llm.load(path) as adapts, tea_llm.load(path, n_threads=1) as one, tea_llm.load(path, n_threads=2) as two:
        report(
            "tokens/s on a quiet machine",
            {
                "one thread": lambda: generate(one),
                "two threads": lambda: generate(two),
                "threads that adapt": lambda: generate(adapts),
            },
        )


def constrained() -> None:
    """Texts that must be valid JSON."""
    with tea_llm.load(model("smollm2"), n_threads=1) as llm:
        report(
            "tokens/s of one thread",
            {
                "under a JSON schema": lambda: generate(llm, response_format=SCHEMA),
                "free": lambda: generate(llm, ignore_eos=True),
            },
        )


def generate(llm: tea_llm.LocalLlmBackend, **options: Any) -> float:
    """Tokens a second of one request."""
    options = options or {"ignore_eos": True}
    result = llm.call("Names:", max_tokens=N_TOKENS, temperature=0.7, seed=1, **options)
    assert result.tokens_used == N_TOKENS
    return result.timings.tokens_per_s


def llama_bench() -> float:
    """Tokens a second of llama-bench with one thread."""
    command = [BUILD / "llama.cpp/bin/llama-bench", "-m", model("smollm2"), "-t", "1", "-fa", "1", "-p", "0"]
    answer = subprocess.run(
        [*command, "-n", str(N_TOKENS), "-r", "1", "-o", "json"], capture_output=True, text=True, check=True
    )
    return float(json.loads(answer.stdout)[0]["avg_ts"])


@contextmanager
def busy() -> Iterator[None]:
    """Another process, in a session of its own, that takes all it gets of a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def report(what: str, rates: Rates) -> None:
    """Prints the medians, and what the last is of each."""
    values: dict[str, list[float]] = {name: [] for name in rates}
    for index in range(ROUNDS + 1):
        for name, rate in rates.items():
            time.sleep(PAUSE_S)
            value = rate()
            if index > 0:  # the first round warms up
                values[name].append(value)
    *_, last = (statistics.median(one) for one in values.values())
    print(f"\n{what}, medians of {ROUNDS} rounds (least and most)")
    for name, one in values.items():
        median = statistics.median(one)
        print(f"  {name:28} {median:7.1f} ({min(one):.1f} to {max(one):.1f})  the last is {last / median:.2f} of it")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
