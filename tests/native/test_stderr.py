"""Errors are exceptions: what fails prints nothing to the process's standard error.

Warnings of Python's logging are printed there where nobody has set logging up: they are left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from support.malformed import MALFORMED, POISONED, write_malformed
from support.process import run_python
from support.templates import DIRECTORY

_QUIET = "import logging, sys, tea_llm\nlogging.getLogger('tea_llm').addHandler(logging.NullHandler())\n"
_TRY = """
def attempt(code):
    try:
        eval(code, globals())
    except (tea_llm.LlmError, ValueError, TypeError, OSError):
        return
    print("no error:", code)
"""
BAD_GRAMMARS = [
    " ",
    "root ::= y",
    'root ::= root "a"',
    "root ::= (",
    'root ::= "a"{5000}',
    "root := 1",
    "root ::= [\\xZZ]",
    "root ::= <no>",
    "x ::= 1",
]
CALLS = [
    *(f"llm.call('x', grammar={grammar!r})" for grammar in BAD_GRAMMARS),
    "llm.call('x', regex='(')",
    "llm.call('x', regex='ab', ignore_eos=True, max_tokens=9)",
    "llm.call('word ' * 5000)",
    "llm.call('x', timeout=1e-6)",
    "llm.call('x', max_tokens=0)",
    "llm.call([10**6])",
    "llm.detokenize([10**6])",
    "llm.chat([{'role': 'user', 'content': 'x'}], response_format={'type': 'json_schema', 'json_schema': {}})",
    "llm.render_chat([{'role': 'user', 'content': 'x'}], template='{{ x.y.z }}')",
    "llm.rerank('a', ['b'])",
    "llm.load_state(sys.argv[1])",
    "llm.save_state('/no/such/directory/state')",
    "tea_llm.load(sys.argv[1], n_ctx=10**9)",
    "tea_llm.load('/no/such.gguf')",
    "tea_llm.load(sys.argv[1], n_gpu_layers=7)",
]


def test_failing_calls(tiny_model: Callable[..., Path]) -> None:
    calls = f"llm = tea_llm.load(sys.argv[1], n_ctx=256, n_threads=1)\nfor code in {CALLS!r}:\n    attempt(code)\n"
    child = run_python(_QUIET + _TRY + calls, args=[str(tiny_model("llama"))])
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_broken_files(tmp_path: Path) -> None:
    paths = [str(write_malformed(tmp_path / f"{kind}.gguf", kind)) for kind in (*MALFORMED, *POISONED)]
    code = "".join(
        f"for path in sys.argv[1:]:\n    try:\n        {use}\n    except (tea_llm.LlmError, OSError):\n        pass\n"
        for use in (
            "tea_llm.load(path, n_ctx=64, n_threads=1).call('x', max_tokens=2)",
            "tea_llm.Tokenizer(path)",
            "inspect_model(path)",
        )
    )
    child = run_python(f"{_QUIET}from tea_llm.inspection import inspect_model\n{code}", args=paths, timeout=120)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["meta-llama-Llama-3.1-8B-Instruct", "Qwen3-Coder", "openai-gpt-oss-120b"])
def test_answers_that_cannot_be_parsed(tiny_model: Callable[..., Path], name: str) -> None:
    code = _QUIET + textwrap.dedent("""
    llm = tea_llm.load(sys.argv[1], n_ctx=4096, n_threads=1, chat_template=sys.argv[2])
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
        "a": {"type": "string", "pattern": "^a(?=b)$"}}}}}
    for choice in ("auto", "required"):
        for seed in range(3):
            try:
                llm.chat([{"role": "user", "content": "x"}], tools=[tool], tool_choice=choice, max_tokens=20, seed=seed)
            except tea_llm.LlmError:
                pass
    """)
    child = run_python(code, args=[str(tiny_model("llama")), str(DIRECTORY / f"{name}.jinja")])
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
