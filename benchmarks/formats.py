"""How fast each type of model file is on this processor: `python benchmarks/formats.py`. Prints a table for the docs.

All come from one file by way of 16 bits: good for speed, not for judging answers.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from pathlib import Path

from run import cpu, model

import tea_llm

TYPES = [
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q6_k",
    "q5_k_m",
    "q5_0",
    "q4_k_m",
    "q4_0",
    "q4_1",
    "iq4_nl",
    "iq4_xs",
    "q3_k_m",
    "q2_k",
]
N_PROMPT, N_GENERATED = 256, 48


def main() -> None:
    """Takes turns with all types."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as directory:
        half = tea_llm.quantize(model("smollm2"), Path(directory, "half.gguf"), "f16", allow_requantize=True)
        paths = {kind: tea_llm.quantize(half, Path(directory, f"{kind}.gguf"), kind) for kind in TYPES}
        llms = {kind: tea_llm.load(path, n_ctx=1024, n_threads=2) for kind, path in paths.items()}
        prompt: dict[str, list[float]] = {kind: [] for kind in TYPES}
        generation: dict[str, list[float]] = {kind: [] for kind in TYPES}
        for index in range(rounds + 1):
            for kind, llm in llms.items():
                tokens = random.Random(f"{kind} {index}").choices(range(1000, 40000), k=N_PROMPT)
                result = llm.call(tokens, max_tokens=N_GENERATED, temperature=0, ignore_eos=True)
                assert result.timings is not None
                if index > 0:
                    prompt[kind].append(1000 * N_PROMPT / result.timings.prefill_ms)
                    generation[kind].append(result.timings.tokens_per_s)
        print(f"{cpu()}, 2 threads, SmolLM2-135M, {rounds} rounds\n")
        print("| type | MB | prompt tokens/s | generated tokens/s |\n|---|---|---|---|")
        for kind in TYPES:
            medians = statistics.median(prompt[kind]), statistics.median(generation[kind])
            print(f"| {kind} | {paths[kind].stat().st_size / 1e6:.0f} | {medians[0]:.0f} | {medians[1]:.0f} |")


if __name__ == "__main__":
    main()
