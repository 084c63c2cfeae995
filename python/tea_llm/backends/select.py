"""Chooses and caches backends, by the settings and the models on this machine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tea_llm._check import check_path
from tea_llm._environment import environment
from tea_llm._native import IS_NATIVE
from tea_llm.backends.api import ApiLlmBackend
from tea_llm.backends.api.endpoint import is_configured
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.fallback import FallbackBackend
from tea_llm.backends.local import LocalLlmBackend
from tea_llm.backends.local.loading import load
from tea_llm.errors import ConfigError, InferenceError, ModelLoadError, ModelNotFoundError
from tea_llm.paths import absolute, missing_models, model_not_found, resolve_model_path
from tea_llm.settings import LlmSettings

__all__ = ["close_all", "create_llm_backend", "get_llm_backend", "is_local_llm_available"]

logger = logging.getLogger("tea_llm")

_Backend = TypeVar("_Backend", bound=LlmBackend)


def create_llm_backend(
    settings: Mapping[str, Any] | LlmSettings | None = None, *, model_path: str | os.PathLike[str] | None = None
) -> LlmBackend:
    """Creates the backend that the settings describe. The caller closes it.

    Args:
        settings: the ``settings:`` of a workflow, ``{"llm": {...}}``. None: all defaults. ``backend`` is ``local``
            (load a model or raise), ``api`` (use the API) or ``auto``, the default: load a model if one is found, and
            use the API if that fails and an API is configured by a URL or a key. A warning is logged then, and
            ``fallback_reason`` in results has the reason. ``fallback`` changes ``auto``: ``create`` is the default;
            with ``call`` the API also answers requests that the local model cannot; with ``never`` there is no API.
        model_path: path of the model file, which overrides the settings and the environment. None: search.

    Raises:
        ConfigError: the settings are invalid, or ``auto`` finds neither a model nor an API.
        ModelNotFoundError: ``model_path`` is not a file, ``local`` finds no model, or with ``strict`` the file that
            the settings or ``TEA_MODEL_PATH`` name does not exist.
        ModelLoadError: the model cannot be loaded, and no API is configured.
    """
    return _create(LlmSettings.parse(settings), model_path, _load)


def is_local_llm_available(settings: Mapping[str, Any] | LlmSettings | None = None) -> bool:
    """Whether this installation has an engine, and a model is found. The file is not opened.

    Args:
        settings: as ``create_llm_backend``.

    Raises:
        ConfigError: the settings are invalid.
    """
    try:
        return IS_NATIVE and resolve_model_path(LlmSettings.parse(settings)) is not None
    except ModelNotFoundError:  # strict settings
        return False


class _Cache:
    """Backends by configuration. Each is created by one thread, while other threads wait for it.

    Configurations that differ only in their API share a local model.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all backends without closing them."""
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}
        self._made: dict[Hashable, Any] = {}
        self._n_cleared = 0

    def get(self, settings: LlmSettings, model_path: str | None) -> LlmBackend:
        paths = [absolute(path) for path in (settings.model_path, model_path) if path]
        key = (settings, model_path, *paths, *environment())
        # After a clear() in the meantime, the new backend may share its model: it is dropped, and not closed.
        return self._once(key, lambda: _create(settings, model_path, self._load), discard=None)

    def _load(self, path: Path, arguments: dict[str, Any]) -> LocalLlmBackend:
        return self._once((path, *sorted(arguments.items())), lambda: _load(path, arguments), LocalLlmBackend.close)

    def _once(
        self, key: Hashable, make: Callable[[], _Backend], discard: Callable[[_Backend], object] | None
    ) -> _Backend:
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        while True:
            with making:
                with self._lock:
                    if key in self._made:
                        return self._made[key]  # type: ignore[no-any-return]  # has the type that make() returns
                    n_cleared = self._n_cleared
                made = make()
                with self._lock:
                    if n_cleared == self._n_cleared:
                        self._made[key] = made
                        return made
                if discard is not None:  # all backends were closed in the meantime
                    discard(made)

    def clear(self) -> None:
        with self._lock:
            made = list(self._made.values())
            self._made.clear()
            self._n_cleared += 1
        for backend in made:
            backend.close()


_cache = _Cache()
if hasattr(os, "register_at_fork"):
    # A forked child cannot use its parent's engines, and threads that do not exist there may hold the locks.
    os.register_at_fork(after_in_child=_cache.reset)


def get_llm_backend(
    settings: Mapping[str, Any] | LlmSettings | None = None, *, model_path: str | os.PathLike[str] | None = None
) -> LlmBackend:
    """The shared backend for these settings. The first call creates it, and later calls return the same one.

    Thread-safe; concurrent calls load a model only once. Do not close the backend; ``close_all()`` does.

    Args:
        settings: as ``create_llm_backend``.
        model_path: as ``create_llm_backend``.

    Raises:
        LlmError: as ``create_llm_backend``. The next call tries again.
    """
    path = None if model_path is None else check_path("model_path", model_path)
    return _cache.get(LlmSettings.parse(settings), path)


def close_all() -> None:
    """Closes all backends that ``get_llm_backend`` created. Later calls create new ones."""
    _cache.clear()


_Loader = Callable[[Path, dict[str, Any]], LocalLlmBackend]


def _create(settings: LlmSettings, model_path: str | os.PathLike[str] | None, load_model: _Loader) -> LlmBackend:
    if settings.backend == "api":
        return ApiLlmBackend(settings)
    path = resolve_model_path(settings, explicit=model_path)
    missing = "; ".join(missing_models(settings)) if model_path is None else ""
    if settings.backend == "local":
        if path is None:
            raise model_not_found(settings)
        return _local(settings, path, load_model, missing)
    has_api = is_configured(settings) and settings.fallback != "never"
    if path is None and not has_api:
        other = (
            "The configured API is not used, because settings.llm has fallback: never"
            if is_configured(settings)
            else "No API is configured either: set OPENAI_API_KEY, or api_url and model in settings.llm"
        )
        raise ConfigError(f"{model_not_found(settings)}\n{other}")
    reason = "no local model was found" + (f": {missing}" if missing else "")
    if path is not None:
        try:
            return _local(settings, path, load_model, missing)
        except (InferenceError, ModelLoadError, ModelNotFoundError) as error:
            if not has_api:
                raise
            reason = f"{type(error).__name__}: {error}"
    logger.warning("The API is used instead of a local model: %s", reason)
    return FallbackBackend(None, ApiLlmBackend(settings), reason=reason)


def _local(settings: LlmSettings, path: Path, load_model: _Loader, missing: str) -> LlmBackend:
    """The local model, with an API as fallback if the settings ask for it.

    Args:
        settings: settings of the backend.
        path: path of the model.
        load_model: loads the model, or returns it from the cache.
        missing: why another model was requested but is not used; "": none was.
    """
    wants_api = settings.backend == "auto" and settings.fallback == "call" and is_configured(settings)
    api = ApiLlmBackend(settings) if wants_api else None
    names = ("n_ctx", "n_parallel", "n_threads", "n_gpu_layers", "chat_format")
    arguments = {name: value for name in names if (value := getattr(settings, name)) not in (None, "auto")}
    local = load_model(path, arguments)
    if missing:
        local = local._with_reason(missing)  # a copy, because others share the model
    return local if api is None else FallbackBackend(local, api)


def _load(path: Path, arguments: dict[str, Any]) -> LocalLlmBackend:
    logger.info("Loading local model %s", path)
    return load(path, **arguments)
