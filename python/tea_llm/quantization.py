"""Model files of other types: smaller, or faster on this processor."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tea_llm import errors
from tea_llm._check import check_flag, check_int, check_path
from tea_llm._files import replacing_by_name
from tea_llm._native import _core
from tea_llm.paths import resolve_model_path

__all__ = ["file_types", "quantize"]

_MOST_THREADS = 512
_POLL_S = 0.1
_NEARLY_FULL = 1 << 20
_CHILD = """
import json, os, sys, threading
from tea_llm._native import _core

def end_with_parent():
    sys.stdin.read()
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
source, target, options = sys.argv[1:]
try:
    _core.quantize(os.fsencode(source), os.fsencode(target), **json.loads(options))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
    sys.exit(1)
"""
"""llama.cpp's quantizer can neither be interrupted nor be trusted with every file: it gets a process of its own."""


def file_types() -> dict[str, float]:
    """What ``quantize`` can make, and about how many bits a weight takes then, the largest first.

    Example:
        >>> file_types()["q8_0"]
        8.5
    """
    return dict(_core.file_types())


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    type: str = "q4_k_m",  # noqa: A002 - what everybody calls it
    *,
    n_threads: int | None = None,
    allow_requantize: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Path:
    """Writes a GGUF model of another type. The file appears under its name when it is complete.

    Args:
        source: a model file, best with weights of 16 or 32 bits; of a model in several files the first one.
        target: where to write; a file that is there is replaced, and a link followed.
        type: of most weights, one of ``file_types()``.
        n_threads: to use; None: the physical cores that this process may use.
        allow_requantize: also take a quantized source. What it has lost is not found again.
        progress: called with the fraction done, 0.0 to 1.0, estimated from the file's size, a few times a second;
            what it raises ends the work.

    Returns:
        The path of the new file.

    Raises:
        ModelNotFoundError: no source there.
        ModelLoadError: llama.cpp cannot read or quantize it; carries its last error lines.
        OSError: the target cannot be written, or the disk is too small for it.
        TypeError, ValueError: a wrong argument, or source and target are one file.

    Example:
        >>> tea_llm.quantize("model-f16.gguf", "model-q8_0.gguf", "q8_0")  # doctest: +SKIP
        PosixPath('model-q8_0.gguf')
    """
    types = file_types()
    if type not in types:
        raise ValueError(f"there is no file type {type!r}: {', '.join(types)}")
    threads = _core.usable_cores() if n_threads is None else check_int("n_threads", n_threads, 1, _MOST_THREADS)
    options = {"type": type, "n_threads": threads, "requantizes": check_flag("allow_requantize", allow_requantize)}
    path, target = resolve_model_path(explicit=source) or Path(source), Path(check_path("target", target))
    if target.exists() and target.samefile(path):
        raise ValueError(f"{target} is the source itself")
    with replacing_by_name(target) as unfinished:
        n_bytes = int(_n_params(path) * types[type] / 8)
        n_free = shutil.disk_usage(unfinished.parent).free
        if n_bytes > n_free:
            raise OSError(
                f"no room for {target}: {n_bytes / 1e6:.1f} MB are needed, {n_free / 1e6:.1f} MB are free there"
            )
        try:
            _run([str(path), str(unfinished), json.dumps(options)], lambda: _report(progress, unfinished, n_bytes))
        except errors.ModelLoadError as error:
            if shutil.disk_usage(unfinished.parent).free < _NEARLY_FULL:  # llama.cpp does not say why it cannot write
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise
    if progress is not None:
        progress(1.0)
    return target


def _n_params(path: Path) -> int:
    return _core.Model.load(os.fsencode(path)).n_params


def _report(progress: Callable[[float], object] | None, file: Path, n_bytes: int) -> None:
    if progress is not None:
        with suppress(FileNotFoundError):  # not begun
            progress(min(0.99, file.stat().st_size / max(1, n_bytes)))


def _run(arguments: list[str], report: Callable[[], None]) -> None:
    """Runs the child process, with a report now and then. However this ends, the child has ended, too."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", _CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            while True:
                try:
                    child.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    report()
            output = child.communicate()[0]
        finally:
            child.kill()
    if child.returncode < 0:
        raise errors.ModelLoadError(f"{arguments[0]}: llama.cpp's quantizer died of signal {-child.returncode}")
    if child.returncode > 0:
        name, message = json.loads(output) if output else ("ModelLoadError", "llama.cpp's quantizer failed")
        raise getattr(errors, name, ValueError)(message)
