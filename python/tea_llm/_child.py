"""``tea-llm-child``: our own program beside the extension, for native work that may crash or must be ended.

An interpreter is no such child: in a frozen program ``sys.executable`` is the program itself, and ``python -c`` runs
modules that lie in the working directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tea_llm import errors
from tea_llm._native import _core, backend_directories

__all__ = ["ChildDiedError", "run"]

_POLL_S = 0.1
_N_LINES = 4


class ChildDiedError(Exception):
    """The child ended without an answer."""


def run(
    work: str, *arguments: str, report: Callable[[], object] = lambda: None, timeout: float | None = None
) -> dict[str, Any]:
    """Has the child do something. However this ends, the child has ended, too.

    Args:
        work: ``"probe"``, ``"quantize"`` or ``"kernels"``: csrc/child/main.cpp.
        arguments: of that work.
        report: called about ten times a second; what it raises ends the child.
        timeout: seconds; None: none.

    Returns:
        What the child itself says is its result; its exit status alone is no success.

    Raises:
        LlmError, ValueError: the error that the child reports.
        LocalBackendUnavailableError: there is no child to start.
        ChildDiedError: it ended without an answer.
        TimeoutError: it took longer.
    """
    program = _program()
    directories = [part for directory in backend_directories() for part in ("--modules", directory)]
    reading, writing = os.pipe()  # the child ends when `writing` is closed, also because this process has died
    try:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own program
                [str(program), *directories, work, *arguments],
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise _unavailable(f"{program} does not start: {error.strerror}") from error
        finally:
            os.close(reading)
        with child:
            try:
                output, noise = _communicate(child, report, timeout)
            finally:
                child.kill()
                child.wait()
    finally:
        os.close(writing)
    return _answer(child.returncode, output, noise)


def _program() -> Path:
    name = "tea-llm-child.exe" if sys.platform == "win32" else "tea-llm-child"
    program = Path(str(_core.__file__)).parent / name
    if not program.is_file():
        raise _unavailable(f"{program} is missing")
    return program


def _unavailable(problem: str) -> errors.LocalBackendUnavailableError:
    return errors.LocalBackendUnavailableError(
        f"there is no child process to try this in: {problem}. Install tea-llm again with pip, or have the program "
        "that bundles it take tea-llm-child along, as an executable file beside the extension tea_llm._core"
    )


def _communicate(
    child: subprocess.Popen[bytes], report: Callable[[], object], timeout: float | None
) -> tuple[bytes, bytes]:
    waited = 0.0
    while True:
        try:
            return child.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            report()
        waited += _POLL_S
        if timeout is not None and waited >= timeout:
            raise TimeoutError(f"the child process did not end within {timeout:.0f} s")


def _answer(status: int, output: bytes, noise: bytes) -> dict[str, Any]:
    try:
        said = json.loads(output.decode("utf-8", "replace").strip().rpartition("\n")[2])
    except ValueError:
        said = None
    if isinstance(said, dict) and status == 0 and isinstance(said.get("result"), dict):
        result: dict[str, Any] = said["result"]
        return result
    if isinstance(said, dict) and status == 1 and "error" in said:
        name = dict(_core._error_classes()).get(said.get("kind", -1), "LlmError")
        raise getattr(errors, name, ValueError)(str(said["error"]))
    tail = "\n".join(noise.decode("utf-8", "replace").strip().splitlines()[-_N_LINES:])
    ending = f"died of signal {-status}" if status < 0 else f"ended without an answer (exit status {status})"
    raise ChildDiedError(f"{ending}:\n{tail}" if tail else ending)
