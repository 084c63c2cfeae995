"""Calls of any arguments, as each template writes them, are read back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.fuzzing import fuzz
from support.round_trip import rendered, template_of
from support.templates import NAMES

IN_WORDS = {"LFM2-8B-A1B", "LFM2.5-Instruct"}  # they leave calls out
UNQUOTED = {"LFM2.5-8B-A1B"}  # it does not escape quotes and backslashes in texts
UNTOLD = {"MiniMax-M3"}  # it tells texts from numbers, and what is empty, by the schema alone
WITH_TOOLS = [name for name in NAMES if template_of(name).uses_tools and name not in IN_WORDS]
SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "n": {"type": "integer"},
    "x": {"type": "number"},
    "yes": {"type": "boolean"},
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "texts": {"type": "array", "items": {"type": "string"}},
    "things": {"type": "array"},
    "thing": {"type": "object"},
    "perhaps": {"type": ["string", "null"]},
    "several": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "boolean"}]},
}
FUNCTIONS = {
    "get": ["text", "n"],
    "get_it": ["x", "yes", "perhaps"],
    "put": ["numbers", "texts", "several"],
    "put_all": ["things", "thing"],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "A function.",
            "parameters": {
                "type": "object",
                "properties": {key: SCHEMAS[key] for key in keys},
                "required": keys,
            },
        },
    }
    for name, keys in FUNCTIONS.items()
]
PLAIN = "abc äöü€中😀.,;:!?-_+*/=()&%#@0123456789"
WORDS = st.text(st.sampled_from("abc äöü"), min_size=1, max_size=9).map(str.strip).filter(bool)
NUMBERS = st.integers(-(10**9), 10**9)
FRACTIONS = st.sampled_from([0.5, -2.25, 1e-7, 1e20])


def texts(name: str) -> st.SearchStrategy[str]:
    """Those of a parameter. The mark that ends it cannot be a part of it in most forms, so there are no lines here."""
    characters = PLAIN if name in UNQUOTED else PLAIN + "\"'\\{}[]<>|"
    return st.text(st.sampled_from(characters), min_size=1, max_size=20).map(str.strip).filter(bool)


def things(name: str) -> st.SearchStrategy[Any]:
    """What may be in lists and objects."""
    if name in UNTOLD:
        told = WORDS | NUMBERS | st.booleans()
        return st.recursive(told, lambda inner: filled(inner, WORDS), max_leaves=4)
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    one = anything | NUMBERS | FRACTIONS | st.booleans() | st.none()
    keys = WORDS if "gemma" in name else anything
    return st.recursive(one, lambda inner: filled(inner, keys) | st.just([]) | st.just({}), max_leaves=4)


def filled(inner: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.lists(inner, min_size=1, max_size=3) | st.dictionaries(keys, inner, min_size=1, max_size=3)


@st.composite
def a_call(draw: st.DrawFn, name: str) -> tuple[str, dict[str, Any]]:
    inner = things(name)
    values: dict[str, st.SearchStrategy[Any]] = {
        "text": texts(name),
        "n": NUMBERS,
        "x": NUMBERS | FRACTIONS,
        "yes": st.booleans(),
        "numbers": st.lists(NUMBERS, max_size=3),
        "texts": st.lists(texts(name), max_size=3),
        "things": st.lists(inner, max_size=3),
        "thing": st.dictionaries(WORDS, inner, max_size=3),
        "perhaps": WORDS.map("w{}".format) | (WORDS if name in UNTOLD else st.none()),
        "several": WORDS.map("w{}".format) | st.lists(WORDS, min_size=1, max_size=3) | st.booleans(),
    }
    called = draw(st.sampled_from(sorted(FUNCTIONS)))
    return called, {key: draw(values[key]) for key in FUNCTIONS[called]}


CALLS = st.sampled_from(WITH_TOOLS).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(a_call(name), min_size=1, max_size=3))
)


@fuzz
@given(named=CALLS, thinks=st.booleans())
def test_calls_are_read_back(named: tuple[str, list[tuple[str, dict[str, Any]]]], thinks: bool) -> None:
    name, calls = named
    written = rendered(name, TOOLS, calls, thinks=thinks)
    if written is None:
        return
    parts = written.form.parse(written.text, is_cut=False)
    found = [(called, json.loads(arguments)) for _, called, arguments in parts.calls]
    assert found == calls[: len(found)]
    assert len(found) == len(calls) or (found and name.startswith("GigaChat")), written.text  # it writes the first only
