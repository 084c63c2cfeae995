"""Merges the parameters of an action with the engine's settings and command line into one request."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tea_llm._check import check_float
from tea_llm.actions._host import Host
from tea_llm.backends.api import ApiLlmBackend
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.embedding import EmbedOptions
from tea_llm.backends.fallback import FallbackBackend
from tea_llm.backends.options import OPTIONS as GENERATION_OPTIONS
from tea_llm.backends.select import get_llm_backend
from tea_llm.errors import ConfigError
from tea_llm.settings import LlmSettings

__all__ = ["FOREIGN", "OPTIONS", "SETTINGS", "ActionError", "Request", "open_backend", "parameter_problem"]

OPTIONS = frozenset(GENERATION_OPTIONS)
"""Generation options of a request."""

_API_LIMITS = frozenset({"timeout", "max_retries"})
"""Settings of an API that are also parameters of some actions."""

SETTINGS = frozenset(LlmSettings.__dataclass_fields__) - _API_LIMITS - {"temperature"} | {"api_base"}
"""Parameters that select the backend; The Edge Agent also injects those of ``settings.llm`` that an action lacks."""

FOREIGN = frozenset(
    {"config", "graph", "node", "opik_project_name", "opik_trace", "parallel_results", "shell_provider"}
)
"""Keyword arguments for the engine itself, which actions ignore."""

_INJECTED = frozenset({"max_retries", "temperature", "timeout"})
_INTEGERS = frozenset({"max_tokens", "seed", "top_k", "max_retries", "max_tool_rounds"})
_NUMBERS = frozenset(
    {"base_delay", "frequency_penalty", "max_delay", "min_p", "presence_penalty", "temperature", "timeout", "top_p"}
)

_AMOUNTS = frozenset({"base_delay", "max_delay", "max_retries", "max_tool_rounds"})
_EMBED_OPTIONS = frozenset({"dimensions", "normalize", "truncate"})


class ActionError(Exception):
    """An invalid request; its text is the action's ``error``."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an action, with its parameters sorted by purpose.

    Attributes:
        settings: settings of the backend, as ``settings.llm``.
        model_path: the model file that the caller named; None: that of the settings.
        options: generation options.
        own: the action's own parameters.
        max_retries: ``max_retries`` of the settings; None: not set.
    """

    settings: dict[str, Any]
    model_path: str | None
    options: dict[str, Any]
    own: dict[str, Any]
    max_retries: int | None

    @classmethod
    def of(
        cls,
        params: Mapping[str, Any],
        *,
        known: frozenset[str],
        host: Host,
        state: Mapping[str, Any] | None,
        is_local: bool = False,
    ) -> Request:
        """Merges settings, parameters and the command line; each overrides the one before it.

        Args:
            params: the action's keyword arguments.
            known: the action's own parameters, including generation options.
            host: the engine that runs the action.
            state: the state of the workflow.
            is_local: whether the action is one of ``llm.local``.

        Raises:
            ActionError: a parameter is unknown or invalid.
        """
        for name in params:
            if name not in known | SETTINGS | FOREIGN | _INJECTED:
                near = difflib.get_close_matches(str(name), known | SETTINGS, n=1)
                raise ActionError(f"Unknown parameter: {name}" + (f"; did you mean {near[0]!r}?" if near else ""))
        given, checked = _settings_of(host)
        params = _own_names({name: _converted(name, value) for name, value in params.items()})
        overrides = _overrides(host, state)
        settings = {name: value for name, value in given.items() if name in SETTINGS | _API_LIMITS}
        asked = {name: value for name, value in params.items() if name in SETTINGS and value is not None}
        asked |= {name: params[name] for name in _API_LIMITS - known if params.get(name) is not None}
        forced = "local" if is_local else overrides.get("backend")
        _choose_backend(asked, settings, forced, has_file=bool(overrides.get("model_path")))
        settings |= asked
        model_path = None
        if settings.get("backend") != "api":
            model_path = overrides.get("model_path") or _explicit_path(asked, given)
            _model_file(settings)
        own = {name: params[name] for name in known if name in params and name not in OPTIONS}
        options = {name: params[name] for name in OPTIONS & known if name in params}
        options = {name: value for name, value in options.items() if value is not None or name == "max_tokens"}
        if "temperature" in OPTIONS & known and checked.temperature is not None:
            options.setdefault("temperature", checked.temperature)
        return cls(settings, model_path, options, own, checked.max_retries)

    def open(self, host: Host, *, max_retries: int | None = None) -> LlmBackend:
        """The backend for this request: the engine's ``llm_backend``, or the process's shared one for these settings.

        Args:
            host: the engine that runs the action.
            max_retries: retries by the backend itself; None: as in the settings.
        """
        if host.llm_backend is not None:
            return host.llm_backend
        settings = self.settings if max_retries is None else {**self.settings, "max_retries": max_retries}
        return open_backend({"llm": settings}, self.model_path)


def parameter_problem(name: str, value: object) -> str | None:
    """The problem with the value that a file gives for a parameter; None: it is valid, or it is not checked."""
    try:
        given = _converted(name, value)
        if name in OPTIONS:
            GENERATION_OPTIONS[name].check(name, given)
        elif name in _EMBED_OPTIONS:
            EmbedOptions.checked({name: given})
        elif name in _AMOUNTS:
            check_float(name, given, 0, 1e9)
    except (ActionError, TypeError, ValueError) as error:
        return str(error)
    if name in SETTINGS:
        return next(iter(LlmSettings.problems({"llm": {name: given}}).values()), None)
    return None


def open_backend(settings: dict[str, Any], model_path: str | None) -> LlmBackend:
    """The process's shared backend for these settings, which is loaded only once.

    Raises:
        ConfigError: the backend is an API and no model is named; The Edge Agent's actions have no default.
    """
    backend = get_llm_backend(settings, model_path=model_path)
    api = backend._api if isinstance(backend, FallbackBackend) else backend
    if isinstance(api, ApiLlmBackend) and api.has_default_model:
        raise ConfigError(f"model is required for provider {api.provider!r}: set model in settings.llm")
    return backend


def _settings_of(host: Host) -> tuple[dict[str, Any], LlmSettings]:
    """The engine's settings as they were given, and checked."""
    given = host.llm_settings
    if given is None and isinstance(host.settings, Mapping):
        given = host.settings.get("llm")
    if given is None:
        return {}, LlmSettings()
    if not isinstance(given, Mapping):
        raise ConfigError(f"settings.llm must be a mapping, not {type(given).__name__}")
    return _own_names(given), LlmSettings.parse({"llm": given})


def _own_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Renames ``api_base`` to ``api_url``, ``provider: local`` to ``backend: local``, so each can be overridden."""
    named = dict(given)
    base = named.pop("api_base", None)
    if named.get("api_url") is None and base is not None:
        named["api_url"] = base
    if named.get("provider") == "local":
        del named["provider"]
        if named.get("backend") in (None, "auto"):
            named["backend"] = "local"
        elif named["backend"] == "api":
            raise ConfigError("provider: local and backend: api exclude each other")
    return named


def _overrides(host: Host, state: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(host.cli_overrides or {})
    for name in ("model_path", "backend"):
        if state is not None and state.get(f"_tea_cli_{name}"):
            given[name] = state[f"_tea_cli_{name}"]
    return given


def _explicit_path(asked: dict[str, Any], given: Mapping[str, Any]) -> str | None:
    """The file that the action names. A value equal to that of the settings was injected from them."""
    for name in ("model_path", "model"):
        value = asked.get(name)
        if value is not None and value != given.get(name) and (name == "model_path" or _is_file(value)):
            return str(value)
    return None


def _choose_backend(asked: dict[str, Any], settings: Mapping[str, Any], forced: str | None, *, has_file: bool) -> None:
    """Sets the backend of an action: the forced one, the one it names, or the one that its other parameters imply."""
    if forced is not None:
        if forced == "api" and has_file:
            raise ActionError("--gguf needs a local backend: remove --backend api")
        asked["backend"] = forced
        return
    if has_file:  # --gguf is for all nodes
        asked["backend"] = "local"
        return

    def is_new(name: str) -> bool:
        return asked.get(name) not in (None, "auto", settings.get(name))

    if is_new("backend"):
        if asked["backend"] == "api" and is_new("model_path"):
            raise ActionError("model_path needs a local backend: remove it, or backend: api")
    elif is_new("provider") or is_new("api_url"):  # the action itself names a provider or a URL
        if asked.get("backend", settings.get("backend", "auto")) == "auto":
            asked["backend"] = "api"
    elif is_new("model_path") and settings.get("backend") == "api":
        asked["backend"] = "local"


def _model_file(settings: dict[str, Any]) -> None:
    """Uses ``model`` as ``model_path`` if it is a file."""
    if _is_file(settings.get("model")):
        settings.setdefault("model_path", settings["model"])
        del settings["model"]


def _is_file(model: object) -> bool:
    return isinstance(model, str) and (model.lower().endswith(".gguf") or os.path.isfile(os.path.expanduser(model)))  # noqa: PTH111, PTH113


def _converted(name: str, value: object) -> object:
    """Converts a string, which a template may give, to a number if the parameter is one."""
    if not isinstance(value, str):
        return value
    convert: Callable[[str], object] | None = int if name in _INTEGERS else float if name in _NUMBERS else None
    if convert is None:
        return value
    try:
        return convert(value)
    except ValueError:
        raise ActionError(f"{name} must be a number, not {value!r}") from None
