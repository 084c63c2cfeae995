"""The build's options: configured, not built, which takes minutes. `make wheel` builds all CPU variants."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11

import tea_llm

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def configure(build: Path, *defines: str) -> subprocess.CompletedProcess[str]:
    cmake, ninja = (shutil.which(name, path=BIN) or name for name in ("cmake", "ninja"))
    command = [cmake, "-S", str(ROOT), "-B", str(build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    command += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    command += [f"-D{define}" for define in defines]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def installed_names(build: Path) -> set[str]:
    """Names of the files that the wheel would get."""
    script = (build / "cmake_install.cmake").read_text() + (build / "csrc/bindings/cmake_install.cmake").read_text()
    return {Path(name).name for name in re.findall(r'FILES "([^"]+)"', script)}


def upstream_variants() -> dict[str, set[str]]:
    """llama.cpp's variants for x86 and the features they use."""
    text = (ROOT / "vendor/llama.cpp/ggml/src/CMakeLists.txt").read_text()
    x86 = text[text.index("if (GGML_CPU_ALL_VARIANTS)") : text.index('elseif(GGML_SYSTEM_ARCH STREQUAL "ARM")')]
    calls = re.findall(r"ggml_add_cpu_backend_variant\((\w+)([^)]*)\)", x86)
    return {name: set(features.split()) for name, features in calls}


def test_all_variants_are_modules_with_names_of_our_own(tmp_path: Path) -> None:
    done = configure(tmp_path, "TEA_LLM_CPU=all")
    assert done.returncode == 0, done.stderr
    names = installed_names(tmp_path)
    assert {"libtea-ggml-base.so", "libtea-ggml.so"} <= names
    assert {f"libtea-ggml-cpu-{name}.so" for name in upstream_variants()} <= names
    assert not [name for name in names if name.startswith("libggml") or re.search(r"\.so\.\d", name)]


def test_the_system_is_asked_about_every_variants_registers() -> None:
    """Fails when a new pin brings a variant without AVX-512 that backend_modules.cpp has not heard of."""
    source = (ROOT / "csrc/llama/backend_modules.cpp").read_text()
    known = {
        name: set(re.findall(r'"(\w+)"', re.search(rf"{name}\{{(.*?)\}};", source, re.DOTALL)[1]))  # type: ignore[index]
        for name in ("without_avx", "with_avx")
    }
    variants = upstream_variants()
    assert len(variants) >= 14
    assert known["without_avx"] == {name for name, features in variants.items() if "AVX" not in features}
    assert known["with_avx"] == {
        name for name, features in variants.items() if "AVX" in features and "AVX512" not in features
    }


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    done = configure(tmp_path, "TEA_LLM_CPU=best")
    assert done.returncode != 0
    assert "TEA_LLM_CPU=best: 'native' or 'all'" in done.stderr


def test_a_companion_has_the_version_it_needs() -> None:
    text = (ROOT / "companions/cuda/pyproject.toml").read_text()
    assert f'version = "{tea_llm.__version__}"' in text
    assert f'"tea-llm=={tea_llm.__version__}"' in text
    assert 'name = "tea-llm-cuda"' in text


def test_a_companion_needs_a_gpu_backend(tmp_path: Path) -> None:
    done = configure(tmp_path, "TEA_LLM_CPU=all", "TEA_LLM_COMPANION=tea_llm_cuda")
    assert done.returncode != 0
    assert "TEA_LLM_COMPANION=tea_llm_cuda without a GPU backend" in done.stderr
