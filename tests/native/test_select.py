"""Which backend answers, how often a model is loaded, and when a request goes elsewhere."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import (
    ApiConnectionError,
    ApiLlmBackend,
    ConfigError,
    ContextOverflowError,
    EngineClosedError,
    FallbackBackend,
    GenerationCancelledError,
    GenerationTimeoutError,
    InferenceError,
    LlmBackend,
    LocalBackendUnavailableError,
    LocalLlmBackend,
    ModelLoadError,
    ModelNotFoundError,
    close_all,
    create_llm_backend,
    get_llm_backend,
    is_local_llm_available,
)
from tea_llm.backends import select
from tea_llm.testing import MockBackend

HI = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"max_tokens": 12, "temperature": 0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home: what the settings say is all there is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    close_all()


@pytest.fixture
def model(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


@pytest.fixture
def server(model: Path) -> Iterator[OpenAiServer]:
    with tea_llm.load(model, n_ctx=512, n_threads=1) as llm, OpenAiServer(llm) as running:
        yield running


def settings(model_path: Path | str | None = None, **llm: object) -> dict[str, object]:
    return {"llm": {"model_path": model_path, "n_ctx": 256, "n_threads": 1, **llm}}


def test_local_is_the_model_or_the_error(model: Path, home: Path) -> None:
    with create_llm_backend(settings(model, backend="local")) as llm:
        assert isinstance(llm, LocalLlmBackend)
        assert llm.info.n_ctx == 256
    with pytest.raises(ModelNotFoundError, match="Searched:"):
        create_llm_backend(settings(home / "none.gguf", backend="local", api_url="http://x/v1", model="m"))
    with pytest.raises(ModelNotFoundError, match=r"no model file at .*none\.gguf"):
        create_llm_backend(settings(model), model_path=home / "none.gguf")


def test_api_asks_nobody_for_a_model(model: Path, server: OpenAiServer) -> None:
    with create_llm_backend(settings(model, backend="api", api_url=server.url, model="m")) as llm:
        assert isinstance(llm, ApiLlmBackend)
        assert llm.chat(HI, **GREEDY).backend == "api"


def test_auto_takes_the_model_that_is_there(model: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in (settings(model), settings()):
        if where == settings():
            monkeypatch.setenv("TEA_MODEL_PATH", str(model))
        with create_llm_backend(where) as llm:
            assert isinstance(llm, LocalLlmBackend)
    monkeypatch.delenv("TEA_MODEL_PATH")
    cache = home / ".cache/tea/models"
    cache.mkdir(parents=True)
    shutil.copy(model, cache / tea_llm.DEFAULT_MODELS[-1])
    with create_llm_backend(settings()) as llm:
        assert llm.chat(HI, **GREEDY).model == Path(tea_llm.DEFAULT_MODELS[-1]).stem


@pytest.mark.parametrize("broken", [False, True])
def test_auto_goes_to_the_api_and_says_why(
    home: Path, server: OpenAiServer, broken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = home / "broken.gguf"
    if broken:
        path.write_bytes(b"GGUF, but not really")
    with create_llm_backend(settings(path, api_url=server.url, model="m")) as llm:
        result = llm.chat(HI, **GREEDY)
        assert result.backend == "api"
        reason = "ModelLoadError: " if broken else "no local model was found"
        assert (result.fallback_reason or "").startswith(reason)
        assert broken or f"{path} is not a model file" in (result.fallback_reason or "")
        assert f"The API is used instead of a local model: {reason}" in caplog.text
        assert llm.stream_chat(HI, lambda text: None, **GREEDY).fallback_reason == result.fallback_reason
        assert asyncio.run(llm.achat(HI, **GREEDY)).fallback_reason == result.fallback_reason


def test_another_model_than_the_one_that_was_named_says_so(
    model: Path, home: Path, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = home / ".cache/tea/models"
    cache.mkdir(parents=True)
    shutil.copy(model, cache / tea_llm.DEFAULT_MODELS[-1])
    gone = home / "gone.gguf"
    reason = f"settings.llm.model_path is set, but {gone} is not a model file: no such file"
    fine = get_llm_backend(settings())
    for llm in (
        get_llm_backend(settings(gone)),
        get_llm_backend(settings(gone, fallback="call", api_url=server.url, model="m")),
    ):
        assert llm.call("Hello", **GREEDY).fallback_reason == reason
        assert llm.stream_chat(HI, lambda text: None, **GREEDY).fallback_reason == reason
        assert asyncio.run(llm.achat(HI, **GREEDY)).fallback_reason == reason
    one = get_llm_backend(settings(gone))
    assert isinstance(one, LocalLlmBackend)
    assert isinstance(fine, LocalLlmBackend)
    assert one.info.fallback_reason == reason
    assert one._engine is fine._engine  # loaded once
    assert (fine.info.fallback_reason, fine.call("Hello", **GREEDY).fallback_reason) == (None, None)
    close_all()
    for closed in (one, fine):
        with pytest.raises(EngineClosedError):
            closed.call("Hello")
    monkeypatch.setenv("TEA_MODEL_PATH", str(gone))
    with tea_llm.load(n_ctx=256, n_threads=1) as loaded:
        assert "TEA_MODEL_PATH is set, but" in (loaded.info.fallback_reason or "")
        assert loaded.call("Hello", **GREEDY).fallback_reason == loaded.info.fallback_reason
    with tea_llm.load(model, n_ctx=256, n_threads=1) as loaded:
        assert loaded.info.fallback_reason is None


@pytest.mark.parametrize("backend", ["auto", "local"])
def test_strict_settings_take_no_other_model(home: Path, model: Path, server: OpenAiServer, backend: str) -> None:
    cache = home / ".cache/tea/models"
    cache.mkdir(parents=True)
    shutil.copy(model, cache / tea_llm.DEFAULT_MODELS[-1])
    asked = settings(home / "gone.gguf", strict=True, backend=backend, api_url=server.url, model="m")
    with pytest.raises(ModelNotFoundError, match="gone.gguf is not a model file"):
        create_llm_backend(asked)
    assert not is_local_llm_available(asked)
    with create_llm_backend(settings(model, strict=True, backend=backend)) as llm:
        assert llm.call("Hello", **GREEDY).fallback_reason is None


def test_auto_without_anything_names_both_ways(home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        create_llm_backend(settings())
    assert "no model file found. Searched:" in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)


def test_auto_with_a_key_alone_asks_for_the_default_model(home: Path, server: OpenAiServer) -> None:
    with create_llm_backend({"llm": {"api_key": "k", "api_url": server.url}}) as llm:
        assert llm.chat(HI, **GREEDY).backend == "api"
    assert server.requests[-1].body["model"] == "gpt-4o-mini"


def test_fallback_never_asks_no_api(home: Path, server: OpenAiServer) -> None:
    with pytest.raises(ConfigError, match="no model file found"):
        create_llm_backend(settings(fallback="never", api_url=server.url, model="m"))
    (home / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelLoadError):
        create_llm_backend(settings(home / "broken.gguf", fallback="never", api_url=server.url, model="m"))
    with pytest.raises(ModelLoadError):  # no API is configured
        create_llm_backend(settings(home / "broken.gguf"))


@pytest.mark.parametrize("fallback", ["create", "call"])
def test_a_request_goes_to_the_api_only_where_that_is_wanted(model: Path, server: OpenAiServer, fallback: str) -> None:
    asked = settings(model, fallback=fallback, api_url=server.url, model="m")
    text = "Hello " * 60  # fits the server's context of 512, and not the local one of 256
    with create_llm_backend(asked) as llm:
        assert llm.call("Hello", **GREEDY).backend == "local"
        if fallback == "create":
            with pytest.raises(ContextOverflowError):
                llm.call(text)
            return
        for result in (
            llm.call(text, **GREEDY),
            llm.chat([{"role": "user", "content": text}], **GREEDY),
            llm.stream(text, lambda text: None, **GREEDY),
            asyncio.run(llm.acall(text, **GREEDY)),
        ):
            assert result.backend == "api"
            assert (result.fallback_reason or "").startswith("ContextOverflowError: ")
        for ask in (  # the API has no grammars: it is the local model's failure that is told
            lambda: llm.call(text, grammar='root ::= "x"'),
            lambda: list(llm.stream(text, grammar='root ::= "x"')),
            lambda: asyncio.run(llm.acall(text, grammar='root ::= "x"')),
        ):
            with pytest.raises(ContextOverflowError):
                ask()
        tokens = [5] * 300
        with pytest.raises(ContextOverflowError):  # ids of one vocabulary mean nothing to another model
            llm.call(tokens)


class BreakingAnswer:
    def __init__(self, stream: tea_llm.TextStream, n_chunks: int) -> None:
        self._stream = stream
        self._n_left = n_chunks

    def stream(self) -> tea_llm.TextStream:
        def next_chunk() -> tea_llm.StreamChunk:
            if self._n_left == 0:
                raise InferenceError("broken on purpose")
            self._n_left -= 1
            return next(self._stream)

        return tea_llm.TextStream(next_chunk, lambda: self._stream.result, self._stream.cancel)


class BreaksAfter(LocalLlmBackend):
    """A local backend whose streams fail after so many chunks."""

    def __init__(self, real: LocalLlmBackend, n_chunks: int) -> None:
        self._real = real
        self._n_chunks = n_chunks

    def _ask(self, prompt: Any, options: Any, check: Any = None) -> Any:
        return BreakingAnswer(self._real.stream(prompt, **options), self._n_chunks)

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize("n_chunks", [0, 1])
def test_no_stream_changes_its_source_midway(model: Path, server: OpenAiServer, n_chunks: int) -> None:
    api = ApiLlmBackend({"llm": {"api_url": server.url, "model": "m"}})
    local = tea_llm.load(model, n_ctx=256, n_threads=1)
    with FallbackBackend(BreaksAfter(local, n_chunks), api) as llm:
        texts: list[str] = []
        if n_chunks == 0:
            result = llm.stream("Hello", texts.append, **GREEDY)
            assert result.fallback_reason == "InferenceError: broken on purpose"
            assert "".join(texts) == result.content
        else:
            with pytest.raises(InferenceError, match="broken on purpose"):
                llm.stream("Hello", texts.append, **GREEDY)
            assert len(texts) == n_chunks
        assert len(server.requests) == (n_chunks == 0)


def test_local_is_local(model: Path, server: OpenAiServer) -> None:
    """``fallback: call`` sends nothing off the machine where only a local model was asked for."""
    with create_llm_backend(settings(model, backend="local", fallback="call", api_url=server.url, model="m")) as llm:
        with pytest.raises(ContextOverflowError):
            llm.call("Hello " * 60)
        assert server.requests == []


class FailingAnswer:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def stream(self) -> tea_llm.TextStream:
        def fail() -> Any:
            time.sleep(self._seconds)
            raise InferenceError("broken on purpose")

        return tea_llm.TextStream(fail, fail, lambda: None)


class Fails(MockBackend):
    """A local backend that takes its time to fail."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def _ask_chat(self, messages: Any, options: Any) -> Any:
        return FailingAnswer(self.seconds)


def test_who_cancels_is_not_answered_by_the_api() -> None:
    api = MockBackend(["an answer"])
    stream = FallbackBackend(Fails(0), api).stream_chat(HI)
    stream.cancel()
    with pytest.raises(GenerationCancelledError):
        list(stream)
    assert api.calls == []


def test_the_api_gets_the_time_that_is_left() -> None:
    api = MockBackend(["an answer"])
    llm = FallbackBackend(Fails(0.05), api)
    with pytest.raises(GenerationTimeoutError, match="0.04 s none are left"):
        list(llm.stream_chat(HI, timeout=0.04))
    list(llm.stream_chat(HI, timeout=60, priority=3))
    assert 0 < api.calls[0].options["timeout"] < 60
    assert "priority" not in api.calls[0].options


def test_close_all_during_a_load(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded then is closed, and whoever waited gets one that is open."""
    loaded: list[LocalLlmBackend] = []
    is_loading, may_go_on = threading.Event(), threading.Event()
    real_load = tea_llm.load

    def slow_load(*args: Any, **options: Any) -> LocalLlmBackend:
        loaded.append(real_load(*args, **options))
        is_loading.set()
        may_go_on.wait(10)
        return loaded[-1]

    monkeypatch.setattr(select, "load", slow_load)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get_llm_backend, settings(model, n_ctx=256))
        is_loading.wait(10)
        close_all()
        second = pool.submit(get_llm_backend, settings(model, n_ctx=256))
        may_go_on.set()
        assert first.result() is second.result() is loaded[-1]
    assert len(loaded) == 2
    assert loaded[-1].call("Hello", max_tokens=1).tokens_used is not None
    with pytest.raises(EngineClosedError):
        loaded[0].call("Hello")


def test_a_relative_path_is_where_it_was_written(
    tiny_model: Callable[..., Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, name in enumerate(("one", "two")):
        (home / name).mkdir()
        shutil.copy(tiny_model("llama", n_ctx_train=256 * (index + 1)), home / name / "m.gguf")
    for index, name in enumerate(("one", "two")):
        monkeypatch.chdir(home / name)
        llm = get_llm_backend({"llm": {"backend": "local", "model_path": "m.gguf"}})
        assert isinstance(llm, LocalLlmBackend)
        assert llm.info.n_ctx_train == 256 * (index + 1)


def test_one_load_for_32_racing_threads(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    real_load = tea_llm.load

    def counting_load(*args: Any, **options: Any) -> LocalLlmBackend:
        loads.append(args)
        return real_load(*args, **options)

    monkeypatch.setattr(select, "load", counting_load)
    barrier = threading.Barrier(32)

    def get(index: int) -> LlmBackend:
        barrier.wait()
        return get_llm_backend(settings(model, n_ctx=256 if index % 2 else "256"))

    with ThreadPoolExecutor(32) as pool:
        got = set(pool.map(get, range(32)))
    assert len(got) == len(loads) == 1
    assert get_llm_backend(settings(model, api_key="k", model="m", timeout=5, max_retries=0)) in got  # same model
    assert get_llm_backend(settings(model, n_ctx=512)) not in got
    assert len(loads) == 2
    close_all()
    with pytest.raises(tea_llm.EngineClosedError):
        got.pop().call("x")
    assert get_llm_backend(settings(model)).call("x", **GREEDY).content
    assert len(loads) == 3


def test_what_failed_is_tried_again(model: Path, home: Path) -> None:
    path = home / "later.gguf"
    with pytest.raises(ModelNotFoundError):
        get_llm_backend(settings(path, backend="local"))
    shutil.copy(model, path)
    assert get_llm_backend(settings(path, backend="local")).call("x", **GREEDY).content


def test_whether_there_is_a_local_model(model: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_local_llm_available(settings(model))
    assert not is_local_llm_available(settings(home / "none.gguf"))
    monkeypatch.setattr(select, "IS_NATIVE", False)
    assert not is_local_llm_available(settings(model))


def test_a_server_that_stops_is_a_connection_error(model: Path, server: OpenAiServer) -> None:
    llm = get_llm_backend(settings(backend="api", api_url=server.url, model="m", max_retries=0))
    assert llm.chat(HI, **GREEDY).content
    server.stop()
    with pytest.raises(ApiConnectionError):
        llm.chat(HI, **GREEDY)


def test_an_installation_without_the_engine(monkeypatch: pytest.MonkeyPatch, server: OpenAiServer) -> None:
    from tea_llm import _native
    from tea_llm.backends.local import loading

    monkeypatch.setattr(loading, "_core", _native._Missing("No module named 'tea_llm._core'"))
    with pytest.raises(LocalBackendUnavailableError, match="pip install --force-reinstall"):
        tea_llm.load("/no/such/file.gguf")
