"""Embeddings and rankings from an API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.openai_server import OpenAiServer
from tea_llm import ApiLlmBackend, ApiResponseError, EmbeddingNotSupportedError, FallbackBackend, RerankResult
from tea_llm.testing import MockBackend

DOCUMENTS = ["red", "red and blue", "nothing"]


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer(MockBackend([], vectors={"a": [3, 4, 0, 0], "b": [0, 0, 6, 8]})) as started:
        yield started


@pytest.fixture
def llm(server: OpenAiServer) -> Iterator[ApiLlmBackend]:
    with server.client() as client:
        yield client


def embeddings(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]}


def test_options(llm: ApiLlmBackend, server: OpenAiServer) -> None:
    np.testing.assert_allclose(llm.embed(["a", "b"]), [[0.6, 0.8, 0, 0], [0, 0, 0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(llm.embed("a", dimensions=2), [0.6, 0.8], atol=1e-6)
    assert server.requests[-1].body["dimensions"] == 2
    np.testing.assert_allclose(llm.embed(["a"], prompt="b"), llm.embed(["ba"]))
    assert server.requests[-2].body["input"] == ["ba"]
    with pytest.raises(ValueError, match="the prefixes of tiny are unknown"):
        llm.embed("a", prompt="query")
    server.fail_next(200, body=embeddings([3.0, 4.0]))
    np.testing.assert_allclose(llm.embed("a", normalize=False), [3, 4])


@pytest.mark.parametrize("options", [{"truncate": "end"}, {"pooling": "cls"}, {"return_info": True}])
def test_what_apis_do_not_have(llm: ApiLlmBackend, server: OpenAiServer, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is for local models"):
        llm.embed("a", **options)
    assert not server.requests


def test_many_in_several_requests(llm: ApiLlmBackend, server: OpenAiServer) -> None:
    done: list[int] = []
    vectors = llm.embed((str(i) for i in range(600)), progress=done.append)
    assert done == [256, 512, 600]
    assert [len(request.body["input"]) for request in server.requests] == [256, 256, 88]
    np.testing.assert_allclose(vectors[300], llm.embed("300"), atol=1e-6)
    np.testing.assert_array_equal(asyncio.run(llm.aembed(str(i) for i in range(600))), vectors)


def test_answers_of_another_length(llm: ApiLlmBackend, server: OpenAiServer) -> None:
    server.fail_next(200, body=embeddings(*[[1.0, 0.0]] * 256))
    with pytest.raises(ApiResponseError, match="differ in length"):
        llm.embed(str(i) for i in range(300))


def test_rerank(llm: ApiLlmBackend, server: OpenAiServer) -> None:
    expected = [RerankResult(1, 2.0), RerankResult(0, 1.0), RerankResult(2, 0.0)]
    assert llm.rerank("red blue", DOCUMENTS) == expected
    assert server.requests[-1].body == {"model": "tiny", "query": "red blue", "documents": DOCUMENTS}
    assert llm.rerank("red blue", DOCUMENTS, top_n=1) == expected[:1]
    assert asyncio.run(llm.arerank("red blue", DOCUMENTS)) == expected
    assert FallbackBackend(None, llm).rerank("red blue", DOCUMENTS) == expected
    assert asyncio.run(FallbackBackend(None, llm).arerank("red blue", DOCUMENTS)) == expected
    n_requests = len(server.requests)
    assert llm.rerank("red blue", []) == []
    assert len(server.requests) == n_requests
    server.fail_next(200, body={"results": [{"index": 0, "score": -3}]})  # as older servers say it
    assert llm.rerank("red", ["red"]) == [RerankResult(0, -3.0)]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"results": 5},
        {"results": [{"index": 1, "relevance_score": 1.0}]},
        {"results": [{"index": 0}]},
        {"results": [{"index": 0, "relevance_score": "1"}]},
        {"results": ["x"]},
        {"results": [{"index": True, "relevance_score": 1.0}, {"index": 0, "relevance_score": float("nan")}]},
    ],
)
def test_no_ranking(llm: ApiLlmBackend, server: OpenAiServer, answer: object) -> None:
    server.fail_next(200, body=answer)
    with pytest.raises(ApiResponseError):
        llm.rerank("red", ["red"])


def test_an_api_without_rankings(llm: ApiLlmBackend, server: OpenAiServer) -> None:
    for status in (404, 501):
        server.fail_next(status)
        with pytest.raises(EmbeddingNotSupportedError):
            llm.rerank("red", ["red"])
