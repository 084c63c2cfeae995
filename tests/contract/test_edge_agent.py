"""The actions as The Edge Agent's engine loads and calls them: names, injected keys, ``state=``, results, errors.

``Host`` does what its ``YAMLEngine`` does, as far as actions see it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.openai_server import OpenAiServer
from tea_llm import LlmCallResult, ToolCall, Usage
from tea_llm.testing import MockBackend

HI = [{"role": "user", "content": "Hello"}]
UNION = {"content", "response", "model", "backend", "provider", "usage", "tokens_used", "finish_reason"}
INJECTED_FOR = {"llm.call", "llm.chat", "llm.stream", "llm.tools", "actions.llm_call", "actions.llm_stream"}
INJECTED = [
    *("model", "provider", "shell_provider", "temperature", "api_base", "timeout", "max_retries", "backend"),
    *("n_gpu_layers", "n_ctx", "n_threads", "model_path", "chat_format"),
]
TOOLS = [{"name": "clock", "description": "Tells the time", "parameters": {"zone": "string"}, "action": "clock.now"}]


class Host:
    """An engine with its own actions, and ours imported over them."""

    def __init__(self, llm_settings: dict[str, Any], cli_overrides: dict[str, Any] | None = None) -> None:
        self.llm_settings = llm_settings
        self.settings = {"llm": llm_settings}
        self.cli_overrides = cli_overrides or {}
        self.shell_providers: dict[str, Any] = {}
        self.actions_registry: dict[str, Callable[..., Any]] = {"clock.now": lambda state, zone="UTC": f"12:00 {zone}"}
        self.load_imports([{"package": "tea_llm.actions", "namespace": ""}])

    def load_imports(self, imports: list[dict[str, str]]) -> None:
        for item in imports:
            module = importlib.import_module(item["package"])
            local: dict[str, Callable[..., Any]] = {}
            module.register_actions(local, self)
            assert set(module.__tea_actions__["actions"]) <= local.keys()
            namespace = item["namespace"]
            self.actions_registry.update({f"{namespace}.{k}" if namespace else k: v for k, v in local.items()})

    def run(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        if name in INJECTED_FOR:
            given = dict(self.llm_settings)
            given["model"] = given.get("deployment") or given.get("model")
            params = {**{key: given.get(key) for key in INJECTED if key not in params}, **params}
            params |= {"opik_trace": False, "opik_project_name": None}
        extra: dict[str, Any] = {"config": {}, "node": "a", "graph": None, "parallel_results": None}
        result = self.actions_registry[name](state={"user": "Ada"}, **params, **extra)
        result = result if isinstance(result, dict) else {"result": result}
        json.dumps(result)
        return result


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAiServer]:
    with OpenAiServer(MockBackend()) as running:
        yield running


@pytest.fixture(params=["local", "api"])
def host(
    request: pytest.FixtureRequest,
    tiny_model: Callable[..., Path],
    server: OpenAiServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Host]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_API_BASE", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "local":
        yield Host(
            {"backend": "local", "model_path": str(tiny_model()), "n_ctx": 512, "n_threads": 1, "temperature": 0}
        )
    else:
        server.backend = MockBackend(["from the API"] * 3)
        yield Host({"backend": "api", "api_base": server.url, "model": "m", "max_retries": 0, "timeout": 30})
    tea_llm.close_all()


CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("llm.call", {"prompt": "Hello"}, UNION),
    ("llm.call", {"messages": HI, "prompt": "not this", "max_tokens": "5"}, UNION),
    ("llm.call", {"prompt": "Hello", "system": "Be brief.", "max_retries": 2}, UNION | {"attempts", "total_delay"}),
    ("llm.retry", {"messages": HI}, UNION | {"attempts", "total_delay"}),
    ("llm.chat", {"messages": HI, "max_tokens": 5, "stop": ["zz"]}, UNION),
    ("llm.chat", {"prompt": "Hello"}, UNION),
    ("llm.stream", {"messages": HI, "max_tokens": 5}, UNION | {"streamed", "chunk_count"}),
    ("llm.tools", {"messages": HI, "tools": None, "max_tokens": 5}, UNION | {"tool_calls", "tool_results", "rounds"}),
    (
        "llm.tools",
        {"prompt": "Hello", "tools": TOOLS, "max_tokens": 5},
        UNION | {"tool_calls", "tool_results", "rounds"},
    ),
    ("llm.embed", {"text": "Hello"}, {"embedding", "dimensions"}),
    ("llm.embed", {"text": ["a", "b"]}, {"embedding", "embeddings", "dimensions"}),
    ("llm.similarity", {"text_a": "a", "text_b": "b"}, {"cosine_similarity", "interpretation", "text_a", "text_b"}),
    ("llm.similarity", {"vector_a": [1, 0], "vector_b": [1, 0]}, {"cosine_similarity", "interpretation"}),
]


@pytest.mark.parametrize(("name", "params", "keys"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_action_answers_under_both_names(
    host: Host, name: str, params: dict[str, Any], keys: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for spelled in (name, f"actions.{name.replace('.', '_')}"):
        result = host.run(spelled, params)
        assert "error" not in result, result
        assert result.keys() >= keys
        if "content" in keys:
            assert result["backend"] == host.llm_settings["backend"]
            assert result["provider"] == ("local" if result["backend"] == "local" else "openai")
            assert result["content"] == result["response"]
            assert result["usage"]["total_tokens"] >= result["tokens_used"]
        if name == "llm.stream":
            assert capsys.readouterr().out == result["content"] + "\n"


@pytest.mark.parametrize("name", ["llm.local.call", "llm.local.chat", "llm.local.stream", "llm.local.embed"])
def test_llm_local_actions_ask_the_local_model_whatever_the_settings_say(
    name: str, tiny_model: Callable[..., Path], server: OpenAiServer
) -> None:
    host = Host({"backend": "api", "api_base": server.url, "model": "m"})
    params = {"model_path": str(tiny_model()), "n_ctx": 512, "n_threads": 1}
    asked: dict[str, Any] = {"text": "Hello"} if name.endswith("embed") else {"prompt": "Hello", "max_tokens": 4}
    result = host.run(name, {**params, **asked})
    assert "error" not in result, result
    assert result.get("backend", "local") == "local"
    tea_llm.close_all()


def test_one_loaded_model_for_all_actions(tiny_model: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tea_llm")
    host = Host({"backend": "local", "model_path": str(tiny_model()), "n_ctx": 512, "n_threads": 1})
    for name, params in (
        ("llm.call", {"prompt": "x"}), ("llm.chat", {"prompt": "x", "max_retries": 3}), ("llm.embed", {"text": "x"}),
        ("llm.local.chat", {"prompt": "x"}), ("llm.call", {"prompt": "x", "model": "gpt-4o", "temperature": 0.5}),
    ):  # fmt: skip
        assert "error" not in host.run(name, {**params, **({} if name == "llm.embed" else {"max_tokens": 2})})
    assert caplog.text.count("Loading local model") == 1
    tea_llm.close_all()


def test_the_command_line_goes_first(tiny_model: Callable[..., Path], server: OpenAiServer) -> None:
    settings = {"backend": "api", "api_base": server.url, "model": "m", "n_ctx": 512, "n_threads": 1}
    host = Host(settings, {"backend": "local", "model_path": str(tiny_model())})
    assert host.run("llm.call", {"prompt": "Hello", "max_tokens": 2})["backend"] == "local"
    tea_llm.close_all()


@pytest.mark.parametrize("name", ["llm.call", "llm.chat", "llm.stream", "llm.tools", "llm.retry"])
def test_nothing_to_answer(host: Host, name: str) -> None:
    result = host.run(name, {})
    assert (result["error"], result["success"]) == ("Missing required parameter: prompt or messages", False)


@pytest.mark.parametrize(
    ("name", "params", "error"),
    [
        ("llm.call", {"prompt": "Hello " * 900}, "Local LLM error: "),
        ("llm.stream", {"prompt": "Hello " * 900}, "LLM streaming failed: "),
        ("llm.tools", {"prompt": "Hello " * 900, "tools": TOOLS}, "LLM tool calling failed: "),
        (
            "llm.call",
            {"prompt": "Hello", "model_path": "/no/such.gguf"},
            "Local LLM error: no model file at /no/such.gguf",
        ),
        ("llm.embed", {"text": "Hello " * 3000}, "Local LLM error: "),
        ("llm.call", {"prompt": "Hello", "max_tokens": 0}, "max_tokens=0 is out of range"),
        ("llm.chat", {"messages": [{"role": "user"}]}, "messages[0] has no 'content'"),
        ("llm.call", {"prompt": "Hello", "max_tokns": 5}, "Unknown parameter: max_tokns; did you mean 'max_tokens'?"),
        ("llm.tools", {"prompt": "x", "tools": [{"name": "t", "action": "../x"}]}, "Invalid tool definition: "),
        (
            "llm.call",
            {"prompt": "x", "provider": "shell"},
            "settings.llm.provider='shell' is supported by The Edge Agent only",
        ),
    ],
)
def test_local_errors_are_dicts(tiny_model: Callable[..., Path], name: str, params: dict[str, Any], error: str) -> None:
    host = Host({"backend": "local", "model_path": str(tiny_model()), "n_ctx": 512, "n_threads": 1})
    result = host.run(name, params)
    assert result["success"] is False
    assert result["error"].startswith(error)
    tea_llm.close_all()


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("llm.call", 401, "LLM API error (non-retryable): openai answered 401: "),
        ("llm.call", 500, "Max retries (0) exceeded. Last error: openai answered 500: "),
        ("llm.stream", 400, "LLM streaming failed: openai answered 400: "),
        ("llm.tools", 400, "LLM tool calling failed: openai answered 400: "),
        ("llm.embed", 400, "LLM API error (non-retryable): openai answered 400: "),
        ("llm.embed", 501, "Embeddings require local backend with embedding=True or explicit API configuration"),
    ],
)
def test_api_errors_are_dicts(server: OpenAiServer, name: str, status: int, error: str) -> None:
    host = Host({"backend": "api", "api_base": server.url, "model": "m", "api_key": "sk-very-secret", "max_retries": 0})
    server.fail_next(status)
    result = host.run(name, {"text": "x"} if name == "llm.embed" else {"prompt": "x"})
    assert result["success"] is False
    assert result["error"].startswith(error)
    assert "sk-very-secret" not in json.dumps(result)
    if status != 501:
        assert result["status_code"] == status
    tea_llm.close_all()


def test_a_model_is_required(server: OpenAiServer) -> None:
    host = Host({"backend": "api", "api_base": server.url})
    assert host.run("llm.call", {"prompt": "x"})["error"].startswith("model is required for provider 'openai'")


def test_tools_are_dispatched_through_the_registry(server: OpenAiServer) -> None:
    call = LlmCallResult(
        "", "m", 1, "tool_calls", Usage(1, 1, 2), tool_calls=(ToolCall("c1", "clock", {"zone": "CET"}),)
    )
    server.backend = MockBackend([call, "It is noon."])
    host = Host({"backend": "api", "api_base": server.url, "model": "m"})
    result = host.run("llm.tools", {"prompt": "What time is it?", "tools": TOOLS})
    assert (result["content"], result["rounds"]) == ("It is noon.", 2)
    assert result["tool_calls"] == [{"id": "c1", "name": "clock", "arguments": {"zone": "CET"}}]
    assert result["tool_results"] == [{"tool_call_id": "c1", "name": "clock", "result": '"12:00 CET"'}]
    sent = server.requests[-1].body["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "clock", "arguments": '{"zone": "CET"}'}
    assert sent[2] == {"role": "tool", "tool_call_id": "c1", "content": '"12:00 CET"'}
    tea_llm.close_all()
