"""The wheel beside llama-cpp-python, which has another llama.cpp, in one process: both generate, in either order.

Run by ``nox -s wheel``, or in an environment that has both: ``python tests/wheel_company.py``.
"""

from __future__ import annotations

import subprocess
import sys

TEA = """
import tea_llm
llm = tea_llm.load(n_ctx=512, n_threads=1)
def tea():
    return llm.call("The capital of France is", max_tokens=8, temperature=0).content
print("tea-llm:", tea())
"""
PEER = """
import llama_cpp
from tea_llm.paths import resolve_model_path
peer = llama_cpp.Llama(str(resolve_model_path()), n_ctx=512, n_threads=1, verbose=False)
def theirs():
    return peer("The capital of France is", max_tokens=8, temperature=0)["choices"][0]["text"]
print("llama-cpp-python:", theirs())
"""
TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as threads:
    for _ in range(3):
        one, other = threads.submit(tea), threads.submit(theirs)
        assert one.result() == tea(), one.result()
        assert other.result(), "nothing"
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "ggml" in line}
print(*sorted(libraries), sep="\\n")
"""


def main() -> None:
    """One process for each order."""
    for first, second in ((TEA, PEER), (PEER, TEA)):
        subprocess.run([sys.executable, "-c", first + second + TOGETHER], check=True)


if __name__ == "__main__":
    main()
