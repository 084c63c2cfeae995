"""A child process that is given one input after the other, and may die of one: for fuzzing native code."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from support.process import USE_AS_BUILT

_TOLD = "TOLD "
_LOOP = """
import resource, sys, tea_llm
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
def foreign(error):
    return f"{{type(error).__module__}}.{{type(error).__name__}}: {{error}}".replace("\\n", " ")[:2000]
{code}
for line in sys.stdin:
    told = []
    for step in STEPS:
        try:
            step(line.rstrip("\\n"))
        except (tea_llm.LlmError, MemoryError) as error:
            told.append(type(error).__name__)
        except Exception as error:
            told.append("FOREIGN " + step.__name__ + " " + foreign(error))
        else:
            told.append("ok")
    print("\\nTOLD " + " | ".join(told), flush=True)
"""


class Subject:
    """A child that runs each of ``STEPS`` on every input, a line of text. One that died is replaced.

    Args:
        code: Python source that defines ``STEPS``, functions of the line; LlmError is what they may raise.
        memory: bytes of address space that it gets.
        seconds: that one input may take.
    """

    def __init__(self, code: str, *, memory: int = 4 << 30, seconds: float = 300) -> None:
        self._program = USE_AS_BUILT + _LOOP.format(code=code, memory=memory)
        self._seconds = seconds
        self._child = self._start()

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def tell(self, line: str) -> str:
        """What became of the input: a word for each step. "DIED", "HANGS" and "FOREIGN" are faults."""
        child = self._child
        if child.stdin is None or child.stdout is None:
            raise AssertionError("pipes were asked for")
        timer = threading.Timer(self._seconds, child.kill)
        timer.start()
        child.stdin.write(line + "\n")
        child.stdin.flush()
        others: deque[str] = deque(maxlen=40)
        for answer in child.stdout:
            if answer.startswith(_TOLD):
                timer.cancel()
                return answer.removeprefix(_TOLD).rstrip("\n")
            others.append(answer)
        is_late = not timer.is_alive()
        timer.cancel()
        child.communicate()
        self._child = self._start()
        return f"HANGS for {self._seconds} s" if is_late else f"DIED with {child.returncode}: {''.join(others)}"

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )


def is_fault(told: str) -> bool:
    """Whether that is something that must not happen."""
    return told.startswith(("DIED", "HANGS")) or "FOREIGN" in told
