"""AC-7: context size and chat format from the file name; what the file itself says goes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from tea_llm import ModelConfig, get_model_config


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("microsoft_Phi-4-mini-instruct-Q3_K_S.gguf", ModelConfig(128_000, "chatml", "phi")),
        ("gemma-3n-E4B-it-Q4_K_M.gguf", ModelConfig(32_768, "gemma", "gemma")),
        ("gemma-3-1b-it-Q8_0.gguf", ModelConfig(8192, "gemma", "gemma")),
        ("tinyllama.gguf", ModelConfig(4096, None, "unknown")),
    ],
)
def test_the_file_name_gives_context_and_format(name: str, config: ModelConfig) -> None:
    assert get_model_config(f"/models/{name}") == config


def test_the_metadata_come_before_the_file_name(home: Path, tiny_model: Callable[..., Path]) -> None:
    template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    path = home / "phi-like.gguf"
    path.symlink_to(tiny_model("llama", n_ctx_train=256, chat_template=template))
    with tea_llm.load(path, n_threads=1) as llm:
        assert (llm.info.n_ctx, llm.info.n_ctx_train) == (256, 256)
        assert llm.render_chat([{"role": "user", "content": "Hi"}]) == "[Hi]"
    bare = home / "phi-bare.gguf"
    bare.symlink_to(tiny_model("llama"))
    with tea_llm.load(bare, n_ctx=128, n_threads=1) as llm:
        assert (llm.info.chat_format, llm.info.chat_format_source) == ("chatml", "file name")
