"""Chats of any kind: a result or an exception, and the process lives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tea_llm
from support.answers import TOOLS, WRITTEN
from support.process import run_python
from support.templates import NAMES, source_of
from tea_llm import LlmError, LocalLlmBackend
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.grammars import AnswerFormats
from tea_llm.answers.parts import Parts
from tea_llm.chat.template import ChatTemplate

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

PIECES = [
    *(
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{%-",
        "-%}",
        "'",
        '"',
        "(",
        ")",
        "[",
        "]",
        "|",
        "~",
        "+",
        "\n",
        " ",
        "x",
        "0",
    ),
    *(
        "{% if tools %}",
        "{% else %}",
        "{% endif %}",
        "{% for m in messages %}",
        "{% endfor %}",
        "{% for i in range(9) %}",
    ),
    *("{% macro a(n) %}", "{% endmacro %}", "{{ a(1) }}", "{{ m.role }}", "{{ m.content }}", "{{ m['tool_calls'] }}"),
    *("{% set ns = namespace(n=0) %}", "{% set ns.n = ns.n + 1 %}", "{{ ns }}", "{{ raise_exception('no') }}"),
    *("{{ messages | tojson }}", "{{ tools | tojson }}", "{{ messages[0].content[1:] | trim }}", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>", "{{ add_generation_prompt }}", "{{ bos_token }}"),
    *("{{ strftime_now('%Y') }}", "{{ enable_thinking is defined }}", "{{ loop.index0 }}", "{{ caller() }}", "\\u0000"),
]
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "developer", "x", ""]) | st.text(max_size=5)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=9),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.text(max_size=5), "arguments": st.text(max_size=9) | st.just({"a": [1, None]})}
            ),
        }
    ),
    max_size=2,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES, "content": st.text(max_size=30) | st.none()},
        optional={"reasoning_content": st.text(max_size=9), "tool_calls": CALLS, "name": st.text(max_size=5)},
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
SCHEMAS = st.dictionaries(
    st.sampled_from(
        ["type", "properties", "items", "enum", "const", "anyOf", "pattern", "minLength", "$ref", "required"]
    ),
    JSON | st.sampled_from(["object", "string", "integer", "#", "#/$defs/a", "^a{2,9}$"]),
    max_size=4,
)
MARKERS = sorted({piece for case in WRITTEN for piece in case.text.replace("><", "> <").split()})


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=2048, n_parallel=2, n_threads=1) as loaded:
        yield loaded


@given(source=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
@FUZZ
def test_templates(source: str) -> None:
    with contextlib.suppress(LlmError):
        template = ChatTemplate(source, bos_token="<s>")
        for tools in ((), TOOLS):
            form = AnswerFormats(template).get(tools=tools)
            if form is not None:
                form.parse("x", is_cut=False)


@pytest.mark.parametrize(
    "source",
    [
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set n = namespace() %}{% macro a() %}{{ n.f() }}{% endmacro %}{% set n.f = a %}{{ a() }}",
        "{% for i in range(150) %}{% for j in range(150) %}{% endfor %}{% endfor %}{{ messages[0].content }}",
        "{% for i in [[[1]]] recursive %}{{ loop(i) }}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
    ids=["macro", "macros", "macro-by-another-name", "loops", "recursive-loop", "parentheses"],
)
def test_templates_without_end(llm: LocalLlmBackend, tiny_model: Callable[..., Path], source: str) -> None:
    with (
        contextlib.suppress(LlmError),
        tea_llm.load(tiny_model("llama"), n_ctx=256, n_threads=1, chat_template=source + "{{ tools }}") as broken,
    ):
        broken.chat([{"role": "user", "content": "x"}], tools=TOOLS, max_tokens=2)
    assert llm.call("x", max_tokens=1).usage.completion_tokens <= 1


@given(messages=MESSAGES, name=st.sampled_from(NAMES))
@FUZZ
def test_messages(llm: LocalLlmBackend, messages: list[dict[str, Any]], name: str) -> None:
    with contextlib.suppress(LlmError, ValueError, TypeError):
        llm.render_chat(messages, template=source_of(name), tools=TOOLS)
    with contextlib.suppress(LlmError, ValueError, TypeError):
        llm.chat(messages, max_tokens=1)


@given(schema=SCHEMAS, choice=st.sampled_from(["auto", "required"]), seed=st.integers(0, 9))
@FUZZ
def test_parameters_of_functions(llm: LocalLlmBackend, schema: dict[str, Any], choice: str, seed: int) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    with contextlib.suppress(LlmError, ValueError, TypeError):
        llm.chat([{"role": "user", "content": "x"}], tools=[tool], tool_choice=choice, max_tokens=20, seed=seed)


@cache
def form_of(name: str) -> AnswerFormat:
    form = AnswerFormats(ChatTemplate(source_of(name))).get(tools=TOOLS)
    assert form is not None
    return form


@given(
    name=st.sampled_from(sorted({case.template for case in WRITTEN})),
    text=st.lists(st.sampled_from(MARKERS) | st.text(max_size=5) | st.sampled_from(["{" * 90, "[" * 3000]), max_size=9),
    is_cut=st.booleans(),
)
@FUZZ
def test_answers(name: str, text: list[str], is_cut: bool) -> None:
    form = form_of(name)
    written = "".join(text)
    form.parse_partial(written)
    parts = form.parse(written, is_cut=is_cut)
    assert is_cut or parts != Parts("") or len(written) < 50  # a marker alone holds nothing


def test_ctrl_c_ends_a_template_that_does_not(tiny_model: Callable[..., Path]) -> None:
    code = """
        import os, signal, sys, threading, tea_llm
        signal.signal(signal.SIGINT, signal.default_int_handler)
        forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        with tea_llm.load(sys.argv[1], n_ctx=64, n_threads=1, chat_template=forever) as llm:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                llm.chat([{"role": "user", "content": "x"}], max_tokens=1)
            except KeyboardInterrupt:
                print(len(llm.call("x", max_tokens=1).content) >= 0)
    """
    child = run_python(code, args=[str(tiny_model("llama"))], timeout=60)
    assert (child.stdout.strip(), child.returncode) == ("True", 0), child.stderr
