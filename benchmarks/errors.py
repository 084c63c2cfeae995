"""How far log-probabilities are from those of the exact weights, by type: `python benchmarks/errors.py [TYPES]`.

Exact: the weights of the same file as 32-bit floats. Compared are our kernels and llama.cpp's, with a cache of 32 bits,
on the text of our own guides. Prints a table for the docs. SmolLM2's rows are no multiple of 256, so its files in types
with blocks of 256 consist partly of others: the table says which share of the weights each has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from run import ROOT, cpu, model

import tea_llm

TYPES = (
    "q8_0",
    "q6_k",
    "q5_k_m",
    "q5_0",
    "q5_1",
    "q4_k_m",
    "q4_0",
    "q4_1",
    "iq4_nl",
    "iq4_xs",
    "mxfp4",
    "q3_k_m",
    "q2_k",
)
N_CHARACTERS, N_CHUNKS = 1500, 12
SCORE = """
import sys, numpy, tea_llm
llm = tea_llm.load(sys.argv[1], n_ctx=1024, cache_type_k="f32", cache_type_v="f32")
texts = open(sys.argv[2], encoding="utf-8").read().split("\\f")
numpy.save(sys.argv[3], numpy.concatenate([llm.score(text)[1:] for text in texts]))
"""


def main() -> None:
    """Takes one type after the other."""
    types = sys.argv[1].split(",") if len(sys.argv) > 1 else TYPES
    guides = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    texts = [guides[i * N_CHARACTERS : (i + 1) * N_CHARACTERS] for i in range(N_CHUNKS)]
    print(f"{cpu()}, SmolLM2-135M\n")
    print("| file | its weights, % | tokens | mean error, ours | llama.cpp's | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "texts").write_text("\f".join(texts), encoding="utf-8")
        half = tea_llm.quantize(model("smollm2"), directory / "half.gguf", "f16", allow_requantize=True)
        for kind in types:
            file = directory / f"{kind}.gguf"
            if kind == "mxfp4":
                write_mxfp4(half, file)
            else:
                tea_llm.quantize(half, file, kind)
            exact = tea_llm.quantize(file, directory / "exact.gguf", "f32", allow_requantize=True)
            truth = scores(exact, directory, "1")
            ours, theirs = (float(np.abs(scores(file, directory, left) - truth).mean()) for left in ("", "1"))
            figures = f"{len(truth)} | {ours:.5f} | {theirs:.5f} | {ours / theirs:.3f}"
            print(f"| {kind} | {shares(file)} | {figures} |", flush=True)
            file.unlink()
            exact.unlink()


def write_mxfp4(source: Path, target: Path) -> None:
    """All matrices in MXFP4, which llama.cpp itself writes for experts only."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind, *within = field.types
            writer.add_key_value(name, field.contents(), kind, sub_type=within[-1] if within else None)
    for tensor in reader.tensors:
        if tensor.data.ndim == 2:
            packed = gguf.quants.quantize(tensor.data.astype(np.float32), gguf.GGMLQuantizationType.MXFP4)
            writer.add_tensor(tensor.name, packed, raw_dtype=gguf.GGMLQuantizationType.MXFP4)
        else:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shares(file: Path) -> str:
    """Which types the weights of a file have, the most frequent first."""
    counts: Counter[str] = Counter()
    for tensor in gguf.GGUFReader(file).tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return ", ".join(
        f"{name} {100 * n / counts.total():.0f}" for name, n in counts.most_common() if n > 0.005 * counts.total()
    )


def scores(file: Path, directory: Path, left_to_ggml: str) -> NDArray[np.float32]:
    """The log-probability of each token, in a process of its own."""
    environment = {**os.environ, **({"TEA_LLM_GGML_KERNELS": left_to_ggml} if left_to_ggml else {})}
    target = directory / "scores.npy"
    command = [sys.executable, "-c", SCORE, file, directory / "texts", target]
    subprocess.run(command, env=environment, check=True)
    found: NDArray[np.float32] = np.load(target)
    return found


if __name__ == "__main__":
    main()
