"""Converts model files to smaller types."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tea_llm import _child, errors
from tea_llm._check import MAX_THREADS, check_flag, check_int, check_path
from tea_llm._files import replacing_by_name
from tea_llm._native import _core
from tea_llm.inspection import count_weights
from tea_llm.paths import resolve_model_path

__all__ = ["file_types", "quantize"]

_NEARLY_FULL = 1 << 20


def file_types() -> dict[str, float]:
    """The types of ``quantize`` with their approximate bits per weight, largest first.

    Example:
        >>> file_types()["q8_0"]
        8.5
    """
    return dict(_core.file_types())


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    type: str = "q4_k_m",  # noqa: A002 - the usual name
    *,
    n_threads: int | None = None,
    allow_requantize: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Path:
    """Writes a GGUF model with another weight type. The file gets its name when it is complete.

    Args:
        source: path of a model file, preferably with weights of 16 or 32 bits; of a split model, its first file.
        target: path of the new file. An existing file is replaced, and links are followed.
        type: type of most weights, one of ``file_types()``.
        n_threads: number of threads. None: the physical cores that this process may use.
        allow_requantize: also accept a quantized source. Its loss of quality remains.
        progress: called a few times per second with the finished fraction, 0.0 to 1.0, estimated from the file size. If
            it raises, quantization stops.

    Returns:
        The path of the new file.

    Raises:
        ModelNotFoundError: ``source`` does not exist.
        ModelLoadError: llama.cpp cannot read or quantize it; the message includes its last error lines.
        LocalBackendUnavailableError: the program ``tea-llm-child`` is missing.
        OSError: the target cannot be written, or the disk is too small for it.
        TypeError, ValueError: an argument is invalid, or source and target are the same file.

    Example:
        >>> tea_llm.quantize("model-f16.gguf", "model-q8_0.gguf", "q8_0")  # doctest: +SKIP
        PosixPath('model-q8_0.gguf')
    """
    types = file_types()
    if type not in types:
        raise ValueError(f"unknown file type {type!r}: allowed are {', '.join(types)}")
    threads = _core.usable_cores() if n_threads is None else check_int("n_threads", n_threads, 1, MAX_THREADS)
    requantizes = check_flag("allow_requantize", allow_requantize)
    path, target = resolve_model_path(explicit=source) or Path(source), Path(check_path("target", target))
    if target.exists() and target.samefile(path):
        raise ValueError(f"source and target are the same file, {target}: choose another target")
    with replacing_by_name(target) as unfinished:
        n_bytes = int(count_weights(path) * types[type] / 8)
        n_free = shutil.disk_usage(unfinished.parent).free
        if n_bytes > n_free:
            raise OSError(
                f"not enough disk space for {target}: {n_bytes / 1e6:.1f} MB are needed, {n_free / 1e6:.1f} MB are free"
            )
        try:
            _run(str(path), str(unfinished), type, threads, requantizes, lambda: _report(progress, unfinished, n_bytes))
        except errors.ModelLoadError as error:
            if shutil.disk_usage(unfinished.parent).free < _NEARLY_FULL:  # llama.cpp gives no reason for a failed write
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise
    if progress is not None:
        progress(1.0)
    return target


def _report(progress: Callable[[float], object] | None, file: Path, n_bytes: int) -> None:
    if progress is not None:
        with suppress(FileNotFoundError):  # not yet created
            progress(min(0.99, file.stat().st_size / max(1, n_bytes)))


def _run(source: str, target: str, type_: str, threads: int, requantizes: bool, report: Callable[[], None]) -> None:
    """Runs in a child process, because llama.cpp's quantizer cannot be interrupted and may crash on some files."""
    try:
        _child.run("quantize", source, target, type_, str(threads), str(int(requantizes)), report=report)
    except _child.ChildDiedError as error:
        raise errors.ModelLoadError(f"{source}: llama.cpp's quantizer {error}") from error
