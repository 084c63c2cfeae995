"""Every CPU variant of an installed wheel says the same: natively, and under qemu for CPUs that this one is not.

Run by ``nox -s wheel``, or in an environment that has the wheel: ``python tests/wheel_variants.py``. It needs the small
default model and Debian's qemu-user. Emulation is slow: a minute for each CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys

# qemu's name for a CPU, and the variant that must be chosen on it
EMULATED = {"Nehalem": "sse42", "SandyBridge": "sandybridge", "Haswell": "haswell"}
SAY = """
import tea_llm
from tea_llm import _core
with tea_llm.load(n_ctx=256, n_threads=1) as llm:
    question = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
    text = llm.chat(question, max_tokens=8, temperature=0).content
used = [name for name, _, is_used in _core.cpu_variants() if is_used]
print(",".join(used), repr(text), sep="|")
"""


def say(*prefix: str, **variables: str) -> tuple[str, str]:
    """The variant that was used and the text, of a process of its own."""
    command = [*prefix, sys.executable, "-c", SAY]
    child = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise SystemExit(f"{prefix} {variables}: exit {child.returncode}\n{child.stderr}")
    variant, text = child.stdout.strip().split("|")
    return variant, text


def main() -> None:
    """Prints a line for each variant; fails when one differs."""
    from tea_llm import _core

    runnable = [name for name, score, _ in _core.cpu_variants() if score > 0]
    found = {}
    for name in runnable:
        variant, found[f"{name} here"] = say(TEA_LLM_CPU_VARIANT=name)
        assert variant == name, (variant, name)
        print(f"here, asked for {name}: {found[f'{name} here']}", flush=True)
    chosen, text = say()
    assert chosen == runnable[0], (chosen, runnable)
    found["chosen"] = text
    for cpu, expected in EMULATED.items():
        variant, found[cpu] = say("qemu-x86_64", "-cpu", cpu)
        assert variant == expected, (cpu, variant, expected)
        print(f"qemu's {cpu}: {variant}: {found[cpu]}", flush=True)
    assert len(set(found.values())) == 1, found
    print(f"{len(found)} times the same text; this CPU chose {chosen}")


if __name__ == "__main__":
    main()
