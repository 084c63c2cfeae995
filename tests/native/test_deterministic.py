"""An answer has the same bits whatever else is computed, and whatever was computed before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

import tea_llm
from support.compositions import assert_same_in_company, cold_answers, some_tokens
from support.process import run_python
from support.steps import steps
from support.tiny_gguf import Tensors
from tea_llm.errors import StateFileError


@pytest.mark.parametrize(("arch", "kind"), [("llama", "f32"), ("gemma3", "f16"), ("llama", "q4_k_m")])
def test_an_answer_in_company_has_the_bits_of_a_cold_one(
    tiny_model: Callable[..., Path], tmp_path: Path, arch: str, kind: str
) -> None:
    """Whatever was cached, in steps of any shape, and with one thread or two."""
    model = tea_llm.quantize(tiny_model(arch, n_embd=256), tmp_path / "model.gguf", kind)
    expected = cold_answers(model)
    for n_threads in (1, 2):
        with tea_llm.load(model, n_ctx=1024, n_threads=n_threads, deterministic=True) as llm:
            assert llm.info.deterministic
            assert set(llm.info.weights.values()) == {"tea-llm"}
            assert_same_in_company(llm, expected, 5, seed=n_threads)
            assert llm.stats().cached_tokens > 0


def test_pasts_that_come_back_keep_the_order_of_their_cells(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """From outside of a cache that was full, and from a file."""
    expected = cold_answers(tiny_model())
    with tea_llm.load(tiny_model(), n_ctx=512, n_threads=1, cache_ram=10_000_000) as llm:
        assert_same_in_company(llm, expected, 20, seed=1)
        assert llm.stats().parked_tokens > 0
        llm.save_state(tmp_path / "state")
    with tea_llm.load(tiny_model(), n_ctx=2048, n_threads=1) as llm:
        assert llm.load_state(tmp_path / "state") > 0
        assert_same_in_company(llm, expected, 10, seed=2)


def test_a_state_is_taken_from_a_deterministic_model_only(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """What others computed may have other bits."""
    model = tiny_model("llama", n_embd=256, edit=_make_ternary)
    for name, is_deterministic in (("exact", True), ("other", False)):
        with tea_llm.load(model, n_ctx=1024, n_threads=1, deterministic=is_deterministic) as llm:
            llm.call(list(range(20, 60)), max_tokens=2)
            assert llm.save_state(tmp_path / name) == 41
    with tea_llm.load(model, n_ctx=1024, n_threads=1, deterministic=True) as llm:
        assert llm.load_state(tmp_path / "exact") == 41
        with pytest.raises(StateFileError, match="belongs to another set of parameters"):
            llm.load_state(tmp_path / "other")


def test_a_cache_that_grows_keeps_the_order_of_its_cells(tiny_model: Callable[..., Path]) -> None:
    expected = cold_answers(tiny_model())
    with tea_llm.load(tiny_model(n_ctx_train=8192), n_ctx=8192, n_threads=1, cache_ram=0) as llm:
        before = llm.stats()
        for seed in range(20):  # others take and leave cells
            assert_same_in_company(llm, expected, 1, seed)
            llm.call(some_tokens(100 + seed, 150), max_tokens=40)
        assert llm.stats().cells == before.cells
        llm.call([6] * before.cells, max_tokens=1)
        assert llm.stats().cells > before.cells
        assert_same_in_company(llm, expected, 10, seed=1)


def test_guesses_change_no_bit(tiny_model: Callable[..., Path]) -> None:
    text = list(range(20, 50)) * 4
    found = []
    for prompt_lookup in (0, 8):
        with tea_llm.load(tiny_model(), n_ctx=1024, prompt_lookup=prompt_lookup, deterministic=True) as llm:
            found.append(steps(llm, text, 60))
            assert (llm.stats().guessed_tokens > 0) == (prompt_lookup > 0)
    assert found[0] == found[1]


def _make_ternary(tensors: Tensors) -> None:
    weights = tensors["blk.0.ffn_up.weight"]
    tensors["blk.0.ffn_up.weight"] = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.TQ2_0).view(np.int8)


def test_tokens_are_computed_one_at_a_time_where_llama_cpp_multiplies_weights(tiny_model: Callable[..., Path]) -> None:
    model = tiny_model("llama", n_embd=256, edit=_make_ternary)
    with tea_llm.load(model, n_ctx=1024, n_threads=2) as llm:
        assert llm.info.weights["tq2_0"] == "llama.cpp"
        assert not llm.info.deterministic
        llm.call(list(range(20, 60)), max_tokens=2)
        assert llm.stats().steps == 2
    with tea_llm.load(model, n_ctx=1024, n_threads=2, deterministic=True) as llm:
        llm.call(list(range(20, 60)), max_tokens=2)
        assert llm.stats().steps == 40 + 1


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"cache_type_k": "q8_0"}, "flash attention and a KV cache of f16"),
        ({"cache_type_v": "f32"}, "flash attention and a KV cache of f16"),
        ({"flash_attn": "off"}, "flash attention and a KV cache of f16"),
    ],
)
def test_options_without_a_fixed_order_are_refused(
    tiny_model: Callable[..., Path], options: dict[str, object], needed: str
) -> None:
    with pytest.raises(ValueError, match=f"deterministic=True needs {needed}"):
        tea_llm.load(tiny_model(), deterministic=True, **options)  # type: ignore[arg-type]


def test_heads_of_an_odd_width_are_refused(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="heads whose width is a multiple of 8, at most 576"):
        tea_llm.load(tiny_model("llama", n_embd=48, n_head=4), deterministic=True)


def test_a_recurrent_model_is_refused(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="needs a model without a recurrent state"):
        tea_llm.load(tiny_model("mamba"), deterministic=True)


@pytest.mark.parametrize("family", ["products", "attention", "1"])
def test_kernels_of_llama_cpp_are_refused(tiny_model: Callable[..., Path], family: str) -> None:
    code = f"import tea_llm; tea_llm.load({str(tiny_model())!r}, deterministic=True)"
    child = run_python(code, env={"TEA_LLM_GGML_KERNELS": family})
    assert child.returncode == 1
    assert "ValueError: deterministic=True needs the kernels of tea-llm" in child.stderr
