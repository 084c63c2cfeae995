"""``MockBackend`` keeps the contract that it stands for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tea_llm import ContextOverflowError, EngineClosedError, LlmCallParams, LlmCallResult, Usage
from tea_llm.testing import MockBackend, MockCall

HI = [{"role": "user", "content": "Hi"}]


def test_replies_come_in_their_order_and_calls_are_remembered() -> None:
    result = LlmCallResult("b", "m", 1, "length", Usage(1, 1, 2))
    llm = MockBackend(["a", result, ContextOverflowError("too long", 5, 3)])
    assert llm.call("x", max_tokens=3).content == "a"
    assert llm.chat(HI) is result
    with pytest.raises(ContextOverflowError, match="too long"):
        llm.call(LlmCallParams("y"))
    assert llm.calls == [
        MockCall("call", "x", {"max_tokens": 3}), MockCall("chat", HI), MockCall("call", LlmCallParams("y")),
    ]  # fmt: skip
    assert llm.n_left == 0


def test_one_request_too_many_is_said() -> None:
    with pytest.raises(AssertionError, match=r"no reply left for request 1: call\('x'\)"):
        MockBackend().call("x")


def test_options_are_checked_as_the_real_ones_do() -> None:
    with pytest.raises(TypeError, match="did you mean 'max_tokens'"):
        MockBackend(["a"]).call("x", max_token=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("text", ["", "one", "two words", " a  b ", "end\n"])
def test_streamed_is_returned(text: str) -> None:
    llm = MockBackend([text] * 4)
    with llm.stream("x") as stream:
        chunks = list(stream)
        assert stream.result.content == text
    assert "".join(chunk.text for chunk in chunks) == text
    assert chunks[-1].finish_reason == "stop"
    got: list[str] = []
    assert llm.stream_chat(HI, got.append).content == text
    assert "".join(got) == text

    async def collect() -> str:
        return "".join([chunk.text async for chunk in llm.astream("x")]) + (await llm.achat(HI)).content

    assert asyncio.run(collect()) == text + text


def test_vectors_are_the_same_for_the_same_text() -> None:
    llm = MockBackend(n_embd=4, vectors={"known": [3, 0, 0, 4]})
    one, both = llm.embed("a"), llm.embed(["b", "a"])
    assert one.dtype == both.dtype == np.float32
    assert one.shape == (4,)
    np.testing.assert_array_equal(both[1], MockBackend(n_embd=4).embed("a"))
    assert np.linalg.norm(one) == pytest.approx(1)
    assert llm.embed("known").tolist() == pytest.approx([0.6, 0, 0, 0.8])
    assert llm.embed("known", normalize=False).tolist() == [3, 0, 0, 4]
    assert asyncio.run(llm.aembed([])).shape == (0, 4)


def test_a_closed_one_answers_no_more() -> None:
    with MockBackend(["a"]) as llm:
        pass
    with pytest.raises(EngineClosedError):
        llm.call("x")
