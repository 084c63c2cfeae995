"""The log-probabilities of a text."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tea_llm
from support.steps import EXACT
from support.tiny_gguf import Tensors
from tea_llm import ContextOverflowError, GenerationTimeoutError, InferenceError


def some_tokens(seed: int, n: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(10, 200) for _ in range(n)]


@pytest.mark.parametrize(("arch", "n_vocab"), [("llama", None), ("llama", 49152), ("gemma3", None), ("mamba", None)])
def test_a_score_is_what_generation_reports(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, arch: str, n_vocab: int | None
) -> None:
    """An answer's tokens, scored as a text, have the log-probabilities that they had when they were generated."""
    monkeypatch.setenv("TEA_LLM_AUDIT", "1")
    with tea_llm.load(tiny_model(arch, n_vocab=n_vocab), n_ctx=1024, n_threads=1, **EXACT) as llm:
        prompt = some_tokens(0, 150)
        (request,) = llm._engine.submit(
            prompt, max_tokens=40, sampling={"temperature": 0}, seeds=[0], ignore_eos=True, n_logprobs=0, n_top_logits=1
        )
        answer = request.wait()
        tokens = [best[0][0] for best in answer.top_logits]
        scores = llm.score(prompt + tokens)
        assert scores.shape == (190,)
        assert scores.dtype == np.float32
        assert np.isnan(scores[0])
        assert np.isfinite(scores[1:]).all()
        assert (scores[1:] <= 0).all()
        assert scores[150:] == pytest.approx([chosen[1] for chosen, _ in answer.logprobs], abs=2e-3)
        stats = llm.stats()
        assert stats.running == stats.cells_used == 0


@pytest.mark.parametrize("n_vocab", [None, 49152])
def test_many_at_once_beside_answers(tiny_model: Callable[..., Path], n_vocab: int | None) -> None:
    """More rows than a step gives: each text gets its own numbers, whatever is computed beside it."""
    with tea_llm.load(tiny_model("llama", n_vocab=n_vocab), n_ctx=2048, n_threads=1, prompt_lookup=4, **EXACT) as llm:
        texts = [some_tokens(i, n) for i, n in enumerate((2, 3, 40, 300, 7, 150, 90, 500, 2, 64))]
        alone = [llm.score(text) for text in texts]
        with ThreadPoolExecutor(14) as threads:
            answers = [threads.submit(llm.call, text, max_tokens=60, ignore_eos=True) for text in texts[:4]]
            together = list(threads.map(llm.score, texts))
        for one, other in zip(alone, together, strict=True):
            assert other == pytest.approx(one, abs=2e-3, nan_ok=True)
        assert [answer.result().tokens_used for answer in answers] == [60] * 4

        async def ask() -> list[NDArray[np.float32]]:
            return list(await asyncio.gather(*map(llm.ascore, texts)))

        for one, other in zip(alone, asyncio.run(ask()), strict=True):
            assert other == pytest.approx(one, abs=2e-3, nan_ok=True)


def test_odd_texts(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=256, n_threads=1) as llm:
        assert np.isnan(llm.score([5])).tolist() == [True]
        assert llm.score("Hello").shape == (len(llm.tokenize("Hello")),)
        with pytest.raises(ValueError, match="empty"):
            llm.score("")
        with pytest.raises(ContextOverflowError):
            llm.score([5] * 300)
        with pytest.raises(GenerationTimeoutError):
            llm.score([5] * 250, timeout=1e-6)


def test_nan_is_an_error(tiny_model: Callable[..., Path]) -> None:
    def damaged(tensors: Tensors) -> None:
        tensors["token_embd.weight"][77] = np.nan

    with tea_llm.load(tiny_model("llama", edit=damaged), n_ctx=256, n_threads=1) as llm:
        with pytest.raises(InferenceError, match="token 3 of the text"):
            llm.score([5, 6, 77, 8])
        with pytest.raises(InferenceError, match="token 3 of the text"):
            asyncio.run(llm.ascore([5, 6, 77, 8]))
        assert np.isfinite(llm.score([5, 6, 8])[1:]).all()
