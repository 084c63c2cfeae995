"""Requests that end early, and processes that end early."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.process import run_python, started_python
from tea_llm import (
    EngineClosedError,
    GenerationCancelledError,
    GenerationTimeoutError,
    LocalLlmBackend,
    _child,
    load,
)

LONG = {"max_tokens": 1500, "temperature": 0.0, "ignore_eos": True}


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)
    return holds()


def test_a_stream_left_early_frees_its_sequence(llm: LocalLlmBackend) -> None:
    for chunk in llm.stream_chat([{"role": "user", "content": "Tell me a long story."}], max_tokens=None):
        assert chunk.text
        break
    gc.collect()
    assert wait_until(lambda: llm.stats().running == 0)
    assert llm.stats().cells_used == 0
    assert llm.call("The capital of France is", max_tokens=2, temperature=0).content == " Paris."


def test_leaving_the_with_block_cancels(llm: LocalLlmBackend) -> None:
    with llm.stream("Once upon a time", **LONG) as stream:  # type: ignore[call-overload]
        next(stream)
        assert wait_until(lambda: llm.stats().running == 1)
    assert wait_until(lambda: llm.stats().running == 0)
    with pytest.raises(GenerationCancelledError):
        _ = stream.result


def test_cancel_ends_the_iteration_with_an_error(llm: LocalLlmBackend) -> None:
    stream = llm.stream("Once upon a time", **LONG)  # type: ignore[call-overload]
    next(stream)
    stream.cancel()
    with pytest.raises(GenerationCancelledError):
        list(stream)
    assert list(stream) == []


def test_what_a_callback_raises_comes_out_and_ends_the_request(llm: LocalLlmBackend) -> None:
    def refuse(text: str) -> None:
        raise LookupError(text)

    with pytest.raises(LookupError):
        llm.stream("Once upon a time", refuse, max_tokens=1500, temperature=0, ignore_eos=True)
    assert wait_until(lambda: llm.stats().running == 0)


def test_a_timeout_has_the_text_so_far(llm: LocalLlmBackend) -> None:
    begin = time.monotonic()
    with pytest.raises(GenerationTimeoutError) as caught:
        llm.call("1, 2, 3, 4, 5,", timeout=0.3, **LONG)  # type: ignore[arg-type]
    assert time.monotonic() - begin < 5
    assert caught.value.partial.startswith(" 6")
    assert wait_until(lambda: llm.stats().running == 0)


def test_close_ends_waiting_callers(smollm2: Path) -> None:
    llm = load(smollm2, n_ctx=2048, n_parallel=2, n_threads=1)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            llm.call("Once upon a time", **LONG)  # type: ignore[arg-type]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: llm.stats().running == 2)
    llm.close()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in errors] == [EngineClosedError] * 5
    for use in (lambda: llm.call("x"), lambda: llm.tokenize("x"), lambda: llm.info, lambda: llm.render_chat([])):
        with pytest.raises(EngineClosedError):
            use()
    llm.close()
    assert llm.stats().running == 0
    assert "closed" in repr(llm)


def test_ctrl_c_in_a_call_returns_soon(smollm2: Path) -> None:
    code = """
        import signal, sys, tea_llm
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell's children ignore it
        llm = tea_llm.load(sys.argv[1], n_ctx=2048, n_threads=1)
        llm.call("warm up", max_tokens=1)
        print("READY", flush=True)
        try:
            llm.call("Once upon a time", max_tokens=None, ignore_eos=True)
        except KeyboardInterrupt:
            print("INTERRUPTED", flush=True)
        print(llm.call("The capital of France is", max_tokens=2, temperature=0).content)
    """
    with started_python(code, str(smollm2)) as (child, said):
        assert said.readline() == "READY\n"
        time.sleep(0.5)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert said.readline() == "INTERRUPTED\n"
        assert time.monotonic() - begin < 2
        assert "Paris" in said.read()
        assert child.wait() == 0


def test_a_forked_child_gets_an_error_and_no_hang(smollm2: Path) -> None:
    done = run_python(
        """
        import os, sys, tea_llm
        from tea_llm import EngineForkedError
        llm = tea_llm.load(sys.argv[1], n_ctx=512, n_threads=1)
        stream = llm.stream("Once", max_tokens=400, ignore_eos=True)
        next(stream)
        child = os.fork()
        if child == 0:
            for use in (lambda: llm.call("x"), lambda: next(stream), llm.stats):
                try:
                    use()
                except EngineForkedError as error:
                    print("RAISED", type(error).__name__, flush=True)
            with tea_llm.load(sys.argv[1], n_ctx=512, n_threads=1) as again:
                print("AGAIN", again.call("The capital of France is", max_tokens=1, temperature=0).content, flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("PARENT", len(list(stream)) > 10, flush=True)
        """,
        args=(str(smollm2),),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["RAISED EngineForkedError"] * 3 + ["AGAIN  Paris", "PARENT True"]


@pytest.mark.parametrize("daemon", [True, False])
def test_exit_during_generation_is_clean(smollm2: Path, daemon: bool) -> None:
    done = run_python(
        f"""
        import sys, threading, time, tea_llm
        llm = tea_llm.load(sys.argv[1], n_ctx=2048, n_threads=1)
        def work():
            try:
                while True:
                    llm.call("Once upon a time", max_tokens=1500, ignore_eos=True)
            except tea_llm.EngineClosedError:
                pass
        for _ in range(3):
            threading.Thread(target=work, daemon={daemon}).start()
        stream = llm.stream("Once upon a time", max_tokens=1500, ignore_eos=True)
        next(stream)
        time.sleep(0.3)
        if not {daemon}:
            llm.close()
        print("END", flush=True)
        """,
        args=(str(smollm2),),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "END\n"
    assert done.stderr == ""


def test_two_models_at_once(llm: LocalLlmBackend, smollm2: Path) -> None:
    with load(smollm2, n_ctx=512, n_parallel=1, n_threads=1) as other:
        one = llm.stream("1, 2, 3, 4, 5,", max_tokens=8, temperature=0)
        two = other.stream("1, 2, 3, 4, 5,", max_tokens=8, temperature=0)
        assert one.result.content == two.result.content


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("left_to_ggml", ["attention,gelu", "products", "1"])
def test_weights_are_where_doctor_says(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_to_ggml: str
) -> None:
    """In the mapped file with our kernels; where llama.cpp's need it, 90 MB are rearranged in memory of their own."""
    monkeypatch.setenv("TEA_LLM_GGML_KERNELS", left_to_ggml)
    (q4_0,) = (check for check in _child.run("kernels", "0")["self_test"] if check["type"] == "q4_0")
    path = tea_llm.quantize(smollm2, tmp_path / "weights.gguf", "q4_0", allow_requantize=True)
    child = run_python(
        """
        import sys, tea_llm
        def anonymous():
            return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
        before = anonymous()
        llm = tea_llm.load(sys.argv[1], n_ctx=256, n_threads=1)
        llm.call("Hello", max_tokens=3)
        print(anonymous() - before)
        """,
        args=[str(path)],
    )
    assert child.returncode == 0, child.stderr
    assert (float(child.stdout) < 60) is (q4_0["memory"] == "CPU")
