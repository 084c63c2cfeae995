"""Embeds texts with one library, in a process of its own: as ``worker.py``, for ``embed.py``.

First comes ``{"engine", "model", "threads", "server"}``, then any number of ``{"n"}``, each answered with the
seconds that so many texts took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from worker import peak_mib, started_server

from support.sentences import sentences

Embed = Callable[[list[str]], int]
N_SLOTS = 8


def tea_llm(spec: dict[str, Any]) -> Embed:
    import tea_llm

    llm = tea_llm.load(spec["model"], n_threads=spec["threads"])
    return lambda texts: len(llm.embed(texts))


def llama_cpp_python(spec: dict[str, Any]) -> Embed:
    import llama_cpp

    llm = llama_cpp.Llama(
        spec["model"], embedding=True, n_threads=spec["threads"], n_threads_batch=spec["threads"], verbose=False
    )
    return lambda texts: len(llm.embed(texts, normalize=True))


def xllamacpp(spec: dict[str, Any]) -> Embed:
    import xllamacpp as xl

    params = xl.CommonParams()
    params.model.path = spec["model"]
    params.embedding, params.warmup, params.n_parallel, params.n_ctx = True, False, N_SLOTS, 512 * N_SLOTS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec["threads"]
    server = xl.Server(params)
    return lambda texts: len(server.handle_embeddings({"input": texts, "model": "minilm"})["data"])


def llama_server(spec: dict[str, Any]) -> Embed:
    post = started_server(spec, "--embedding", "-c", str(512 * N_SLOTS), "-np", str(N_SLOTS))
    while post("/v1/embeddings", {"input": ["a"]})[0] != 200:
        time.sleep(0.02)
    return lambda texts: len(post("/v1/embeddings", {"input": texts})[1]["data"])


def sentence_transformers(spec: dict[str, Any]) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(spec["threads"])
    model = SentenceTransformer(str(Path(spec["model"]).parent / "all-MiniLM-L6-v2"), device="cpu")
    return lambda texts: len(model.encode(texts, normalize_embeddings=True))


def main() -> None:
    """Reads and answers lines."""
    spec = json.loads(sys.stdin.readline())
    begin = time.perf_counter()
    embed = globals()[spec["engine"]](spec)
    embed(["a text"])
    print(json.dumps({"load_s": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        texts = sentences(json.loads(line)["n"])
        begin = time.perf_counter()
        n_vectors = embed(texts)
        seconds = time.perf_counter() - begin
        assert n_vectors == len(texts)
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(spec.get("pid", os.getpid()))}), flush=True)


if __name__ == "__main__":
    main()
