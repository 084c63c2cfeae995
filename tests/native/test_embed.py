"""Vectors of texts: shapes, packing, edges."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tea_llm
from tea_llm import ContextOverflowError, EmbeddingNotSupportedError, EngineClosedError, LocalLlmBackend

ROUNDING = 2e-3
"""Flash attention works in half precision."""


@pytest.fixture(params=["bert", "llama", "mamba", "gemma3"])
def llm(request: pytest.FixtureRequest, tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model(request.param), n_threads=1) as loaded:
        yield loaded


def test_many_are_the_same_as_one_by_one(llm: LocalLlmBackend) -> None:
    texts = [f"text number {i} " + "word " * (i * 7 % 60) for i in range(100)]
    together = llm.embed(texts)
    assert together.shape == (100, 64)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        alone = llm.embed(text)
        assert alone.shape == (64,)
        assert np.abs(alone - vector).max() < ROUNDING
    assert np.array_equal(llm.embed(iter(texts)), together)


def test_shapes_of_few(llm: LocalLlmBackend) -> None:
    assert llm.embed([]).shape == (0, 64)
    assert llm.embed(["one"]).shape == (1, 64)
    raw = llm.embed("one", normalize=False)
    assert np.allclose(raw / np.linalg.norm(raw), llm.embed("one"), atol=ROUNDING)


def test_beside_generation(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1) as llm:
        expected = llm.embed("some text")
        stream = llm.stream("Hello", max_tokens=200, ignore_eos=True)
        vectors: list[object] = []
        threads = [threading.Thread(target=lambda: vectors.append(llm.embed("some text"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert all(np.array_equal(vector, expected) for vector in vectors)  # type: ignore[arg-type]
        assert stream.result.tokens_used == 200


def test_nothing_is_cut_off(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("bert"), n_threads=1) as llm:
        n = llm.info.n_ctx_train
        with pytest.raises(ContextOverflowError, match=f"{n}") as caught:
            llm.embed("a " * (2 * n))
        assert caught.value.n_ctx == n
        assert caught.value.n_prompt > n
        assert llm.embed("a").shape == (64,)


def test_a_longer_text_than_before(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama", n_ctx_train=4096), n_threads=1) as llm:
        short = llm.embed("short")
        assert llm.embed("word " * 1500).shape == (64,)
        assert np.abs(llm.embed("short") - short).max() < ROUNDING


def test_wrong_arguments(tiny_model: Callable[..., Path]) -> None:
    llm = tea_llm.load(tiny_model("llama"), n_threads=1)
    for wrong in (5, None, b"bytes", [5], ["a", None]):
        with pytest.raises(TypeError, match="text"):
            llm.embed(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"text\[1\].*U\+D800"):
        llm.embed(["a", "b\ud800"])
    llm.embed("a")
    llm.close()
    with pytest.raises(EngineClosedError):
        llm.embed("a")


def test_a_reranker_gives_none(tiny_model: Callable[..., Path]) -> None:
    path = tiny_model("bert", overrides={"bert.pooling_type": 4})
    with tea_llm.load(path, n_threads=1) as llm:
        assert llm.info.pooling == "rank"
        with pytest.raises(EmbeddingNotSupportedError):
            llm.embed("a")


def test_a_chat_model_says_so_once(tiny_model: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with tea_llm.load(tiny_model("llama"), n_threads=1) as llm:
        assert llm.info.pooling == "none"
        llm.embed("a")
        llm.embed("b")
    assert [
        record.message for record in caplog.records if "pooling" in record.message and record.name == "tea_llm"
    ] == ["The model says nothing of pooling: a text's vector is the mean of its tokens'"]
