"""Scores of documents, against the same network in numpy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tea_llm
from support.reference_bert import ReferenceBert
from support.tiny_gguf import Tensors
from tea_llm import (
    ContextOverflowError,
    EmbeddingNotSupportedError,
    EngineClosedError,
    InferenceError,
    LocalLlmBackend,
    RerankResult,
)

N_EMBD = 64
ROUNDING = 5e-3  # llama.cpp looks its GELU up in a table of half precision
DOCUMENTS = [
    "a list is a sequence",
    "fish swim",
    "",
    "the query again",
    "a list is a sequence",
    "of several words " * 9,
]


def with_classifier(tensors: Tensors) -> None:
    rng = np.random.default_rng(5)
    shapes = {"cls.weight": (N_EMBD, N_EMBD), "cls.bias": (N_EMBD,), "cls.output.weight": (1, N_EMBD)}
    for name, shape in shapes.items():
        tensors[name] = (rng.standard_normal(shape) / 8).astype(np.float32)
    tensors["cls.output.bias"] = np.array([0.25], np.float32)


@pytest.fixture(scope="module")
def path(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("bert", overrides={"bert.pooling_type": 4}, edit=with_classifier)


@pytest.fixture(scope="module")
def llm(path: Path) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(path, n_threads=1) as loaded:
        yield loaded


def test_scores_are_the_networks(llm: LocalLlmBackend, path: Path) -> None:
    query = "what is a list"
    network = ReferenceBert(path)
    expected = [
        network.score([*llm.tokenize(query), *llm.tokenize(document)[1:]])  # [CLS] query [SEP] document [SEP]
        for document in DOCUMENTS
    ]
    ranked = llm.rerank(query, DOCUMENTS)
    assert sorted(result.index for result in ranked) == list(range(len(DOCUMENTS)))
    for result in ranked:
        assert result.score == pytest.approx(expected[result.index], abs=ROUNDING)
    assert [result.score for result in ranked] == sorted((result.score for result in ranked), reverse=True)
    assert np.ptp(expected) > 10 * ROUNDING


def test_the_best_ones(llm: LocalLlmBackend) -> None:
    ranked = llm.rerank("what is a list", DOCUMENTS)
    assert llm.rerank("what is a list", DOCUMENTS, top_n=2) == ranked[:2]
    assert llm.rerank("what is a list", DOCUMENTS, top_n=100) == ranked
    assert asyncio.run(llm.arerank("what is a list", DOCUMENTS)) == ranked
    assert llm.rerank("what is a list", []) == []
    assert isinstance(ranked[0], RerankResult)


def test_many_are_the_same_as_one_by_one(llm: LocalLlmBackend) -> None:
    documents = [f"document {i} " + "word " * (i * 7 % 60) for i in range(200)]
    together = {result.index: result.score for result in llm.rerank("query", documents)}
    for index in range(0, 200, 17):
        assert llm.rerank("query", [documents[index]])[0].score == pytest.approx(together[index], abs=1e-4)


def test_the_models_own_template(tiny_model: Callable[..., Path]) -> None:
    keys = {"bert.pooling_type": 4, "tokenizer.chat_template.rerank": "[CLS]{document}[SEP]{query}[SEP]"}
    path = tiny_model("bert", overrides=keys, edit=with_classifier)
    with tea_llm.load(path, n_threads=1) as llm:
        document, query = "fish [SEP] swim {query}", "who swims"
        tokens = [*llm.tokenize(document), *llm.tokenize(query)[1:]]
        (result,) = llm.rerank(query, [document])
        assert result.score == pytest.approx(ReferenceBert(path).score(tokens), abs=ROUNDING)


def test_separators_as_the_vocabulary_has_them(tiny_model: Callable[..., Path]) -> None:
    keys = {"bert.pooling_type": 4, "tokenizer.ggml.add_eos_token": True, "tokenizer.ggml.eos_token_id": 5}
    path = tiny_model("bert", overrides=keys, edit=with_classifier)
    with tea_llm.load(path, n_threads=1) as llm:
        cls, *query, sep = llm.tokenize("who swims")
        document = llm.tokenize("fish")[1:-1]
        tokens = [cls, *query, 5, sep, *document, sep]
        (result,) = llm.rerank("who swims", ["fish"])
        assert result.score == pytest.approx(ReferenceBert(path).score(tokens), abs=ROUNDING)


def test_a_cancelled_task_stops_though_all_texts_are_still_to_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_read = 0

    async def cancel(llm: LocalLlmBackend) -> int:
        read = llm._embedder._pair

        def pair(query: str, document: str) -> list[int]:
            nonlocal n_read
            n_read += 1
            return read(query, document)

        monkeypatch.setattr(llm._embedder, "_pair", pair)
        task = asyncio.create_task(llm.arerank("query", ["a document"] * 1_000_000))
        while n_read < 100:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)
        return n_read

    with tea_llm.load(path, n_threads=1) as llm:
        n_then = asyncio.run(cancel(llm))
        assert n_then == n_read < 1_000_000


def test_what_does_not_rank(tiny_model: Callable[..., Path]) -> None:
    for arch in ("bert", "llama"):
        with (
            tea_llm.load(tiny_model(arch), n_threads=1) as llm,
            pytest.raises(EmbeddingNotSupportedError, match="ranks nothing"),
        ):
            llm.rerank("query", ["document"])


def test_wrong_arguments(path: Path) -> None:
    with tea_llm.load(path, n_threads=1) as llm:
        with pytest.raises(EmbeddingNotSupportedError, match="ranks texts"):
            llm.embed("a")
        with pytest.raises(ContextOverflowError, match=r"documents\[1\].* 512"):
            llm.rerank("query", ["short", "long " * 600])
        for query, documents in ((5, ["a"]), ("a", "text"), ("a", b"bytes"), ("a", 5), ("a", ["b", 5])):
            with pytest.raises(TypeError):
                llm.rerank(query, documents)  # type: ignore[arg-type]
        for top_n in (0, -1):
            with pytest.raises(ValueError, match="top_n"):
                llm.rerank("a", ["b"], top_n=top_n)
        with pytest.raises(ValueError, match=r"documents\[1\]"):
            llm.rerank("a", ["b", "\ud800"])
    with pytest.raises(EngineClosedError):
        llm.rerank("a", ["b"])


def test_nan_is_an_error_that_names_the_document(tiny_model: Callable[..., Path]) -> None:
    def damaged(tensors: Tensors) -> None:
        with_classifier(tensors)
        tensors["token_embd.weight"][77] = np.nan

    path = tiny_model("bert", overrides={"bert.pooling_type": 4}, edit=damaged)
    with tea_llm.load(path, n_threads=1) as llm:
        documents = ["fish", "a list", llm.detokenize([77])]
        with pytest.raises(InferenceError, match=r"^documents\[2\], with the query, gives NaN"):
            llm.rerank("a query", documents)
        assert len(llm.rerank("a query", documents[:2])) == 2
