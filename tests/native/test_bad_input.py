"""Bad input, each in a process of its own: the right exception, naming the value; and the process lives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.malformed import MALFORMED, POISONED, write_malformed
from support.process import assert_raises_in_child
from tea_llm import ConfigError, LlmSettings, _core
from tea_llm._check import MAX_CTX, MAX_SEQUENCES, MAX_THREADS

LOAD = "import sys, tea_llm\nllm = tea_llm.load(sys.argv[1])"
STILL_WORKS = """
with tea_llm.load(sys.argv[2], n_ctx=256) as good:
    assert good.call("Hello", max_tokens=3, ignore_eos=True).tokens_used == 3
"""


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_broken_file(kind: str, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = write_malformed(tmp_path / "broken.gguf", kind)
    error = "ModelNotFoundError" if path.is_dir() else "ModelLoadError"
    assert_raises_in_child(LOAD, error, "broken.gguf", after=STILL_WORKS, args=(str(path), str(tiny_model("llama"))))


LOAD_REFUSES = {
    "embedding_int32",
    "epsilon_negative",
    "norm_float16",
    "odd_head_size",
    "weights_float64",
    "weights_int32",
}


@pytest.mark.parametrize("kind", POISONED)
def test_a_file_that_cannot_be_computed_with(kind: str, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = POISONED[kind](tmp_path / "poisoned.gguf")
    code = f"{LOAD}\nllm.call('Hello', max_tokens=3)"
    error = "ModelLoadError" if kind in LOAD_REFUSES else "InferenceError"
    assert_raises_in_child(code, error, after=STILL_WORKS, args=(str(path), str(tiny_model("llama"))))


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("tea_llm.load('/no/such/model.gguf')", "ModelNotFoundError", "/no/such/model.gguf"),
        ("tea_llm.load('/')", "ModelNotFoundError", "directory"),
        ("tea_llm.load('')", "ModelNotFoundError", "empty"),
        ("tea_llm.load(path, n_ctx=-5)", "ValueError", "n_ctx=-5"),
        ("tea_llm.load(path, n_ctx=0)", "ValueError", "n_ctx=0"),
        ("tea_llm.load(path, n_ctx=10**12)", "ValueError", "n_ctx=1000000000000"),
        ("tea_llm.load(path, n_ctx=2 * 10**9)", "ValueError", "n_ctx=2000000000"),
        ("tea_llm.load(path, n_ctx='big')", "TypeError", "n_ctx"),
        ("tea_llm.load(path, n_parallel=0)", "ValueError", "n_parallel=0"),
        ("tea_llm.load(path, n_parallel=100000)", "ValueError", "n_parallel=100000"),
        ("tea_llm.load(path, n_threads=0)", "ValueError", "n_threads=0"),
        ("tea_llm.load(path, n_gpu_layers=7)", "ValueError", "n_gpu_layers=7"),
        ("tea_llm.load(path, n_gpu_layers=-2)", "ValueError", "n_gpu_layers=-2"),
        ("tea_llm.load(path, n_gpu_layer=7)", "TypeError", "n_gpu_layer"),
        ("tea_llm.load(path, cache_type_k='q3')", "ValueError", 'cache_type_k="q3"'),
        ("tea_llm.load(path, flash_attn='maybe')", "ValueError", "maybe"),
        ("tea_llm.load(path, rope_scaling='sideways')", "ValueError", "sideways"),
        ("tea_llm.load(path, tensor_split=[0.5] * 99)", "ValueError", "tensor_split"),
        ("tea_llm.load(path, mmap=1)", "TypeError", "mmap"),
        ("tea_llm.load(path, seed=-1)", "ValueError", "seed=-1"),
        ("tea_llm.load(path, progress=5)", "TypeError", "progress"),
        ("tea_llm.load(path, chat_format='alpaca')", "ValueError", "alpaca"),
        ("tea_llm.load(path, chat_template='{% if %}')", "TemplateError", "line 1"),
        ("tea_llm.load(path, chat_template='no_such_file.jinja')", "ValueError", "no_such_file.jinja"),
        ("llm.call('')", "ValueError", "prompt"),
        ("llm.call([])", "ValueError", "prompt"),
        ("llm.call(5)", "TypeError", ""),
        ("llm.call(None)", "TypeError", ""),
        ("llm.call('word ' * 5000)", "ContextOverflowError", "512"),
        ("llm.call('x', max_tokens=0)", "ValueError", "max_tokens=0"),
        ("llm.call('x', temperature=-1)", "ValueError", "temperature=-1"),
        ("llm.call('x', temperature=float('nan'))", "ValueError", "temperature=nan"),
        ("llm.call('x', top_p=2)", "ValueError", "top_p=2"),
        ("llm.call('x\\ud800')", "ValueError", "U+D800"),
        ("llm.call([-1])", "ValueError", "-1"),
        ("llm.call([2**31])", "ValueError", "2147483648"),
        ("llm.call([2**80])", "ValueError", "1208925819614629174706176"),
        ("llm.call('x', max_token=5)", "TypeError", "max_tokens"),
        ("llm.call('x', stop=[''])", "ValueError", "stop[0]"),
        ("llm.chat([])", "ValueError", "empty"),
        ("llm.chat('hello')", "TypeError", "str"),
        ("llm.chat([{'role': 'user'}])", "ValueError", "content"),
        ("llm.chat([{'role': 'user', 'content': 'a\\udfff'}])", "ValueError", "U+DFFF"),
        ("llm.chat([{'role': 'user', 'content': 5}])", "TypeError", "content"),
        ("llm.detokenize([10**6])", "ValueError", "1000000"),
        ("llm.tokenize('\\ud800')", "ValueError", "U+D800"),
        ("llm.render_chat([{'role': 'user', 'content': 'x'}], template='{{ x.y.z }}')", "TemplateError", ""),
        (
            "llm.render_chat([{'role': 'user', 'content': 'x'}], "
            "template='{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}')",
            "TemplateError",
            "",
        ),
        ("tea_llm.Tokenizer('/no/such/model.gguf')", "ModelNotFoundError", "/no/such/model.gguf"),
    ],
)
def test_a_bad_argument(code: str, error: str, message: str, tiny_model: Callable[..., Path]) -> None:
    start = "import sys, tea_llm\npath = sys.argv[1]\n"
    if code.startswith("llm."):
        start += "llm = tea_llm.load(path, n_ctx=512)\n"
    path = str(tiny_model("llama"))
    assert_raises_in_child(start + code, error, message, after=STILL_WORKS, args=(path, path))


@pytest.mark.parametrize(
    ("name", "limit"), [("n_ctx", MAX_CTX), ("n_parallel", MAX_SEQUENCES), ("n_threads", MAX_THREADS)]
)
def test_limits_are_those_of_settings_and_engine(name: str, limit: int, tiny_model: Callable[..., Path]) -> None:
    too_much: dict[str, Any] = {name: limit + 1}
    message = rf"{name}={limit + 1} .*1 (to|and) {limit}"
    with pytest.raises(ValueError, match=message):
        tea_llm.load("none.gguf", **too_much)
    with pytest.raises(ConfigError, match=message):
        LlmSettings(**too_much)
    with pytest.raises(ValueError, match=message):
        _core.Engine(_core.Model.load(os.fsencode(tiny_model("llama"))), **too_much)


def test_nothing_found_lists_every_place(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "TEA_MODEL_PATH": "/no/such.gguf", "APPDIR": str(tmp_path / "app")}
    message = assert_raises_in_child("import tea_llm\ntea_llm.load()", "ModelNotFoundError", env=env)
    for part in (
        "/no/such.gguf",
        "model_path",
        "app/usr/share/models",
        ".cache/tea/models",
        "tea-llm pull smollm2-135m",
    ):
        assert part in message
