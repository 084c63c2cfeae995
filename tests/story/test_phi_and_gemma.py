"""AC-12: Phi-4-mini (128K of context) and Gemma (32K): their architectures, context sizes and chat formats.

Tiny models of the same architectures, sizes of context and memory stand for the gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("arch", "name", "n_ctx_train", "prompt"),
    [
        (
            "phi3",
            "microsoft_Phi-4-mini-instruct-Q3_K_S.gguf",
            131072,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "gemma3n",
            "gemma-3n-E4B-it-Q4_K_M.gguf",
            32768,
            "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        ),
    ],
)
def test_a_model_of_the_family(
    home: Path, tiny_model: Callable[..., Path], arch: str, name: str, n_ctx_train: int, prompt: str
) -> None:
    path = home / name
    path.symlink_to(tiny_model(arch, n_ctx_train=n_ctx_train))
    with tea_llm.load(path, n_parallel=1, n_threads=1) as llm:
        assert llm.info.n_ctx_train == n_ctx_train
        assert llm.info.n_ctx >= 8192  # as much as memory lets through, up to all of it
        assert llm.render_chat(HI) == prompt
    with tea_llm.load(path, n_ctx=512, n_parallel=1, n_threads=1) as llm:
        assert llm.chat(HI, max_tokens=4, temperature=0).usage.completion_tokens <= 4
