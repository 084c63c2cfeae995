"""Runs works through one library, in a process of its own: one line of JSON in, one out.

First comes ``{"engine", "model", "threads", "server"}``, answered when the model is loaded and has given a token, or
with ``{"refused"}``, the reason why the library does not take this model; then any number of ``{"work", "run"}``, each
answered with the seconds that it took and the memory that the process has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from works import N_CTX, N_SLOTS, WORKS, Request

Ask = Callable[[list[Request]], int]  # requests that are made at once; the number of tokens that they gave
Run = Callable[[str, int], float]


def tea_llm(spec: dict[str, Any]) -> Ask:
    import tea_llm

    llm = tea_llm.load(spec["model"], n_ctx=N_CTX, n_parallel=N_SLOTS, n_threads=spec["threads"])
    options: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
    return at_once(lambda request: llm.call(request.prompt, max_tokens=request.n_tokens, **options).tokens_used or 0)


def llama_cpp_python(spec: dict[str, Any]) -> Ask:
    import llama_cpp

    llm = llama_cpp.Llama(
        spec["model"], n_ctx=N_CTX, n_threads=spec["threads"], n_threads_batch=spec["threads"], verbose=False
    )

    def ask(request: Request) -> int:
        for n_tokens, _ in enumerate(llm.generate(request.prompt, temp=0.0, top_k=1), 1):
            if n_tokens == request.n_tokens:
                break
        return n_tokens

    return lambda requests: sum(map(ask, requests))  # it takes one at a time


def xllamacpp(spec: dict[str, Any]) -> Ask:
    import xllamacpp as xl

    params = xl.CommonParams()
    params.model.path = spec["model"]
    params.n_ctx, params.n_parallel, params.warmup = N_CTX * N_SLOTS, N_SLOTS, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec["threads"]
    server = xl.Server(params)

    def ask(request: Request) -> int:
        return server.handle_completions(_body(request))["usage"]["completion_tokens"]

    return at_once(ask)


def openvino_genai(spec: dict[str, Any]) -> Ask:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True  # this and whole prompts in a step, as its LLMPipeline has it
    scheduler.max_num_batched_tokens = N_CTX
    options = {"INFERENCE_NUM_THREADS": spec["threads"]}
    pipeline = genai.ContinuousBatchingPipeline(spec["model"], scheduler, "CPU", options, {})

    def ask(requests: list[Request]) -> int:
        configs = []
        for request in requests:
            config = genai.GenerationConfig()
            config.max_new_tokens, config.ignore_eos, config.do_sample = request.n_tokens, True, False
            configs.append(config)
        prompts = [ov.Tensor(np.array([request.prompt], np.int64)) for request in requests]
        return sum(len(result.m_generation_ids[0]) for result in pipeline.generate(prompts, configs))

    return ask


def llama_server(spec: dict[str, Any]) -> Ask:
    n_ctx = spec.get("n_cells", N_CTX * N_SLOTS)  # of which each slot has its share, or all if it is unified
    unified = ["--kv-unified"] if "n_cells" in spec else []
    post = started_server(spec, "-c", str(n_ctx), "-np", str(N_SLOTS), "--no-webui", *unified)
    while post("/completion", {"prompt": [1], "n_predict": 1})[0] != 200:
        time.sleep(0.02)
    return at_once(lambda request: post("/completion", _body(request))[1]["tokens_predicted"])


def started_server(spec: dict[str, Any], *options: str) -> Callable[[str, Any], tuple[int, Any]]:
    """A function that posts to llama-server, whose pid is added to ``spec``; 0 as long as it does not listen."""
    import atexit
    import http.client
    import socket
    import subprocess

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(spec["threads"])
    command = [spec["server"], "-m", spec["model"], "--port", str(port), "-t", threads, "-tb", threads, *options]
    process = subprocess.Popen([*command, "--log-disable"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)
    spec["pid"] = process.pid

    def post(path: str, body: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (ConnectionError, http.client.HTTPException):
            return 0, None

    return post


def llama_bench(spec: dict[str, Any]) -> Run:
    """No library: the time that llama.cpp's own programs report for the same amount of computing (``Work.bound``)."""
    import subprocess

    def run(name: str, _index: int) -> float:
        program, *arguments = WORKS[name].bound.split()
        threads = ["-t", str(spec["threads"]), "-m", spec["model"]]
        if program == "llama-bench":
            form = ["-r", "1", "-fa", "1", "-o", "jsonl"]
        else:
            form = ["-tb", str(spec["threads"]), "-fa", "on", "--output-format", "jsonl"]
        command = [Path(spec["server"]).with_name(program), *threads, *arguments, *form]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return float(sum(row["t"] if "t" in row else row["avg_ns"] / 1e9 for row in rows))

    return run


def at_once(ask: Callable[[Request], int]) -> Ask:
    """All requests, each from a thread of its own."""

    def ask_all(requests: list[Request]) -> int:
        with ThreadPoolExecutor(len(requests)) as threads:
            return sum(threads.map(ask, requests))

    return ask_all


def _body(request: Request) -> dict[str, Any]:
    n = request.n_tokens
    return {"prompt": request.prompt, "n_predict": n, "max_tokens": n, "temperature": 0, "ignore_eos": True}


def timed(ask: Ask, name: str, index: int) -> float:
    """Seconds for one run of a work."""
    work = WORKS[name]
    requests = work.requests(index)
    for request in requests[: work.n_before]:
        ask([request])
    requests = requests[work.n_before :]
    begin = time.perf_counter()
    n_tokens = ask(requests) if work.is_at_once else sum(ask([request]) for request in requests)
    seconds = time.perf_counter() - begin
    assert n_tokens == work.n_generated(), f"{name}: {n_tokens} tokens, not {work.n_generated()}"
    return seconds


def memory(pid: int) -> dict[str, float]:
    """The most memory that a process had at once, and what it has that is in no file, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return {"peak_mib": kib["VmHWM"] / 1024, "own_mib": (kib["RssAnon"] + kib["RssShmem"]) / 1024}


def protocol() -> Callable[[dict[str, Any]], None]:
    """Writes a line of JSON to what standard output was; libraries that print go to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    return answer


def main() -> None:
    """Reads and answers lines."""
    answer = protocol()
    spec = json.loads(sys.stdin.readline())
    begin = time.perf_counter()
    try:
        engine = globals()[spec["engine"]](spec)
        run: Run = engine
        if spec["engine"] != "llama_bench":
            engine([Request([1000], 1)])
            run = partial(timed, engine)
    except Exception as error:
        answer({"refused": " ".join(f"{type(error).__name__}: {error}".split())})
        raise
    answer({"load_s": time.perf_counter() - begin, **memory(spec.get("pid", os.getpid()))})
    for line in sys.stdin:
        task = json.loads(line)
        seconds = run(task["work"], task["run"])
        answer({"seconds": seconds, **memory(spec.get("pid", os.getpid()))})


if __name__ == "__main__":
    main()
