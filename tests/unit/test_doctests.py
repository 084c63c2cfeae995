"""The examples in docstrings, and the one in the README."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import tea_llm
from support.process import run_python

MODULES = [
    module.name
    for module in pkgutil.walk_packages(tea_llm.__path__, "tea_llm.")
    if not module.name.endswith(("__main__", ".hook-tea_llm"))  # the hook needs PyInstaller
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_examples_ran() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 5


@pytest.mark.usefixtures("one_core")
def test_the_readmes_ten_lines(smollm2: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    done = run_python(code, env={"TEA_MODEL_PATH": str(smollm2)})
    assert done.returncode == 0, done.stderr
    assert " Paris" in done.stdout
    assert "EngineStats(requests=2, running=0" in done.stdout
