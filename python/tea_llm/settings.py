"""``settings.llm``: the choice of a backend and its configuration."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tea_llm._check import MAX_CTX, MAX_SEQUENCES, MAX_THREADS, check_flag, check_float, check_int, check_text
from tea_llm._environment import settings_of_environment
from tea_llm.errors import ConfigError

__all__ = ["LlmSettings", "check_secret"]

_ALIASES = {"api_base": "api_url"}
_FOREIGN = frozenset({"opik_project_name", "opik_trace", "shell_provider"})
"""Keys of The Edge Agent that are ignored here."""

_PROVIDER_ALIASES = {"azure_openai": "azure", "azureopenai": "azure"}
_MAX = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """The checked settings of a backend. Hashable: equal settings share one backend.

    Attributes:
        backend: ``"local"``, ``"api"``, or ``"auto"``: local if a model is found and can be loaded, else the API.
        fallback: for ``backend="auto"`` only. ``"create"``: use the API if there is no local model. ``"call"``:
            also use it for requests that the local model cannot answer. ``"never"``: do not use an API.
        model_path: path of a GGUF file. None: search.
        strict: raise an error if the file of ``model_path`` or ``TEA_MODEL_PATH`` does not exist. If False, the search
            continues, a warning is logged, and ``fallback_reason`` in results has the reason.
        n_ctx: maximum number of tokens in one request, as for ``tea_llm.load``; ``"auto"`` or None: the default.
        n_parallel: number of requests that run at once, as for ``tea_llm.load``.
        n_threads: number of compute threads, as for ``tea_llm.load``.
        n_gpu_layers: number of layers on GPUs, as for ``tea_llm.load``.
        chat_format: a named format instead of the model's chat template.
        provider: ``"openai"`` (for all servers with its protocol), ``"azure"``, ``"ollama"``, or ``"auto"``: chosen by
            the environment. (``"local"`` becomes ``backend="local"``.)
        api_url: base URL of the server with its version, such as ``http://localhost:8000/v1``. None: the provider's.
        api_key: the API key. None: from the environment. Neither shown in ``repr`` nor pickled.
        model: name of the model at the API.
        deployment: name of the deployment on Azure.
        api_version: API version on Azure.
        timeout: seconds per request including retries, for API requests without ``timeout``. None: 300.
        max_retries: number of retries of an API request. None: 2.
        temperature: temperature of ``llm.*`` actions that do not set one.
    """

    backend: Literal["local", "api", "auto"] = "auto"
    fallback: Literal["create", "call", "never"] = "create"
    model_path: str | None = None
    strict: bool = False
    n_ctx: int | Literal["auto"] | None = None
    n_parallel: int | Literal["auto"] | None = None
    n_threads: int | None = None
    n_gpu_layers: int | Literal["auto"] | None = None
    chat_format: str | None = None
    provider: Literal["openai", "azure", "ollama", "local", "auto"] = "auto"
    api_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    timeout: float | None = None
    max_retries: int | None = None
    temperature: float | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, settings: Mapping[str, Any] | LlmSettings | None = None) -> LlmSettings:
        """Checks the ``settings:`` of a workflow.

        Args:
            settings: ``{"llm": {...}}``. None: all defaults. Sections other than ``llm`` are ignored; but if ``llm`` is
                missing, keys that look like its settings are errors. Strings may contain ``~`` (in paths), ``$VAR`` and
                ``${VAR}``, and numbers may be strings. ``api_base`` means ``api_url``, and ``provider: local`` means
                ``backend: local``. None and empty strings stand for the default.

        Raises:
            ConfigError: an unknown key, a wrong type or value, or an environment variable that is not set. The message
                names all such keys and the allowed values.

        Example:
            >>> LlmSettings.parse({"llm": {"backend": "api", "api_url": "http://localhost:8000/v1"}}).provider
            'auto'
        """
        if isinstance(settings, LlmSettings):
            return settings
        if settings is None:
            return cls()
        if not isinstance(settings, Mapping):
            raise ConfigError(f"settings must be a mapping like {{'llm': {{...}}}}, not {type(settings).__name__}")
        problems = cls.problems(settings)
        if problems:
            raise ConfigError("\n".join(problems.values()))
        return cls._of(settings.get("llm") or {})

    @classmethod
    def problems(cls, settings: Mapping[str, Any]) -> dict[Any, str]:
        """All problems that ``parse`` would raise, by key; ``"llm"`` stands for the whole section.

        Args:
            settings: ``{"llm": {...}}``.
        """
        llm = settings.get("llm")
        if "llm" not in settings:
            return {
                key: f"settings has an unknown key {key!r}: {near}" for key in settings if (near := _misplaced(key))
            }
        if llm is None:
            return {}
        if not isinstance(llm, Mapping):
            return {"llm": f"settings.llm must be a mapping, not {type(llm).__name__}"}
        each = {key: problem for key, value in llm.items() if (problem := cls._problem({key: value}))}
        if each:
            return each
        together = cls._problem(llm)
        return {"llm": together} if together else {}

    @classmethod
    def from_yaml(cls, file: str | os.PathLike[str]) -> LlmSettings:
        """The settings in a YAML file with ``settings: {llm: ...}`` or ``llm:`` at top level, such as a workflow.

        Raises:
            ConfigError: the file cannot be read or is not YAML, or as ``parse``.
        """
        try:
            import yaml
        except ImportError:
            raise ConfigError('reading YAML needs an additional package: pip install "tea-llm[workflow]"') from None
        try:
            document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{os.fspath(file)}: {error}") from error
        except (ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:  # PyYAML's own
            raise ConfigError(f"{os.fspath(file)} is not valid YAML: {error!r}") from error
        if not isinstance(document, Mapping):
            raise ConfigError(f"{os.fspath(file)} must contain a mapping with settings or llm")
        return cls.parse(document.get("settings", document))

    @classmethod
    def from_env(cls) -> LlmSettings:
        """The settings in ``TEA_MODEL_PATH`` and the environment variables of a provider."""
        return cls(**settings_of_environment())  # type: ignore[arg-type]

    @classmethod
    def _problem(cls, llm: Mapping[str, Any]) -> str | None:
        try:
            cls._of(llm)
        except ConfigError as error:
            return str(error)
        return None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked(f"settings.llm.{name}", value, check))
        if self.provider == "local":  # as The Edge Agent writes it
            if self.backend == "api":
                raise ConfigError("settings.llm: provider: local and backend: api exclude each other")
            object.__setattr__(self, "provider", "auto")
            object.__setattr__(self, "backend", "local")

    def __copy__(self) -> LlmSettings:
        return self  # immutable; __reduce__ would drop the key

    def __deepcopy__(self, memo: object) -> LlmSettings:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "api_key"}
        return _rebuild, (values,)

    @classmethod
    def _of(cls, llm: Mapping[str, Any]) -> LlmSettings:
        values: dict[str, Any] = {}
        for given, value in llm.items():
            key = _ALIASES.get(given, given)
            if key in _FOREIGN or value is None or (given in _ALIASES and llm.get(key) is not None):
                continue
            if key not in _CHECKS:
                raise ConfigError(_unknown(given))
            expanded = _expand(f"settings.llm.{key}", value) if isinstance(value, str) else value
            if expanded != "":
                values[key] = expanded
        return cls(**values)


def _rebuild(values: dict[str, Any]) -> LlmSettings:
    return LlmSettings(**values)


def _unknown(key: object) -> str:
    near = difflib.get_close_matches(str(key), _CHECKS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(_CHECKS)}"
    return f"settings.llm has an unknown key {key!r}: {hint}"


def _misplaced(key: object) -> str | None:
    """The hint for a key outside ``llm`` that resembles one of its settings or ``llm`` itself."""
    near = difflib.get_close_matches(str(key).lower(), [*_CHECKS, *_ALIASES, "llm"], n=1, cutoff=0.75)
    if not near:
        return None
    return "did you mean 'llm'?" if near == ["llm"] else f"did you mean {{'llm': {{{near[0]!r}: ...}}}}?"


def _checked(name: str, value: object, check: Callable[[str, object], object]) -> object:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        return check(name, value)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


def _expand(name: str, text: str) -> str:
    """Expands environment variables. One that is not set is an error, except in paths, where the search continues."""
    missing = [a or b for a, b in re.findall(r"\$\{(\w+)\}|\$(\w+)", text) if (a or b) not in os.environ]
    if missing and not name.endswith("model_path"):
        raise ConfigError(f"{name} uses the environment variable {missing[0]}, which is not set")
    return os.path.expandvars(text)


def _text(name: str, value: object) -> str | None:
    return check_text(name, value) or None


def check_secret(name: str, value: object) -> str | None:
    """A key without surrounding white space, such as the newline of its file; None: empty.

    Raises:
        ValueError: the key is invalid. The message does not show it.
    """
    text = (_text(name, value) or "").strip()
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError(f"{name} contains a character that no key has, such as white space")
    return text or None


def _one_of(*allowed: str) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        value = _PROVIDER_ALIASES.get(str(value), value)
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")
        return str(value)

    return check


def _flag(name: str, value: object) -> bool:
    return check_flag(name, {"true": True, "false": False}.get(str(value).lower(), value))


def _integer(low: int, high: int = _MAX, *, has_auto: bool = False) -> Callable[[str, object], int | str]:
    def check(name: str, value: object) -> int | str:
        if has_auto and value == "auto":
            return "auto"
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
            value = int(value)
        return check_int(name, value, low, high)

    return check


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def check(name: str, value: object) -> float:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise TypeError(f"{name} must be a number, not {value!r}") from None
        return check_float(name, value, low, high)

    return check


def _provider(name: str, value: object) -> str:
    if value in ("shell", "litellm"):
        raise ValueError(
            f"{name}={value!r} is supported by The Edge Agent only: use 'openai', 'azure', 'ollama' or 'local'"
        )
    return _one_of("auto", "openai", "azure", "ollama", "local")(name, value)


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "backend": _one_of("auto", "local", "api"),
    "fallback": _one_of("create", "call", "never"),
    "model_path": _text,
    "strict": _flag,
    "n_ctx": _integer(1, MAX_CTX, has_auto=True),
    "n_parallel": _integer(1, MAX_SEQUENCES, has_auto=True),
    "n_threads": _integer(1, MAX_THREADS),
    "n_gpu_layers": _integer(-1, has_auto=True),
    "chat_format": _one_of("chatml", "gemma", "plain"),
    "provider": _provider,
    "api_url": _text,
    "api_key": check_secret,
    "model": _text,
    "deployment": _text,
    "api_version": _text,
    "timeout": _number(0.001, 1e9),
    "max_retries": _integer(0),
    "temperature": _number(0, 1e6),
}
