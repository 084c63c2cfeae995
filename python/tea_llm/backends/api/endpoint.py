"""The differences between OpenAI, Azure OpenAI, Ollama and other servers that speak OpenAI's protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from tea_llm._environment import Variable, provider_of_environment, variable
from tea_llm.backends.options import NOT_OPENAI
from tea_llm.errors import ConfigError
from tea_llm.settings import LlmSettings, check_secret

__all__ = ["Endpoint", "is_configured", "is_openai", "resolve"]

OPENAI_URL = "https://api.openai.com/v1"
OLLAMA_URL = "http://localhost:11434/v1"
AZURE_VERSION = "2024-02-15-preview"
DEFAULT_MODEL = "gpt-4o-mini"
"""For provider ``openai``, if the settings name no model."""

_NOT_OLLAMA = frozenset({*NOT_OPENAI, "logit_bias", "n", "tool_choice"})
"""Ollama documents the last three as not supported by its OpenAI endpoints: it ignores them."""

_MAX_MESSAGE = 1000

_REASONING_MODEL = re.compile(r"(o\d|gpt-5)(\b|-)")
"""OpenAI models that call ``max_tokens`` by another name and do not support ``temperature``."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a model and the properties of its provider.

    Attributes:
        provider: ``"openai"``, ``"azure"`` or ``"ollama"``.
        url: base URL, to which paths like ``/chat/completions`` are appended.
        model: the model's name in requests.
        headers: headers for authentication.
        query: query parameters of every URL.
        key: the secret in ``headers``; "": none.
        refused_options: options that the provider ignores or rejects.
        reports_streamed_usage: whether streams can report token counts.
        has_default_model: whether ``model`` is a default, because the settings name none.
    """

    provider: str
    url: str
    model: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str]
    key: str = field(repr=False)
    refused_options: frozenset[str]
    reports_streamed_usage: bool
    has_default_model: bool = False

    def adapt(self, body: dict[str, Any], given: Mapping[str, object]) -> dict[str, Any]:
        """The body of a chat completion as this model expects it.

        Args:
            body: the body with OpenAI's older names.
            given: options that the caller set.
        """
        if self.provider == "ollama" or not _REASONING_MODEL.match(self.model):
            return body
        renamed = {("max_completion_tokens" if name == "max_tokens" else name): body[name] for name in body}
        if "temperature" not in given:
            renamed.pop("temperature", None)  # these models only support their own
        return renamed

    def redact(self, text: str) -> str:
        """``text`` for an error message: shortened, and without the key, which servers may repeat."""
        is_secret = len(self.key) >= 4  # shorter keys are dummies, which occur in ordinary words
        text = text.replace(self.key, "***") if is_secret else text
        return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."


def resolve(settings: LlmSettings) -> Endpoint:
    """The endpoint that settings and environment describe. Settings override environment variables.

    ``provider: auto`` means OpenAI's protocol if ``api_url`` is set, else Ollama if ``OLLAMA_API_BASE`` is set, else
    Azure if ``AZURE_OPENAI_API_KEY`` and ``AZURE_OPENAI_ENDPOINT`` are set, else OpenAI.

    Raises:
        ConfigError: no model (``openai`` has a default), no key although one is required, or an invalid URL.
    """
    provider = _provider(settings)
    if provider == "azure":
        return _azure(settings)
    if provider == "ollama":
        url = settings.api_url or variable("OLLAMA_API_BASE") or OLLAMA_URL
        return _plain(provider, url, settings, settings.api_key or "", _NOT_OLLAMA)
    url = settings.api_url or variable("OPENAI_BASE_URL") or OPENAI_URL
    key = settings.api_key or _key_in("OPENAI_API_KEY") or ""
    if is_openai(settings) and not key:
        raise ConfigError("no key for provider 'openai': set OPENAI_API_KEY, or api_key in settings.llm")
    return _plain(provider, url, settings, key, frozenset(NOT_OPENAI) if is_openai(settings) else frozenset())


def is_openai(settings: LlmSettings) -> bool:
    """Whether the API is OpenAI's own, and not another server with its protocol."""
    url = settings.api_url or variable("OPENAI_BASE_URL") or OPENAI_URL
    return _provider(settings) == "openai" and url.rstrip("/") == OPENAI_URL


def is_configured(settings: LlmSettings) -> bool:
    """Whether the settings or the environment have a URL or a key."""
    if settings.api_url or settings.api_key or settings.provider == "ollama":
        return True
    names: dict[str, tuple[Variable, ...]] = {
        "ollama": ("OLLAMA_API_BASE",),
        "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    }
    return any(map(variable, names[_provider(settings)]))


def _provider(settings: LlmSettings) -> str:
    if settings.provider != "auto":
        return settings.provider
    return "openai" if settings.api_url else provider_of_environment()


def _plain(provider: str, url: str, settings: LlmSettings, key: str, refused_options: frozenset[str]) -> Endpoint:
    model = settings.model or (DEFAULT_MODEL if provider == "openai" else None)
    if model is None:
        raise ConfigError(f"model is required for provider {provider!r}: set model in settings.llm")
    return Endpoint(
        provider=provider,
        url=_checked_url(url),
        model=model,
        headers={"Authorization": f"Bearer {key or 'ollama'}"} if key or provider == "ollama" else {},
        query={},
        key=key,
        refused_options=refused_options,
        reports_streamed_usage=True,
        has_default_model=settings.model is None,
    )


def _azure(settings: LlmSettings) -> Endpoint:
    url = settings.api_url or variable("AZURE_OPENAI_ENDPOINT")
    key = settings.api_key or _key_in("AZURE_OPENAI_API_KEY")
    deployment = settings.deployment or variable("AZURE_OPENAI_DEPLOYMENT") or settings.model
    if not url or not key:
        raise ConfigError(
            "provider 'azure' needs AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY, "
            "or api_url and api_key in settings.llm"
        )
    if not deployment:
        raise ConfigError("model is required for provider 'azure': set deployment in settings.llm")
    version = settings.api_version or variable("OPENAI_API_VERSION") or AZURE_VERSION
    return Endpoint(
        provider="azure",
        url=f"{_checked_url(url)}/openai/deployments/{quote(deployment, safe='')}",
        model=deployment,
        headers={"api-key": key},
        query={"api-version": version},
        key=key,
        refused_options=frozenset(NOT_OPENAI),
        reports_streamed_usage=version >= "2024-09",
    )


def _key_in(name: Variable) -> str | None:
    """The key in an environment variable.

    Raises:
        ConfigError: the value contains characters that no key has.
    """
    try:
        return check_secret(name, variable(name) or "")
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # unbalanced brackets, or an invalid port
        raise ConfigError("settings.llm.api_url is not a URL") from None
    if parts.username or parts.password:
        raise ConfigError("settings.llm.api_url holds a user or a password, which would be shown: use api_key")
    if parts.query or parts.fragment:
        raise ConfigError("settings.llm.api_url holds a query, and paths come after it: use api_key or api_version")
    if not is_url:
        raise ConfigError(f"settings.llm.api_url must be like http://localhost:8000/v1, not {url!r}")
    return url.rstrip("/")
