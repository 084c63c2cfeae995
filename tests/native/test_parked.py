"""Pasts that are moved out of the KV cache, and come back for whoever goes on from them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.process import run_python
from support.steps import EXACT, assert_equal, steps, submit

OPTIONS: dict[str, Any] = {"n_ctx": 2048, "n_threads": 1, "cache_type_k": "f32", "cache_type_v": "f32"}
PROMPTS = [random.Random(i).choices(range(10, 200), k=300) for i in range(6)]


@pytest.fixture(autouse=True)
def audits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEA_LLM_AUDIT", "1")


@pytest.mark.parametrize("arch", ["llama", "qwen2", "phi3"])
@pytest.mark.parametrize("flash_attn", ["off", "on"])
def test_a_past_comes_back(tiny_model: Callable[..., Path], arch: str, flash_attn: str) -> None:
    """More pasts than may be idle: the older ones are parked, and whoever goes on from one computes nothing anew."""
    options = EXACT | {"flash_attn": flash_attn, "n_ctx": 2048, "n_threads": 1}
    longer = [[*prompt, 7, 8, 9] for prompt in PROMPTS]
    with tea_llm.load(tiny_model(arch), cache_ram=0, **options) as llm:
        expected = [steps(llm, prompt, 10) for prompt in longer]
        assert llm.stats().parked_tokens == 0
    with tea_llm.load(tiny_model(arch), cache_ram=10**8, **options) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        stats = llm.stats()
        assert stats.parked_tokens + stats.cells_idle == 6 * 300
        assert stats.cells_idle <= 256 + 300
        for prompt, one in zip(longer, expected, strict=True):
            result = submit(llm, prompt, 10).wait()
            assert result.n_cached == 300
            assert_equal(result.top_logits, one, 0.01 if flash_attn == "off" else 0.05)  # its sums are half floats
        with ThreadPoolExecutor(6) as threads:  # the same at once
            requests = list(threads.map(lambda prompt: submit(llm, [*prompt, 7], 20), PROMPTS))
        assert [request.wait().n_cached for request in requests] == [300] * 6


def test_idle_cells_that_cost_nothing_stay(tiny_model: Callable[..., Path]) -> None:
    """With our attention nothing is moved before cells run out; what no longer fits is moved then."""
    with tea_llm.load(tiny_model("llama"), n_ctx=1024, n_threads=1, cache_ram=10**8) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        stats = llm.stats()
        assert 600 < stats.cells_idle <= 1024
        assert stats.cells_idle + stats.parked_tokens == 6 * 300
        assert submit(llm, [*PROMPTS[0], 7], 1).wait().n_cached == 300


def test_many_short_pasts(tiny_model: Callable[..., Path]) -> None:
    """More than llama.cpp has sequences for: the longest unused ones are moved, not forgotten."""
    prompts = [random.Random(i).choices(range(10, 200), k=40) for i in range(45)]
    with tea_llm.load(tiny_model("llama"), n_ctx=2048, n_threads=1, cache_ram=10**8) as llm:
        for prompt in prompts:
            llm.call(prompt, max_tokens=1)
        stats = llm.stats()
        assert stats.cells_idle > 256  # they cost nothing here
        assert stats.parked_tokens > 0
        for prompt in prompts:
            assert submit(llm, [*prompt, 7], 1).wait().n_cached == 40


def test_without_memory_for_it_they_are_forgotten(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), **OPTIONS, cache_ram=0) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        assert llm.stats().parked_tokens == 0
        assert submit(llm, [*PROMPTS[0], 7], 1).wait().n_cached == 0
        assert submit(llm, [*PROMPTS[0], 7, 8], 1).wait().n_cached == 301  # the last one is still there


def test_parked_pasts_are_saved_too(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    with tea_llm.load(tiny_model("llama"), **OPTIONS, cache_ram=10**8) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        assert llm.save_state(tmp_path / "state") == 6 * 300
    with tea_llm.load(tiny_model("llama"), **OPTIONS) as llm:
        assert llm.load_state(tmp_path / "state") == 6 * 300
        assert submit(llm, [*PROMPTS[0], 7], 1).wait().n_cached == 300


def test_who_branches_off_leaves_the_rest(tiny_model: Callable[..., Path]) -> None:
    """An answer that is asked for anew shares a past's beginning; its end can still be gone on from."""
    with tea_llm.load(tiny_model("llama"), **OPTIONS, cache_ram=10**8) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        assert submit(llm, [*PROMPTS[0][:200], 7], 100).wait().n_cached == 200
        for prompt in PROMPTS[3:]:
            llm.call([*prompt, 8], max_tokens=1)
        assert submit(llm, [*PROMPTS[0], 7], 1).wait().n_cached == 300


def test_memory_is_limited(tiny_model: Callable[..., Path]) -> None:
    """By default to half of the KV cache's size: the longest unused pasts are forgotten for newer ones."""
    with tea_llm.load(tiny_model("llama"), **OPTIONS) as llm:
        for prompt in PROMPTS:
            llm.call(prompt, max_tokens=1)
        assert 600 <= llm.stats().parked_tokens <= 1024
        assert submit(llm, [*PROMPTS[0], 7], 1).wait().n_cached == 0
        assert submit(llm, [*PROMPTS[3], 7], 1).wait().n_cached == 300


def test_parking_with_few_cells(tiny_model: Callable[..., Path]) -> None:
    """Where running requests need all cells, pasts wait outside."""
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, cache_ram=10**8) as llm:
        for again in range(2):
            for prompt in PROMPTS:
                result = submit(llm, [*prompt, 7], 20).wait()
                assert result.n_cached == (300 if again else 0)
        assert llm.stats().preemptions == 0


def test_wrong_cache_ram_is_refused(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="cache_ram"):
        tea_llm.load(tiny_model("llama"), cache_ram=-1)
    with pytest.raises(TypeError, match="cache_ram"):
        tea_llm.load(tiny_model("llama"), cache_ram="1G")  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux's")
def test_a_past_that_has_no_memory_outside_is_forgotten(tiny_model: Callable[..., Path]) -> None:
    """Whoever needed its cells runs on."""
    path = tiny_model(n_embd=256, n_layer=12, n_ctx_train=8192)
    child = run_python(
        """
        import resource, sys, tea_llm
        options = {"n_ctx": 8192, "n_parallel": 1, "n_threads": 1, "cache_type_k": "f32", "cache_type_v": "f32"}
        with tea_llm.load(sys.argv[1], cache_ram=2**32, **options) as llm:
            llm.call([7, 8, 9] * 2000, max_tokens=1)  # 70 MiB
            size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
            resource.setrlimit(resource.RLIMIT_AS, (1024 * size + 8 * 2**20, resource.RLIM_INFINITY))
            llm.call([5] * 500, max_tokens=1)
            print(llm.stats().parked_tokens)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            llm.call([6] * 100, max_tokens=1)
            print(llm.stats().parked_tokens)
        """,
        args=[str(path)],
    )
    assert child.stdout.split() == ["0", "500"], child.stderr
