"""Which server is asked, and in what words."""

from __future__ import annotations

from typing import Any

import pytest

from tea_llm import ConfigError, LlmSettings
from tea_llm.backends.api.endpoint import is_configured, resolve

VARIABLES = {
    "openai": {"OPENAI_API_KEY": "sk-open"},
    "azure": {"AZURE_OPENAI_API_KEY": "azure", "AZURE_OPENAI_ENDPOINT": "https://x.azure/"},
    "ollama": {"OLLAMA_API_BASE": "http://box:11434/v1"},
}


def settings(**llm: Any) -> LlmSettings:
    return LlmSettings.parse({"llm": {"model": "m", **llm}})


@pytest.mark.parametrize(
    ("there", "provider", "url", "headers"),
    [
        (["openai"], "openai", "https://api.openai.com/v1", {"Authorization": "Bearer sk-open"}),
        (["openai", "azure"], "azure", "https://x.azure/openai/deployments/m", {"api-key": "azure"}),
        (["openai", "azure", "ollama"], "ollama", "http://box:11434/v1", {"Authorization": "Bearer ollama"}),
    ],
)
def test_the_environment_is_read_in_order(
    monkeypatch: pytest.MonkeyPatch, there: list[str], provider: str, url: str, headers: dict[str, str]
) -> None:
    for name in there:
        for variable, value in VARIABLES[name].items():
            monkeypatch.setenv(variable, value)
    endpoint = resolve(settings())
    assert (endpoint.provider, endpoint.url, endpoint.headers) == (provider, url, headers)
    assert repr(headers) not in repr(endpoint)


def test_half_an_azure_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure")
    monkeypatch.setenv("OPENAI_API_KEY", "open")
    assert resolve(settings()).provider == "openai"


def test_settings_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_BASE", "http://box:11434/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "open")
    endpoint = resolve(settings(api_url="http://localhost:8000/v1/", api_key="mine"))
    assert (endpoint.provider, endpoint.url, endpoint.key) == ("openai", "http://localhost:8000/v1", "mine")
    assert resolve(settings(provider="ollama", api_url="http://other/v1")).url == "http://other/v1"
    assert resolve(settings(provider="openai")).url == "https://api.openai.com/v1"


def test_azure_deployment_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "from env")
    azure = {"provider": "azure", "api_url": "https://x", "api_key": "k"}
    assert resolve(settings(**azure)).url == "https://x/openai/deployments/from%20env"
    endpoint = resolve(settings(**azure, deployment="mine"))
    assert (endpoint.url, endpoint.query) == (
        "https://x/openai/deployments/mine",
        {"api-version": "2024-02-15-preview"},
    )
    assert not endpoint.reports_streamed_usage
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    assert resolve(settings(**azure)).query == {"api-version": "2024-10-21"}
    assert resolve(settings(**azure)).reports_streamed_usage
    assert resolve(settings(**azure, api_version="2025-01-01")).query == {"api-version": "2025-01-01"}


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        ({"model": None, "provider": "ollama"}, "model is required for provider 'ollama'"),
        ({}, "no key for provider 'openai': set OPENAI_API_KEY"),
        ({"provider": "azure"}, "needs AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"),
        ({"api_url": "localhost:8000"}, "must be like http://localhost:8000/v1, not 'localhost:8000'"),
        ({"api_url": "ftp://x"}, "must be like"),
        ({"api_url": "http://me:secret@x/v1"}, "holds a user or a password"),
        ({"api_url": "http://x/v1?key=secret"}, "holds a query"),
        ({"api_url": "http://[x/v1"}, "is not a URL"),
        ({"api_url": "http://x:port/v1"}, "is not a URL"),
        ({"api_url": "https://api.openai.com/v1/", "api_key": None}, "no key for provider 'openai'"),
    ],
)
def test_what_is_missing_is_said(llm: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(settings(**llm))
    assert "secret" not in str(caught.value)


def test_whether_there_is_an_api(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_configured(LlmSettings())
    for llm in ({"api_url": "http://x"}, {"api_key": "k"}, {"provider": "ollama"}):
        assert is_configured(settings(**llm))
    for variables in VARIABLES.values():
        with monkeypatch.context() as there:
            for variable, value in variables.items():
                there.setenv(variable, value)
            assert is_configured(LlmSettings())


@pytest.mark.parametrize("llm", [{"api_key": "k"}, {"api_url": "http://x/v1"}, {"provider": "openai", "api_key": "k"}])
def test_openai_has_a_default_model(llm: dict[str, Any]) -> None:
    endpoint = resolve(LlmSettings.parse({"llm": llm}))
    assert (endpoint.model, endpoint.has_default_model) == ("gpt-4o-mini", True)
    assert not resolve(settings(**llm)).has_default_model


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("gpt-4o", {}, {"max_tokens": 5, "temperature": 0.7}),
        ("o3-mini", {}, {"max_completion_tokens": 5}),
        ("gpt-5-nano", {"temperature": 1}, {"max_completion_tokens": 5, "temperature": 0.7}),
        ("o1", {}, {"max_completion_tokens": 5}),
        ("olmo", {}, {"max_tokens": 5, "temperature": 0.7}),
    ],
)
def test_renamed_parameters(model: str, given: dict[str, object], sent: dict[str, object]) -> None:
    endpoint = resolve(settings(model=model, api_url="http://x/v1"))
    assert endpoint.adapt({"max_tokens": 5, "temperature": 0.7}, given) == sent
