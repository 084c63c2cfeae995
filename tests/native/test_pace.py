"""A long prompt beside streams: it is computed in pieces, from its first token to its last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import tea_llm
from tea_llm import LocalLlmBackend

N_PROMPT = 1200  # more than the 512 tokens of a step


def follow(llm: LocalLlmBackend, seed: int, begun: Queue[int], is_over: threading.Event) -> None:
    with llm.stream([seed], max_tokens=3500, ignore_eos=True, temperature=1.0, seed=seed) as stream:
        for number, _ in enumerate(stream):
            if number == 0:
                begun.put(seed)
            if is_over.is_set():
                return


def test_the_end_of_a_long_prompt_holds_up_no_stream_that_began_after_it(tiny_model: Callable[..., Path]) -> None:
    path = tiny_model("llama", n_ctx_train=8192)
    with tea_llm.load(path, n_ctx=8192, n_parallel=4, n_threads=1, stream_slowdown=1.0) as llm:
        begun: Queue[int] = Queue()
        ends = [threading.Event(), threading.Event()]
        streams = [
            threading.Thread(target=follow, args=(llm, seed, begun, is_over)) for seed, is_over in enumerate(ends, 5)
        ]
        prompt = threading.Thread(target=llm.call, args=([3, 4] * (N_PROMPT // 2),), kwargs={"max_tokens": 1})
        streams[0].start()
        begun.get()
        prompt.start()
        while llm.stats().running < 2:
            time.sleep(0.001)
        streams[1].start()
        begun.get()
        ends[0].set()
        streams[0].join()
        while llm.stats().running > 2:
            time.sleep(0.001)
        before = llm.stats()
        prompt.join()
        after = llm.stats()
        ends[1].set()
        streams[1].join()
    n_computed = after.prompt_tokens - before.prompt_tokens
    assert n_computed > 600
    assert after.steps - before.steps > n_computed - 20  # a slowdown of 1 allows one token a step
