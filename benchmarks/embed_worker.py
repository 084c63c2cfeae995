"""Embeds texts with one library, in a process of its own: as ``worker.py``, for ``embed.py``.

First comes ``{"engine", "model", "threads", "server"}``, then any number of ``{"n"}``, each answered with the
seconds that so many texts took and the process's memory.
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

from worker import memory, protocol, started_server

from support.sentences import sentences

Embed = Callable[[list[str]], int]
Hidden = Callable[[dict[str, Any]], Any]  # arrays of ids, masks and types [batch, length]; hidden states of them
N_SLOTS = 8
N_BATCH = 32  # as sentence-transformers has it


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


def onnxruntime_int8(spec: dict[str, Any]) -> Embed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]
    path = onnx_folder(spec) / "model.int8.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return in_batches(spec, lambda inputs: session.run(None, inputs)[0])


def openvino(spec: dict[str, Any]) -> Embed:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": spec["threads"], "PERFORMANCE_HINT": "LATENCY"}
    model = ov.Core().compile_model(onnx_folder(spec) / "model.onnx", "CPU", options)
    spec["note"] = f"computes in {model.get_property('INFERENCE_PRECISION_HINT').get_type_name()}"
    return in_batches(spec, lambda inputs: model(inputs)[0])


def onnx_folder(spec: dict[str, Any]) -> Path:
    return Path(spec["model"]).parent / "all-MiniLM-L6-v2"


def in_batches(spec: dict[str, Any], hidden: Hidden) -> Embed:
    """Texts of about the same length together; the mean of their tokens' hidden states, normalized."""
    import numpy as np

    os.environ["RAYON_NUM_THREADS"] = str(spec["threads"])
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(onnx_folder(spec) / "vocab.txt"))
    tokenizer.enable_truncation(512)
    tokenizer.enable_padding()

    def vectors(texts: list[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = np.zeros((len(texts), 0), np.float32)
        for begin in range(0, len(texts), N_BATCH):
            chosen = order[begin : begin + N_BATCH]
            encoded = tokenizer.encode_batch([texts[i] for i in chosen])
            ids = np.array([one.ids for one in encoded], np.int64)
            mask = np.array([one.attention_mask for one in encoded], np.int64)
            states = hidden({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            sums = np.einsum("btd,bt->bd", states, mask.astype(np.float32))
            found = found if found.shape[1] else np.zeros((len(texts), sums.shape[1]), np.float32)
            found[chosen] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return found

    return lambda texts: len(vectors(texts))


def main() -> None:
    """Reads and answers lines."""
    answer = protocol()
    spec = json.loads(sys.stdin.readline())
    begin = time.perf_counter()
    try:
        embed = globals()[spec["engine"]](spec)
        embed(["a text"])
    except Exception as error:
        answer({"refused": " ".join(f"{type(error).__name__}: {error}".split())})
        raise
    answer({"load_s": time.perf_counter() - begin, "note": spec.get("note", "")})
    for line in sys.stdin:
        texts = sentences(json.loads(line)["n"])
        begin = time.perf_counter()
        n_vectors = embed(texts)
        seconds = time.perf_counter() - begin
        assert n_vectors == len(texts)
        answer({"seconds": seconds, **memory(spec.get("pid", os.getpid()))})


if __name__ == "__main__":
    main()
