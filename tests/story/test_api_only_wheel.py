"""AC-15: a build with ``TEA_LLM_LOCAL=0`` has no llama.cpp in it (``tests/packaging`` runs the API tests in one)."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_api_only_wheel_holds_no_native_code(tmp_path: Path) -> None:
    environment = os.environ | {"TEA_LLM_LOCAL": "0", "CXX": "/no/compiler", "TEA_LLM_LLAMA_CPP_DIR": "/no/llama.cpp"}
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheel"), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True, env=environment, timeout=120)
    (wheel,) = (tmp_path / "wheel").iterdir()
    assert wheel.name.endswith("py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "_core" in name and not name.endswith(".pyi")]
