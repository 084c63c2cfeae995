"""Checks whether a file is the wanted one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tea_llm.errors import ModelLoadError
from tea_llm.hub.sources import Wanted

__all__ = ["check_content", "file_sha256", "is_good"]


def is_good(file: Path, wanted: Wanted) -> bool:
    """Whether a file has the known SHA-256 and size; False if no SHA-256 is known."""
    return (
        wanted.sha256 is not None
        and file.is_file()
        and wanted.size_bytes in (None, file.stat().st_size)
        and file_sha256(file) == wanted.sha256
    )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_content(path: Path, wanted: Wanted) -> None:
    """Raises ModelLoadError when the file at ``path`` is not the wanted one."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelLoadError(
            f"the download of {wanted.name} is not a GGUF file: it begins with {magic!r}; it was discarded"
        )
    found = None if wanted.sha256 is None else file_sha256(path)
    if found != wanted.sha256:
        raise ModelLoadError(f"the download of {wanted.name} has sha256 {found}, not {wanted.sha256}: it was discarded")
