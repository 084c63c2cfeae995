"""``llm.*`` actions as The Edge Agent calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tea_llm import ApiError, ApiRateLimitError, ApiResponseError, actions, errors
from tea_llm.actions import _request, register_actions
from tea_llm.testing import MockBackend, MockCall, Reply

UNION = {"content", "response", "model", "backend", "provider", "usage", "tokens_used", "finish_reason"}
INJECTED: dict[str, Any] = {
    "model": "gpt-4o", "provider": "auto", "shell_provider": None, "temperature": 0.2, "api_base": None, "timeout": 300,
    "max_retries": 0, "backend": "auto", "n_gpu_layers": 0, "n_ctx": None, "n_threads": None, "model_path": None,
    "chat_format": None, "opik_trace": False, "opik_project_name": None, "config": {}, "node": "n", "graph": None,
    "parallel_results": None,
}  # fmt: skip
HI = [{"role": "user", "content": "Hi"}]


class Bench:
    """An engine with our actions; what they open is a ``MockBackend``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.llm = MockBackend()
        self.opened: list[tuple[dict[str, Any], str | None]] = []
        self.registry: dict[str, Callable[..., Any]] = {}
        self.engine = SimpleNamespace(llm_settings={}, cli_overrides={}, actions_registry=self.registry)
        register_actions(self.registry, self.engine)

        def open_backend(settings: dict[str, Any], model_path: str | None) -> MockBackend:
            self.opened.append((settings["llm"], model_path))
            return self.llm

        monkeypatch.setattr(_request, "open_backend", open_backend)

    def last(self) -> tuple[dict[str, Any], str | None]:
        """What was opened last: settings and path."""
        return self.opened[-1]

    def replies(self, *replies: Reply) -> None:
        self.llm = MockBackend(replies)

    def run(self, action: str, state: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        result = self.registry[action](state=state or {}, **params)
        assert isinstance(result, dict)
        json.dumps(result)
        return result


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def refusal(status_code: int) -> ApiError:
    return ApiResponseError(f"status {status_code}", status_code=status_code)


def limit(retry_after: float) -> ApiError:
    return ApiRateLimitError("status 429", status_code=429, retry_after=retry_after)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def test_every_action_has_both_names(bench: Bench) -> None:
    names = "call chat stream embed tools retry similarity local.call local.chat local.stream local.embed".split()  # noqa: SIM905
    assert sorted(bench.registry) == sorted(
        [f"llm.{name}" for name in names] + [f"actions.llm_{name.replace('.', '_')}" for name in names]
    )
    assert actions.__tea_actions__["actions"] == sorted(f"llm.{name}" for name in names)


@pytest.mark.parametrize("name", sorted(actions.ACTIONS))
def test_the_engines_own_keys_are_tolerated(bench: Bench, name: str) -> None:
    bench.replies("Hello.")
    own: dict[str, Any] = {"prompt": "Hi"}
    if "embed" in name or "similarity" in name:
        own = {"text": "Hi"} if "embed" in name else {"text_a": "a", "text_b": "b"}
    result = bench.run(name, **own, **INJECTED)
    assert "error" not in result
    if "embed" not in name and "similarity" not in name:
        assert result.keys() >= UNION
        assert result["content"] == result["response"] == "Hello."
        assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + result["tokens_used"]
        assert bench.llm.calls[0].options == {"temperature": 0.2, "timeout": 300}


@pytest.mark.parametrize("name", [name for name in actions.ACTIONS if "embed" not in name and "simil" not in name])
def test_nothing_to_answer(bench: Bench, name: str) -> None:
    params: dict[str, Any]
    for params in ({}, {"prompt": ""}, {"messages": []}, {"system": "Be kind."}):
        result = bench.run(name, **params)
        assert (result["error"], result["success"]) == ("Missing required parameter: prompt or messages", False)
    assert not bench.opened


@pytest.mark.parametrize(
    ("name", "params", "call"),
    [
        ("llm.call", {"prompt": "Once"}, MockCall("call", "Once")),
        ("llm.call", {"prompt": "Hi", "system": "S"}, MockCall("chat", [{"role": "system", "content": "S"}, *HI])),
        ("llm.call", {"messages": HI, "prompt": "not this"}, MockCall("chat", HI)),
        ("llm.local.call", {"prompt": "Once", "stop": ["\n"]}, MockCall("call", "Once", {"stop": ["\n"]})),
        ("llm.chat", {"prompt": "Hi"}, MockCall("chat", HI)),
        ("llm.chat", {"messages": HI, "max_tokens": None}, MockCall("chat", HI, {"max_tokens": None})),
        ("llm.stream", {"prompt": "Once"}, MockCall("stream", "Once")),
        ("llm.stream", {"messages": HI}, MockCall("stream_chat", HI)),
        ("llm.tools", {"prompt": "Hi", "tools": None}, MockCall("chat", HI)),
    ],
)
def test_prompts_are_raw_and_messages_are_chats(bench: Bench, name: str, params: Any, call: MockCall) -> None:
    bench.replies("ok")
    assert bench.run(name, **params)["content"] == "ok"
    assert bench.llm.calls == [call]


def test_an_unknown_parameter_is_not_ignored(bench: Bench) -> None:
    assert "did you mean 'max_tokens'" in bench.run("llm.call", prompt="Hi", max_token=5)["error"]
    assert "did you mean 'max_tokens'" in bench.run("llm.stream", prompt="Hi", max_token=5)["error"]


def test_settings_then_parameters_then_the_command_line(bench: Bench, tmp_path: Path) -> None:
    bench.engine.llm_settings = {"backend": "auto", "n_ctx": 512, "model_path": "a.gguf", "temperature": 0.1}
    bench.replies("1", "2", "3", "4", "5")
    bench.run("llm.call", prompt="x", n_ctx=1024, model_path="a.gguf", max_retries=2)
    assert bench.last() == ({"backend": "auto", "n_ctx": 1024, "model_path": "a.gguf", "max_retries": 0}, None)
    assert bench.llm.calls[-1].options == {"temperature": 0.1}
    bench.run("llm.chat", prompt="x", model_path="b.gguf", temperature=0.5)
    assert bench.last() == ({**bench.last()[0], "n_ctx": 512}, "b.gguf")
    assert bench.llm.calls[-1].options == {"temperature": 0.5}
    bench.engine.cli_overrides = {"model_path": "c.gguf", "backend": "local"}
    bench.run("llm.chat", prompt="x", model_path="b.gguf", backend="api")
    assert bench.last() == ({**bench.last()[0], "backend": "local"}, "c.gguf")
    bench.engine.cli_overrides = {}
    bench.run("llm.chat", state={"_tea_cli_backend": "api"}, prompt="x")
    assert bench.last()[0]["backend"] == "api"
    bench.run("llm.local.chat", prompt="x", provider="openai", backend="api")
    assert bench.last()[0]["backend"] == "local"


def test_a_model_that_is_a_file_is_the_model_file(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.touch()
    bench.replies("1", "2", "3", "4")
    for model in ("~/x.GGUF", str(file)):
        bench.run("llm.call", prompt="x", model=model)
        assert bench.last() == ({"max_retries": 0, "model_path": model}, model)
    bench.run("llm.call", prompt="x", model="gpt-4o")
    assert bench.last() == ({"max_retries": 0, "model": "gpt-4o"}, None)
    bench.engine.llm_settings = {"model": "m.gguf"}
    bench.run("llm.call", prompt="x")
    assert bench.last() == ({"max_retries": 0, "model_path": "m.gguf"}, None)


def test_an_action_that_names_a_provider_means_the_api(bench: Bench) -> None:
    bench.replies("1")
    bench.run("llm.call", prompt="x", provider="ollama")
    assert bench.last()[0] == {"backend": "api", "provider": "ollama", "max_retries": 0}


def test_an_api_has_models_that_are_named_like_files(bench: Bench) -> None:
    bench.replies("1", "2")
    bench.run("llm.call", prompt="x", provider="openai", api_base="http://x/v1", model="qwen.gguf")
    asked = {"backend": "api", "provider": "openai", "api_url": "http://x/v1", "model": "qwen.gguf", "max_retries": 0}
    assert bench.last() == (asked, None)
    bench.engine.llm_settings = {"backend": "api", "api_url": "http://x/v1", "model": "qwen.gguf"}
    bench.run("llm.call", prompt="x")
    assert bench.last()[0]["model"] == "qwen.gguf"


def test_the_action_goes_before_the_settings(bench: Bench) -> None:
    """Whatever names either used."""
    bench.replies(*"12345")
    bench.engine.llm_settings = {"api_url": "http://a/v1", "model": "m", "backend": "api"}
    bench.run("llm.call", prompt="x", api_base="http://b/v1")
    assert bench.last()[0]["api_url"] == "http://b/v1"
    bench.run("llm.call", prompt="x", provider="local")
    assert bench.last()[0]["backend"] == "local"
    bench.run("llm.call", prompt="x", model_path="a.gguf")
    assert (bench.last()[0]["backend"], bench.last()[1]) == ("local", "a.gguf")
    bench.engine.llm_settings = {"provider": "local"}
    bench.engine.cli_overrides = {"backend": "api"}
    bench.run("llm.call", prompt="x")
    assert bench.last()[0]["backend"] == "api"
    bench.engine.llm_settings = {"backend": "api"}
    bench.engine.cli_overrides = {"model_path": "c.gguf"}
    bench.run("llm.call", prompt="x")
    assert (bench.last()[0]["backend"], bench.last()[1]) == ("local", "c.gguf")
    bench.engine.cli_overrides = {"model_path": "c.gguf", "backend": "api"}
    assert "--gguf needs a local backend" in bench.run("llm.call", prompt="x")["error"]


def test_limits_of_an_api_reach_it(bench: Bench) -> None:
    bench.engine.llm_settings = {"timeout": "7", "max_retries": 4, "temperature": "0.25"}
    bench.replies("1", "2", "3")
    bench.run("llm.stream", prompt="x", callback=lambda text: None)
    assert (bench.last()[0]["timeout"], bench.last()[0]["max_retries"]) == ("7", 4)
    assert bench.llm.calls[-1].options == {"temperature": 0.25}
    bench.run("llm.embed", text="x", timeout="0.5", max_retries=0)
    assert (bench.last()[0]["timeout"], bench.last()[0]["max_retries"]) == (0.5, 0)
    bench.run("llm.call", prompt="x", timeout=3)
    assert bench.last()[0]["timeout"] == "7"
    assert bench.llm.calls[-1].options["timeout"] == 3


def test_similarity_asks_openai_for_its_embeddings(bench: Bench) -> None:
    bench.engine.llm_settings = {"model": "gpt-4o"}
    bench.run("llm.similarity", text_a="x", text_b="y")
    assert bench.last()[0]["model"] == "text-embedding-3-small"
    bench.run("llm.similarity", text_a="x", text_b="y", model="own")
    assert bench.last()[0]["model"] == "own"
    bench.engine.llm_settings = {"model": "nomic", "api_url": "http://x/v1"}
    bench.run("llm.similarity", text_a="x", text_b="y")
    assert bench.last()[0]["model"] == "nomic"


def test_streams_go_to_stdout_or_a_hook(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.replies("one two", "one two", "three", errors.InferenceError("no"))
    result = bench.run("llm.stream", prompt="x")
    assert (result["streamed"], result["chunk_count"], result["content"]) == (True, 2, "one two")
    assert capsys.readouterr().out == "one two\n"
    got: list[str] = []
    bench.run("llm.stream", prompt="x", callback=got.append)
    bench.engine.on_token = got.append
    bench.run("llm.stream", prompt="x")
    assert got == ["one ", "two", "three"]
    assert capsys.readouterr().out == ""
    failed = bench.run("llm.stream", prompt="x")
    assert (failed["error"], failed["success"]) == ("LLM streaming failed: no", False)


def test_local_failures(bench: Bench) -> None:
    bench.replies(errors.ContextOverflowError("too long", 9, 8), RuntimeError("bug"))
    failed = bench.run("llm.call", prompt="x")
    assert failed == {
        "error": "Local LLM error: too long", "success": False, "error_type": "ContextOverflowError", "attempts": 1,
    }  # fmt: skip
    assert bench.run("llm.chat", prompt="x")["error"] == "Unexpected error: bug"


def test_retries_wait_longer_each_time(bench: Bench, naps: list[float]) -> None:
    bench.replies(refusal(500), refusal(503), limit(90.0), "ok")
    result = bench.run("llm.call", prompt="x", max_retries=3, base_delay=1.5, max_delay=50.0)
    assert naps == [1.5, 3.0, 50.0]
    assert (result["content"], result["attempts"], result["total_delay"]) == ("ok", 4, 54.5)


def test_retries_end(bench: Bench, naps: list[float]) -> None:
    bench.replies(*[refusal(500)] * 7)
    failed = bench.run("llm.retry", prompt="x")
    assert failed["error"] == "Max retries (3) exceeded. Last error: status 500"
    assert (failed["attempts"], failed["total_delay"], failed["status_code"]) == (4, 7.0, 500)
    bench.engine.llm_settings = {"max_retries": 1}
    assert bench.run("llm.call", prompt="x")["attempts"] == 2
    assert bench.run("llm.call", prompt="x", max_retries=0)["attempts"] == 1


def test_a_servers_wish_is_honoured_once_without_retries(bench: Bench, naps: list[float]) -> None:
    bench.replies(limit(2.0), "ok", limit(2.0), limit(2.0))
    assert bench.run("llm.call", prompt="x")["attempts"] == 2
    assert bench.run("llm.call", prompt="x")["error"] == "Max retries (0) exceeded. Last error: status 429"
    assert naps == [2.0, 2.0]


def test_other_client_errors_fail_at_once(bench: Bench, naps: list[float]) -> None:
    bench.replies(refusal(401))
    failed = bench.run("llm.call", prompt="x", max_retries=5)
    assert failed["error"] == "LLM API error (non-retryable): status 401"
    assert (failed["attempts"], failed["status_code"], naps) == (1, 401, [])


def test_embed_one_and_many(bench: Bench) -> None:
    one = bench.run("llm.embed", text="a")
    many = bench.run("llm.embed", text=["b", "a"])
    assert one["dimensions"] == len(one["embedding"]) == 8
    assert many["embeddings"][1] == one["embedding"]
    assert many["embedding"] == many["embeddings"][0]
    assert bench.run("llm.embed", text=[])["error"] == "Missing required parameter: text"
    assert bench.run("llm.embed", text="a", dimensions=2)["dimensions"] == 2
    assert sum(x * x for x in bench.run("llm.embed", text="a", normalize=False)["embedding"]) != pytest.approx(1)
    assert "truncate='middle'" in bench.run("llm.embed", text="a", truncate="middle")["error"]


def test_embed_where_there_are_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise errors.EmbeddingNotSupportedError("not this model")

    monkeypatch.setattr(MockBackend, "embed", refuse)
    failed = bench.run("llm.embed", text="a")
    assert failed["error"] == "Embeddings require local backend with embedding=True or explicit API configuration"
    assert failed["detail"] == "not this model"


@pytest.mark.parametrize(
    ("b", "cosine", "words"),
    [
        ([1, 0], 1.0, "Very similar"), ([3, 4], 0.6, "Somewhat similar"), ([4, 7.5], 8 / 17, "Not very similar"),
        ([0, 1], 0.0, "Unrelated"), ([0, 0], 0.0, "Unrelated"),
    ],
)  # fmt: skip
def test_similarity(bench: Bench, b: list[float], cosine: float, words: str) -> None:
    result = bench.run("llm.similarity", vector_a=[2, 0], vector_b=b)
    assert result["cosine_similarity"] == pytest.approx(cosine)
    assert result["interpretation"] == words
    bench.llm = MockBackend(vectors={"a": [2, 0], "b": b})
    result = bench.run("llm.similarity", text_a="a", text_b="b")
    assert result["cosine_similarity"] == pytest.approx(cosine)
    assert (result["text_a"], result["text_b"]) == ("a", "b")


def test_similarity_says_what_is_wrong(bench: Bench) -> None:
    assert "Missing required parameter" in bench.run("llm.similarity", text_a="a")["error"]
    assert "vector_a has 1 numbers" in bench.run("llm.similarity", vector_a=[1], vector_b=[1, 2])["error"]
    assert "must be a list of numbers" in bench.run("llm.similarity", vector_a=[[1]], vector_b=[1])["error"]
