"""With ``deterministic=True`` an answer has the same bits in 1,000 random companies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.compositions import assert_same_in_company, cold_answers


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0", "q4_0", "q4_k_m", "q6_k"])
@pytest.mark.parametrize("arch", ["llama", "gemma3", "phi3"])
def test_a_thousand_compositions(tiny_model: Callable[..., Path], tmp_path: Path, arch: str, kind: str) -> None:
    model = tea_llm.quantize(tiny_model(arch, n_embd=256), tmp_path / "model.gguf", kind)
    expected = cold_answers(model)
    for n_threads in (1, 2):
        with tea_llm.load(model, n_ctx=1024, n_threads=n_threads, deterministic=True) as llm:
            assert_same_in_company(llm, expected, 28, seed=n_threads)  # 36 times: 1,008
