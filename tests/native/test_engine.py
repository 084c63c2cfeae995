"""The engine on tiny models of every kind of memory."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import tea_llm
from support.process import run_python
from support.steps import EXACT, assert_equal, steps, submit
from support.tiny_gguf import Tensors
from tea_llm import (
    ContextOverflowError,
    GenerationCancelledError,
    GenerationTimeoutError,
    InferenceError,
    LlmError,
    LocalLlmBackend,
)
from tea_llm._native import _core

ARCHITECTURES = ["llama", "qwen2", "gemma3", "phi3", "mamba"]


@pytest.fixture(params=ARCHITECTURES)
def exact(request: pytest.FixtureRequest, tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model(request.param), n_ctx=1024, n_parallel=4, n_threads=1, **EXACT) as llm:
        yield llm


@pytest.fixture
def tiny(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=4, n_threads=1) as llm:
        yield llm


def test_company_changes_nothing(exact: LocalLlmBackend) -> None:
    """Prompts shorter and longer than a step, more requests than sequences, reused and fresh sequences."""
    prompts = [f"Text number {i} is " + "quite long, " * (i * 5) for i in range(10)]
    alone = [steps(exact, prompt) for prompt in prompts]
    for _ in range(2):
        with ThreadPoolExecutor(10) as threads:
            for one, other in zip(alone, threads.map(lambda p: steps(exact, p), prompts), strict=True):
                assert_equal(one, other)
    assert exact.stats().running == exact.stats().cells_used == 0


def test_a_model_that_shares_layers_in_its_cache(tiny_model: Callable[..., Path]) -> None:
    """Gemma 3n. With random weights it amplifies the last bit of a sum to whole logits: only lengths are compared."""
    with tea_llm.load(tiny_model("gemma3n"), n_ctx=512, n_parallel=4, n_threads=1) as llm:
        requests = [submit(llm, "word " * 30 * i, 20) for i in range(1, 6)]
        assert [len(request.wait().top_logits) for request in requests] == [20] * 5


def test_preemption_changes_nothing(tiny_model: Callable[..., Path]) -> None:
    """Four requests whose tokens do not fit together: some give way and are computed again."""
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=4, n_threads=1, **EXACT) as llm:
        prompts = [f"{i} " + "word " * 15 for i in range(4)]
        alone = [steps(llm, prompt, 250) for prompt in prompts]
        requests = [submit(llm, prompt, 250) for prompt in prompts]
        for one, request in zip(alone, requests, strict=True):
            assert_equal(one, request.wait().top_logits)
        stats = llm.stats()
    assert stats.preemptions > 0
    assert stats.cells_used == 0


def test_a_chat_goes_on_where_it_was(exact: LocalLlmBackend) -> None:
    prompt = "The story begins here. " * 12
    first = exact.call(prompt, max_tokens=20, temperature=0, ignore_eos=True)
    second = exact.call(prompt + first.content + " And then", max_tokens=5, temperature=0)
    # The very same tokens must come out of the text; the prompt's always do.
    assert second.usage.cached_tokens >= first.usage.prompt_tokens - 1 or exact.info.name.startswith(("mamba", "gemma"))


def test_the_context_bounds_a_request(tiny: LocalLlmBackend) -> None:
    tokens = tiny.tokenize("word " * 600)
    with pytest.raises(ContextOverflowError, match=f"{len(tokens)} tokens.*512") as caught:
        tiny.call(tokens)
    assert (caught.value.n_prompt, caught.value.n_ctx) == (len(tokens), 512)
    with pytest.raises(ContextOverflowError):
        tiny.call(tokens[:512])
    full = tiny.call(tokens[:500], max_tokens=None, ignore_eos=True)
    assert full.finish_reason == "length"
    assert full.usage.total_tokens == 512
    one = tiny.call(tokens[:511], max_tokens=None, ignore_eos=True)
    assert one.tokens_used == 1


def test_max_tokens_is_kept(tiny: LocalLlmBackend) -> None:
    for n in (1, 2, 17):
        assert tiny.call("Hello", max_tokens=n, ignore_eos=True, temperature=0).tokens_used == n


def test_an_end_token_ends_it(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    from support.tiny_gguf import write_tiny_model

    probe = tea_llm.Tokenizer(tiny_model("llama"))
    script = [*probe.encode("Hi", add_special=False), 2]
    with tea_llm.load(write_tiny_model(tmp_path / "scripted.gguf", script=script), n_ctx=256) as llm:
        result = llm.call("x", max_tokens=50, temperature=0)
        assert result.finish_reason == "stop"
        assert result.content.strip() == "Hi"
        assert result.tokens_used == len(script) - 1
        assert llm.call("x", max_tokens=50, temperature=0, ignore_eos=True).finish_reason == "length"


@pytest.mark.parametrize(
    ("arch", "flash_attn"), [("llama", True), ("llama", False), ("gemma3", False), ("mamba", "auto")]
)
def test_nan_ends_with_its_request(
    tiny_model: Callable[..., Path], arch: str, flash_attn: Literal["auto"] | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention that multiplies a value by zero instead of leaving it out would give it to every later request."""
    monkeypatch.setenv("TEA_LLM_AUDIT", "1")
    bad_token = 77

    def damaged(tensors: Tensors) -> None:
        tensors["token_embd.weight"][bad_token] = np.nan

    model = tiny_model(arch, edit=damaged)
    with tea_llm.load(model, n_ctx=512, n_parallel=4, n_threads=1, **{**EXACT, "flash_attn": flash_attn}) as llm:
        sampling = {"temperature": 0, "logit_bias": [(bad_token, -1e6)]}
        alone = submit(llm, "One, two", 20, sampling=sampling).wait().top_logits
        for _ in range(2):
            beside = [submit(llm, [5, 6, i] * 9, 60, sampling=sampling) for i in range(8, 11)]
            bad = submit(llm, [5, bad_token, 8] * 20, 4)
            beside += [submit(llm, [5, 6, i] * 3, 60, sampling=sampling) for i in range(11, 14)]
            with pytest.raises(InferenceError, match="no finite logits"):
                bad.wait()
            for request in beside:
                with nullcontext() if flash_attn else suppress(InferenceError):
                    assert len(request.wait().top_logits) == 60
            assert_equal(submit(llm, "One, two", 20, sampling=sampling).wait().top_logits, alone)
        assert llm.stats().running == llm.stats().cells_used == 0


def test_an_encoder_does_not_generate(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("bert")) as llm, pytest.raises(InferenceError, match="does not generate"):
        llm.call("Hello")


def test_load_reports_progress_and_can_be_stopped_by_it(tiny_model: Callable[..., Path]) -> None:
    seen: list[float] = []
    tea_llm.load(tiny_model("llama"), progress=seen.append).close()
    assert seen[-1] == 1.0
    assert seen == sorted(seen)

    def refuse(fraction: float) -> None:
        raise LookupError(fraction)

    with pytest.raises(LookupError):
        tea_llm.load(tiny_model("llama"), progress=refuse)


def test_probe_loads_what_loads(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), probe=True) as llm:
        assert llm.info.n_vocab > 0


@pytest.mark.parametrize("types", [("q8_0", "q8_0"), ("f32", "f16"), ("bf16", "bf16")])
def test_cache_types(tiny_model: Callable[..., Path], types: tuple[str, str]) -> None:
    path = tiny_model("llama", n_head=2, n_head_kv=1)
    with tea_llm.load(path, n_ctx=256, cache_type_k=types[0], cache_type_v=types[1]) as llm:
        assert llm.call("Hello", max_tokens=4, ignore_eos=True).tokens_used == 4


def test_threads_hammer_it(tiny: LocalLlmBackend) -> None:
    """Calls, streams left early, cancels, timeouts, from sixteen threads: each ends, nothing is left behind."""
    ends: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(12):
            kind = rng.choice(["call", "stream", "leave", "cancel", "timeout"])
            prompt = "word " * rng.randint(1, 80)
            n = rng.randint(1, 60)
            try:
                if kind == "call":
                    assert tiny.call(prompt, max_tokens=n, ignore_eos=True).tokens_used == n
                elif kind == "timeout":
                    tiny.call(prompt, max_tokens=300, ignore_eos=True, timeout=0.001 * rng.randint(1, 30))
                else:
                    stream = tiny.stream(prompt, max_tokens=n, ignore_eos=True)
                    for i, _chunk in enumerate(stream):
                        if kind == "leave" and i == 3:
                            break
                        if kind == "cancel" and i == 3:
                            stream.cancel()
                ends.append(kind)
            except LlmError as error:
                ends.append(type(error).__name__)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert len(ends) == 16 * 12
    errors = {"GenerationTimeoutError", "GenerationCancelledError"}
    assert set(ends) <= {"call", "stream", "leave", "cancel", "timeout"} | errors
    deadline = time.monotonic() + 10
    while tiny.stats().running + tiny.stats().waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    stats = tiny.stats()
    assert (stats.running, stats.waiting, stats.cells_used) == (0, 0, 0)
    assert tiny.call("Hello", max_tokens=3, ignore_eos=True).tokens_used == 3


def test_cancelled_while_it_waits(tiny: LocalLlmBackend) -> None:
    running = [tiny.stream("x", max_tokens=400, ignore_eos=True) for _ in range(4)]
    waiting = tiny.stream("x", max_tokens=400, ignore_eos=True)
    waiting.cancel()
    with pytest.raises(GenerationCancelledError):
        list(waiting)
    for stream in running:
        stream.cancel()


@pytest.mark.parametrize("arch", ["llama", "gemma3", "mamba"])
def test_a_deadline_inside_a_prompt(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    """Also one that comes while a step is computed: the request ends then, and its cells can be had."""
    monkeypatch.setenv("TEA_LLM_AUDIT", "1")
    with tea_llm.load(tiny_model(arch, n_embd=256, n_layer=4), n_ctx=16384, n_threads=1) as llm:
        tokens = [random.Random(1).randrange(10, 200) for _ in range(8000)]
        begin = time.monotonic()
        llm.call(tokens[::-1][:512], max_tokens=1)
        step = time.monotonic() - begin
        begin = time.monotonic()
        with pytest.raises(GenerationTimeoutError) as caught:
            llm.call(tokens, timeout=0.05)
        assert time.monotonic() - begin < 0.05 + max(0.3, 2 * step)  # 2: the machine is not ours alone
        assert caught.value.partial == ""
        stats = llm.stats()
        assert (stats.running, stats.cells_used) == (0, 0)
        assert stats.prompt_tokens < 8000 + 512
        assert [llm.call(tokens[:n], max_tokens=3, ignore_eos=True).tokens_used for n in (500, 600)] == [3, 3]


def test_what_came_before_a_deadline_is_kept(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama", n_ctx_train=131072, n_layer=4), n_threads=1) as llm:
        llm.call("Hello", max_tokens=1)
        texts: list[str] = []
        with pytest.raises(GenerationTimeoutError) as caught:
            llm.stream("Hello", texts.append, max_tokens=None, ignore_eos=True, timeout=0.5)
        assert caught.value.partial == "".join(texts) != ""


def test_nothing_is_printed(tiny_model: Callable[..., Path]) -> None:
    """Not while a model is loaded, grows, is cancelled, saved and closed; what there is to say goes to logging."""
    code = """
        import logging, sys, tea_llm
        logging.basicConfig(level=logging.WARNING)
        with tea_llm.load(sys.argv[1], n_threads=1) as llm:
            llm.call([5] * 3000, max_tokens=2, n=2)
            try:
                llm.call([6] * 8000, timeout=0.01)
            except tea_llm.GenerationTimeoutError:
                pass
            llm.save_state(sys.argv[2])
    """
    path = tiny_model("llama", n_ctx_train=16384)
    child = run_python(code, args=[str(path), str(path.with_suffix(".state"))])
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_stats_count(tiny: LocalLlmBackend) -> None:
    before = tiny.stats()
    result = tiny.call("Hello there", max_tokens=5, ignore_eos=True)
    after = tiny.stats()
    assert after.requests == before.requests + 1
    assert after.generated_tokens == before.generated_tokens + 5
    assert after.prompt_tokens == before.prompt_tokens + result.usage.prompt_tokens
    assert after.cells == 512
    assert after.cells_idle > 0
    again = tiny.call("Hello there", max_tokens=5, ignore_eos=True)
    assert tiny.stats().cached_tokens == before.cached_tokens + again.usage.cached_tokens
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


def test_models_that_compute_at_once_share_the_cores(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=1024) as one, tea_llm.load(tiny_model("llama"), n_ctx=1024) as other:
        most = one.info.n_threads
        with (
            one.stream("Hello", max_tokens=1000, ignore_eos=True) as stream,
            other.stream("Hello", max_tokens=1000, ignore_eos=True) as beside,
        ):
            next(beside)
            assert any(one.stats().threads <= max(1, most // 2) for _ in stream)
            assert one.embed("some text").shape == (64,)
    with tea_llm.load(tiny_model("llama"), n_ctx=64, n_threads=3) as fixed:
        fixed.call("Hello", max_tokens=2)
        assert fixed.stats().threads == 3


def test_two_threads_that_take_pieces_of_one_stream(tiny: LocalLlmBackend) -> None:
    """Once the slower of two that woke for one piece took its absence for the end."""

    def take(request: _core.Request) -> tuple[int, bool]:
        n_characters = 0
        while (piece := request.next_text()) is not None:
            n_characters += len(piece)
        return n_characters, request.is_done

    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            request = submit(tiny, "Hello", 200)
            taken = list(threads.map(take, [request] * 4))
            assert all(is_done for _, is_done in taken)
            assert sum(n for n, _ in taken) == len(request.wait().text)


def test_threads_rest_after_a_step(tiny_model: Callable[..., Path]) -> None:
    """They poll for the next one for a moment only."""
    with tea_llm.load(tiny_model(), n_ctx=256, n_threads=4) as llm:
        llm.call([5, 6, 7], max_tokens=4)
        before = time.process_time()
        time.sleep(1)
        assert time.process_time() - before < 0.5  # three threads that spin for half a second: 1.5
