"""Code that stands in the text of a page, between backticks: whether the names in it exist."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, get_type_hints

import tea_llm
from tea_llm import LlmCallResult, LocalLlmBackend, ModelInfo, StreamChunk, Usage, testing, workflow
from tea_llm.actions import ACTIONS
from tea_llm.backends.embedding import EmbeddingOptions

__all__ = ["code_in", "problem_with"]

_ROOTS: dict[str, Any] = {
    "tea_llm": tea_llm,
    "workflow": workflow,
    "llm": LocalLlmBackend,
    "flow": workflow.Workflow,
    "result": LlmCallResult,
    "chunk": StreamChunk,
    "info": ModelInfo,
    "usage": Usage,
}
"""What the pages call things."""

_PLACES = (LocalLlmBackend, tea_llm, workflow, testing, builtins)
"""Where a name that stands alone may come from."""

_FOREIGN = frozenset({"fork", "interrupt", "Field", "Llama", "Decimal", "TypedDict", "HttpUrl"})
_LOGGERS = frozenset({"tea_llm.llama"})


def code_in(page: str) -> Iterator[str]:
    """The code between backticks, but for blocks, and for the first column of tables of other programs' names."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        is_migration = page.startswith("# Coming from") and line.startswith("| ")
        yield from re.findall(r"(?<!`)`([^`]+)`(?!`)", line.split("|", 2)[-1] if is_migration else line)


def problem_with(code: str) -> str | None:
    """The first name in a piece of Python that does not exist; None: all do, or it is not Python."""
    try:
        tree = ast.parse(code, mode="eval").body
    except SyntaxError:
        return None
    if code in ACTIONS or code in _LOGGERS:
        return None
    if isinstance(tree, ast.Name):
        is_class = re.fullmatch(r"[A-Z][a-z]+[A-Z]\w+", code) and code not in _FOREIGN
        return f"there is no {code}" if is_class and not _named(code) else None
    try:
        for node in ast.walk(tree):
            _Reader().visit(node)
    except LookupError as error:
        return str(error.args[0])
    return None


class _Reader(ast.NodeVisitor):
    """Gives what an expression may be: modules, classes (for their instances, too) and functions; nothing: unknown."""

    def visit_Name(self, node: ast.Name) -> list[Any]:
        return [_ROOTS[node.id]] if node.id in _ROOTS else _named(node.id)

    def visit_Await(self, node: ast.Await) -> list[Any]:
        self.visit(node.value)
        return []

    def visit_Attribute(self, node: ast.Attribute) -> list[Any]:
        owners = self.visit(node.value) or []
        if not owners:
            return []
        found = [member for owner in owners if (member := _member(owner, node.attr)) is not None]
        if not found:
            raise LookupError(f"{ast.unparse(node.value)} has no {node.attr!r}")
        return [member for member in found if member is not _UNKNOWN]

    def visit_Call(self, node: ast.Call) -> list[Any]:
        functions = self.visit(node.func) or []
        if isinstance(node.func, ast.Name) and not functions and node.func.id not in _FOREIGN:
            raise LookupError(f"there is no function {node.func.id!r}")
        keywords = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        taken = [function for function in functions if keywords <= _keywords(function)]
        if functions and not taken:
            raise LookupError(f"{ast.unparse(node.func)} does not take {', '.join(sorted(keywords))}")
        return [kind for function in taken if (kind := _returned(function)) is not _UNKNOWN]


_UNKNOWN = object()


def _named(name: str) -> list[Any]:
    found = [getattr(place, name) for place in _PLACES if hasattr(place, name)]
    return [value for value in found if not isinstance(value, ModuleType)]  # `settings.llm` is of a file


def _member(owner: Any, name: str) -> Any:
    """A member, by its type where it is a value; None: there is none."""
    if isinstance(owner, ModuleType):
        return getattr(owner, name, None)
    if not isinstance(owner, type):
        return _UNKNOWN
    if name in inspect.get_annotations(owner):
        return _class_of(get_type_hints(owner).get(name))
    value = inspect.getattr_static(owner, name, None)
    if isinstance(value, property):
        return _returned(value.fget)
    if value is None and any(re.search(rf"^ *{name}: ", kind.__doc__ or "", re.MULTILINE) for kind in owner.__mro__):
        return _UNKNOWN  # set by the constructor, and documented
    return getattr(owner, name, None) if value is not None else None


def _keywords(function: Any) -> set[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in
        return set()
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return {parameter.name for parameter in parameters} | (set(EmbeddingOptions.__annotations__) if is_open else set())


def _returned(function: Callable[..., Any] | type | None) -> Any:
    if isinstance(function, type):
        return function
    try:
        return _class_of(get_type_hints(function).get("return"))
    except (NameError, TypeError):  # names that only type checkers import
        return _UNKNOWN


def _class_of(hint: Any) -> Any:
    return hint if isinstance(hint, type) and hint.__module__.startswith("tea_llm") else _UNKNOWN
