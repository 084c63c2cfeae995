"""Limits loops and macros in chat templates, for an interpreter that cannot be interrupted."""

from __future__ import annotations

import re

from jinja2 import Environment

__all__ = ["bounded"]

_NEWLINE = re.compile(r"\r\n?")
_COUNTS = "tea_llm_counts"
_MAX_TURNS = 20_000
"""Total loop iterations and macro calls."""
_MAX_DEPTH = 100
"""Nested macro calls."""

_BEGIN = f"{{% set {_COUNTS} = namespace(turns=0, depth=0) %}}{{{{ '' }}}}"  # keeps a newline after the block
_CHECK = (
    f"{{% if {_COUNTS}.turns > {_MAX_TURNS} or {_COUNTS}.depth > {_MAX_DEPTH} %}}"
    "{{ raise_exception('a loop or a macro without end') }}{% endif %}{{ '' }}"
)
_TURN = f"{{% set {_COUNTS}.turns = {_COUNTS}.turns + 1 %}}"
_DEEPER = f"{{% set {_COUNTS}.depth = {_COUNTS}.depth + 1 %}}"
_BACK = f" set {_COUNTS}.depth = {_COUNTS}.depth - 1 %}}"
_BEHIND = {"for": _TURN + _CHECK, "macro": _TURN + _DEEPER + _CHECK}


def bounded(source: str, environment: Environment) -> str:
    """Adds counters to a template, which raise an error when it loops or recurses far too often.

    llama.cpp's Jinja recurses until the stack overflows, and a loop in it cannot be interrupted.

    Args:
        source: the Jinja source.
        environment: the environment that parses it.

    Raises:
        jinja2.TemplateSyntaxError: the source is not valid Jinja.
    """
    source = _NEWLINE.sub("\n", source)  # as the lexer sees it
    pieces = [_BEGIN]
    position = begin = 0
    name = None  # of the current tag
    for _, kind, text in environment.lexer.tokeniter(source, None):
        end = source.index(text, position) + len(text)  # white space stripped by a tag is not a token
        if kind == "block_begin":
            name = ""
            pieces.append(source[position : end - len(text)])
            begin, position = len(pieces), end - len(text)
        elif kind == "name" and name == "":
            name = text
            if name == "endmacro":
                pieces.insert(begin, pieces[begin] + _BACK)  # strips the same white space
        pieces.append(source[position:end])
        position = end
        if kind == "block_end":
            pieces.append(_BEHIND.get(name or "", ""))
            name = None
    return "".join([*pieces, source[position:]])
