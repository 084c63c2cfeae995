"""The environment variables that decide, beside the settings, which backend answers."""

from __future__ import annotations

import os
from typing import Literal, get_args

__all__ = ["environment", "provider_of_environment", "settings_of_environment", "variable"]

Variable = Literal[
    "APPDIR",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_DEPLOYMENT",
    "AZURE_OPENAI_ENDPOINT",
    "HOME",
    "OLLAMA_API_BASE",
    "OPENAI_API_KEY",
    "OPENAI_API_VERSION",
    "OPENAI_BASE_URL",
    "TEA_MODEL_PATH",
    "XDG_CACHE_HOME",
]
"""All of them: another one cannot be read by ``variable``, so that none is missing in ``environment()``."""


def variable(name: Variable) -> str | None:
    """The value of a variable; None: it is not set, or empty."""
    return os.environ.get(name) or None


def environment() -> tuple[str | None, ...]:
    """The values of all variables: backends that were made with other ones are not the same."""
    return tuple(map(variable, get_args(Variable)))


def provider_of_environment() -> Literal["ollama", "azure", "openai"]:
    """The provider that the variables name; ``"openai"`` where they name none."""
    if variable("OLLAMA_API_BASE"):
        return "ollama"
    if variable("AZURE_OPENAI_API_KEY") and variable("AZURE_OPENAI_ENDPOINT"):
        return "azure"
    return "openai"


def settings_of_environment() -> dict[str, str]:
    """The settings that the variables make, by their names."""
    provider = provider_of_environment()
    found = {"model_path": variable("TEA_MODEL_PATH")}
    if provider == "ollama":
        found |= {"provider": provider, "api_url": variable("OLLAMA_API_BASE")}
    elif provider == "azure":
        found |= {
            "provider": provider,
            "api_url": variable("AZURE_OPENAI_ENDPOINT"),
            "api_key": variable("AZURE_OPENAI_API_KEY"),
            "deployment": variable("AZURE_OPENAI_DEPLOYMENT"),
            "api_version": variable("OPENAI_API_VERSION"),
        }
    else:
        found |= {"api_url": variable("OPENAI_BASE_URL"), "api_key": variable("OPENAI_API_KEY")}
    return {name: value for name, value in found.items() if value}
