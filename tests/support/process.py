"""Runs code in an interpreter of its own: for what may crash, hang, fork or exit."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# An editable install rebuilds the extension at the first import. Children use what their parent has built.
# scikit-build-core's SKBUILD_EDITABLE_SKIP is no way to say so: it turns the whole import hook off, with which a child
# finds our .py files and not the extension.
USE_AS_BUILT = """\
import sys
for _finder in sys.meta_path:
    if hasattr(_finder, "rebuild_flag"):
        _finder.rebuild_flag = False
"""
_REPORT = """\
_namespace = {{"__name__": "__main__"}}
try:
    exec(compile({code!r}, "<child>", "exec"), _namespace)
except Exception as _error:
    _message = str(_error).replace("\\n", "\\\\n")
    print(f"RAISED {{type(_error).__name__}}: {{_message}}", flush=True)
else:
    print("RAISED nothing", flush=True)
exec(compile({after!r}, "<after>", "exec"), _namespace)
print("ALIVE", flush=True)
"""


def run_python(
    code: str, *, timeout: float = 60, env: Mapping[str, str] | None = None, args: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """What a fresh interpreter gives for this code: its exit code and what it wrote.

    Args:
        code: Python source; common indentation is taken off. It can import ``support``.
        timeout: Seconds until the child is killed and ``subprocess.TimeoutExpired`` raised.
        env: Environment variables to add.
        args: The child's ``sys.argv[1:]``.
    """
    search_path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path)), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", USE_AS_BUILT + textwrap.dedent(code), *args],
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        env=environment | dict(env or {}),
        stdin=subprocess.DEVNULL,
        timeout=timeout,
    )


@contextmanager
def started_python(code: str, *args: str, timeout: float = 60) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """An interpreter that runs this code, and its stdout; killed at the end, or after ``timeout`` seconds."""
    program = USE_AS_BUILT + textwrap.dedent(code)
    with subprocess.Popen([sys.executable, "-c", program, *args], stdout=subprocess.PIPE, text=True) as child:
        giving_up = threading.Timer(timeout, child.kill)
        giving_up.start()
        try:
            if child.stdout is None:
                raise AssertionError("a pipe was asked for")
            yield child, child.stdout
        finally:
            giving_up.cancel()
            child.kill()


def assert_raises_in_child(
    code: str,
    exception_name: str,
    *message_parts: str,
    after: str = "",
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
) -> str:
    """Asserts that the code raises in a child process, and that the child lives on and exits with 0.

    Args:
        code: Python source for the child.
        exception_name: The exact class name of the exception.
        message_parts: Each must be in the message.
        after: Python source that must still work in the child then; it sees the names that ``code`` defined.
        timeout: Seconds for all of it.
        env: Environment variables to add.
        args: The child's ``sys.argv[1:]``.

    Returns:
        The message, with line ends written as backslash and n.
    """
    program = _REPORT.format(code=textwrap.dedent(code), after=textwrap.dedent(after))
    child = run_python(program, timeout=timeout, env=env, args=args)
    told = f"exit code {child.returncode}\n--- stdout\n{child.stdout}\n--- stderr\n{child.stderr}"
    raised = [line for line in child.stdout.splitlines() if line.startswith("RAISED ")]
    assert raised, f"the child died before it could report\n{told}"
    name, _, message = raised[0].removeprefix("RAISED ").partition(": ")
    assert name == exception_name, f"expected {exception_name}: {told}"
    for part in message_parts:
        assert part in message, f"{part!r} is not in the message: {told}"
    assert child.stdout.splitlines()[-1] == "ALIVE", f"the child did not live on: {told}"
    assert child.returncode == 0, f"the child did not exit cleanly: {told}"
    return message
