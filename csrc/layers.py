"""Checks which room of csrc/ includes which; `make lint` runs it. Prints each include that is not allowed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LLAMA = "llama.cpp's headers"
PYTHON = "Python's headers"
THREADS = "threads, locks and clocks"

# Each room and what it may include besides itself and the C++ library. No room includes one that stands below it.
ALLOWED = {
    "base": {THREADS},
    "planning": {"base"},
    "machine": {"base", THREADS},
    "kernels": {LLAMA, THREADS},
    "llama": {"base", "planning", "machine", "kernels", LLAMA, THREADS},
    "sampling": {"base", "llama"},
    "engine": {"base", "planning", "machine", "llama", "sampling", THREADS},
    "child": {"base", "machine", "llama", "engine", THREADS},
    "bindings": {"base", "machine", "llama", "engine", PYTHON, THREADS},
    "tests": {"base", "planning", "machine", "kernels", "llama", "sampling", "engine", LLAMA, THREADS},
}
SYSTEM = {"nlohmann/json.hpp": {"child"}}  # a library's header, and who may have it
_INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
_LLAMA = re.compile(r"(llama|ggml|gguf|mtmd)[\w-]*\.h$")
_THREADS = {"atomic", "chrono", "condition_variable", "future", "mutex", "shared_mutex", "thread", "pthread.h"}


def kind_of(header: str, is_quoted: bool) -> str | None:
    """The room or the kind of headers that a header belongs to; None for those that anybody may include."""
    room = header.partition("/")[0]
    if "/" in header and room in ALLOWED:
        return room
    if header.startswith("pybind11/") or header == "Python.h":
        return PYTHON
    if header in _THREADS:
        return THREADS
    # What stands in quotes and in no room is llama.cpp's: its common/ has names such as "log.h".
    return LLAMA if is_quoted or _LLAMA.search(header) else None


def violations(csrc: Path) -> list[str]:
    """A line for each include that the table does not allow, and for each folder that it does not know."""
    found = []
    for folder in sorted(path for path in csrc.iterdir() if path.is_dir() and path.name != "__pycache__"):
        if folder.name not in ALLOWED:
            found.append(f"{folder.name}: a folder that csrc/layers.py does not know")
            continue
        for path in sorted([*folder.rglob("*.cpp"), *folder.rglob("*.hpp")]):
            for quote, header in _INCLUDE.findall(path.read_text()):
                kind = kind_of(header, quote == '"')
                if kind is None or kind == folder.name or kind in ALLOWED[folder.name]:
                    continue
                if folder.name not in SYSTEM.get(header, ()):
                    found.append(f"{folder.name}/{path.name} includes {header}: {folder.name}/ may not include {kind}")
    return found


if __name__ == "__main__":
    lines = violations(Path(__file__).parent)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.exit(1 if lines else 0)
