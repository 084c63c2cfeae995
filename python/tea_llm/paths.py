"""Finds the model file: what the caller gave, the environment, the settings, the usual places."""

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
    """Where models are pulled into: the first of ``cache_dirs()``."""
    return cache_dirs()[0]


def cache_dirs() -> list[Path]:
    """Where pulled models are looked for: ``$XDG_CACHE_HOME/tea/models`` where that is set, ``~/.cache/tea/models``.

    They need not exist. A relative ``XDG_CACHE_HOME`` counts as not set, as its specification says.
    """
    xdg = Path(variable("XDG_CACHE_HOME") or ".")
    dirs = [xdg / "tea" / "models"] if xdg.is_absolute() else []
    return list(dict.fromkeys([*dirs, _expand("~/.cache/tea/models")]))


def search_dirs() -> list[Path]:
    """The directories that are searched for ``DEFAULT_MODELS``, in order. They need not exist."""
    appdir = variable("APPDIR")
    bundled = [Path(appdir, "usr", "share", "models")] if appdir else []
    return [*bundled, *cache_dirs()]


def found_models() -> list[Path]:
    """The model files in the directories that are searched, in the order of the search."""
    return [
        directory / name
        for directory in search_dirs()
        for name in _gguf_names(directory)
        if _problem_with(directory / name) is None
    ]


def resolve_model_path(
    settings: Mapping[str, Any] | LlmSettings | None = None, *, explicit: str | os.PathLike[str] | None = None
) -> Path | None:
    """The model file to load; the first that is there wins.

    The order is ``explicit``, the environment's ``TEA_MODEL_PATH``, ``settings["llm"]["model_path"]``,
    ``$APPDIR/usr/share/models`` and the directories of ``cache_dirs()``; in the last ones the names of
    ``DEFAULT_MODELS`` in order. ``~``, ``$VAR`` and ``${VAR}`` are expanded. A missing file of the second and third is
    a logged warning. Links are kept as they are.

    Args:
        settings: as ``LlmSettings.parse``; None: nothing set.
        explicit: the path that the caller asked for; None: search.

    Returns:
        The absolute path of a file, or None when there is none in any place.

    Raises:
        ModelNotFoundError: ``explicit`` is not a file, or with ``strict`` one of the second and third.
        ConfigError: the settings are not valid.
    """
    if explicit is not None:
        return explicit_model_path(explicit)
    parsed = LlmSettings.parse(settings)
    missing = missing_models(parsed)
    if missing and parsed.strict:
        raise ModelNotFoundError(f"{'; '.join(missing)}. With settings.llm.strict no other model is searched for")
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
    """One line for each place that ``resolve_model_path`` looks at, with what is wrong there.

    Args:
        settings: None: nothing set.
    """
    lines = [f"{label}: {_describe(value) if value else 'not set'}" for label, value in _named_paths(settings)]
    if not variable("APPDIR"):
        lines.append("$APPDIR/usr/share/models: APPDIR is not set")
    lines += [_describe_default_dir(directory) for directory in search_dirs()]
    return lines


def missing_models(settings: LlmSettings | None = None, *, stops: bool = True) -> list[str]:
    """One line for each file that ``TEA_MODEL_PATH`` or the settings name and that is not there.

    Args:
        settings: None: nothing set.
        stops: stop where the search does, at the first file that is there.
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
    """The error for a search that found nothing: every place, and what to do.

    Args:
        settings: None: nothing set.
    """
    places = "".join(f"\n    {line}" for line in searched_places(settings))
    return ModelNotFoundError(
        f"no model file found. Searched:{places}\n"
        "Give a path, or get the small default model: tea-llm pull smollm2-135m"
    )


def explicit_model_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file that is there; ``~`` and variables are expanded if it is not there as written.

    Raises:
        ModelNotFoundError: it is not a file.
        TypeError: it is not a text or a path.
    """
    given = check_path("the model's path", path)
    if not given:
        raise ModelNotFoundError("the model path is empty")
    file = Path(given)
    problem = _problem_with(file)
    if problem is not None:  # a shell would have expanded it; a workflow's text or an IDE's settings may not be
        file = _expand(given)
        problem = _problem_with(file)
    if problem is None:
        return absolute(file)
    if not _is_dir(file):
        raise ModelNotFoundError(f"no model file at {file}: {problem}")
    found = _gguf_names(file)
    if not found:
        raise ModelNotFoundError(f"{file} is a directory without .gguf files: give the path of a model file")
    raise ModelNotFoundError(f"{file} is a directory: give the path of a file in it. It holds {_some(found)}")


def model_files(first: Path, n_files: int) -> list[Path]:
    """The files of a model, of which the first is given.

    Args:
        first: ``NAME-00001-of-0000N.gguf`` where it is one of several, any name otherwise.
        n_files: what the file itself says (``split.count``): a whole model may have such a name, too.
    """
    match = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})(\.gguf)", first.name, re.IGNORECASE | re.DOTALL)
    if match is None or n_files <= 1 or int(match[2]) != n_files:
        return [first]
    stem, suffix = match[1], match[3]
    return [first.with_name(f"{stem}-{index:05}-of-{n_files:05}{suffix}") for index in range(1, n_files + 1)]


def absolute(path: str | Path) -> Path:
    """The path of the same file after a ``chdir``, too; links are kept."""
    try:
        return Path(path).absolute()
    except FileNotFoundError:  # the working directory was removed
        return Path(path)


def _named_paths(settings: LlmSettings | None) -> list[tuple[str, str | None]]:
    """The two places where a user names a file, with what is written there."""
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
    except RuntimeError:  # no such user: the path stays as written, and will be reported missing
        return path


def _problem_with(path: Path) -> str | None:
    """Why ``path`` is not a model file; None when it can be one."""
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
    except OSError:  # not ours to look into; before Python 3.14 is_dir() raises then
        return False


def _describe(value: str) -> str:
    path = _expand(value)
    return f"{path}: {_problem_with(path) or 'found'}"


def _describe_default_dir(directory: Path) -> str:
    found = [name for name in DEFAULT_MODELS if _problem_with(directory / name) is None]
    if found:
        return f"{directory}: holds {_some(found)}"
    others = _gguf_names(directory)
    if others:
        return f"{directory}: none of the default names, but {_some(others)}, which can be given by path"
    return f"{directory}: none of {', '.join(DEFAULT_MODELS)}"


def _gguf_names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.suffix.lower() == ".gguf")
    except OSError:  # missing or not readable: nothing that could be named
        return []


def _some(names: list[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
