"""Programs that PyInstaller makes of tea-llm: they have the child, or say that they have none, and start once.

Run by ``nox -s frozen``, or in an environment that has the wheel, PyInstaller and gguf.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from support.tiny_gguf import write_tiny_model

PROGRAM = """
import sys
print("started", flush=True)
import tea_llm
from tea_llm import diagnosis

model, target = sys.argv[1:]
with tea_llm.load(model, n_ctx=256) as llm:
    n_tokens = llm.call("Hello", max_tokens=4, ignore_eos=True).tokens_used
    print(n_tokens, tea_llm.hub.pull.__name__, tea_llm.testing.__name__)
try:
    tea_llm.load(model, n_ctx=256, probe=True).close()
    print("probed", tea_llm.quantize(model, target, "q8_0").is_file(), "self_test" in diagnosis._ask_child())
except tea_llm.LocalBackendUnavailableError as error:
    print(error)
"""
COMES_FIRST = ["started", "4 pull tea_llm.testing"]


def built(directory: Path, kind: str) -> Path:
    """The program, as ``--onedir`` or ``--onefile``."""
    source = directory / "program.py"
    source.write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "WARN", f"--{kind}", "--name", kind, str(source)]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "dist" / (f"{kind}/{kind}" if kind == "onedir" else kind)


def said(program: Path, model: Path) -> list[str]:
    """The lines that it writes, of a run in a directory with modules that it must not take."""
    elsewhere = model.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    for name in ("json", "numpy", "tea_llm"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    target = model.with_suffix(".out.gguf")
    target.unlink(missing_ok=True)
    run = subprocess.run(
        [program, model, target], cwd=elsewhere, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    )
    return run.stdout.splitlines()


def main() -> None:
    """Builds both, runs both, and one of them without its child."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model = write_tiny_model(directory / "model.gguf", "llama")
        programs = {kind: built(directory, kind) for kind in ("onedir", "onefile")}
        for kind, program in programs.items():
            lines = said(program, model)
            assert lines == [*COMES_FIRST, "probed True True"], lines
            print(f"{kind}: {lines}", flush=True)
        (child,) = programs["onedir"].parent.rglob("tea-llm-child*")
        child.unlink()
        lines = said(programs["onedir"], model)
        assert lines[:-1] == COMES_FIRST, lines
        assert "tea-llm-child is missing" in lines[-1], lines
        print(f"without the child: {lines}")


if __name__ == "__main__":
    main()
