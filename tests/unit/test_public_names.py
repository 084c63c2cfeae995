"""The names that others rely on, and their places."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from pathlib import Path
from typing import get_type_hints

import pytest

import tea_llm
from support.process import run_python
from tea_llm import _core, errors, types
from tea_llm.backends.options import OPTIONS, GenerationOptions, Options

MODULES = [
    path
    for path in Path(tea_llm.__file__).parent.rglob("*.py")
    if path.name not in ("__main__.py", "_version.py") and path.stat().st_size > 200
]


def test_all_is_sorted_and_there() -> None:
    assert tea_llm.__all__ == sorted(set(tea_llm.__all__))
    for name in tea_llm.__all__:
        assert hasattr(tea_llm, name), name


@pytest.mark.parametrize("name", ["actions", "hub", "testing", "workflow"])
def test_a_public_module_is_there_without_its_own_import(name: str) -> None:
    child = run_python(f"import tea_llm; print(tea_llm.{name}.__name__, 'asyncio' in dir(tea_llm))")
    assert (child.stdout.split(), child.stderr) == ([f"tea_llm.{name}", "False"], "")


def test_what_few_programs_need_is_imported_where_it_is_used() -> None:
    child = run_python("import sys, tea_llm; print(*sys.modules)")
    later = {"asyncio", "httpx", "jinja2", "pydantic", "yaml", "tea_llm.answers.grammars", "tea_llm.grammar.schema"}
    assert not later.intersection(child.stdout.split())


def test_names_that_are_imported_later_are_listed() -> None:
    child = run_python("""
        import sys
        import tea_llm
        assert set(tea_llm.__all__) <= set(dir(tea_llm))
        assert "tea_llm.backends.select" not in sys.modules
        import pydoc
        page = pydoc.plain(pydoc.render_doc(tea_llm))
        for name in ("create_llm_backend", "quantize", "ApiLlmBackend", "load"):
            assert name + "(" in page or "class " + name in page, name
        print("all there")
    """)
    assert (child.stdout, child.stderr) == ("all there\n", "")


def test_every_error_is_public_drawn_and_an_llm_error() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, tea_llm.LlmError)
        assert getattr(tea_llm, name) is error
        assert re.search(rf"\b{name}\b", errors.__doc__ or ""), name


def test_every_public_name_has_a_docstring() -> None:
    for name in tea_llm.__all__:
        thing = getattr(tea_llm, name)
        if inspect.isclass(thing):
            assert thing.__doc__, name
            for attribute, member in vars(thing).items():
                if inspect.isfunction(member) and not attribute.startswith("_"):
                    assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}"
        elif callable(thing):
            assert thing.__doc__, name


def test_the_version_is_the_distributions() -> None:
    assert tea_llm.__version__ == importlib.metadata.version("tea-llm")


def test_every_module_says_what_it_offers() -> None:
    assert len(MODULES) > 15
    for path in MODULES:
        assert "__all__" in path.read_text(encoding="utf-8") or path.parent.name == "cli", path


@pytest.mark.parametrize(("kind", "name"), _core._error_classes())
def test_every_native_error_becomes_its_class(kind: int, name: str) -> None:
    expected = ValueError if name == "ValueError" else getattr(errors, name)
    with pytest.raises(expected, match="on purpose") as caught:
        _core._raise_error(kind)
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("memory", "not enough memory"),
        ("thread", "Resource temporarily unavailable"),
        ("assert", "GGML_ASSERT"),
        ("else", "else"),
    ],
)
def test_what_the_engine_did_not_expect_is_an_inference_error(kind: str, message: str) -> None:
    with pytest.raises(errors.InferenceError, match=message):
        _core._raise_foreign(kind)


def test_no_native_error_kind_is_without_a_class() -> None:
    assert sorted(kind for kind, _ in _core._error_classes()) == list(range(_core._N_ERROR_KINDS))


def test_options_agree_everywhere() -> None:
    names = list(Options.__annotations__)
    assert names == list(GenerationOptions.__slots__) == list(OPTIONS)
    for name in names:
        assert f"        {name}:" in (tea_llm.LlmBackend.__doc__ or ""), name
    for method in (tea_llm.LocalLlmBackend.call, tea_llm.LocalLlmBackend.stream_chat):
        assert names == [p for p in inspect.signature(method).parameters if p in names]


def test_values_are_typed() -> None:
    for name in types.__all__:
        thing = getattr(types, name)
        if inspect.isclass(thing):
            assert get_type_hints(thing), name


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (
        errors.ContextOverflowError("no", 5, 3),
        errors.GenerationTimeoutError("no", "partial"),
        errors.AnswerCutError("no", "half"),
        errors.ModelLoadError("no"),
    ):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert type(copy) is type(error)
        assert str(copy) == "no"
        assert vars(copy) == vars(error)
