"""``TEA_LLM_LOCAL=0``: a wheel without native code, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API_TESTS = ["contract/test_api_faults.py", "unit/test_settings.py", "unit/test_providers.py"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with no compiler to be found."""
    directory = tmp_path_factory.mktemp("wheel")
    environment = os.environ | {"TEA_LLM_LOCAL": "0", "CC": "/no/compiler", "CXX": "/no/compiler"}
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(directory), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True, env=environment, timeout=120)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel, and from this environment all but tea-llm."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    # Named in a .pth file, a directory's own .pth files are not run: the editable install stays out.
    Path(paths["purelib"], "rest.pth").write_text(sysconfig.get_path("purelib"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(paths["purelib"])
    return python


def run(python: Path, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *args], capture_output=True, text=True, timeout=timeout, cwd=python.parent)


def test_nothing_native_is_in_it(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in names:
            assert archive.read(name)[:4] not in (b"\x7fELF", b"MZ\x90\x00", b"\xcf\xfa\xed\xfe"), name
    assert "tea_llm/py.typed" in names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".a", ".cpp", ".hpp"))]


def test_load_says_how_to_get_the_engine(python: Path) -> None:
    code = """
import tea_llm
assert "venv" in tea_llm.__file__, tea_llm.__file__
assert not tea_llm.is_local_llm_available()
for ask in (tea_llm.load, lambda: tea_llm.load("/no/such.gguf"), lambda: tea_llm.Tokenizer("/no/such.gguf")):
    try:
        ask()
    except tea_llm.LocalBackendUnavailableError as error:
        print(error)
llm = tea_llm.create_llm_backend({"llm": {"api_url": "http://127.0.0.1:9/v1", "model": "m"}})
print(llm)
"""
    child = run(python, "-W", "error", "-c", code)
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("env -u TEA_LLM_LOCAL pip install --force-reinstall") == 3
    assert "ApiLlmBackend" in child.stdout


def test_the_api_tests_pass_in_it(python: Path) -> None:
    tests = [str(ROOT / "tests" / name) for name in API_TESTS]
    child = run(
        python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), *tests, timeout=240
    )
    assert child.returncode == 0, child.stdout[-3000:]
    assert "passed" in child.stdout
    assert "skipped" not in child.stdout
