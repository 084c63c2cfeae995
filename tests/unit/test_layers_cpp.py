"""csrc/layers.py: which room of the C++ code may include which."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("layers", ROOT / "csrc" / "layers.py")
assert _spec is not None
assert _spec.loader is not None
layers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(layers)


def violations_of(tmp_path: Path, file: str, include: str) -> list[str]:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"// A comment.\n#include <vector>\n\n{include}\n")
    found: list[str] = layers.violations(tmp_path)
    return found


def test_the_code_keeps_the_layers() -> None:
    assert layers.violations(ROOT / "csrc") == []


def test_the_table_knows_every_folder_and_no_other() -> None:
    folders = {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(layers.ALLOWED) == folders


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("engine/step.cpp", '#include "llama.h"'),
        ("engine/step.hpp", "#include <llama.h>"),
        ("engine/step.cpp", '#  include "ggml-backend.h"'),
        ("bindings/py_model.cpp", '#include "gguf.h"'),
        ("child/main.cpp", '#include "llama-cpp.h"'),
        ("sampling/sampler.cpp", '#include "llama-grammar.h"'),
        ("engine/task.cpp", '#include "chat.h"'),  # of llama.cpp's common/
        ("planning/pace.cpp", '#include "engine/step.hpp"'),
        ("planning/pace.cpp", "#include <chrono>"),
        ("base/utf8.cpp", '#include "llama/log.hpp"'),
        ("llama/decoder.hpp", '#include "engine/engine_config.hpp"'),
        ("llama/model.cpp", '#include "sampling/logits.hpp"'),
        ("engine/engine.cpp", "#include <pybind11/pybind11.h>"),
        ("kernels/gelu.cpp", '#include "llama/log.hpp"'),
        ("engine/engine.cpp", '#include "nlohmann/json.hpp"'),
    ],
)
def test_an_include_across_the_layers_is_found(tmp_path: Path, file: str, include: str) -> None:
    (found,) = violations_of(tmp_path, file, include)
    assert found.startswith(f"{file} includes ")


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("llama/decoder.cpp", '#include "llama.h"'),
        ("tests/test_runtime.cpp", '#include "ggml.h"'),
        ("engine/step.cpp", '#include "engine/task.hpp"'),
        ("engine/step.cpp", '#include "planning/pace.hpp"'),
        ("child/main.cpp", '#include "nlohmann/json.hpp"'),
        ("engine/step.cpp", '// #include "llama.h"'),
    ],
)
def test_an_include_that_the_table_allows_passes(tmp_path: Path, file: str, include: str) -> None:
    assert violations_of(tmp_path, file, include) == []


def test_an_unknown_folder_is_found(tmp_path: Path) -> None:
    assert violations_of(tmp_path, "helpers/text.cpp", "") == ["helpers: a folder that csrc/layers.py does not know"]
