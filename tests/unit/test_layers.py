"""Which part of the package may import which: nothing imports what stands above it, and nothing goes in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import tea_llm

ROOT = Path(tea_llm.__file__).parent

# From below: the part, and the parts that it imports. Imports inside functions count; those for types alone do not.
# A part is a module, or a package with all that is in it and is not a part of its own.
PARTS: dict[str, str] = {
    "__pyinstaller": "",
    "_check": "",
    "_files": "",
    "_shown": "",
    "_version": "",
    "catalog": "",
    "errors": "",
    "_environment": "",
    "_native": "errors",
    "_network": "_shown",
    "_parsed": "errors",
    "types": "_parsed",
    "_child": "_native errors",
    "_log": "_native",
    "settings": "_check _environment errors",
    "paths": "_check _environment catalog errors settings",
    "hub": "_files _network _shown catalog errors paths",
    "inspection": "_log _native errors paths",
    "quantization": "_check _child _files _native errors inspection paths",
    "wordpiece": "",
    "tokenizer": "_check _log _native paths wordpiece",
    "grammar": "errors",
    "chat": "_check _files errors grammar types",
    "answers": "_native _parsed errors grammar types",
    "backends": "_check answers chat errors types",
    "backends.local": "_check _child _files _log _native answers backends catalog chat errors grammar paths tokenizer"
    " types",
    "backends.api": "_check _environment _network _version answers backends catalog chat errors settings types",
    "backends.select": "_check _environment _native backends backends.api backends.local errors paths settings",
    "benchmark": "backends.local",
    "diagnosis": "_child _native _version backends.api errors inspection paths settings",
    "testing": "_check backends chat errors types",
    "tea_llm": "_native _version backends backends.local catalog chat errors paths settings tokenizer types",
    "actions": "_check _shown _version backends backends.api backends.select chat errors settings types",
    "workflow": "actions errors paths settings",
    "cli": "tea_llm _files _shown _version backends benchmark catalog chat diagnosis errors hub inspection paths"
    " quantization settings workflow",
    "__main__": "cli",
}


def sources() -> dict[str, str]:
    """All modules by their names within the package, and ``tea_llm`` itself."""
    named = {path.relative_to(ROOT).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {
        ".".join(name.parts).removesuffix("__init__").rstrip(".") or "tea_llm": path.read_text()
        for name, path in named.items()
    }


@cache
def imports(source: str) -> frozenset[tuple[str, str | None]]:
    """The names that a module imports at run time, as ``(module, name)``."""
    return frozenset(_imports(ast.parse(source)))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield from ((node.module or "", alias.name) for alias in node.names)
        else:
            yield from _imports(node)


def imported_modules(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules of the package that each one imports."""

    def own(module: str, name: str | None) -> str | None:
        if module != "tea_llm" and not module.startswith("tea_llm."):
            return None
        names = (f"{module}.{name}".removeprefix("tea_llm."), module.removeprefix("tea_llm."))
        return next(name for name in (*names, "tea_llm") if name in modules)

    return {
        module: {found for one in imports(source) if (found := own(*one)) is not None}
        for module, source in modules.items()
    }


def part_of(module: str) -> str:
    """The part that a module belongs to; a module that no part names is a part."""
    names = module.split(".")
    return next((part for n in range(len(names), 0, -1) if (part := ".".join(names[:n])) in PARTS), module)


def problems(modules: Mapping[str, str]) -> list[str]:
    """What the imports do that ``PARTS`` does not say."""
    found = imported_modules(modules)
    wrong = [
        f"{module} imports {other}"
        for module, others in sorted(found.items())
        for other in sorted(others)
        if part_of(module) != part_of(other) and part_of(other) not in allowed(part_of(module))
    ]
    return wrong + [f"a circle: {' -> '.join(circle)}" for circle in circles(found)]


def allowed(part: str) -> list[str]:
    return PARTS.get(part, "").split()


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One circle for each module that first closes it."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(path: list[str]) -> None:
        for other in sorted(graph.get(path[-1], ())):
            if other in path:
                found.append([*path[path.index(other) :], other])
            elif other not in done:
                visit([*path, other])
        done.add(path[-1])

    for module in sorted(graph):
        if module not in done:
            visit([module])
    return found


def test_each_part_imports_only_what_stands_below_it() -> None:
    assert problems(sources()) == []


def test_the_table_has_no_arrow_upward_and_none_too_many() -> None:
    order = list(PARTS)
    for part in PARTS:
        assert all(order.index(other) < order.index(part) for other in allowed(part)), part
    used: dict[str, set[str]] = {part: set() for part in PARTS}
    for module, others in imported_modules(sources()).items():
        used[part_of(module)] |= {part_of(other) for other in others} - {part_of(module)}
    assert used == {part: set(allowed(part)) for part in PARTS}


@pytest.mark.parametrize(
    ("module", "line", "problem"),
    [
        ("settings", "from tea_llm.backends.api.endpoint import resolve", "settings imports backends.api.endpoint"),
        ("chat.tools", "def f():\n    import tea_llm.backends.base", "chat.tools imports backends.base"),
        ("backends.local.backend", "from tea_llm.backends import api", "backends.local.backend imports backends.api"),
        ("errors", "class A:\n    from tea_llm import types", "errors imports types"),
        ("types", "try:\n    import tea_llm\nexcept ImportError:\n    raise", "types imports tea_llm"),
        ("new", "from tea_llm.errors import LlmError", "new imports errors"),
        (
            "hub.sources",
            "def f():\n    from tea_llm.hub import http",
            "a circle: hub.sources -> hub.http -> hub.sources",
        ),
    ],
)
def test_a_planted_import_is_found(module: str, line: str, problem: str) -> None:
    modules = sources()
    modules[module] = f"{modules.get(module, '')}\n{line}\n"
    assert problem in problems(modules)


def test_an_import_for_types_is_none() -> None:
    modules = sources()
    modules["errors"] += "\nif TYPE_CHECKING:\n    from tea_llm.types import ToolCall\nelse:\n    import os\n"
    assert problems(modules) == []


def test_the_environment_is_read_in_few_places() -> None:
    reads = {module for module, source in sources().items() if "os.environ" in source or "getenv" in source}
    assert reads == {
        "_environment",  # whatever decides which backend answers, and so is part of the cache's key
        "backends.local.loading",  # TEA_LLM_AUDIT
        "cli._terminal",  # NO_COLOR
        "hub.wheel",  # handed to pip
        "settings",  # $VARIABLES in values
    }
