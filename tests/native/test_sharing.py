"""Prefixes that are computed once, cells that are counted right, requests that neither wait nor lose for others."""

from __future__ import annotations

import contextlib
import random
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tea_llm
from support.process import run_python
from support.steps import EXACT, Steps, assert_equal, steps, submit
from tea_llm import GenerationCancelledError, GenerationTimeoutError, LocalLlmBackend, _core

KINDS = {"llama": "full", "gemma3": "windowed", "mamba": "recurrent"}
Tokens = list[int]


@pytest.fixture(autouse=True)
def _audited(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every step the ledger is compared with what llama.cpp holds; a difference ends the engine."""
    monkeypatch.setenv("TEA_LLM_AUDIT", "1")


def some_tokens(seed: int, n: int) -> Tokens:
    chance = random.Random(seed)
    return [chance.randrange(10, 200) for _ in range(n)]


def assert_all_given_back(llm: LocalLlmBackend) -> None:
    stats = llm.stats()
    assert stats.running == stats.waiting == stats.cells_used == 0
    assert stats.cells_idle + stats.cells_free == stats.cells


@pytest.mark.parametrize("arch", KINDS)
def test_a_shared_prompt_is_computed_once(tiny_model: Callable[..., Path], arch: str) -> None:
    """32 requests that come at once, over one prefix of 700 tokens."""
    prefix = some_tokens(0, 700)
    prompts = [prefix + some_tokens(i, 20) for i in range(1, 33)]
    with tea_llm.load(tiny_model(arch), n_ctx=4096, n_threads=1) as llm, ThreadPoolExecutor(32) as threads:
        # Others have all places until the 32 are there: on a busy machine their threads start one after the other.
        others = [submit(llm, some_tokens(100 + i, 5), 2000) for i in range(8)]
        results = [threads.submit(llm.call, prompt, max_tokens=8) for prompt in prompts]
        while llm.stats().waiting < len(prompts):
            time.sleep(0.001)
        for other in others:
            other.cancel()
        usages = [result.result().usage for result in results]
        evaluated = sum(usage.prompt_tokens - usage.cached_tokens for usage in usages)
        # Where memory cannot go back, the first one does not know yet where the others will leave it.
        n_prefixes = 1 if KINDS[arch] == "full" else 2
        assert evaluated <= n_prefixes * 700 + 32 * 20
        assert llm.stats().prompt_tokens == evaluated + 8 * 5
        assert_all_given_back(llm)


def test_whoever_waits_for_a_prefix_goes_on_without_its_owner(tiny_model: Callable[..., Path]) -> None:
    prefix = some_tokens(0, 3000)
    with tea_llm.load(tiny_model("llama"), n_ctx=4096, n_threads=1) as llm:
        owner = submit(llm, [*prefix, 5], 10)
        heir = submit(llm, [*prefix, 6], 10)
        while llm.stats().prompt_tokens == 0:
            time.sleep(0.001)
        owner.cancel()
        result = heir.wait()
        assert 0 < result.n_cached < 3001
        with pytest.raises(GenerationCancelledError):
            owner.wait()
        assert_all_given_back(llm)


@pytest.mark.parametrize("arch", KINDS)
def test_a_chat_and_its_branches(tiny_model: Callable[..., Path], arch: str) -> None:
    """A conversation goes on, is asked again from an earlier turn, and both go on: all as if computed alone."""
    first = some_tokens(1, 150)
    with (
        tea_llm.load(tiny_model(arch), n_ctx=1024, n_parallel=2, n_threads=1, **EXACT) as llm,
        tea_llm.load(tiny_model(arch), n_ctx=1024, n_parallel=2, n_threads=1, **EXACT) as fresh,
    ):
        answer = [best[0] for best, _ in steps(llm, first, 10)]
        second = first + answer + some_tokens(2, 30)
        branch = first + answer[:5] + some_tokens(3, 30)
        for prompt in (second, branch, second + some_tokens(4, 10), branch + some_tokens(5, 10)):
            request = submit(llm, prompt, 10)
            assert_equal(request.wait().top_logits, steps(fresh, prompt, 10))
        assert llm.stats().cached_tokens >= 150
        assert_all_given_back(llm)


class Story:
    """Random requests over a tree of prompts, and what each gives when it is alone."""

    def __init__(self, model: Path, seed: int) -> None:
        self.model = model
        self.chance = random.Random(seed)
        roots = [some_tokens(i, 120) for i in range(3)]
        self.prompts = [
            root[: self.chance.randrange(20, 120)] + some_tokens(100 + i, self.chance.randrange(1, 60))
            for i, root in enumerate(roots * 5)
        ]
        self.alone: dict[int, Steps] = {}

    def answer_alone(self, i: int) -> Steps:
        if i not in self.alone:
            with tea_llm.load(self.model, n_ctx=512, n_parallel=1, n_threads=1, **EXACT) as llm:
                self.alone[i] = steps(llm, self.prompts[i], 30)
        return self.alone[i]


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3", "phi3", "mamba"])
@pytest.mark.parametrize("prompt_lookup", [0, 6])
def test_random_operations(tiny_model: Callable[..., Path], arch: str, prompt_lookup: int) -> None:
    """Requests that share, branch, preempt each other, are cancelled and run out of time: who is left is right."""
    if prompt_lookup and KINDS.get(arch, "full") != "full":
        prompt_lookup = 0
    story = Story(tiny_model(arch), 7)
    n_ended = n_cancelled = n_late = 0
    model = tiny_model(arch)
    with tea_llm.load(model, n_ctx=512, n_parallel=4, n_threads=1, prompt_lookup=prompt_lookup, **EXACT) as llm:
        for _ in range(8):
            asked = []
            for _ in range(12):
                i = story.chance.randrange(len(story.prompts))
                late = story.chance.random() < 0.1
                request = submit(
                    llm,
                    story.prompts[i],
                    30,
                    priority=story.chance.randrange(-1, 2),
                    timeout_s=1e-3 if late else 0.0,
                )
                asked.append((i, late, request))
                if story.chance.random() < 0.3:
                    time.sleep(story.chance.random() * 0.02)
                if story.chance.random() < 0.3:
                    story.chance.choice(asked)[2].cancel()
            for i, late, request in asked:
                try:
                    assert_equal(request.wait().top_logits, story.answer_alone(i))
                    n_ended += 1
                except GenerationCancelledError:
                    n_cancelled += 1
                except GenerationTimeoutError:
                    assert late
                    n_late += 1
        assert n_ended + n_cancelled + n_late == 96
        assert n_ended > 30
        assert n_cancelled > 0
        assert llm.stats().requests == 96
        assert_all_given_back(llm)


def test_the_ledger_is_exact(tiny_model: Callable[..., Path]) -> None:
    """The last cell can be used: four requests that fill 512 cells together are never sent back."""
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=4, n_threads=1) as llm:
        requests = [submit(llm, some_tokens(i, 64), 65) for i in range(4)]  # the last token is not computed
        assert [request.wait().n_generated for request in requests] == [65] * 4
        assert llm.stats().preemptions == 0
        assert (llm.stats().cells_idle, llm.stats().cells_free) == (512, 0)
        assert submit(llm, some_tokens(9, 100), 5).wait().n_generated == 5
        assert_all_given_back(llm)


def test_the_more_urgent_goes_first(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=1, n_threads=1) as llm:
        mailbox = _core.Mailbox()
        first = submit(llm, some_tokens(0, 50), 400)
        first.notify(mailbox, 0, wants_text=False)
        while llm.stats().running == 0:
            time.sleep(0.0001)
        others = [submit(llm, some_tokens(1, 50), 20, priority=priority) for priority in (-1, 3, 0)]
        for tag, request in enumerate(others, 1):
            request.notify(mailbox, tag, wants_text=False)
        order: list[int] = []
        while len(order) < 4:
            select.select([mailbox.fileno()], [], [], 10)
            order += mailbox.take()
        assert order == [2, 0, 3, 1]
        assert llm.stats().preemptions == 1
        assert_all_given_back(llm)


def test_a_preempted_request_gives_the_same_text(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_parallel=1, n_threads=1, **EXACT) as llm:
        prompt = some_tokens(0, 50)
        alone = steps(llm, prompt, 400)
        patient = submit(llm, prompt, 400)
        while llm.stats().running == 0:
            time.sleep(0.001)
        for i in range(3):
            submit(llm, some_tokens(i, 200), 10, priority=1).wait()
        assert_equal(patient.wait().top_logits, alone)
        assert llm.stats().preemptions > 0


def test_guesses_change_nothing(tiny_model: Callable[..., Path]) -> None:
    prompt = some_tokens(0, 40) * 4
    with (
        tea_llm.load(tiny_model("llama"), n_ctx=1024, n_threads=1, **EXACT) as plain,
        tea_llm.load(tiny_model("llama"), n_ctx=1024, n_threads=1, prompt_lookup=8, **EXACT) as guessing,
    ):
        assert_equal(steps(guessing, prompt, 300), steps(plain, prompt, 300))
        stats = guessing.stats()
        assert stats.guessed_tokens >= stats.right_guesses > 0
        assert stats.steps + stats.right_guesses == plain.stats().steps
        assert_all_given_back(guessing)


def test_guesses_end_where_the_answer_ends(tiny_model: Callable[..., Path]) -> None:
    """A model that says the same over and over: guesses run beyond max_tokens, and beyond a stop string."""
    with tea_llm.load(tiny_model("llama"), n_ctx=1024, n_threads=1, prompt_lookup=64) as llm:
        for n in (1, 2, 7, 50):
            assert submit(llm, some_tokens(0, 40) * 4, n).wait().n_generated == n
        assert_all_given_back(llm)


@pytest.mark.parametrize("arch", ["gemma3", "mamba"])
def test_guesses_need_a_memory_that_can_go_back(tiny_model: Callable[..., Path], arch: str) -> None:
    with pytest.raises(ValueError, match="prompt_lookup"):
        tea_llm.load(tiny_model(arch), n_ctx=512, prompt_lookup=4)


def test_the_cache_grows_and_keeps_what_it_had(tiny_model: Callable[..., Path]) -> None:
    with (
        tea_llm.load(tiny_model("llama", n_ctx_train=16384), n_threads=1, **EXACT) as llm,
        tea_llm.load(tiny_model("llama", n_ctx_train=16384), n_ctx=1024, n_threads=1, **EXACT) as small,
    ):
        kept, running = some_tokens(0, 300), some_tokens(1, 100)
        steps(llm, kept, 5)
        assert llm.stats().cells == 2048
        stream = submit(llm, running, 400)
        submit(llm, some_tokens(2, 5000), 5).wait()
        assert_equal(stream.wait().top_logits, steps(small, running, 400))
        assert llm.stats().cells == 16384
        again = submit(llm, [*kept, 7], 20).wait()
        assert again.n_cached == 300
        assert_equal(again.top_logits, steps(small, [*kept, 7], 20))
        assert_all_given_back(llm)


def test_a_long_context_costs_memory_only_when_it_is_used(tiny_model: Callable[..., Path]) -> None:
    """128K tokens of context, whose KV cache would take 256 MiB."""
    code = """
        import sys, tea_llm
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
        start = resident()
        with tea_llm.load(sys.argv[1], n_threads=1) as llm:
            llm.call([5] * 10, max_tokens=1)
            before = resident()
            assert llm.info.n_ctx == 131072, llm.info
            result = llm.call([5, 6, 7] * 2500, max_tokens=3, ignore_eos=True)
            print(before - start, resident() - before, llm.stats().cells, result.usage.total_tokens)
    """
    path = tiny_model("llama", n_ctx_train=131072, n_layer=4)
    child = run_python(code, args=[str(path)], env={"TEA_LLM_AUDIT": ""})
    assert child.returncode == 0, child.stderr
    at_load, by_use, cells, total = (float(word) for word in child.stdout.split())
    assert cells == 16384
    assert total == 7503
    assert at_load < 80
    assert by_use < 100


def test_longrope_has_the_same_factors_before_and_after(tiny_model: Callable[..., Path]) -> None:
    """They are chosen by the size of the context, which begins above the length where they change."""
    path, prompt = tiny_model("phi3"), some_tokens(0, 200)
    with tea_llm.load(path, n_threads=1, **EXACT) as llm, tea_llm.load(path, n_threads=1, **EXACT) as grown:
        before = steps(llm, prompt, 20)
        assert llm.stats().cells == 4352
        grown.call(some_tokens(1, 2400), max_tokens=1)
        assert grown.stats().cells == 8704
        assert_equal(steps(grown, prompt, 20), before)
    with tea_llm.load(path, n_ctx=4096, n_threads=1, **EXACT) as short:
        assert short.stats().cells == 2048
        with pytest.raises(AssertionError):
            assert_equal(steps(short, prompt, 20), before)


@pytest.mark.parametrize("arch", ["gemma3", "mamba"])
def test_a_step_that_is_cut_short_leaves_nothing(tiny_model: Callable[..., Path], arch: str) -> None:
    """Recurrent models compute a step in parts: when all that take part are out of time, some of it is done already."""
    with tea_llm.load(tiny_model(arch, n_embd=256, n_layer=4), n_ctx=2048, n_threads=1) as llm:
        begin = time.monotonic()
        llm.call(some_tokens(99, 500), max_tokens=1)
        seconds = time.monotonic() - begin
        for part in range(1, 21):
            requests = [
                submit(llm, some_tokens(part + i, n), 5, timeout_s=seconds * part / 15)
                for i, n in ((100, 90), (200, 350))
            ]
            for request in requests:
                with contextlib.suppress(GenerationTimeoutError):
                    request.wait()
        assert llm.call(some_tokens(1, 100), max_tokens=5, ignore_eos=True).tokens_used == 5
        assert_all_given_back(llm)


@pytest.mark.parametrize("n_prefix", [400, 1000, 1300, 3000])
def test_windows_do_not_fill_the_cache(tiny_model: Callable[..., Path], n_prefix: int) -> None:
    """Long prompts that share a prefix, in a model whose cache has room for one window a sequence."""
    prefix = some_tokens(0, n_prefix)
    prompts = [prefix + some_tokens(i, 30) for i in range(1, 7)]
    with (
        tea_llm.load(tiny_model("gemma3"), n_ctx=8192, n_threads=1, **EXACT) as llm,
        tea_llm.load(tiny_model("gemma3"), n_ctx=8192, n_parallel=1, n_threads=1, **EXACT) as alone,
    ):
        requests = [submit(llm, prompt, 20) for prompt in prompts]
        for prompt, request in zip(prompts, requests, strict=True):
            result = request.wait()
            assert_equal(result.top_logits, submit(alone, prompt, 20).wait().top_logits)
        if n_prefix == 400:  # of longer ones the shared cells would fill the cache for windows
            assert llm.stats().cached_tokens >= 4 * n_prefix
        assert llm.stats().preemptions < 10
        assert len(llm.call(prefix, n=3, max_tokens=5, ignore_eos=True).choices) == 3
        submit(llm, prefix, 1).wait()
        for turn in range(3):  # a chat goes on while others are kept
            n_before = len(prefix)
            prefix += some_tokens(50 + turn, 40)
            result = submit(llm, prefix, 1).wait()
            assert result.n_cached == n_before
        assert_all_given_back(llm)


def test_who_is_cut_short_spoils_nobody(tiny_model: Callable[..., Path]) -> None:
    """A recurrent step moves the states of others: what is kept must be as it was, whatever is cancelled."""
    with tea_llm.load(tiny_model("mamba", n_embd=256, n_layer=4), n_ctx=4096, n_parallel=4, n_threads=1) as llm:
        for i in range(3):
            submit(llm, some_tokens(i, 60), 3).wait()
        for round_ in range(8):
            before = {tuple(tokens): state[8:] for tokens, state in llm._engine.save_pasts()}  # 8: magic, sequence
            late = [submit(llm, some_tokens(100 * round_ + i, 150 + 90 * i), 5, timeout_s=0.02) for i in range(3)]
            for request in late:
                with contextlib.suppress(GenerationTimeoutError):
                    request.wait()
            after = {tuple(tokens): state[8:] for tokens, state in llm._engine.save_pasts()}
            for tokens, state in after.items():
                assert before.get(tokens, state) == state


def test_the_urgent_do_not_wait_for_those_who_wait(tiny_model: Callable[..., Path]) -> None:
    """A prefix that a request of low priority computes, behind others that overtake it."""
    prefix = some_tokens(0, 1500)
    with tea_llm.load(tiny_model("llama"), n_ctx=8192, n_parallel=4, n_threads=1) as llm:
        low = submit(llm, [*prefix, 5], 5, priority=-50)
        crowd = [submit(llm, some_tokens(i, 300), 200) for i in range(1, 12)]
        high = submit(llm, [*prefix, 6], 5, priority=5)
        high.wait()
        assert sum(request.is_done for request in crowd) < 6
        for request in (low, *crowd):
            request.wait()
        assert_all_given_back(llm)


def test_nobody_gives_way_in_vain(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=1024, n_parallel=4, n_threads=1) as llm:
        big = submit(llm, some_tokens(0, 600), 300, priority=2)
        small = submit(llm, some_tokens(1, 50), 100)
        while llm.stats().running < 2:
            time.sleep(0.0001)
        newcomer = submit(llm, some_tokens(2, 500), 10, priority=1)  # fits beside neither
        small.wait()
        assert not newcomer.is_done
        assert llm.stats().preemptions == 0
        big.wait()
        newcomer.wait()
