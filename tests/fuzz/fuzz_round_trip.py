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
WITH_TOOLS = [name for name in NAMES if template_of(name).uses_tools and name not in IN_WORDS]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "A function.",
            "parameters": {
                "type": "object",
                "properties": {
                    key: {"type": kind, "items": {"type": "integer"}} if kind == "array" else {"type": kind}
                    for key, kind in properties.items()
                },
                "required": list(properties),
            },
        },
    }
    for name, properties in {
        "get": {"text": "string", "n": "integer"},
        "get_it": {"x": "number", "yes": "boolean"},
        "put": {"items": "array"},
    }.items()
]
# Marks of a form in a text are not escaped by most templates, quotes by some.
TEXTS = st.text(st.sampled_from("abc äöü€中😀.,;:!?-_+*/=()&%#@0123456789"), min_size=1, max_size=20).map(str.strip)
NUMBERS = st.integers(-(10**9), 10**9)
ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "get": st.fixed_dictionaries({"text": TEXTS.filter(bool), "n": NUMBERS}),
    "get_it": st.fixed_dictionaries({"x": NUMBERS | st.sampled_from([0.5, -2.25]), "yes": st.booleans()}),
    # Lists of texts and objects are written as Python shows them by some, which llama.cpp does not read, and MiniMax M3
    # writes nothing for an empty list.
    "put": st.fixed_dictionaries({"items": st.lists(NUMBERS, min_size=1, max_size=3)}),
}
CALLS = st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda name: st.tuples(st.just(name), ARGUMENTS[name]))


@fuzz
@given(name=st.sampled_from(WITH_TOOLS), calls=st.lists(CALLS, min_size=1, max_size=3), thinks=st.booleans())
def test_calls_are_read_back(name: str, calls: list[tuple[str, dict[str, Any]]], thinks: bool) -> None:
    answer = rendered(name, TOOLS, calls, thinks=thinks)
    if answer is None:
        return
    parts = answer.form.parse(answer.text, is_cut=False)
    found = [(called, json.loads(arguments)) for _, called, arguments in parts.calls]
    assert found == calls[: len(found)]
    assert len(found) == len(calls) or (found and name.startswith("GigaChat")), answer.text  # it writes the first only
