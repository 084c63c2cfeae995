"""Files that appear as a whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

__all__ = ["naming", "replacing", "replacing_by_name", "scratch_directory"]

_LOCK = "lock"


@contextmanager
def replacing(path: Path, *, is_private: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when the block ends without an error and all is on the disk.

    Enter it before the work whose result it takes: a target that cannot be written raises at once. A link is followed,
    and a device or a pipe written to. What killed processes left beside the file is removed.

    Args:
        path: of the file; one that is there is replaced, or left as it was after an error.
        is_private: only this user may read it.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    found = _status(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        with _writer(os.open(path, os.O_WRONLY), path) as file:
            yield file
        return
    with _unfinished(path, found, is_private=is_private) as (unfinished, handle):
        with _writer(os.dup(handle), path) as file:
            yield file
        _finish(unfinished, handle, path)


@contextmanager
def replacing_by_name(path: Path) -> Iterator[Path]:
    """As ``replacing``, for what writes to a name: it is given that of an empty file.

    Raises:
        OSError: it cannot be written, or is a device or a pipe.
    """
    found = _status(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file, and only such a one can be replaced", str(path))
    with _unfinished(path, found, is_private=False) as (unfinished, handle):
        yield unfinished
        _finish(unfinished, handle, path)


@contextmanager
def scratch_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A directory for what is on its way. It is gone afterwards; so is one that a killed process left.

    Args:
        parent: where to make it.
        prefix: of its name.
    """
    for abandoned in parent.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):  # of another user
            if _remove_if_unlocked(abandoned):
                shutil.rmtree(abandoned.parent)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name:
        handle = os.open(Path(name, _LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            _try_lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


class _NamedFile(io.FileIO):
    """A file whose write errors say which file the user asked for."""

    target: Path

    def write(self, data: Any, /) -> int:
        with naming(self.target):
            return super().write(data)


def _writer(handle: int, target: Path) -> BinaryIO:
    raw = _NamedFile(handle, "wb")
    raw.target = target
    return cast("BinaryIO", io.BufferedWriter(raw, 1 << 20))


@contextmanager
def naming(target: object) -> Iterator[None]:
    """Has errors of the system say which file they are about: those of writing name none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def _status(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return found


@contextmanager
def _unfinished(path: Path, found: os.stat_result | None, *, is_private: bool) -> Iterator[tuple[Path, int]]:
    """A new file beside ``path``, by name and as an open one; it is gone afterwards."""
    real = Path(os.path.realpath(path))
    _remove_abandoned(real)
    with naming(path):
        unfinished, handle = _create_locked(real, 0o600 if is_private else 0o666)
    try:
        if found is not None and not is_private:
            with suppress(OSError):  # a file system without modes
                os.chmod(unfinished, stat.S_IMODE(found.st_mode))  # noqa: PTH101 - beside the other os calls
        yield unfinished, handle
    finally:
        os.close(handle)
        unfinished.unlink(missing_ok=True)


def _finish(unfinished: Path, handle: int, path: Path) -> None:
    with naming(path):
        os.fsync(handle)
        unfinished.replace(os.path.realpath(path))


def _create_locked(path: Path, mode: int) -> tuple[Path, int]:
    while True:
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        if _try_lock(handle) and os.fstat(handle).st_nlink:
            return unfinished, handle
        os.close(handle)  # another process took it for an abandoned one before it was locked, and removes it


def _remove_abandoned(path: Path) -> None:
    """Removes what processes that were killed left of ``path``: living ones hold a lock."""
    is_part = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.part").fullmatch
    with suppress(OSError):  # a directory that cannot be listed
        for name in filter(is_part, os.listdir(path.parent)):  # noqa: PTH208 - names are enough
            with suppress(OSError):  # a file of another user
                _remove_if_unlocked(path.with_name(name))


def _remove_if_unlocked(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        is_abandoned = _try_lock(handle)
        if is_abandoned:
            path.unlink()
        return is_abandoned
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Whether an open file is this call's now, until it is closed."""
    try:
        import fcntl
    except ImportError:  # Windows does not remove what is open
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
