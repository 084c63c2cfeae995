"""State files that no engine wrote, with the checksum that makes them look right; and what is done with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

MAGIC = b"tea-llm state 2\n"
PROMPT = list(range(20, 80))

USE = """
import os

llms = {{}}

def fresh(arch):
    if arch in llms:
        llms.pop(arch).close()
    llms[arch] = tea_llm.load(os.path.join({models!r}, arch + ".gguf"), n_ctx=512, n_parallel=2, n_threads=1)

def load(line):
    arch, path = line.split(" ", 1)
    if arch not in llms:
        fresh(arch)
    llms[arch].load_state(path)

def go_on(line):
    arch = line.split(" ", 1)[0]
    try:
        for prompt in ({prompt!r}, {prompt!r}[:30] + [7], [9, 8, 7]):
            llms[arch].call(prompt, max_tokens=3, ignore_eos=True)
    finally:
        fresh(arch)

STEPS = (load, go_on)
"""


def forge(data: bytes, change: Callable[[dict[str, Any], bytes], tuple[object, bytes]]) -> bytes:
    """A state file whose header and body went through a function, and whose checksum is right."""
    n_header = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 8], "little")
    begin = len(MAGIC) + 8 + n_header
    header, body = change(json.loads(data[begin - n_header : begin]), data[begin:-32])
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = MAGIC + len(written).to_bytes(8, "little") + written + body
    return content + hashlib.sha256(content).digest()
