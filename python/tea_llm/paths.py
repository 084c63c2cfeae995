"""Finds the model file: by argument, environment, settings, or in the default directories."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tea_llm._check import check_path
from tea_llm._environment import variable
from tea_llm.catalog import DEFAULT_MODELS
from tea_llm.errors import ModelNotFoundError
from tea_llm.settings import LlmSettings

__all__ = [
    "absolute",
    "cache_dirs",
    "explicit_model_path",
    "found_models",
    "missing_models",
    "model_files",
    "model_not_found",
    "models_dir",
    "resolve_model_path",
    "search_dirs",
    "searched_places",
]

logger = logging.getLogger("tea_llm")


def models_dir() -> Path:
    """The directory that models are pulled into: the first of ``cache_dirs()``."""
    return cache_dirs()[0]


def cache_dirs() -> list[Path]:
    """The directories of pulled models: ``$XDG_CACHE_HOME/tea/models`` if set, and ``~/.cache/tea/models``.

    They may not exist. A relative ``XDG_CACHE_HOME`` is ignored, as its specification says.
    """
    xdg = Path(variable("XDG_CACHE_HOME") or ".")
    dirs = [xdg / "tea" / "models"] if xdg.is_absolute() else []
    return list(dict.fromkeys([*dirs, _expand("~/.cache/tea/models")]))


def search_dirs() -> list[Path]:
    """The directories that are searched for ``DEFAULT_MODELS``, in order. They may not exist."""
    appdir = variable("APPDIR")
    bundled = [Path(appdir, "usr", "share", "models")] if appdir else []
    return [*bundled, *cache_dirs()]


def found_models() -> list[Path]:
    """The model files in ``search_dirs()``, in search order."""
    return [
        directory / name
        for directory in search_dirs()
        for name in _gguf_names(directory)
        if _problem_with(directory / name) is None
    ]


def resolve_model_path(
    settings: Mapping[str, Any] | LlmSettings | None = None, *, explicit: str | os.PathLike[str] | None = None
) -> Path | None:
    """Finds the model file to load.

    Searches, in this order: ``explicit``, the environment variable ``TEA_MODEL_PATH``,
    ``settings["llm"]["model_path"]``, and then ``$APPDIR/usr/share/models`` and the directories of ``cache_dirs()`` for
    the names in ``DEFAULT_MODELS``. Expands ``~``, ``$VAR`` and ``${VAR}``. If the file of ``TEA_MODEL_PATH`` or of the
    settings does not exist, a warning is logged. Links are not resolved.

    Args:
        settings: as ``LlmSettings.parse``. None: all defaults.
        explicit: the path that the caller asks for. None: search.

    Returns:
        The absolute path of a file, or None if no model is found.

    Raises:
        ModelNotFoundError: ``explicit`` is not a file; or, with ``strict``, ``TEA_MODEL_PATH`` or the path in the
            settings is not a file.
        ConfigError: the settings are invalid.
    """
    if explicit is not None:
        return explicit_model_path(explicit)
    parsed = LlmSettings.parse(settings)
    missing = missing_models(parsed)
    if missing and parsed.strict:
        raise ModelNotFoundError(f"{'; '.join(missing)}. settings.llm.strict forbids searching for another model")
    for label, value in _named_paths(parsed):
        if not value:
            logger.debug("%s is not set", label)
            continue
        path = _expand(value)
        problem = _problem_with(path)
        if problem is None:
            logger.info("Model from %s: %s", label, path)
            return absolute(path)
        logger.warning("%s", _no_model(label, path, problem))
    for directory in search_dirs():
        for name in DEFAULT_MODELS:
            if _problem_with(directory / name) is None:
                kind = "cached" if directory in cache_dirs() else "bundled"
                logger.info("Found %s model: %s", kind, directory / name)
                return directory / name
        logger.debug("No default model in %s", directory)
    logger.info("No local model found. Searched: %s", "; ".join(searched_places(parsed)))
    return None


def searched_places(settings: LlmSettings | None = None) -> list[str]:
    """One line for each place that ``resolve_model_path`` searches, with the result.

    Args:
        settings: None: all defaults.
    """
    lines = [f"{label}: {_describe(value) if value else 'not set'}" for label, value in _named_paths(settings)]
    if not variable("APPDIR"):
        lines.append("$APPDIR/usr/share/models: APPDIR is not set")
    lines += [_describe_default_dir(directory) for directory in search_dirs()]
    return lines


def missing_models(settings: LlmSettings | None = None, *, stops: bool = True) -> list[str]:
    """One line for each file that ``TEA_MODEL_PATH`` or the settings name and that does not exist.

    Args:
        settings: None: all defaults.
        stops: stop at the first file that exists, as the search does.
    """
    missing = []
    for label, value in _named_paths(settings):
        problem = _problem_with(_expand(value)) if value else None
        if value and problem is None and stops:
            break
        if value and problem:
            missing.append(_no_model(label, _expand(value), problem))
    return missing


def model_not_found(settings: LlmSettings | None = None) -> ModelNotFoundError:
    """The error for a failed search, with all places and a hint.

    Args:
        settings: None: all defaults.
    """
    places = "".join(f"\n    {line}" for line in searched_places(settings))
    return ModelNotFoundError(
        f"no model file found. Searched:{places}\n"
        "Give a path, or download the small default model: tea-llm pull smollm2-135m"
    )


def explicit_model_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of an existing file. ``~`` and variables are expanded if the path as written does not exist.

    Raises:
        ModelNotFoundError: the path is not a file.
        TypeError: the path is neither a string nor a path.
    """
    given = check_path("the model's path", path)
    if not given:
        raise ModelNotFoundError("the model path is empty")
    file = Path(given)
    problem = _problem_with(file)
    if problem is not None:  # paths in workflows and IDE settings are not expanded by a shell
        file = _expand(given)
        problem = _problem_with(file)
    if problem is None:
        return absolute(file)
    if not _is_dir(file):
        raise ModelNotFoundError(f"no model file at {file}: {problem}")
    found = _gguf_names(file)
    if not found:
        raise ModelNotFoundError(f"{file} is a directory without .gguf files: give the path of a model file")
    raise ModelNotFoundError(f"{file} is a directory: give the path of a file in it. It contains {_some(found)}")


def model_files(first: Path, n_files: int) -> list[Path]:
    """All files of a model.

    Args:
        first: path of the first file: ``NAME-00001-of-0000N.gguf`` if the model is split, else any name.
        n_files: ``split.count`` in the file, because an unsplit model may have such a name, too.
    """
    match = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})(\.gguf)", first.name, re.IGNORECASE | re.DOTALL)
    if match is None or n_files <= 1 or int(match[2]) != n_files:
        return [first]
    stem, suffix = match[1], match[3]
    return [first.with_name(f"{stem}-{index:05}-of-{n_files:05}{suffix}") for index in range(1, n_files + 1)]


def absolute(path: str | Path) -> Path:
    """The absolute path, which stays valid after a ``chdir``. Links are not resolved."""
    try:
        return Path(path).absolute()
    except FileNotFoundError:  # the working directory was removed
        return Path(path)


def _named_paths(settings: LlmSettings | None) -> list[tuple[str, str | None]]:
    """The two settings that name a file, with their values."""
    return [
        ("TEA_MODEL_PATH", variable("TEA_MODEL_PATH")),
        ("settings.llm.model_path", None if settings is None else settings.model_path),
    ]


def _no_model(label: str, path: Path, problem: str) -> str:
    return f"{label} is set, but {path} is not a model file: {problem}"


def _expand(text: str) -> Path:
    path = Path(os.path.expandvars(text))
    try:
        return path.expanduser()
    except RuntimeError:  # unknown user: the path stays as it is, and is reported as missing
        return path


def _problem_with(path: Path) -> str | None:
    """Why ``path`` cannot be a model file; None: it can be one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to a missing file" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:  # no permission, a file for a directory, a loop of links, a NUL
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(mode):
        return "it is a directory"
    return None if stat.S_ISREG(mode) else "it is not a regular file"


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission; before Python 3.14 is_dir() raises then
        return False


def _describe(value: str) -> str:
    path = _expand(value)
    return f"{path}: {_problem_with(path) or 'found'}"


def _describe_default_dir(directory: Path) -> str:
    found = [name for name in DEFAULT_MODELS if _problem_with(directory / name) is None]
    if found:
        return f"{directory}: contains {_some(found)}"
    others = _gguf_names(directory)
    if others:
        return f"{directory}: no default model, but {_some(others)}, which can be given by path"
    return f"{directory}: no default model ({', '.join(DEFAULT_MODELS)})"


def _gguf_names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.suffix.lower() == ".gguf")
    except OSError:  # missing or not readable
        return []


def _some(names: list[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
