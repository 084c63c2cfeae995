"""Vectors of texts: shapes, packing, edges."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import tea_llm
from support.process import run_python, started_python
from support.reference_bert import ReferenceBert
from support.tiny_gguf import Tensors
from tea_llm import ContextOverflowError, EmbeddingNotSupportedError, EngineClosedError, InferenceError, LocalLlmBackend
from tea_llm.backends.embedding import EmbedOptions, Truncate

ROUNDING = 1e-4
TEXTS = ["a few words", "word " * 40, "", "one"]


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


@pytest.fixture(scope="module")
def bert(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("bert"), n_threads=1) as loaded:
        yield loaded


def test_poolings_are_the_networks(bert: LocalLlmBackend, tiny_model: Callable[..., Path]) -> None:
    network = ReferenceBert(tiny_model("bert"))
    hidden = [network.hidden(bert.tokenize(text)) for text in TEXTS]
    rounding = 2e-2  # of numbers about 1: llama.cpp looks its GELU up in a table of half precision
    tokens = bert.embed(TEXTS, pooling="none", normalize=False)
    assert [one.shape for one in tokens] == [one.shape for one in hidden]
    for one, expected in zip(tokens, hidden, strict=True):
        np.testing.assert_allclose(one, expected, atol=rounding)
    np.testing.assert_allclose(
        bert.embed(TEXTS, pooling="cls", normalize=False), [one[0] for one in hidden], atol=rounding
    )
    np.testing.assert_allclose(
        bert.embed(TEXTS, pooling="last", normalize=False), [one[-1] for one in hidden], atol=rounding
    )
    mean = bert.embed(TEXTS, pooling="mean", normalize=False)
    np.testing.assert_allclose(mean, [one.mean(axis=0) for one in hidden], atol=rounding)
    np.testing.assert_array_equal(mean, bert.embed(TEXTS, normalize=False))


def test_vectors_of_tokens(bert: LocalLlmBackend) -> None:
    one = bert.embed(TEXTS[1], pooling="none")
    assert one.shape == (len(bert.tokenize(TEXTS[1])), 64)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    several, info = bert.embed([TEXTS[0], TEXTS[1]], pooling="none", return_info=True)
    np.testing.assert_allclose(several[1], one, atol=ROUNDING)
    assert info.n_tokens == tuple(map(len, several))
    assert bert.embed([], pooling="none") == []


def test_dimensions(bert: LocalLlmBackend) -> None:
    whole, cut = bert.embed(TEXTS, normalize=False), bert.embed(TEXTS, dimensions=16)
    np.testing.assert_allclose(cut, whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True), atol=ROUNDING)
    assert cut.shape == (4, 16)
    assert cut.base is None or cut.base.shape == cut.shape  # nothing more is held
    assert bert.embed([], dimensions=16).shape == (0, 16)
    with pytest.raises(ValueError, match="dimensions=65: the model's vectors have 64"):
        bert.embed("a", dimensions=65)


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_truncation(tiny_model: Callable[..., Path], arch: str) -> None:
    with tea_llm.load(tiny_model(arch, n_ctx_train=40), n_threads=1) as llm:
        words = [f"{word} " for word in "abcdefghijklmnopqrstuvwxyz" * 3]
        text = "".join(words)
        n_whole = len(llm.tokenize(text))
        kept: dict[Truncate, list[str]] = {"end": words[:20], "start": words[-20:]}
        for truncate in kept:
            vector, info = llm.embed([text, "short"], truncate=truncate, pooling="none", return_info=True)
            assert info.n_tokens == (40, len(llm.tokenize("short")))
            assert info.is_truncated == (True, False)
            n_fitting = len(llm.tokenize("".join(kept[truncate])))
            assert n_fitting < 40 < n_whole
            whole = llm.embed(text, truncate=truncate)
            np.testing.assert_allclose(whole / np.linalg.norm(whole), whole, atol=1e-6)
            assert len(vector[0]) == 40
        with pytest.raises(ContextOverflowError, match=f"text has {n_whole} tokens.* 40"):
            llm.embed(text)


def test_what_truncation_keeps(tiny_model: Callable[..., Path]) -> None:
    path = tiny_model("bert", n_ctx_train=40)
    network = ReferenceBert(path)
    with tea_llm.load(path, n_threads=1) as llm:
        text = "a few words and " * 20
        cls, *inner, sep = llm.tokenize(text)
        kept: dict[Truncate, list[int]] = {"end": inner[:38], "start": inner[-38:]}
        for truncate in kept:
            vector = llm.embed(text, truncate=truncate, normalize=False)
            expected = network.hidden([cls, *kept[truncate], sep]).mean(axis=0)
            np.testing.assert_allclose(vector, expected, atol=2e-2)
        np.testing.assert_array_equal(llm.embed("short", truncate="end"), llm.embed("short"))
        prompt = llm.tokenize("query: ", add_special=False)
        for truncate, end in (("end", inner[: 38 - len(prompt)]), ("start", inner[len(prompt) - 38 :])):
            vector = llm.embed(text, truncate=truncate, normalize=False, prompt="query: ")
            expected = network.hidden([cls, *prompt, *end, sep]).mean(axis=0)
            np.testing.assert_allclose(vector, expected, atol=2e-2)
        with pytest.raises(ContextOverflowError):
            llm.embed("text", truncate="start", prompt="query " * 60)


def test_a_context_of_any_size(tiny_model: Callable[..., Path]) -> None:
    for n_ctx_train in (1, 7, 100):
        with tea_llm.load(tiny_model("bert", n_ctx_train=n_ctx_train), n_threads=1) as llm:
            if n_ctx_train == 1:
                with pytest.raises(ContextOverflowError):
                    llm.embed("a")
            else:
                assert llm.embed(["a"] * 70).shape == (70, 64)


def test_prompts_are_put_before_texts(bert: LocalLlmBackend, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    np.testing.assert_array_equal(bert.embed("b c", prompt="a "), bert.embed("a b c"))
    with pytest.raises(ValueError, match="give the text of the prefix"):
        bert.embed("b c", prompt="query")
    path = tmp_path / "nomic-embed-text-v1.5.F32.gguf"
    path.write_bytes(tiny_model("bert").read_bytes())
    with tea_llm.load(path, n_threads=1) as llm:
        np.testing.assert_array_equal(llm.embed("x", prompt="query"), bert.embed("search_query: x"))
        np.testing.assert_array_equal(llm.embed("x", prompt="document"), bert.embed("search_document: x"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pooling": "max"}, ValueError),
        ({"pooling": "rank"}, ValueError),
        ({"truncate": "middle"}, ValueError),
        ({"truncate": True}, ValueError),
        ({"dimensions": 0}, ValueError),
        ({"dimensions": 1.5}, TypeError),
        ({"normalize": 1}, TypeError),
        ({"return_info": "yes"}, TypeError),
        ({"prompt": 5}, TypeError),
        ({"prompt": "\ud800"}, ValueError),
        ({"progress": 5}, TypeError),
        ({"batch_size": 32}, TypeError),
    ],
)
def test_wrong_options(bert: LocalLlmBackend, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        bert.embed("a", **options)
    with pytest.raises(error, match=next(iter(options))):
        asyncio.run(bert.aembed("a", **options))


def test_a_long_iterator_is_read_as_it_is_needed(bert: LocalLlmBackend) -> None:
    n_read = 0

    def texts() -> Iterator[str]:
        nonlocal n_read
        for n_read in range(1, 5001):
            yield f"text {n_read}"

    behind: list[int] = []
    vectors, info = bert.embed(texts(), progress=lambda n: behind.append(n_read - n), return_info=True)
    assert vectors.shape == (5000, 64)
    assert len(info.n_tokens) == 5000
    assert behind == [0] * len(behind)
    assert len(behind) >= 4
    np.testing.assert_allclose(vectors[4321], bert.embed("text 4322"), atol=ROUNDING)


def test_flat_memory(tiny_model: Callable[..., Path]) -> None:
    done = run_python(
        """
        import resource, sys, tea_llm
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        at = {}
        with tea_llm.load(sys.argv[1], n_threads=1) as llm:
            texts = (f"text number {i} of some words" for i in range(30_000))
            vectors = llm.embed(texts, progress=lambda n: at.setdefault(n, peak()))
        begin, end = at[min(n for n in at if n > 6_000)], at[30_000]
        print((end - begin) / vectors.nbytes)
        """,
        args=(str(tiny_model("bert")),),
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.5  # the vectors themselves, and room to grow


def test_ctrl_c_stops(tiny_model: Callable[..., Path]) -> None:
    code = """
    import itertools, sys, tea_llm
    llm = tea_llm.load(sys.argv[1], n_threads=1)
    vector = llm.embed("word " * 100)
    print("READY", flush=True)
    try:
        llm.embed(itertools.repeat("word " * 100), progress=lambda n: None)
    except KeyboardInterrupt:
        print("INTERRUPTED", flush=True)
    print(abs(llm.embed("word " * 100) - vector).max() < 1e-4, flush=True)
    """
    with started_python(code, str(tiny_model("bert"))) as (child, said):
        assert said.readline() == "READY\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        assert said.read() == "INTERRUPTED\nTrue\n"
        assert child.wait() == 0


def test_a_cancelled_task_stops(bert: LocalLlmBackend) -> None:
    n_read = 0

    def endless() -> Iterator[str]:
        nonlocal n_read
        for n_read in itertools.count():  # noqa: B007
            yield "word " * 30

    async def cancel() -> int:
        task = asyncio.create_task(bert.aembed(endless()))
        while n_read < 100:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return n_read

    n_at_cancel = asyncio.run(cancel())  # which waits for the thread
    assert n_read <= n_at_cancel + 2048


def test_closing_ends_it(tiny_model: Callable[..., Path]) -> None:
    llm = tea_llm.load(tiny_model("bert"), n_threads=1)
    errors: list[BaseException] = []

    def embed() -> None:
        try:
            llm.embed(itertools.repeat("a"), progress=lambda n: started.set())
        except BaseException as error:
            errors.append(error)

    started = threading.Event()
    thread = threading.Thread(target=embed)
    thread.start()
    assert started.wait(250)
    llm.close()
    thread.join(250)
    assert [type(error) for error in errors] == [EngineClosedError]
    with pytest.raises(EngineClosedError):
        asyncio.run(llm.aembed("a"))


def test_threads_side_by_side(tiny_model: Callable[..., Path]) -> None:
    texts = [f"text number {i} " + "word " * (i * 7 % 40) for i in range(120)]
    with tea_llm.load(tiny_model("bert"), n_threads=1) as one, tea_llm.load(tiny_model("bert"), n_threads=4) as four:
        expected = one.embed(texts)
        with ThreadPoolExecutor(3) as callers:
            for vectors in callers.map(lambda _: four.embed(texts), range(3)):
                np.testing.assert_allclose(vectors, expected, atol=ROUNDING)

        def stop() -> None:
            raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                four._embedder.embed(texts, EmbedOptions(), stop)
        np.testing.assert_allclose(four.embed(texts), expected, atol=ROUNDING)


def with_one_bad_token(tensors: Tensors) -> None:
    tensors["token_embd.weight"][BAD_TOKEN] = np.nan


BAD_TOKEN = 77


@pytest.mark.parametrize(
    ("arch", "pooling"), [("bert", None), ("bert", "none"), ("qwen2", "mean"), ("qwen2", "none"), ("mamba", "mean")]
)
def test_nan_is_an_error_that_names_the_text(
    tiny_model: Callable[..., Path], arch: str, pooling: Literal["none", "mean"] | None
) -> None:
    """It does not outlive its text, although some attention multiplies what it leaves in memory by zero."""
    with tea_llm.load(tiny_model(arch, edit=with_one_bad_token), n_ctx=256, n_threads=1) as llm:
        bad = llm.detokenize([BAD_TOKEN]).strip()
        texts = ["a b", "c d e", f"one {bad} more", "fish", bad]
        assert [BAD_TOKEN in llm.tokenize(text) for text in texts] == [False, False, True, False, True]
        with pytest.raises(InferenceError, match=r"^text\[2\] gives NaN"):
            llm.embed(texts, pooling=pooling)
        with pytest.raises(InferenceError, match=r"^text gives NaN"):
            asyncio.run(llm.aembed(bad, pooling=pooling))
        assert all(np.isfinite(rows).all() for rows in llm.embed(texts[:2], pooling=pooling))
