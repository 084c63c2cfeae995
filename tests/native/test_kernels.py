"""The CPU's kernels: that they are right, and which are used."""

from __future__ import annotations

import pytest

from support.process import run_python
from tea_llm import _child, _core
from tea_llm.diagnosis import diagnose


def test_kernels_agree_with_plain_loops() -> None:
    checks = _child.run("kernels", "0.01")["self_test"]
    types = "f32 f16 bf16 q8_0 q4_0 q4_1 q4_K q5_K q6_K iq4_xs mxfp4"
    assert [check["type"] for check in checks] == types.split()
    for check in checks:
        assert 0 < check["error"] < 0.05, check[
            "type"
        ]  # 8-bit activations; an error of 0 would mean that nothing was compared
        assert check["gflops"] > 0
        assert check["kernels"] == ("tea-llm" if "AVX2 = 1" in _core.system_info() else "llama.cpp")


def test_one_variant_is_in_use_and_runs_here() -> None:
    ((name, score, _),) = [variant for variant in _core.cpu_variants() if variant[2]]
    assert name == "native"
    assert score > 0


@pytest.mark.parametrize("code", ["tea_llm.Tokenizer(sys.executable)", "_core.cpu_variants()"])
def test_a_variant_that_is_not_there_is_refused(code: str) -> None:
    child = run_python(f"import sys, tea_llm; from tea_llm import _core; {code}", env={"TEA_LLM_CPU_VARIANT": "z80"})
    assert child.returncode == 1
    assert "tea_llm.errors.ConfigError: TEA_LLM_CPU_VARIANT=z80: this build has the kernels of one CPU" in child.stderr


def test_the_doctors_child_answers() -> None:
    checks = {check.name: check for check in diagnose({"llm": {"api_url": "http://127.0.0.1:9", "model": "m"}})}
    assert not [check for check in checks.values() if check.problem]
    assert checks["threads"].facts["n_threads"] == _core.usable_cores()
    assert checks["devices"].facts["devices"][0]["name"] == "CPU"
