"""Interpreters beside the main one, in which mod_wsgi and uWSGI run applications."""

from __future__ import annotations

from support.process import run_python

IN_A_SUB_INTERPRETER = """
try:
    import _interpreters as interpreters
    other = interpreters.create("legacy")
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters
    other = interpreters.create(isolated=False)
interpreters.run_string(other, '''
import sys
for finder in sys.meta_path:  # as in support.process
    if hasattr(finder, "rebuild_flag"):
        finder.rebuild_flag = False
try:
    import tea_llm
except ImportError as error:
    print("ImportError:", error, flush=True)
''')
interpreters.destroy(other)
"""
IN_THE_MAIN_ONE = """
import tea_llm
print(tea_llm.Tokenizer.__name__, bool(tea_llm._native._core.system_info()), flush=True)
"""
SAID = "tea_llm runs only in the main interpreter"


def test_a_sub_interpreter_is_told_so() -> None:
    child = run_python(IN_A_SUB_INTERPRETER + IN_THE_MAIN_ONE, timeout=30)
    first, second = child.stdout.splitlines()
    assert first.startswith(f"ImportError: {SAID}")
    assert second == "Tokenizer True"
    assert child.returncode == 0


def test_the_main_interpreter_works_after_a_sub_interpreter() -> None:
    child = run_python(IN_THE_MAIN_ONE + IN_A_SUB_INTERPRETER + IN_THE_MAIN_ONE, timeout=30)
    assert child.stdout.splitlines()[0] == child.stdout.splitlines()[2] == "Tokenizer True"
    assert SAID in child.stdout.splitlines()[1]
    assert child.returncode == 0
