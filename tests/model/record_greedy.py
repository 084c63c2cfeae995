"""Records what llama.cpp itself answers, greedily: writes greedy.json.

Compiles llama.cpp's own ``examples/simple`` against the libraries of this checkout's build and runs it. Run it when
the pin changes: ``.venv/bin/python tests/model/record_greedy.py``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tea_llm.hub import pull

ROOT = Path(__file__).resolve().parents[2]
LLAMA_CPP = ROOT / "vendor" / "llama.cpp"
BUILD = ROOT / "build" / "dev" / "llama.cpp"
N_TOKENS = 48
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "def fibonacci(n):\n",
    "1, 2, 3, 4, 5,",
    "Die Hauptstadt von Deutschland ist",
    "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n",
    "The quick brown fox jumps over the lazy dog. " * 20,
]


def build(directory: Path) -> Path:
    binary, source = directory / "simple", directory / "simple.cpp"
    text = (LLAMA_CPP / "examples/simple/simple.cpp").read_text()
    # Its four threads would wait for each other on fewer cores.
    marker = "ctx_params.no_perf = false;"
    assert text.count(marker) == 1
    source.write_text(text.replace(marker, marker + " ctx_params.n_threads = ctx_params.n_threads_batch = 1;"))
    libraries = [
        BUILD / "src/libllama.a",
        *(BUILD / "ggml/src" / f"lib{n}.a" for n in ("ggml", "ggml-cpu", "ggml-base")),
    ]
    command = ["c++", "-O2", "-std=c++17", str(source), "-o", str(binary)]
    command += [f"-I{LLAMA_CPP / 'include'}", f"-I{LLAMA_CPP / 'ggml/include'}", *map(str, libraries)]
    subprocess.run([*command, "-lpthread", "-ldl"], check=True)
    return binary


def main() -> None:
    model = pull("smollm2-135m")
    answers = []
    with tempfile.TemporaryDirectory() as name:
        binary = build(Path(name))
        for prompt in PROMPTS:
            command = [str(binary), "-m", str(model), "-n", str(N_TOKENS), prompt]
            said = subprocess.run(command, check=True, capture_output=True).stdout.decode()
            begin = said.index(prompt) + len(prompt)
            answers.append({"prompt": prompt, "content": said[begin:].removesuffix("\n")})
    recorded = {
        "command": f"simple -m {model.name} -n {N_TOKENS} PROMPT  (llama.cpp examples/simple)",
        "upstream": json.loads((ROOT / "vendor/llama.cpp.json").read_text())["upstream"],
        "n_tokens": N_TOKENS,
        "answers": answers,
    }
    target = Path(__file__).with_name("greedy.json")
    target.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
